"""recipes.wild: what one reading out of range does to its neighbours."""

from __future__ import annotations

import numpy as np

from kdutils.compress import prune as compress
from kdutils.compress import quantize
from kdutils.recipes import folds, kd_tabular
from kdutils.train import grid

OUT_OF_RANGE = 1e6  # times the column's median: an open probe
BATCH, DRAWS = 256, 8


class Wild:
    """What one reading out of range does to the verdicts of its neighbours.

    Once with the bounded readings of this study, once with plainly standardised ones,
    as the published pipeline has them; for those a student of its own is trained.
    """

    def __init__(self, seed: int, sweep_config: dict, fold: folds.Fold, targets: dict):
        rng = np.random.default_rng([seed, fold.number, 6])
        raw = fold.prepare.pick(fold.split.test.X)
        self.batches = []
        for _ in range(DRAWS):
            rows = rng.choice(len(raw), min(BATCH, len(raw)), replace=False)
            column = int(rng.integers(raw.shape[1]))
            value = OUT_OF_RANGE * max(1.0, abs(float(np.nanmedian(raw[:, column]))))
            self.batches.append((raw[rows], column, value))
        self.prepare = fold.prepare
        train = fold.prepare.pick(fold.split.train.X)
        self.mean, self.sd = np.nanmean(train, axis=0), np.nanstd(train, axis=0)
        fitted = grid.fit(
            self._standardised(train),
            fold.y["train"],
            targets["oof"],
            [grid.Cell("kd", 0.5, 2.0)],
            seeds=[seed],
            X_val=self._standardised(fold.prepare.pick(fold.split.val.X)),
            y_val=fold.y["val"],
            **kd_tabular.fitting(sweep_config, len(fold.y["train"])),
        )
        arrays = fitted.arrays(0, 0)
        scores = compress.logits(arrays, self._standardised(train))
        self.threshold = float(np.quantile(scores, 1 - fold.y["train"].mean()))
        self.students = {
            "student fp32": arrays,
            "published: dynamic int8": quantize.dynamic(arrays),
            "weight-only int8": quantize.weight_only(arrays),
        }

    def _standardised(self, raw: np.ndarray) -> np.ndarray:
        return np.nan_to_num((raw - self.mean) / self.sd).astype(np.float32)

    def _bounded(self, raw: np.ndarray) -> np.ndarray:
        columns = np.arange(raw.shape[1])
        fields = (self.prepare.names, self.prepare.center, self.prepare.scale)
        return type(self.prepare)(columns, *fields).transform(raw)

    def bounded(self, student, threshold: float) -> float:
        """Mean share of neighbours' verdicts moved, readings bounded."""
        return self._moved(student, self._bounded, threshold)

    def plain(self, step: str) -> float:
        """The same with plainly standardised readings; NaN for steps not tried so."""
        if step not in self.students:
            return np.nan
        return self._moved(self.students[step], self._standardised, self.threshold)

    def _moved(self, student, scale, threshold: float) -> float:
        moved = [
            compress.wild_cell(
                lambda X: compress.logits(student, scale(X)),
                raw,
                row=0,
                column=column,
                value=value,
                threshold=threshold,
            ).moved
            for raw, column, value in self.batches
        ]
        return float(np.mean(moved))

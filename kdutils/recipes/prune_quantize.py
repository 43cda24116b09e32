"""recipes.prune_quantize: the distilled student pruned and quantized, one row a step.

The published recipe (half of each layer's weights in one shot, then dynamic int8)
stands beside better ones and beside the dense student that trains for the same extra
epochs. Fine-tuning uses the loss that the student was distilled with.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter

import numpy as np

from kdutils import metrics
from kdutils.compress import prune as compress
from kdutils.compress import quantize
from kdutils.deploy import bundle, drift
from kdutils.deploy.runtime import Int8
from kdutils.recipes import folds, kd_tabular, ladder
from kdutils.recipes.ladder import FP32, Step
from kdutils.store.config import Share, following
from kdutils.train import grid

NUMBERS = ("val_auc", "params", "nonzero", "raw_bytes", "file_bytes", "gzip_bytes")
NUMBERS += ("model_bytes", "bundle_bytes", "moved", "moved_plain")
OUT_OF_RANGE = 1e6  # times the column's median: an open probe
BATCH, DRAWS = 256, 8
ALONE, PUBLISHED = "label-only student fp32", "published: distilled"
FIRST = {"control": FP32, "ours": FP32, "published": PUBLISHED}  # each family's zero
digest = itemgetter("sweep")  # the data are the sweep's: its id names them


@dataclass(frozen=True)
class Config(ladder.Tuning):
    """The share of weights that is pruned."""

    sparsity: Share


def plan(sweep_rows, **settings) -> list[dict]:
    """One config per sweep run; settings: `methods` that may give the student, etc."""
    return following(sweep_rows, "sweep", "teacher", **settings)


def steps(config: dict) -> list[Step]:
    """The steps, in the order in which a reader meets them.

    Ours start from the cell with the best validation AUC of the fold, the published
    ones from the published distillation.
    """
    share, half = config["sparsity"], 0.5
    most = {"sparsity": 0.75, "tuned": True}
    first, units = "pruned first layer + fine-tuned", "half the units + fine-tuned"
    control = partial(Step, family="control")
    published = partial(Step, family="published", after=PUBLISHED)
    pruned = partial(Step, sparsity=share)
    small = partial(Step, sparsity=half, units=True)
    each = {"scope": "layer", "sparsity": half}
    dynamic = {"quantizer": "dynamic", "bits": 8}
    weight_only = {"quantizer": "weight-only", "bits": 8}
    static, qat = weight_only | {"quantizer": "static"}, {"quantizer": "QAT"}
    return [
        control(FP32),
        control(ALONE),
        control("dense, same extra epochs", tuned=True),
        published(PUBLISHED),
        published("published: pruned each layer 50 %", **each),
        published("published: dynamic int8", **dynamic),
        published("published: pruned + dynamic int8", **each, **dynamic),
        pruned("pruned globally", scope="global"),
        pruned("pruned first layer"),
        pruned("pruned each layer + fine-tuned", scope="layer", tuned=True),
        pruned("pruned globally + fine-tuned", scope="global", tuned=True),
        pruned(first, tuned=True),
        small(units, tuned=True),
        Step("weight-only int8", **weight_only),
        Step("static int8", **static),
        Step("QAT int8", **qat, bits=8),
        pruned("pruned + weight-only int8", after=first, **weight_only),
        pruned("pruned + static int8", after=first, **static),
        pruned("pruned + QAT int8", after=first, **qat, bits=8),
        pruned("pruned 75 % + QAT int8", **most, after=first, **qat, bits=8),
        small("half the units + QAT int8", after=units, **qat, bits=8),
        Step("QAT, 4-bit weights", **qat, bits=4),
        small("half the units + QAT, 4-bit weights", after=units, **qat, bits=4),
    ]


def compute(config: dict, run) -> dict:
    """A row per step and fold, and the bundle of each step that has one, of fold 0.

    test_auc, drop, to_teacher and cell are of the fold, all else of the folds together.
    """
    id = f"{config['source']}-{run.id}"
    work = partial(descend, config, id)
    sweep, source, every, results = ladder.measured(config, run, "fold", work)
    best = [kd_tabular.best_cell(sweep, f.number, config["methods"]) for f in every]
    cells = ["{method}, α {alpha:g}, T {T:g}".format(**cell) for cell in best]
    teacher = [source.arrays(f"fold{f.number}-ensemble")["test"] for f in every]
    truth = [fold.y["test"] for fold in every]
    ensemble, found, rows = folds.rows({}, truth, teacher), {}, []
    for number, step in enumerate(steps(config)):
        row = {"step": step.name, "order": number, "family": step.family}
        row["precision"] = "fp32" if step.bits == 32 else f"int{step.bits}"
        row |= {"sparsity": step.sparsity, **folds.facts(every, source.config)}
        numbers = np.mean([one[f"{number}-numbers"] for one in results], axis=0)
        row |= {
            key: None if np.isnan(value) else float(value)
            for key, value in zip(NUMBERS, numbers, strict=True)
        }
        scores = [one[f"{number}-test"] for one in results]
        mine = folds.rows(row, truth, scores)
        found[step.name] = mine, scores
        base, first = found[FIRST[step.family]]
        folds.compare("drop", mine, base, truth, scores, first)
        folds.compare("to_teacher", mine, ensemble, truth, scores, teacher)
        for one, cell in zip(mine, cells, strict=True):
            one |= {"cell": cell, "drop_val": one["val_auc"] - base[0]["val_auc"]}
        file = results[0][f"{number}-bundle"].tobytes()
        if file and config["seed"] == 0:
            mine[0]["bundle"] = base64.b64encode(file).decode()
        rows += mine
    return {"rows": rows}


def descend(config: dict, id: str, sweep, fold: folds.Fold, targets: dict) -> dict:
    """Test logits, numbers and bundle bytes of every step in one fold.

    A student that has a bundle is measured as the file that ships, on raw readings.
    Ours and the controls are calibrated, the published ones are as published.
    """
    kept, tabular = {}, ladder.distilled(config, sweep, fold, targets)
    train, calibration = fold.split.train, (fold.X["val"], fold.y["val"])
    neighbours = Neighbours(config["seed"], sweep.config, fold, targets)
    lots = drift.known(fold.prepare.pick(train.X), train.group, fold.prepare)
    start = {FP32: tabular.fp32}
    for name, cell in ((ALONE, kd_tabular.BASE), (PUBLISHED, kd_tabular.PUBLISHED)):
        start[name] = kd_tabular.student(sweep, fold.number, cell)
    every = ladder.climb(steps(config), start, tabular.rung)
    for number, (step, arrays) in enumerate(every):
        student = tabular.quantized(step, arrays)
        if step.family != "published":
            student = ladder.calibrated(student, *calibration)
        file = packed(student, fold, 0.0, id)
        val, test = (logits(student, file, fold, name) for name in ("val", "test"))
        threshold = float(np.quantile(val, 1 - fold.y["train"].mean()))
        file = packed(student, fold, threshold, id, lots)
        kept[f"{number}-test"] = test
        kept[f"{number}-bundle"] = np.frombuffer(file, np.uint8)
        size = compress.size(student)
        model = bundle.model_bytes(student, fold.prepare) if file else np.nan
        numbers = metrics.auc(fold.y["val"], val), *size, model, len(file) or np.nan
        moved = neighbours.moved(student, neighbours.bounded, threshold)
        kept[f"{number}-numbers"] = np.array([*numbers, moved, neighbours.plain(step)])
    return kept


def logits(student, file: bytes, fold: folds.Fold, name: str) -> np.ndarray:
    """Logits of a part of the fold: of the file, or of torch's own int8 modules."""
    if not file:
        return compress.logits(student, fold.X[name])
    readings = fold.prepare.pick(getattr(fold.split, name).X)
    return bundle.loads(file, "the student").score(readings)


def packed(
    student, fold: folds.Fold, threshold: float, id: str = "", lots=None
) -> bytes:
    """The student as a bundle's bytes; empty for torch's own int8 modules.

    lots: of the training rows, see `drift.known`.
    """
    if not isinstance(student, dict | Int8):
        return b""
    units = [fold.split.units[j] for j in fold.prepare.columns if fold.split.units]
    schema = bundle.Schema(tuple(units), legal(fold), id=id)
    X = fold.prepare.pick(fold.split.train.X)
    file = bundle.packed(student, fold.prepare, threshold, schema, X)
    return drift.kept(file, lots)


def legal(fold: folds.Fold) -> np.ndarray:
    """Low and high of each reading, float32 (d, 2): all training rows, and as much
    again on either side. An engineer who knows the limits of a test should say so.
    """
    X = fold.prepare.pick(fold.split.train.X).astype(float)
    low, high = np.nanmin(X, axis=0), np.nanmax(X, axis=0)
    return np.float32(np.column_stack((2 * low - high, 2 * high - low)))


def choose(rows, tolerance: float) -> dict:
    """The step to ship: the smallest bundle within `tolerance` of fp32 on validation.

    rows: the stage's rows of one source. Returns step, its mean bundle_bytes, drop_val,
    val_auc and the number of candidates; the test rows take no part in the choice.
    """
    steps = rows[rows["bundle_bytes"].notna()].groupby("step")
    means = steps[["bundle_bytes", "drop_val", "val_auc"]].mean().drop(index=ALONE)
    good = means[means["drop_val"] >= -tolerance]
    step = good["bundle_bytes"].idxmin()
    return {"step": step, "candidates": len(means), **good.loc[step].to_dict()}


def shipped(rows, step: str) -> bytes:
    """The bundle of a step: the student of seed 0, fold 0.

    rows: the stage's rows of one source; records keep these bundles, so that a ledger
    alone can hand them over.
    """
    kept = rows[(rows["seed"] == 0) & (rows["step"] == step)]["bundle"].dropna()
    if kept.empty:
        raise ValueError(f"no bundle of step '{step}' was kept: it needs seed 0")
    return base64.b64decode(kept.iloc[0])


class Neighbours:
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
        columns = np.arange(raw.shape[1])
        self.bounded = replace(fold.prepare, columns=columns).transform
        train = fold.prepare.pick(fold.split.train.X)
        self.mean, self.sd = np.nanmean(train, axis=0), np.nanstd(train, axis=0)
        rows = self._standardised(train), fold.y["train"], targets["oof"]
        own = {"X_val": self._standardised(fold.prepare.pick(fold.split.val.X))}
        config, cells = sweep_config | {"seed": seed}, [grid.Cell("kd", 0.5, 2.0)]
        fitted = kd_tabular.fit(config, fold, rows, cells, **own)
        arrays = fitted.arrays(0, 0)
        scores = compress.logits(arrays, self._standardised(train))
        self.threshold = float(np.quantile(scores, 1 - fold.y["train"].mean()))
        self.students = {
            FP32: arrays,
            "published: dynamic int8": quantize.dynamic(arrays),
            "weight-only int8": quantize.weight_only(arrays),
        }

    def _standardised(self, raw: np.ndarray) -> np.ndarray:
        return np.nan_to_num((raw - self.mean) / self.sd).astype(np.float32)

    def plain(self, step: Step) -> float:
        """`moved` with plainly standardised readings; NaN for steps not tried so."""
        if (student := self.students.get(step.name)) is None:
            return np.nan
        return self.moved(student, self._standardised, self.threshold)

    def moved(self, student, scale, threshold: float) -> float:
        """Mean share of neighbours' verdicts moved; scale: of raw readings (n, d).

        Dynamic int8 takes its activation scale from the whole batch, so that one
        outlier coarsens the steps of all rows; other students leave neighbours alone.
        """
        moved = []
        for raw, column, value in self.batches:
            outlier = raw.copy()
            outlier[0, column] = value
            both = [compress.logits(student, scale(X))[1:] for X in (raw, outlier)]
            moved.append(np.not_equal(*(z > threshold for z in both)).mean())
        return float(np.mean(moved))

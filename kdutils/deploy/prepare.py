"""prepare: what a fold learns before a model sees a row: columns, centre, scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LIMIT = 3.0


def squash(z: np.ndarray) -> np.ndarray:
    """Bound standardised readings smoothly to (-3, 3); a missing reading becomes 0.

    z / sqrt(1 + (z / 3)^2): the smooth clip of RealMLP (Holzmüller et al. 2024,
    arXiv 2407.04491). It tames heavy tails and fixes the input range for int8.
    """
    z = np.asarray(z, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        bounded = z / np.sqrt(1 + np.square(z / np.float32(LIMIT)))
    bounded = np.where(np.isinf(z) | (np.abs(z) > 1e18), np.sign(z) * LIMIT, bounded)
    return np.nan_to_num(bounded, nan=0.0).astype(np.float32)


def rank_auc(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """AUC of each column alone, shape (d,); missing readings rank in the middle."""
    X = np.where(np.isnan(X), np.nanmedian(X, axis=0), X)
    order = np.sort(X, axis=0)
    ranks = np.empty(X.shape)
    for j in range(X.shape[1]):
        low = np.searchsorted(order[:, j], X[:, j], "left")
        high = np.searchsorted(order[:, j], X[:, j], "right")
        ranks[:, j] = (low + high + 1) / 2
    fails = y > 0.5
    n1, n0 = int(fails.sum()), int((~fails).sum())
    return (ranks[fails].sum(0) - n1 * (n1 + 1) / 2) / (n1 * n0)


@dataclass(frozen=True)
class Prepare:
    """The columns a model reads, and how each reading is centred and scaled.

    columns: int64 (k,); names: k strings; center, scale: float32 (k,);
    a reading x becomes squash((x - center) * scale).
    """

    columns: np.ndarray
    names: tuple[str, ...]
    center: np.ndarray
    scale: np.ndarray

    @staticmethod
    def fit(
        X: np.ndarray, y: np.ndarray, features: tuple[str, ...], k: int = 28
    ) -> Prepare:
        """Learn from training rows X (n, d) and verdicts y (n,) alone.

        Columns that are constant or more than half missing are left out. If more than
        k are left, the k with the largest |AUC - 1/2| are kept, skipping a column whose
        |correlation| with one already kept exceeds .95.
        """
        missing = np.isnan(X).mean(axis=0)
        usable = [
            j
            for j in np.flatnonzero(missing <= 0.5)
            if np.ptp(X[~np.isnan(X[:, j]), j].astype(float)) > 0
        ]
        if not usable:
            raise ValueError(
                "no column varies and is read in at least half of the rows"
            )
        columns = np.array(usable)
        if len(columns) > k:
            columns = _strongest(X[:, columns], y, columns, k)
        chosen = X[:, columns].astype(np.float64)
        center = np.nanmedian(chosen, axis=0)
        low, high = np.nanquantile(chosen, [0.25, 0.75], axis=0)
        spread = np.where(high > low, (high - low) / 1.349, np.nanstd(chosen, axis=0))
        names = tuple(features[j] for j in columns)
        center, scale = center.astype(np.float32), (1 / spread).astype(np.float32)
        return Prepare(columns, names, center, scale)

    def pick(self, X: np.ndarray) -> np.ndarray:
        """The chosen columns as they were read, NaN kept: what a tree reads."""
        return X[:, self.columns]

    def transform(self, X: np.ndarray) -> np.ndarray:
        """X (n, d) as read -> float32 (n, k) in (-3, 3), 0 where missing."""
        return squash((self.pick(X) - self.center) * self.scale)


def _strongest(X: np.ndarray, y: np.ndarray, columns: np.ndarray, k: int) -> np.ndarray:
    strength = np.abs(rank_auc(X, y) - 0.5)
    filled = np.where(np.isnan(X), np.nanmedian(X, axis=0), X).astype(np.float64)
    correlation = np.abs(np.corrcoef(filled, rowvar=False))
    kept: list[int] = []
    for j in np.argsort(-strength, kind="stable"):
        if len(kept) < k and (not kept or correlation[j, kept].max() <= 0.95):
            kept.append(int(j))
    return np.sort(columns[kept])

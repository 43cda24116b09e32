"""data: each loader returns a `Split`, three parts that never share a group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Part:
    """Rows of one part of a split.

    X: float32 (n, d), NaN where a reading is missing; y: float32 (n,), 1 for a fail;
    of images, X: uint8 (n, H, W); y: int64 (n,), the class from 0;
    group: int64 (n,), rows of one group (a lot, a duplicate) never cross parts;
    row: int64 (n,), where the row stood in its source;
    p: float64 (n,), the true P(fail | x) where the source knows it, else None.
    """

    X: np.ndarray
    y: np.ndarray
    group: np.ndarray
    row: np.ndarray
    p: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def fails(self) -> int:
        """How many rows of this part failed."""
        return int(self.y.sum())

    def take(self, index: np.ndarray) -> Part:
        """The same part with the rows at `index` only."""
        p = None if self.p is None else self.p[index]
        return Part(self.X[index], self.y[index], self.group[index], self.row[index], p)


@dataclass(frozen=True)
class Split:
    """One way to divide a source: train, validation and test, and what the columns are.

    kind: 'simulated', 'real', 'generated' (a miniature of a real format) or 'yours'.
    """

    train: Part
    val: Part
    test: Part
    features: tuple[str, ...]
    units: tuple[str, ...]
    source: str
    kind: str

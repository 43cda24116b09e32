"""data: each loader returns a `Split`, three parts that never share a group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Part:
    """Rows of one part of a split.

    X: float32 (n, d), NaN where a reading is missing; y: float32 (n,), 1 for a fail;
    of images, X: uint8 (n, H, W); y: int64 (n,), the class from 0;
    of wafer maps, X: uint8 (n, 52, 52), 0 off the wafer, 1 a die that passed, 2 one
    that failed; y: uint8 (n, 8), 1 where the pattern of that column is on the map;
    of sentences, X: int32 (n, length), each word's place in the split's features, -1
    after the last; y: int64 (n,), the class from 0;
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


@dataclass(frozen=True)
class Rows:
    """Rows as read, before they are divided; X, y, group and row as in `Part`.

    part: (n,) the words train, val and test where the source divides its rows;
    time: float64 (n,) where the rows are to be divided by time;
    sha256: hex digest of the content; fail: how the source spells a fail;
    warnings: one sentence each.
    """

    X: np.ndarray
    y: np.ndarray
    group: np.ndarray
    row: np.ndarray
    features: tuple[str, ...] = ()
    part: np.ndarray | None = None
    time: np.ndarray | None = None
    sha256: str = ""
    source: str = ""
    kind: str = ""
    fail: str = "1"
    warnings: tuple[str, ...] = ()

    def split(self, places: list[np.ndarray], *, single: bool = False) -> Split:
        """The rows at three arrays of places as train, validation and test: `apart`."""
        parts = (
            Part(self.X[i], self.y[i], self.group[i], self.row[i])
            for i in apart(self.group, places, single=single)
        )
        units = ("",) * len(self.features)
        return Split(*parts, self.features, units, self.source, self.kind)


def apart(
    group: np.ndarray, places: list[np.ndarray], *, single: bool = False
) -> list[np.ndarray]:
    """The places of train, val and test that stay, so that no group is in two parts.

    Of a group only the last part's rows stay; single: of these, val and test keep the
    first.
    """
    train, val, test = places
    if single:
        first = (np.unique(group[i], return_index=True)[1] for i in (val, test))
        val, test = (i[np.sort(k)] for i, k in zip((val, test), first, strict=True))
    val = val[~np.isin(group[val], group[test])]
    later = np.concatenate((group[val], group[test]))
    return [train[~np.isin(group[train], later)], val, test]

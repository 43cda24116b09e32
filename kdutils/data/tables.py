"""tables: the loader of tables: a source's name in, its splits out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kdutils.data import PARTS, Split, registry, usertable
from kdutils.data.divide import divide
from kdutils.data.registry import kind, known
from kdutils.data.simulate import tester

__all__ = ["digest", "kind", "splits"]


def splits(source: str, *, seed: int, **options) -> Iterator[Split]:
    """The splits of a table, one per fold; the seed moves them all.

    tester: `tester.splits`; csv: `usertable.splits`; secom, higgs: `recorded`.
    """
    known(source, "table")
    if source == "tester":
        yield from tester.splits(seed=seed, **options)
    elif source == "csv":
        yield from usertable.splits(seed=seed, **options)
    else:
        yield from recorded(source, seed=seed, **options)


def digest(source: str, **options) -> str:
    """Hex sha256 that identifies the data of a source read with these options."""
    known(source, "table")
    if source == "csv":
        return usertable.digest(**options)
    return registry.digest(source, **options)


def recorded(
    source: str,
    *,
    seed: int,
    folds: int = 5,
    order: str = "random",
    root: str = "",
    rows: int = 0,
) -> Iterator[Split]:
    """A published table's splits: `folds` stratified ones that the seed moves, or one.

    rows: so many of its first rows, 0 for all.
    order='time' trains on the oldest 60 % of the rows and tests on the newest 20 %,
    whatever the seed. Columns that are constant or more than half missing among a
    split's training rows are left out of that split. See `divide.divide`.
    """
    if order not in ("random", "time"):
        raise ValueError(f"order is {order!r}: expected 'random' or 'time'")
    table = registry.read(source, root)
    if rows:
        some = {k: getattr(table, k)[:rows] for k in ("X", "y", "group", "row")}
        table = replace(table, **some)
    if order == "random":
        table = replace(table, time=None)
    for split in divide(table, seed=seed, folds=folds):
        yield _usable(split)


def _usable(split: Split) -> Split:
    X = split.train.X
    read = ~np.isnan(X)
    low = X.min(axis=0, initial=np.inf, where=read)
    high = X.max(axis=0, initial=-np.inf, where=read)
    columns = np.flatnonzero((read.mean(axis=0) >= 0.5) & (low < high))
    kept = {name: getattr(split, name) for name in PARTS}
    kept = {name: replace(part, X=part.X[:, columns]) for name, part in kept.items()}
    for name in ("features", "units"):
        kept[name] = tuple(getattr(split, name)[j] for j in columns)
    return replace(split, **kept)

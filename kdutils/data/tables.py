"""tables: the loader of tables: a source's name in, its splits out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kdutils.data import Split, registry, usertable
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
    val_share: float = 0.2,
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
        some = slice(rows)
        names = ("X", "y", "group", "row")
        table = replace(table, **{name: getattr(table, name)[some] for name in names})
    if order == "random":
        table = replace(table, time=None)
    for split in divide(table, seed=seed, folds=folds, val_share=val_share):
        yield _usable(split)


def _usable(split: Split) -> Split:
    X = split.train.X
    read = ~np.isnan(X)
    low = X.min(axis=0, initial=np.inf, where=read)
    high = X.max(axis=0, initial=-np.inf, where=read)
    columns = np.flatnonzero((read.mean(axis=0) >= 0.5) & (low < high))
    train, val, test = (
        replace(part, X=part.X[:, columns])
        for part in (split.train, split.val, split.test)
    )
    features = tuple(split.features[j] for j in columns)
    units = tuple(split.units[j] for j in columns)
    return Split(train, val, test, features, units, split.source, split.kind)

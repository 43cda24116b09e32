"""tabular: the one loader of tables: a source's name in, its splits out."""

from __future__ import annotations

import csv
import io
import shlex
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from kdutils.data import Part, Split

MANY = 5_000  # groups; above it they are drawn by chance, below it balanced one by one
LEAK = 0.99  # AUC of one column alone


class TableError(ValueError):
    """A table that cannot be used as it is; its one sentence says where and why."""


@dataclass(frozen=True)
class Table:
    """Rows as read, before they are divided.

    X: float32 (n, d), NaN where missing; y: float32 (n,), 1 for a fail;
    group: int64 (n,), numbered from 0; row: int64 (n,), position in the source from 0;
    time: float64 (n,) if the rows are to be divided by time, else None;
    fail: how the source spells a fail; warnings: one sentence each.
    """

    X: np.ndarray
    y: np.ndarray
    group: np.ndarray
    row: np.ndarray
    features: tuple[str, ...]
    source: str
    kind: str
    time: np.ndarray | None = None
    fail: str = "1"
    warnings: tuple[str, ...] = ()


def splits(source: str, *, seed: int, **options) -> Iterator[Split]:
    """The splits of 'tester', 'secom' or 'csv', one per fold; the seed moves them all.

    The options are those of the source's own `splits`.
    """
    yield from _module(source).splits(seed=seed, **options)


def digest(source: str, **options) -> str:
    """Hex sha256 that identifies the data of a source read with these options."""
    return _module(source).digest(**options)


def kind(source: str, **options) -> str:
    """'simulated', 'real', 'generated' or 'yours': what to say of the data."""
    if source == "secom":
        return _module(source).kind(options.get("root", ""))
    _module(source)
    return {"tester": "simulated", "csv": "yours"}[source]


def divide(
    table: Table, *, seed: int, folds: int = 5, val_share: float = 0.2
) -> Iterator[Split]:
    """Divide a table so that no group is in two parts of a split.

    With times: one split, the oldest 60 % train, the next 20 % validate, the newest
    20 % test; equal times stay together, and of a group that continues in a later part
    only the later rows are used. The seed changes nothing then.
    Else, with folds > 1: each fold tests once, `val_share` of the rest (as one part in
    a whole number) validates; with folds = 1: one split of 60, 20 and 20 %. Both are
    stratified, and moved by the seed.
    Raises TableError where a part would have no fail or no pass.
    """
    if table.time is not None:
        divisions = [_by_time(table)]
    else:
        divisions = _by_chance(table, seed, folds, val_share)
    for number, parts in enumerate(divisions, 1):
        for name, rows in zip(("training", "validation", "test"), parts, strict=True):
            for verdict, value in (("fail", 1), ("pass", 0)):
                if not (table.y[rows] == value).any():
                    raise TableError(
                        f"{table.source}: the {name} part of split {number} has no "
                        f"{verdict} among its {len(rows)} rows, so no AUC can be "
                        "computed there"
                    )
        yield Split(
            *(_part(table, rows) for rows in parts),
            features=table.features,
            units=("",) * len(table.features),
            source=table.source,
            kind=table.kind,
        )


def joined(
    X: np.ndarray, y: np.ndarray, group: np.ndarray, line: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Groups such that identical rows of X share one, int64 (n,) from 0; and warnings.

    line: what to call each row by. Rows are compared by a 64-bit hash.
    """
    same, _ = pd.factorize(pd.util.hash_pandas_object(pd.DataFrame(X), index=False))
    own = np.unique(group, return_inverse=True)[1]
    copies, fails = np.bincount(same), np.bincount(same, y)
    if copies.max() == 1:
        return own, []
    first = line[same == (copies > 1).argmax()][:2]
    notes = [
        f"{copies[copies > 1].sum()} rows repeat the readings of another (lines "
        f"{first[0]} and {first[1]} are the first): identical rows stay in one part"
    ]
    if (mixed := (fails > 0) & (fails < copies)).any():
        one = same == mixed.argmax()
        notes.append(
            f"lines {line[one & (y == 0)][0]} and {line[one & (y == 1)][0]} have the "
            f"same readings, but one passes and one fails ({mixed.sum()} such sets)"
        )
    size = len(copies) + own.max() + 1
    edges = coo_array((np.ones(len(y)), (same, len(copies) + own)), shape=(size, size))
    component = connected_components(edges, directed=False)[1][same]
    return np.unique(component, return_inverse=True)[1], notes


def leaks(X: np.ndarray, y: np.ndarray, features: tuple[str, ...]) -> list[str]:
    """A sentence for each column that alone has an AUC above .99 or below .01.

    Either among the rows where it was read (five fails and five passes at least), or
    among all with a missing reading as the lowest: that it was read may be the leak.
    """
    notes, failed = [], y == 1
    for column, name in zip(X.T, features, strict=True):
        read = ~np.isnan(column)
        n1, n0 = int((read & failed).sum()), int((read & ~failed).sum())
        all1, all0 = int(failed.sum()), int((~failed).sum())
        ranks = pd.Series(column).rank().to_numpy()
        wins = ranks[read & failed].sum() - n1 * (n1 + 1) / 2
        wins_of_all = wins + n1 * (all0 - n0) + (all1 - n1) * (all0 - n0) / 2
        aucs = [
            wins_of_all / (all1 * all0),
            wins / (n1 * n0) if min(n1, n0) >= 5 else 0.5,
        ]
        auc = max(aucs, key=lambda a: abs(a - 0.5))
        if abs(auc - 0.5) > LEAK - 0.5:
            notes.append(
                f"column {name!r} alone tells fails from passes (AUC {auc:.3f}): if it "
                f"is known only after the verdict, leave it out with {dropping([name])}"
            )
    return notes


def dropping(names: list[str]) -> str:
    """`DROP=...` that leaves columns out, to be pasted behind `make report`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(names)
    return f"DROP={shlex.quote(text.getvalue().replace('$', '$$'))}"


def _module(source: str):
    # Inside a function, because the sources divide their rows with this module.
    from kdutils.data import secom, table, tester

    modules = {"tester": tester, "secom": secom, "csv": table}
    if source not in modules:
        raise ValueError(f"source {source!r} is unknown: expected tester, secom or csv")
    return modules[source]


def _part(table: Table, rows: np.ndarray) -> Part:
    return Part(table.X[rows], table.y[rows], table.group[rows], table.row[rows])


def _by_time(table: Table) -> list[np.ndarray]:
    order = np.argsort(table.time, kind="stable")
    times = table.time[order]
    starts = [times[int(len(times) * share)] for share in (0.6, 0.8)]
    part = np.searchsorted(starts, table.time, side="right")
    last = np.zeros(table.group.max() + 1, int)
    np.maximum.at(last, table.group, part)
    kept = part == last[table.group]
    if not kept.all():
        warnings.warn(
            f"{table.source}: {(~kept).sum()} rows are left out because their group "
            "(or an identical row) is met again in a later part",
            stacklevel=3,
        )
    return [order[((part == k) & kept)[order]] for k in range(3)]


def _by_chance(
    table: Table, seed: int, folds: int, val_share: float
) -> Iterator[list[np.ndarray]]:
    y, group, k = table.y, table.group, folds if folds > 1 else 5
    for name, value in (("fails", 1), ("passes", 0)):
        having = len(np.unique(group[y == value]))
        if (n := int((y == value).sum())) < k:
            raise TableError(f"{table.source}: {n} {name} are fewer than the {k} folds")
        if having < k:
            raise TableError(
                f"{table.source}: all {n} {name} stand in {having} groups, fewer than "
                f"the {k} folds, and a group is never divided"
            )
    tests = _folds(y, group, k, seed)
    if folds == 1:
        yield [np.sort(np.concatenate(tests[2:])), tests[1], tests[0]]
        return
    for test in tests:
        rest = np.setdiff1d(np.arange(len(y)), test)
        failing, passing = (len(np.unique(group[rest][y[rest] == v])) for v in (1, 0))
        parts = max(2, min(round(1 / val_share), failing, passing))
        choices = _folds(y[rest], group[rest], parts, seed)
        val = next((c for c in choices if 0 < y[rest][c].mean() < 1), choices[0])
        yield [np.delete(rest, val), rest[val], test]


def _folds(y: np.ndarray, group: np.ndarray, k: int, seed: int) -> list[np.ndarray]:
    """k stratified sets of row positions that share no group and cover every row."""
    groups, member = np.unique(group, return_inverse=True)
    if len(groups) < min(len(y), MANY):
        cut = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
        return [rows for _, rows in cut.split(y, y, group)]
    failed = np.zeros(len(groups))
    np.maximum.at(failed, member, y)
    cut = StratifiedKFold(k, shuffle=True, random_state=seed)
    return [
        np.flatnonzero(np.isin(member, chosen))
        for _, chosen in cut.split(failed, failed)
    ]

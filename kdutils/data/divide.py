"""divide: a table into train, validation and test that never share a group."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

from kdutils.data import Rows, Split

MANY = 5_000  # groups; above it they are drawn by chance, below it balanced one by one


class TableError(ValueError):
    """A table that cannot be used as it is; one sentence: the place and the reason."""


def divide(table: Rows, *, seed: int, folds: int = 5) -> Iterator[Split]:
    """Divide a table so that no group is in two parts of a split.

    With times: one split, the oldest 60 % train, the next 20 % validate, the newest
    20 % test; equal times stay together, and of a group that continues in a later part
    only the later rows are used. The seed changes nothing then.
    Else, with folds > 1: each fold tests once, a fifth of the rest validates; with
    folds = 1: one split of 60, 20 and 20 %. Both are stratified, and moved by the seed.
    Raises TableError where a part would have no fail or no pass.
    """
    if table.time is not None:
        divisions = [_by_time(table)]
    else:
        divisions = _by_chance(table, seed, folds)
    for number, parts in enumerate(divisions, 1):
        for name, rows in zip(("training", "validation", "test"), parts, strict=True):
            for verdict, value in (("fail", 1), ("pass", 0)):
                if not (table.y[rows] == value).any():
                    raise TableError(
                        f"{table.source}: the {name} part of split {number} has no "
                        f"{verdict} among its {len(rows)} rows, so no AUC can be "
                        "computed there"
                    )
        yield table.split(parts)


def _by_time(table: Rows) -> list[np.ndarray]:
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


def _by_chance(table: Rows, seed: int, folds: int) -> Iterator[list[np.ndarray]]:
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
        parts = max(2, min(5, failing, passing))
        choices = _folds(y[rest], group[rest], parts, seed)
        val = next((c for c in choices if 0 < y[rest][c].mean() < 1), choices[0])
        yield [np.delete(rest, val), rest[val], test]


def _folds(y: np.ndarray, group: np.ndarray, k: int, seed: int) -> list[np.ndarray]:
    """k stratified sets of row positions that share no group and cover every row."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    groups, member = np.unique(group, return_inverse=True)
    if len(groups) < min(len(y), MANY):
        cut = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
        return [rows for _, rows in cut.split(y, y, group)]
    failed = np.zeros(len(groups))
    np.maximum.at(failed, member, y)
    cut = StratifiedKFold(k, shuffle=True, random_state=seed)
    some = [chosen for _, chosen in cut.split(failed, failed)]
    return [np.flatnonzero(np.isin(member, chosen)) for chosen in some]

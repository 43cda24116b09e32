"""enough: whether each part of a table has as many fails and passes as needed."""

from __future__ import annotations

import numpy as np

from kdutils.data import Part
from kdutils.data.table import FEW
from kdutils.data.tabular import Table, TableError, divide


def check(table: Table, *, seeds: int, oof_folds: int) -> None:
    """Raise TableError, one sentence, if a part is too small to train or to measure.

    In training rows, fails and passes must stand in `oof_folds` groups at least, one
    for each out-of-fold part. Where there is one split, its test rows need two of each:
    no AUC has an interval below that.
    """
    for seed in range(seeds):
        splits = list(divide(table, seed=seed, folds=5 if len(table.y) < FEW else 1))
        for number, split in enumerate(splits, 1):
            where = f"part of split {number}"
            _check(table, split.train, f"training {where}", oof_folds, "out-of-fold")
            if len(splits) == 1:
                _check(table, split.test, f"test {where}", 2, "")


def _check(table: Table, part: Part, where: str, least: int, folds: str) -> None:
    """Raise TableError unless the part has `least` of each; of groups if for folds."""
    for name, value in (("fails", 1), ("passes", 0)):
        chosen = part.group[part.y == value]
        found = len(np.unique(chosen)) if folds else len(chosen)
        grouped = f" in {found} groups" if found < len(chosen) else ""
        if found < least:
            raise TableError(
                f"{table.source}: too few {name} in the {where}: {len(chosen)}{grouped}"
                f", expected {least}{' groups' if grouped else ''} at least, "
                + ("one for each out-of-fold part" if folds else "for an interval")
            )

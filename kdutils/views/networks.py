"""networks: rows of the recipe `networks` in, tidy tables out (`summary` says how).

All seeds are judged on one official test set, so an interval speaks of another training
of the same kind, and McNemar's counts of other images.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from kdutils.views.images import AREA, BY, CELL, MEANS, mcnemar
from kdutils.views.scoreboard import part
from kdutils.views.summary import contrast, delta, favourite, holm, picked, summarise

SIZES = ("params", "float_bytes", "packed_bytes", "packed_bits", "epochs")
SWEPT = ("label-only", "label-smoothing", "kd")  # methods of a heatmap
MORE = ("teacher_acc", "mirrored_acc", "macro_f1", "constant_acc", "packed_val_acc")


def joined(*parts: pd.DataFrame) -> pd.DataFrame:
    """The rows of several maps of the recipe."""
    some = [part for part in parts if len(part)] or parts[:1]
    return pd.concat(some, ignore_index=True)


def tidy(*parts: pd.DataFrame) -> pd.DataFrame:
    """All rows, with their gain over the label-only net of the same name and seed."""
    rows = joined(*parts)
    alone = rows[rows["method"] == "label-only"]
    rows["coefficient"] = None
    gains = {"gain": "test_acc", "gain_val": "val_acc"}
    gains |= {"auc_gain": "test_auc", "f1_gain": "f1"}
    for name, column in gains.items():
        if column in rows:
            rows[name] = delta(rows, alone, column, ["student"])
    return rows


def swept(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of nets that were distilled at several cells of alpha and T."""
    cells = rows[rows["method"] == "kd"].groupby("student")[["alpha", "T"]]
    many = cells.apply(lambda some: len(some.drop_duplicates()) > 1)
    rows = rows[rows["student"].isin(many[many].index) & rows["method"].isin(SWEPT)]
    return rows.fillna({"only_mine": 0, "only_base": 0, "mcnemar_p": 1.0})


def versus(rows: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """Paired accuracy of one method minus another's, each at its chosen cell."""
    names = ["method", one, other, "test_acc", ["student"]]
    found = contrast(picked(rows, BY, "val_acc"), *names)
    return found.rename(columns=lambda c: c.replace("difference", "gain"))


def steps(rows: pd.DataFrame, methods: list[str], other: str = "kd") -> pd.DataFrame:
    """What each of the methods adds to another one: `versus`, one below the other."""
    return joined(*(versus(rows, one, other).assign(method=one) for one in methods))


def scored(
    rows: pd.DataFrame | None,
    system: str,
    names: Iterable[str] = ("teacher", "student-kd"),
) -> list[pd.DataFrame]:
    """What a stage measured of a system's claims `names`: `more` of `scoreboard`.

    The teacher is the net that learnt from labels, student-kd the net that was taught,
    each the one of the best mean validation accuracy; student is the net of student-kd
    without a teacher. Real data alone count.
    """
    if rows is None or not (rows["kind"] == "real").all():
        return []
    best = picked(rows, BY, "val_acc")
    taught = best["method"] == "kd"
    own = best[taught].groupby("student")["val_acc"].mean().idxmax()
    alone = (best["student"] == own) & (best["method"] == "label-only")
    answers, parts = {"teacher": ~taught, "student": alone, "student-kd": taught}, []
    for name in names:
        some = best[answers[name]]
        named = some["student"] + ", " + some["method"]
        found = some[named == some.groupby(named)["val_acc"].mean().idxmax()]
        first = found.iloc[0]
        basis = f"{first['student']}, {first['method']}; {first['net']}, "
        basis += f"{first['params']:,} weights, {first['epochs']} epochs"
        if isinstance(begun := first.get("weights"), str) and begun:
            basis += f", begun with those of {begun}"
        parts.append(part(found, f"{system}/{name}", "accuracy", "test_acc", basis))
    return parts


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per net and method, each seed at its cell of the best validation.

    acc and auc are of the net in float; packed is the accuracy of the file that ships,
    cost its paired difference from acc. p_holm adjusts for the methods of one net.
    """

    def cell(group: pd.DataFrame) -> dict:
        line = favourite(group, CELL) | {"net": group["net"].iloc[0]}
        return line | (mcnemar(group) if "only_mine" in group else {})

    best = picked(rows, BY, "val_acc")
    quality = {"acc": "test_acc", "gain": "gain"}
    quality |= AREA if "auc_gain" in best else {}
    quality |= {"f1": "f1", "f1_gain": "f1_gain"} if "f1" in best else {}
    if "packed_acc" in best:
        best = best.assign(cost=best["packed_acc"] - best["test_acc"])
        quality |= {"packed": "packed_acc", "cost": "cost"}
    means = (*MORE, *SIZES, *(m for m in MEANS if m != "kl"))
    means = [name for name in means if name in best]
    how = {"extra": cell, "sort": ["params", "method"]}
    return holm(summarise(best, BY, quality, means, **how), "student")


def widths(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per net and bit width, of rows of `bit_widths`; cost as in `table`."""
    quality = {"packed": "packed_acc", "cost": "cost"}
    means = ["packed_bytes", "packed_val_acc"]
    return summarise(rows, [*BY, "packed_bits"], quality, means)

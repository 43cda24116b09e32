"""spread: a quantity over seeds and folds: mean, sd, interval, p."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import pandas as pd

from kdutils import stats

SETTING = ["source", "kind"]
# Quantities that lie in [0, 1], as their intervals then do; never a gain or a drop.
SCORES = {"auc", "roc_auc", "acc", "accuracy", "agreement", "val_fidelity"}
SCORES |= {"exact", "int8", "turned", "macro_f1", "value"}  # of wafer maps
ORDER = {  # how names are sorted; others follow, by alphabet
    "source": ("mnist", "digits", "tester", "secom", "secom-time"),
    "student": ("mlp", "cnn"),
    "way": ("published", "ours"),
    "system": (
        "teacher",
        "student",
        "student-kd",
        "student-jitter",
        "student-fixed",
        "student-consistent",
        "omit-3",
        "only-7-8",
    ),
    "model": (
        "xgboost",
        "mlp",
        "tabnet",
        "ensemble",
        "logistic",
        "constant",
        "bayes",
        "teacher",
        "teacher-plain",
        "student-subclass",
        "student-kd",
        "student-kd-plain",
        "student",
        "student-truth",
    ),
    "method": (
        "label-only",
        "label-smoothing",
        "kd",
        "kd-insample",
        "kd-synthetic",
        "logit-mse",
        "logit-std",
        "ttm",
        "dkd",
        "dist",
        "takd",
        "born-again",
        "fitnet",
    ),
    "arm": (
        "label-only",
        "distilled",
        "distilled+unlabelled",
        "distilled+synthetic",
        "all-knowing",
        "all-knowing+unlabelled",
        "teacher",
    ),
}


def groups(rows: pd.DataFrame, keys: list[str]) -> Iterable[tuple[dict, pd.DataFrame]]:
    for values, group in rows.groupby(keys, sort=False, dropna=False):
        yield dict(zip(keys, values, strict=True)), group


def spread(
    rows: pd.DataFrame, name: str, single: str, listed: str, p: str | None = None
) -> dict:
    """Mean, sd, n and interval of a quantity: its list per fold where rows have one."""
    rho = float(rows["rho"].iloc[0])
    if listed in rows and rows[listed].notna().all():
        values = [v for cell in rows[listed] for v in numbers(cell)]
    elif rho and rows[single].notna().any():
        source = rows["source"].iloc[0]
        raise ValueError(
            f"rows of {source!r} share test rows (rho {rho:g}), so column {listed!r} "
            f"must list {single!r} per fold"
        )
    else:
        values = pd.to_numeric(rows[single]).tolist()
    result = mean(name, values, rho)
    low, high, chance = result.low, result.high, result.p if result.sd else np.nan
    if "fixed" in rows and rows["fixed"].any():
        low, high, chance = over_rows(rows, name)
    line = {name: result.mean, f"{name}_sd": result.sd, "n": result.n}
    line |= {f"{name}_low": low, f"{name}_high": high}
    return line | ({p: chance} if p else {})


def mean(name: str, values: Iterable[float], rho: float = 0.0) -> stats.Paired:
    """Mean, sd and t interval of a quantity, on the logit scale where it is a score."""
    return (stats.scored if name in SCORES else stats.paired)(values, rho)


def over_rows(rows: pd.DataFrame, name: str) -> tuple[float, float, float]:
    """Low, high and p where every seed has the same test rows: means of DeLong's.

    Seeds then differ by initial weights alone; how sure a number is, the rows decide.
    """
    if name == "auc":
        return rows["ci_low"].mean(), rows["ci_high"].mean(), np.nan
    column = rows.get(f"{name}_delong")
    cells = [] if column is None else [numbers(c) for c in column.dropna()]
    if not cells:
        return np.nan, np.nan, np.nan
    return tuple(float(v) for v in np.mean(cells, axis=0))


def means(rows: pd.DataFrame, columns: Iterable[str] | dict[str, str]) -> dict:
    """Means of columns, NaN where there is none; a dict renames {new: column}."""
    names = columns if isinstance(columns, dict) else {c: c for c in columns}
    return {
        new: float(pd.to_numeric(rows[c]).mean()) if c in rows else np.nan
        for new, c in names.items()
    }


def minus(row: pd.Series, base: pd.Series | None) -> list[float] | None:
    """Differences of AUC per fold, or of the one AUC, from the row that is its pair."""
    if base is None:
        return [np.nan]
    if isinstance(row.get("folds"), (list, tuple, np.ndarray, str)):
        return list(np.subtract(numbers(row["folds"]), numbers(base["folds"])))
    return [row["test_auc"] - base["test_auc"]]


def numbers(cell: object) -> list[float]:
    return json.loads(cell) if isinstance(cell, str) else list(cell)


def holm(frame: pd.DataFrame, family: list[str]) -> pd.DataFrame:
    adjusted = frame.groupby(family, sort=False)["p"].transform(stats.holm)
    frame = frame.drop(columns="p_holm", errors="ignore")
    frame.insert(frame.columns.get_loc("p") + 1, "p_holm", adjusted)
    return frame


def ordered(lines: list[dict], *columns: str) -> pd.DataFrame:
    """Lines as a frame, sorted by source, then columns; names in the order of ORDER."""

    def place(column: pd.Series) -> pd.Series:
        known = ORDER.get(column.name)
        if known is None:
            return column
        others = sorted(set(column) - set(known))
        return column.map({name: i for i, name in enumerate([*known, *others])})

    frame = pd.DataFrame(lines)
    keys = [*SETTING, *columns]
    return frame.sort_values(keys, key=place, kind="stable", ignore_index=True)

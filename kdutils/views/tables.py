"""tables: runs' rows in, tidy tables out.

Import rule: from kdutils only views, paths and stats.

A quantity q stands in columns q, q_sd, q_low, q_high: mean, sd and interval over n
values, one per seed or, where a row lists folds, per fold. Where folds share rows
(rho > 0) the interval is widened (`stats.paired`) and lists per fold are required.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import pandas as pd

from kdutils import stats
from kdutils.views.cells import Plain, claimed, read, show, text, write
from kdutils.views.scoreboard import scoreboard

__all__ = [
    "Plain",
    "chosen",
    "claimed",
    "labels",
    "ladder",
    "read",
    "scoreboard",
    "show",
    "sweep",
    "teachers",
    "text",
    "write",
]

SETTING = ["source", "kind"]
ORDER = {  # how names are sorted; others follow, by alphabet
    "source": ("tester", "secom", "secom-time"),
    "model": ("xgboost", "mlp", "tabnet", "ensemble", "logistic", "constant", "bayes"),
    "method": (
        "label-only",
        "label-smoothing",
        "kd",
        "kd-insample",
        "kd-synthetic",
        "logit-mse",
        "logit-std",
        "ttm",
    ),
    "arm": (
        "label-only",
        "distilled",
        "distilled+unlabelled",
        "distilled+synthetic",
        "teacher",
    ),
}
SIZES = ("params", "nonzero", "raw_bytes", "file_bytes", "gzip_bytes", "bundle_bytes")


def teachers(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and model: AUC, distance to Bayes, size, in-sample or not.

    pooled is the mean of the rows' pooled test AUCs, with the mean of their DeLong
    intervals. A single value has no t interval: then auc_low and auc_high are DeLong's
    too; `interval` says which.
    """
    lines = []
    for key, group in _groups(rows, [*SETTING, "model"]):
        line = {**key, **_spread(group, "auc", "test_auc", "folds"), "interval": "t"}
        if line["n"] == 1:
            line |= _means(group, {"auc_low": "ci_low", "auc_high": "ci_high"})
            line["interval"] = "DeLong"
        pooled = {
            "pooled": "test_auc",
            "pooled_low": "ci_low",
            "pooled_high": "ci_high",
        }
        same = ("val_auc", "gap", "bytes", "params", "oof_auc", "insample_auc")
        same += ("oof_sure", "insample_sure", "ece", "brier", "tried")
        lines.append(line | _means(group, pooled) | _means(group, same))
    return _sorted(lines, "model")


def sweep(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source, method, alpha and T: gain over label-only at equal seed.

    p_holm adjusts for all cells of one source and method, that is of one heatmap. A
    cell that equals label-only by construction (alpha 0) is no test: it has no p.
    """
    keys = [*SETTING, "method", "alpha", "T", *({"smoothing"} & set(rows))]
    lines = []
    for key, group in _groups(rows, keys):
        auc = _spread(group, "auc", "test_auc", "folds")
        gain = _spread(group, "gain", "gain", "gains", p="p")
        other = _means(group, ("gain_val", "ece", "brier", "agreement", "kl"))
        lines.append({**key, **_means(group, ("val_auc",)), **auc, **gain, **other})
    frame = _sorted(lines, "method", "alpha", "T")
    return _holm(frame, [*SETTING, "method"])


def chosen(rows: pd.DataFrame) -> pd.DataFrame:
    """Per source and method the cell of the best mean validation AUC, and its gain.

    Ties go to the smaller alpha, then T. p_holm adjusts for the methods of one source.
    """
    frame = sweep(rows)
    best = frame.groupby([*SETTING, "method"], sort=False)["val_auc"].idxmax()
    return _holm(frame.loc[best].reset_index(drop=True), SETTING)


def labels(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source, noise, arm and number of labels: AUC and its gain.

    The gain over label-only is paired: same seed, same fold, same labelled rows.
    """
    cell = ["source", "noise", "labels", "seed"]
    base = rows[rows["arm"] == "label-only"]
    base = {tuple(row[c] for c in cell): row for _, row in base.iterrows()}
    rows = rows.copy()
    rows["gains"] = [
        _minus(row, base.get(tuple(row[c] for c in cell))) for _, row in rows.iterrows()
    ]
    lines = []
    for key, group in _groups(rows, [*SETTING, "noise", "arm", "labels"]):
        auc = _spread(group, "auc", "test_auc", "folds")
        gain = _spread(group, "gain", "gains", "gains", p="p")
        lines.append({**key, **auc, **gain})
    return _sorted(lines, "noise", "arm", "labels")


def ladder(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and compression step, in order: what it costs, what it saves.

    drop and to_teacher are paired at equal seed (and fold: columns `drops` and
    `to_teachers`); shipped_bytes is the bundle where there is one, else the file.
    """
    lines = []
    for key, group in _groups(rows, [*SETTING, "order", "step", "family", "precision"]):
        line = {**key, **_means(group, ("sparsity", "val_auc", "drop_val"))}
        line |= _spread(group, "auc", "test_auc", "folds")
        line |= _spread(group, "drop", "drop", "drops", p="drop_p")
        line |= _spread(group, "to_teacher", "to_teacher", "to_teachers")
        line |= _means(group, SIZES)
        bundle = line["bundle_bytes"]
        line["shipped_bytes"] = line["file_bytes"] if np.isnan(bundle) else bundle
        lines.append(line | _means(group, ("moved", "moved_plain")))
    return _sorted(lines, "order")


def _groups(rows: pd.DataFrame, keys: list[str]) -> Iterable[tuple[dict, pd.DataFrame]]:
    for values, group in rows.groupby(keys, sort=False, dropna=False):
        yield dict(zip(keys, values, strict=True)), group


def _spread(
    rows: pd.DataFrame, name: str, single: str, listed: str, p: str | None = None
) -> dict:
    """Mean, sd, n and interval of a quantity: its list per fold where rows have one."""
    rho = float(rows["rho"].iloc[0])
    if listed in rows and rows[listed].notna().all():
        values = [v for cell in rows[listed] for v in _list(cell)]
    elif rho and rows[single].notna().any():
        source = rows["source"].iloc[0]
        raise ValueError(
            f"rows of {source!r} share test rows (rho {rho:g}), so column {listed!r} "
            f"must list {single!r} per fold"
        )
    else:
        values = pd.to_numeric(rows[single]).tolist()
    result = stats.paired(values, rho)
    line = {name: result.mean, f"{name}_sd": result.sd, "n": result.n}
    line |= {f"{name}_low": result.low, f"{name}_high": result.high}
    return line | ({p: result.p if result.sd else np.nan} if p else {})


def _means(rows: pd.DataFrame, columns: Iterable[str] | dict[str, str]) -> dict:
    """Means of columns, NaN where there is none; a dict renames {new: column}."""
    names = columns if isinstance(columns, dict) else {c: c for c in columns}
    return {
        new: float(pd.to_numeric(rows[c]).mean()) if c in rows else np.nan
        for new, c in names.items()
    }


def _minus(row: pd.Series, base: pd.Series | None) -> list[float] | None:
    """Differences of AUC per fold, or of the one AUC, from the row that is its pair."""
    if base is None:
        return [np.nan]
    if isinstance(row.get("folds"), (list, tuple, np.ndarray, str)):
        return list(np.subtract(_list(row["folds"]), _list(base["folds"])))
    return [row["test_auc"] - base["test_auc"]]


def _list(cell: object) -> list[float]:
    return json.loads(cell) if isinstance(cell, str) else list(cell)


def _holm(frame: pd.DataFrame, family: list[str]) -> pd.DataFrame:
    adjusted = frame.groupby(family, sort=False)["p"].transform(stats.holm)
    frame = frame.drop(columns="p_holm", errors="ignore")
    frame.insert(frame.columns.get_loc("p") + 1, "p_holm", adjusted)
    return frame


def _sorted(lines: list[dict], *columns: str) -> pd.DataFrame:
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

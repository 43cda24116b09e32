"""tables: runs' rows in, tidy tables out.

A quantity q stands in columns q, q_sd, q_low, q_high: mean, sd and interval over n
values, one per seed or, where a row lists folds, per fold. Where folds share rows
(rho > 0) the interval is widened (`stats.paired`) and lists per fold are required. That
of an AUC is a t interval on the logit scale (`stats.scored`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from kdutils.views.cells import Plain, claimed, maybe, read, show, text, write
from kdutils.views.scoreboard import scoreboard
from kdutils.views.spread import (
    SETTING,
    groups,
    holm,
    means,
    minus,
    numbers,
    ordered,
    spread,
)

SIZES = ("params", "nonzero", "raw_bytes", "file_bytes", "gzip_bytes")
SIZES += ("model_bytes", "bundle_bytes")
LABELS = ["source", "kind", "noise", "arm", "labels", "auc", "auc_sd", "n", "auc_low"]
LABELS += ["auc_high", "gain", "gain_sd", "gain_low", "gain_high", "p"]

__all__ = [
    "Plain",
    "chosen",
    "claimed",
    "contrast",
    "labels",
    "ladder",
    "maybe",
    "read",
    "scoreboard",
    "show",
    "sweep",
    "teachers",
    "text",
    "write",
]


def teachers(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and model: AUC, distance to Bayes, size, in-sample or not.

    pooled is the mean of the rows' pooled test AUCs, with the mean of their DeLong
    intervals. A single value has no t interval: then auc_low and auc_high are DeLong's
    too; `interval` says which.
    """
    lines = []
    for key, group in groups(rows, [*SETTING, "model"]):
        line = {**key, **spread(group, "auc", "test_auc", "folds"), "interval": "t"}
        if line["n"] == 1:
            line |= means(group, {"auc_low": "ci_low", "auc_high": "ci_high"})
            line["interval"] = "DeLong"
        pooled = {
            "pooled": "test_auc",
            "pooled_low": "ci_low",
            "pooled_high": "ci_high",
        }
        same = ("val_auc", "gap", "bytes", "params", "oof_auc", "insample_auc")
        same += ("oof_sure", "insample_sure", "ece", "brier", "tried")
        lines.append(line | means(group, pooled) | means(group, same))
    return ordered(lines, "model")


def sweep(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source, method, alpha and T: gain over label-only at equal seed.

    p_holm adjusts for all cells of one source and method, that is of one heatmap. A
    cell that equals label-only by construction (alpha 0) is no test: it has no p.
    """
    keys = [*SETTING, "method", "alpha", "T", *({"smoothing"} & set(rows))]
    lines = []
    for key, group in groups(rows, keys):
        auc = spread(group, "auc", "test_auc", "folds")
        gain = spread(group, "gain", "gain", "gains", p="p")
        other = means(group, ("gain_val", "ece", "brier", "agreement", "kl"))
        lines.append({**key, **means(group, ("val_auc",)), **auc, **gain, **other})
    frame = ordered(lines, "method", "alpha", "T")
    return holm(frame, [*SETTING, "method"])


def chosen(rows: pd.DataFrame) -> pd.DataFrame:
    """Per source and method: cells chosen on validation, and what test says of them.

    Every seed and fold chooses by its own validation rows (`vals`, a list per fold), so
    that no test row has a say. alpha and T are the most frequent choice, `chosen_in`
    its share of seeds and folds. p_holm adjusts for the methods of one source.
    """
    keys = [*SETTING, "method"]
    picked = [{**key, **_pick(group)} for key, group in groups(rows, [*keys, "seed"])]
    lines = []
    for key, group in groups(pd.DataFrame(picked), keys):
        cells = group.explode(["alphas", "Ts"])[["alphas", "Ts"]].value_counts()
        alpha, T = cells.index[0]
        line = {**key, "alpha": alpha, "T": T, "chosen_in": cells.iloc[0] / cells.sum()}
        line |= means(group, ("val_auc",))
        line |= spread(group, "auc", "test_auc", "folds")
        line |= spread(group, "gain", "gain", "gains", p="p")
        same = ("gain_val", "ece", "brier", "agreement", "kl")
        lines.append(line | means(group, same))
    return holm(ordered(lines, "method"), SETTING)


def _pick(cells: pd.DataFrame) -> dict:
    """One seed's row of a method: in each fold the cell of its best validation AUC."""
    folds = np.array([_listed(row, "folds", "test_auc") for _, row in cells.iterrows()])
    vals = np.array([_listed(row, "vals", "val_auc") for _, row in cells.iterrows()])
    vals = np.broadcast_to(vals, folds.shape)
    gains = np.array([_listed(row, "gains", "gain") for _, row in cells.iterrows()])
    best = vals.argmax(axis=0)
    rows, every = cells.iloc[best], np.arange(len(best))
    line = rows.iloc[0].to_dict() | means(
        rows, ("gain_val", "ece", "brier", "agreement", "kl")
    )
    line |= {"alphas": rows["alpha"].tolist(), "Ts": rows["T"].tolist()}
    for name, listed, values in (
        ("test_auc", "folds", folds[best, every]),
        ("gain", "gains", gains[best, every]),
        ("val_auc", "vals", vals[best, every]),
    ):
        line |= {name: float(values.mean()), listed: values.tolist()}
    return line


def _listed(row: pd.Series, listed: str, single: str) -> list[float]:
    cell = row.get(listed)
    known = isinstance(cell, (list, tuple, np.ndarray, str))
    return numbers(cell) if known else [row[single]]


def contrast(rows: pd.DataFrame, column: str, one: str, other: str) -> pd.DataFrame:
    """Paired difference of AUC between two values of a column, one line per source.

    A source in which no seed has both is left out.
    """
    lines = []
    for key, group in groups(rows[rows[column].isin([one, other])], SETTING):
        first, second = (
            group[group[column] == value].set_index("seed") for value in (one, other)
        )
        pairs = first.index.intersection(second.index)
        if pairs.empty:
            continue
        diffs = [minus(first.loc[seed], second.loc[seed]) for seed in pairs]
        listed = first.loc[pairs].assign(differences=diffs, difference=np.nan)
        lines.append({**key, **spread(listed, "difference", "none", "differences")})
    return pd.DataFrame(lines)


def labels(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source, noise, arm and number of labels: AUC and its gain.

    The gain over label-only is paired: same seed, same fold, same labelled rows. Empty
    where no number of labels fitted into the rows.
    """
    if rows.empty:
        return pd.DataFrame(columns=LABELS)
    cell = ["source", "noise", "labels", "seed"]
    base = rows[rows["arm"] == "label-only"]
    base = {tuple(row[c] for c in cell): row for _, row in base.iterrows()}
    rows = rows.copy()
    rows["gains"] = [
        minus(row, base.get(tuple(row[c] for c in cell))) for _, row in rows.iterrows()
    ]
    lines = []
    for key, group in groups(rows, [*SETTING, "noise", "arm", "labels"]):
        auc = spread(group, "auc", "test_auc", "folds")
        gain = spread(group, "gain", "gains", "gains", p="p")
        lines.append({**key, **auc, **gain})
    return ordered(lines, "noise", "arm", "labels")


def ladder(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and compression step, in order: what it costs, what it saves.

    drop and to_teacher are paired at equal seed (and fold: columns `drops` and
    `to_teachers`); shipped_bytes is the bundle, or the file where there is none and
    for the published steps, which ship that.
    """
    lines = []
    for key, group in groups(rows, [*SETTING, "order", "step", "family", "precision"]):
        line = {**key, **means(group, ("sparsity", "val_auc", "drop_val"))}
        line |= spread(group, "auc", "test_auc", "folds")
        line |= spread(group, "drop", "drop", "drops", p="drop_p")
        line |= spread(group, "to_teacher", "to_teacher", "to_teachers")
        line |= means(group, SIZES)
        bundle = line["bundle_bytes"]
        file = np.isnan(bundle) or line["family"] == "published"
        line["shipped_bytes"] = line["file_bytes"] if file else bundle
        lines.append(line | means(group, ("moved", "moved_plain")))
    return ordered(lines, "order")

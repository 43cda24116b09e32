"""tables: rows of the tabular recipes in, tidy tables out (`summary` says how).

An interval of auc is of all seeds and folds; `interval` says where it is DeLong's.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

# ruff: noqa: F401 (what notebooks find here too)
from kdutils.views.cells import Plain, claimed, maybe, read, show, text, write
from kdutils.views.scoreboard import scoreboard
from kdutils.views.summary import (
    SETTING,
    contrast,
    delta,
    extremes,
    favourite,
    holm,
    picked,
    summarise,
    surface,
)

QUALITY = {"auc": "test_auc", "gain": "gain"}
MEANS = ("val_auc", "gain_val", "ece", "brier", "agreement", "kl")
SIZES = ("params", "nonzero", "raw_bytes", "file_bytes", "gzip_bytes")
SIZES += ("model_bytes", "bundle_bytes")


def teachers(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and model: AUC, distance to Bayes, size, in-sample or not.

    pooled is the mean of the rows' AUCs over all folds, with the mean of their DeLong
    intervals. A single value has no t interval: then auc_low and auc_high are DeLong's
    too; `interval` says which.
    """
    means = {"pooled": "pooled_auc", "pooled_low": "ci_low", "pooled_high": "ci_high"}
    same = ("val_auc", "gap", "bytes", "params", "oof_auc", "insample_auc")
    same += ("oof_sure", "insample_sure", "ece", "brier", "tried")
    means |= dict(zip(same, same, strict=True))
    frame = summarise(rows, ["model"], {"auc": "test_auc"}, means)
    lone = frame["n"] == 1
    for end in ("low", "high"):
        frame[f"auc_{end}"] = frame[f"auc_{end}"].mask(lone, frame[f"pooled_{end}"])
    return frame.assign(interval=np.where(lone, "DeLong", "t"))


def sweep(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source, method, alpha and T: gain over label-only at equal seed.

    p_holm adjusts for all cells of one source and method, that is of one heatmap. A
    cell that equals label-only by construction (alpha 0) is no test: it has no p.
    chosen: how many seeds and folds choose the cell, as `chosen` has it.
    """
    cell = ["alpha", "T", *({"smoothing"} & set(rows))]
    frame = surface(rows, ["method"], cell, "val_auc", QUALITY, MEANS)
    return holm(frame, [*SETTING, "method"])


def chosen(rows: pd.DataFrame) -> pd.DataFrame:
    """Per source and method: cells chosen on validation, and what test says of them.

    Every seed and fold chooses by its own validation rows, so that no test row has a
    say. alpha and T are the most frequent choice, `chosen_in` its share of seeds and
    folds. p_holm adjusts for the methods of one source.
    """
    best = picked(rows, ["method"], "val_auc")
    extra = functools.partial(favourite, cell=["alpha", "T"])
    how = {"p": {"gain": "p"}, "extra": extra}
    return holm(summarise(best, ["method"], QUALITY, MEANS, **how), SETTING)


def labels(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source, noise, arm and number of labels: AUC and its gain.

    The gain over label-only is paired: same seed, same fold, same labelled rows. Empty
    where no number of labels fitted into the rows.
    """
    if len(rows):
        base = rows[rows["arm"] == "label-only"]
        gain = delta(rows, base, "test_auc", ["noise", "labels"])
        rows = rows.assign(gain=gain)
    auc = {"auc": "test_auc", "gain": "gain"}
    return summarise(rows, ["noise", "arm", "labels"], auc, p={"gain": "p"})


def literal(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and student of the recipe `literal`; empty without rows.

    gain: over the recipe to the letter, paired by seed; told: what the AUC on the rows
    that stopped a student has above that on test rows.
    """
    if len(rows):
        base = rows[rows["student"] == "literal"]
        told = rows["val_auc"] - rows["test_auc"]
        rows = rows.assign(gain=delta(rows, base, "test_auc"), told=told)
    what = {"auc": "test_auc", "gain": "gain", "told": "told"}
    means = ("highest_target", "epochs", "teacher_auc")
    return summarise(rows, ["student"], what, means, p={"gain": "p"}, sort=())


def ladder(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and compression step, in order: what it costs, what it saves.

    drop and to_teacher are paired at equal seed and fold; shipped_bytes is the bundle,
    or the file where there is none and for the published steps, which ship that.
    """
    frame = summarise(
        rows,
        ["order", "step", "family", "precision"],
        {"auc": "test_auc", "drop": "drop", "to_teacher": "to_teacher"},
        ("sparsity", "val_auc", "drop_val", *SIZES, "moved", "moved_plain"),
        p={"drop": "drop_p"},
        sort=["order"],
    )
    file = frame["bundle_bytes"].isna() | (frame["family"] == "published")
    shipped = frame["bundle_bytes"].mask(file, frame["file_bytes"])
    return frame.assign(shipped_bytes=shipped)

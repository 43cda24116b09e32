"""tables: rows of the tabular recipes in, tidy tables out (`summary` says how).

And how any table is printed: rounded once, as CSV or as plain HTML.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import pandas as pd

from kdutils import paths
from kdutils.views.names import decimals

# ruff: noqa: F401 (what notebooks find here too)
from kdutils.views.scoreboard import scoreboard
from kdutils.views.summary import (
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
JUDGED = {"claimed", "measured", "ci_low", "ci_high"}  # rounded as their row's metric


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
    return surface(rows, ["method"], cell, "val_auc", QUALITY, MEANS)


def chosen(rows: pd.DataFrame) -> pd.DataFrame:
    """Per source and method: cells chosen on validation, and what test says of them.

    Every seed and fold chooses by its own validation rows, so that no test row has a
    say. alpha and T are the most frequent choice, `chosen_in` its share of seeds and
    folds. p_holm adjusts for the methods of one source.
    """
    best = picked(rows, ["method"], "val_auc")
    cell = functools.partial(favourite, cell=["alpha", "T"])
    return holm(summarise(best, ["method"], QUALITY, MEANS, extra=cell))


def labels(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source, noise, arm and number of labels: AUC and its gain.

    The gain over label-only is paired: same seed, same fold, same labelled rows. Empty
    where no number of labels fitted into the rows.
    """
    if len(rows):
        base = rows[rows["arm"] == "label-only"]
        gain = delta(rows, base, "test_auc", ["noise", "labels"])
        rows = rows.assign(gain=gain)
    return summarise(rows, ["noise", "arm", "labels"], QUALITY)


def literal(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and student of the recipe `literal`; empty without rows.

    gain: over the recipe to the letter, paired by seed; told: what the AUC on the rows
    that stopped a student has above that on test rows.
    """
    if len(rows):
        base = rows[rows["student"] == "literal"]
        told = rows["val_auc"] - rows["test_auc"]
        rows = rows.assign(gain=delta(rows, base, "test_auc"), told=told)
    means = ("highest_target", "epochs", "teacher_auc")
    return summarise(rows, ["student"], QUALITY | {"told": "told"}, means, sort=())


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


def write(frame: pd.DataFrame, name: str) -> Path:
    """Write tables/<name>.csv: text(frame) as UTF-8 with LF, no row numbers."""
    csv = text(frame).to_csv(index=False, lineterminator="\n")
    return paths.write(paths.tables() / f"{name}.csv", csv.encode())


def read(name: str) -> pd.DataFrame:
    """tables/<name>.csv as a frame."""
    return pd.read_csv(paths.tables() / f"{name}.csv")


def maybe(name: str) -> pd.DataFrame | None:
    """The same; None where no stage of the profile writes such a table."""
    return read(name) if (paths.tables() / f"{name}.csv").exists() else None


def claimed() -> pd.DataFrame:
    """The published numbers: system, metric, claimed, source, data, note."""
    return pd.read_csv(paths.claimed())


def text(frame: pd.DataFrame) -> pd.DataFrame:
    """Every cell as it is printed: fixed decimals per kind of column, NaN is empty.

    Rows of runs (column `run`) are read again, so they keep two decimals more; settings
    of their runs that are lists or mappings stay in the ledger.
    """
    more = 2 if "run" in frame else 0
    nested = [c for c in frame if frame[c].map(type).isin([list, dict]).any()]
    found = {}
    for column in frame.drop(columns=nested):
        kinds = [column] * len(frame)
        if column in JUDGED and "metric" in frame:
            counts = column == "claimed"  # a claimed number of errors is whole
            kinds = ["n" if counts and m == "errors" else m for m in frame["metric"]]
        both = zip(frame[column], kinds, strict=True)
        found[column] = [_cell(value, decimals(kind, more)) for value, kind in both]
    return pd.DataFrame(found, dtype=object)


class Plain:
    """A table that a notebook prints as plain HTML, without styles or row numbers."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def __repr__(self) -> str:
        return self.frame.to_string(index=False)

    def _repr_html_(self) -> str:
        return self.frame.to_html(index=False, border=0, render_links=True)


def show(frame: pd.DataFrame, columns: Iterable[str] | None = None) -> Plain:
    """A table, or columns of it: `mean ± sd (n)`, intervals as `[low, high]`."""
    cells, shown = text(frame), pd.DataFrame(index=frame.index)
    keep = [*columns] if columns is not None else [*cells]
    parts = {f"{c}_{end}" for c in cells for end in ("sd", "low", "high")} & set(cells)
    for column in (c for c in keep if c not in parts and c in cells):
        shown[column] = cells[column].to_numpy()
        if {f"{column}_sd", "n"} <= set(cells):
            mean, sd, n = cells[column], cells[f"{column}_sd"], " (" + cells["n"] + ")"
            lone = (mean + n).where(mean != "", "")
            shown[column] = (mean + " ± " + sd + n).where(sd != "", lone).to_numpy()
        if f"{column}_low" in cells:
            low, high = cells[f"{column}_low"], cells[f"{column}_high"]
            interval = "[" + low + ", " + high + "]"
            shown[f"{column} 95 %"] = interval.where(low != "", "").to_numpy()
    return Plain(shown)


def _cell(value: object, digits: int | None) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, (bool, np.bool_, Integral)) or not isinstance(value, Real):
        return str(value)
    return f"{value:g}" if digits is None else f"{value:z.{digits}f}"

"""ladders: rows of the ladder of image and wafer students in, tidy tables out.

Quantities stand as in `images`. kept is the quality that the column `quality` names, on
test rows; drop is what it lies above the float32 student of the same seed, over_control
above the student that was tuned for as many epochs and not changed. Both are paired.
"""

from __future__ import annotations

import pandas as pd

from kdutils.views.images import each, plain
from kdutils.views.spread import SETTING, groups, holm, means, ordered
from kdutils.views.wafers import called

KEYS = ["model", "quality", "step", "family", "way", "sparsity", "bits"]
MEANS = ("val", "drop_val", "weight_bytes", "params", "nonzero", "steps", "order")


def ladder(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source, student and step, in the order of the steps.

    p and p_holm are of the drop; the latter adjusts for the steps of one source and
    student. cells: what the seeds' students were taught with, the commonest first.
    """
    rows, lines = plain(rows), []
    pairs = zip(rows["student"], rows["sizes"], strict=True)
    rows["model"] = [model(*pair) for pair in pairs]
    for key, group in groups(rows, [*SETTING, *KEYS]):
        line = {**key, **each(group, "kept", "test"), **each(group, "drop", p="p")}
        known = group[group["over_control"].notna()]
        line |= each(known, "over_control") if len(known) else {}
        line |= {"n": len(group), "control": group["control"].iloc[0]}
        line["cells"] = "; ".join(group["cell"].value_counts().index)
        lines.append(line | means(group, MEANS))
    return holm(ordered(lines, "model", "order"), [*SETTING, "model"])


def model(student: str, sizes: dict | str) -> str:
    """An image student by its name, a wafer student by its widths."""
    return student if student in ("mlp", "cnn") else called(student, sizes)


def points(table: pd.DataFrame) -> pd.DataFrame:
    """The lines of `ladder` that a student could ship as: bytes, and gain over fp32.

    Columns source, model, quality, step, way, bytes, gain, gain_low, gain_high, n.
    """
    names = {"weight_bytes": "bytes", "drop": "gain"}
    names |= {f"drop_{end}": f"gain_{end}" for end in ("low", "high")}
    shown = ["source", "model", "quality", "step", "way", *names, "n"]
    ships = table[~table["way"].isin(["teacher", "label-only"])]
    return ships[shown].rename(columns=names).reset_index(drop=True)


def joined(table: pd.DataFrame) -> pd.DataFrame:
    """`points` as `curves.pareto` joins them: gains in points, sources by student."""
    found = points(table)
    ends = ["gain", "gain_low", "gain_high"]
    found[ends] *= 100
    return found.assign(source=found["source"] + ", " + found["model"])

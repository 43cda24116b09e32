"""recipes.shipped: what a file that may ship does on its own test rows.

The file is read as the device reads it, with numpy alone, and scored on the test rows
of the split that its student was trained beside: seed 0, fold 0.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np

from kdutils import metrics, stats
from kdutils.deploy import bundle
from kdutils.recipes import folds, tasks
from kdutils.recipes.tasks import WAFERS

SITE = ("site", "source", "root", "maps", "options", "seed")  # where wafer maps are


@dataclass(frozen=True)
class Config:
    """A file as base64, and the settings with which its data are read."""

    source: str
    data: dict
    bundle: str


def plan(students: dict[str, bytes], *known) -> list[dict]:
    """One config per student.

    students: source or site -> its file; known: rows of `teachers` and of
    `wafer_answers`, whose configs say how the data of each are read.
    """
    configs = []
    for rows in known:
        name = "site" if "site" in rows else "source"
        first = rows[rows["seed"] == 0].drop_duplicates(name)
        first = first.set_index(name, drop=False)
        for source in (source for source in students if source in first.index):
            row = first.loc[source].to_dict()
            data = {key: row[key] for key in SITE if key in row}
            file = base64.b64encode(students[source]).decode()
            configs.append({"source": source, "data": data, "bundle": file})
    return configs


def digest(config: dict) -> str:
    """The data digest of a config's source."""
    of = WAFERS if "maps" in config["data"] else folds
    return of.digest(config["data"])


def compute(config: dict, run) -> dict:
    """One row: value of `metric` with its interval, and what `constant` would have."""
    file, data = base64.b64decode(config["bundle"]), config["data"]
    measure = _maps if "maps" in data else _readings
    row = measure(bundle.loads(file, "the student"), data)
    return {"rows": [{"file_bytes": len(file), **row}]}


def _readings(student: bundle.Bundle, data: dict) -> dict:
    """AUC, and at the file's threshold: fails that pass, passes that fail."""
    split = next(folds.splits(data))
    columns = [split.features.index(name) for name in student.features]
    logits, failed = student.score(split.test.X[:, columns]), split.test.y == 1
    value, low, high = stats.auc_interval(split.test.y, logits)
    called = logits > student.threshold
    row = {"metric": "AUC", "value": value, "low": low, "high": high, "constant": 0.5}
    row |= {"kind": split.kind, "n_test": len(failed), "fails": int(failed.sum())}
    row |= {"threshold": student.threshold, "escapes": int((failed & ~called).sum())}
    return row | {"overkill": int((called & ~failed).sum())}


def _maps(student: bundle.Bundle, data: dict) -> dict:
    """Exact match of whole sets of patterns, and each pattern's recall."""
    parts = WAFERS.load(data)
    y, logits = parts.test.y, student.score(parts.test.X)
    right = int(metrics.correct(y, logits).sum())
    value, low, high = stats.share(right, len(y))
    sets = np.unique(y, axis=0, return_counts=True)[1]
    row = {"metric": "exact match", "value": value, "low": low, "high": high}
    row |= {"constant": float(sets.max() / len(y)), "kind": parts.kind}
    found = metrics.by_label(y, logits)["recall"]
    return row | {"n_test": len(y), **tasks.flat({"recall": found}, student.classes)}

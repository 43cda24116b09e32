"""recipes.own_table: a table of one's own: what a student is worth, and its file.

Every split's student learns from training and validation rows (`distilled.learn`) and
its file is scored on the test rows, which nothing else looks at. The file that ships
learns from all rows in the same way; its quality is that of the splits' files.
"""

from __future__ import annotations

import base64
import sys
from dataclasses import dataclass, replace

import numpy as np

from kdutils import metrics, stats
from kdutils.data import Split
from kdutils.deploy import bundle
from kdutils.recipes import distilled, folds
from kdutils.store.config import Natural, NotNegative

COSTS = (1, 2, 5, 10, 20, 50, 100)  # of an escape, in overkills
digest = folds.digest
SHUFFLED = 5_000  # test rows on which a reading's part in the student is measured


@dataclass(frozen=True)
class Config:
    """One split of a table, or the file that ships.

    options: how the table is read; fold: the split's number; max_bytes, escape_cost:
    of `distilled.learn`; tested: ids of the splits' runs, of the file that ships.
    """

    source: str
    options: dict
    seed: Natural
    effort: Natural
    max_bytes: Natural
    escape_cost: NotNegative
    fold: Natural
    tested: list[str]


def plan(config: dict) -> list[dict]:
    """One config per split; config: source, options, seed, effort and max_bytes."""
    own = {"tested": [], "escape_cost": 0.0}
    return [{**config, **own, "fold": i} for i, _ in enumerate(folds.splits(config))]


def ship(config: dict, escape_cost: float, rows) -> list[dict]:
    """The config of the file that ships; rows: those of the splits."""
    tested = list(rows["run"].unique())
    return [{**config, "escape_cost": escape_cost, "fold": 0, "tested": tested}]


def compute(config: dict, run) -> dict:
    """Rows of the parts test, cost and reading; or file, race and size."""
    split = list(folds.splits(config))[config["fold"]]
    how = {key: config[key] for key in ("seed", "max_bytes")}
    how["effort"] = distilled.EFFORTS[config["effort"]]
    if config["tested"]:
        found = [run.need(_self(), id).arrays("test") for id in config["tested"]]
        rows = shipped(split, found, config["escape_cost"], id=run.id, **how)
    else:
        rows, arrays = tested(split, **how)
        run.step("test", lambda: arrays)
    return {"rows": [{**row, "fold": config["fold"]} for row in rows]}


def _self():
    return sys.modules[__name__]


def tested(split: Split, **how) -> tuple[list[dict], dict[str, np.ndarray]]:
    """What a student of the split is worth on its test rows.

    how: of `distilled.learn`. Returns a row of part test, one per cost and one per
    reading; and arrays (n,): y, and the logits of the file, of the teacher, and of the
    float32 students taught and alone; `share` says which rows the file fails.
    """
    student = distilled.learn(split, **how)
    file, X, y = bundle.loads(student.file, "the student"), split.test.X, split.test.y
    readings = X[:, [split.features.index(name) for name in file.features]]
    found = {"y": y, "student": file.score(readings), "teacher": student.predict(X)}
    for name, arrays in {"taught": student.taught, "alone": student.alone}.items():
        found[name] = student.logits(arrays, X)
    found["share"] = found["student"] > file.threshold
    row = {"part": "test", "n_train": len(split.train) + len(split.val)}
    row |= {"kind": split.kind, "bytes": len(student.file), **student.cell}
    for name in ("student", "teacher", "taught", "alone"):
        row[f"{name}_auc"] = metrics.auc(y, found[name])
    rows = [row | confused(y, found["share"])]
    for cost in COSTS:
        called = found["student"] > distilled.fail_above(cost)
        rows.append({"part": "cost", "cost": cost, **confused(y, called)})
    rng = np.random.default_rng(how["seed"])
    some = np.sort(rng.permutation(len(y))[:SHUFFLED])
    if 0 < y[some].mean() < 1:
        base = metrics.auc(y[some], found["student"][some])
        for column, name in enumerate(file.features):
            shuffled = readings[some]
            shuffled[:, column] = rng.permutation(shuffled[:, column])
            drop = base - metrics.auc(y[some], file.score(shuffled))
            rows.append({"part": "reading", "reading": name, "drop": float(drop)})
    return rows, found


def confused(y: np.ndarray, called: np.ndarray) -> dict:
    """Escapes and overkill of verdicts, and of how many rows."""
    fails = y == 1
    row = {"n_test": len(y), "fails": int(fails.sum())}
    row["escapes"] = int((fails & ~called).sum())
    return row | {"overkill": int((~fails & called).sum())}


def shipped(
    split: Split, found: list[dict], escape_cost: float, *, id: str = "", **how
) -> list[dict]:
    """The file of all rows: a row of part file, one per cell and one per size.

    found: the arrays of every split's `tested`. The split's test rows are the
    validation rows of this student: the test is over.
    """
    both = distilled.joined(split.train, split.val)
    parts = replace(split, train=both, val=split.test)
    student = distilled.learn(parts, escape_cost=escape_cost, id=id, **how)
    y, own, teacher, taught, alone = (
        np.concatenate([one[name] for one in found]).astype(float)
        for name in ("y", "student", "teacher", "taught", "alone")
    )
    called = np.concatenate([one["share"] for one in found])
    if escape_cost:
        called = own > distilled.fail_above(escape_cost)
    value, low, high = stats.auc_interval(y, own)
    row = {"part": "file", "kind": split.kind, "file_bytes": len(student.file)}
    row |= {"metric": "AUC", "value": value, "low": low, "high": high, "constant": 0.5}
    row |= {"bundle": base64.b64encode(student.file).decode(), **student.teacher}
    row |= {"threshold": bundle.loads(student.file, id).threshold, **student.cell}
    row |= {"teacher_auc": metrics.auc(y, teacher), **confused(y, called)}
    pairs = {"gain": (taught, alone), "to_teacher": (own, teacher)}
    for name, (a, b) in pairs.items():
        value, low, high, _ = stats.delong_test(y, a, b)
        row |= {name: value, f"{name}_low": low, f"{name}_high": high}
    for name, end in row.items():  # an interval may have no end
        if isinstance(end, float | np.floating):
            row[name] = float(end) if np.isfinite(end) else None
    rows = [row | {"rows": len(parts.train) + len(parts.val)}]
    rows += [{"part": "race", **cell} for cell in student.race]
    return rows + [{"part": "size", **size} for size in student.sizes]

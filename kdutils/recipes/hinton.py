"""recipes.hinton: the experiment of Hinton, Vinyals & Dean 2015, section 3, repeated.

One run is one seed: a student of two layers without regularisation, alone and listening
to the large teacher, on the same images in the same order for as many epochs. Then what
moved images add, with and without a teacher who sees the same move (Beyer et al. 2022),
and the digits that a student never saw, with their bias corrected.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from operator import itemgetter

import numpy as np

from kdutils import metrics, models
from kdutils.recipes import net_teachers
from kdutils.recipes.tasks import paired
from kdutils.store.config import Count, Natural, Positive, Share
from kdutils.train import students
from kdutils.train.students import Cell

OMITTED = {"omit-3": [3], "only-7-8": [0, 1, 2, 3, 4, 5, 6, 9]}
BIASES = np.arange(0, 25, 0.1)
plan = partial(net_teachers.plan_students, "all")
digest = itemgetter("teacher")  # the data are the teacher's: its id names them


@dataclass(frozen=True)
class Config(net_teachers.Students):
    """One teacher's students."""

    widths: list[Count]
    epochs: Count
    long_epochs: Count
    alpha: Share
    T: Positive
    consistent_alpha: Share
    consistent_T: Positive
    max_shift: Natural


def systems(config: dict) -> dict[str, dict]:
    """Each student: cell, epochs, max_shift, what is omitted, whose views it sees."""
    alone = {"cell": Cell(), "epochs": config["epochs"]}
    taught = {**alone, "cell": Cell("kd", config["alpha"], config["T"])}
    moved = {"epochs": config["long_epochs"], "max_shift": config["max_shift"]}
    near = Cell("kd", config["consistent_alpha"], config["consistent_T"])
    return {
        "student": alone,
        "student-kd": taught,
        "student-jitter": {"cell": Cell(), **moved},
        "student-fixed": {"cell": near, **moved},
        "student-consistent": {"cell": near, **moved, "same": True},
        **{name: {**taught, "omit": digits} for name, digits in OMITTED.items()},
    }


BASES = {
    "student": "teacher",
    "student-kd": "student",
    "student-jitter": "student",
    "student-fixed": "student-jitter",
    "student-consistent": "student-jitter",
    "omit-3": "student-kd",
    "only-7-8": "student-kd",
}


def compute(config: dict, run) -> dict:
    """Train every system; one row each, with its pair and McNemar's test."""
    source = run.need(net_teachers, config["teacher"])
    parts, teacher, shared = net_teachers.kept(source)
    y, outputs, rows = parts.test.y, {"teacher": teacher["test"]}, []
    for name, system in systems(config).items():
        how = run.training(name)
        work = partial(student, config, system, parts, teacher["views"], **how)
        outputs[name] = run.step(name, work)["test"]
    for name, logits in outputs.items():
        base = BASES.get(name)
        row = {"system": name, "base": base, **shared}
        row |= metrics.summary(y, logits, teacher["test"] if base else None)
        row |= paired(y, logits, outputs[base]) if base else {}
        if name in OMITTED:
            separated = run.arrays(name)
            row |= corrected(OMITTED[name], parts, separated["train"], logits)
        rows.append(row)
    return {"rows": rows}


def student(config: dict, system: dict, parts, views: np.ndarray, **how) -> dict:
    """One system's logits on test images, on training images too if it omits digits.

    views: the teacher's logits (V, n, K); the middle one is of the image as it is.
    """
    X, y, still = parts.train.X, parts.train.y, views[len(views) // 2]
    keep = ~np.isin(y, system.get("omit", []))
    net = net_teachers.perceptron(config, parts, config["widths"])
    how |= net_teachers.fitting(config)
    how |= {"epochs": system["epochs"], "max_shift": system.get("max_shift", 0)}
    how["view_targets"] = views[:, keep] if system.get("same") else None
    given = X[keep], y[keep], {"teacher": still[keep]}, system["cell"]
    students.fit_one(net, *given, **how)
    found = {"test": models.predict(net, parts.test.X)}
    return found | ({"train": models.predict(net, X)} if "omit" in system else {})


def corrected(omitted: list[int], parts, train: np.ndarray, test: np.ndarray) -> dict:
    """Errors before and after one number is added to the logits of omitted digits.

    The number is chosen on all training images, shown or not; `best_` on the test
    images, as it was published.
    """
    y, gone = parts.test.y, np.isin(parts.test.y, omitted)
    row = {
        "omitted": " ".join(map(str, omitted)),
        "n_omitted": int(gone.sum()),
        "errors_omitted": metrics.errors(y[gone], test[gone]),
    }
    chosen = {"corrected": (parts.train.y, train), "best": (y, test)}
    for prefix, (truth, logits) in chosen.items():
        wrong = [metrics.errors(truth, biased(logits, omitted, b)) for b in BIASES]
        bias = float(BIASES[int(np.argmin(wrong))])
        after = biased(test, omitted, bias)
        row[f"{prefix}_bias"] = bias
        row[f"{prefix}_errors"] = metrics.errors(y, after)
        row[f"{prefix}_omitted"] = metrics.errors(y[gone], after[gone])
    return row


def biased(logits: np.ndarray, classes: list[int], bias: float) -> np.ndarray:
    """Logits (n, K) with `bias` added to those of `classes`."""
    moved = logits.copy()
    moved[:, classes] += np.float32(bias)
    return moved

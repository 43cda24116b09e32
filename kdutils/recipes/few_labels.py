"""recipes.few_labels: what a teacher adds when labels are few, and where it comes from.

The same student, with the first n labels of a seed's training images: alone; with a
teacher who saw those labels and no others, on the labelled images or on all of them;
and with the all-knowing teacher, who saw every label. All of them take as many steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

import numpy as np

from kdutils import metrics, models
from kdutils.recipes import net_teachers
from kdutils.recipes.tasks import paired
from kdutils.store.config import Count, Positive, Share
from kdutils.train import students
from kdutils.train.students import Cell

LABELLED = {"label-only": None, "distilled": "own", "all-knowing": "full"}
EVERY = {"distilled+unlabelled": "own", "all-knowing+unlabelled": "full"}
plan = partial(net_teachers.plan_students, "train")  # no validation image was seen
digest = itemgetter("teacher")  # the data are the teacher's: its id names them


@dataclass(frozen=True)
class Config(net_teachers.Students):
    """One teacher's students; sizes: numbers of labels."""

    sizes: list[Count]
    steps: Count
    widths: list[Count]
    teacher_widths: list[Count]
    teacher_steps: Count
    alpha: Share
    T: Positive


def compute(config: dict, run) -> dict:
    """Students of every arm at every number of labels, one row each."""
    source = run.need(net_teachers, config["teacher"])
    parts, teacher, shared = net_teachers.kept(source)
    y = parts.test.y
    order = np.random.default_rng([config["seed"], 3]).permutation(len(parts.train))
    if max(config["sizes"]) > len(order):
        raise ValueError(
            f"label sizes hold {max(config['sizes'])}, but there are {len(order)} "
            "training images"
        )
    rows = []
    for labels in config["sizes"]:
        some = order[:labels]
        work = partial(arms, config, source.config, parts, teacher["views"][0], some)
        found = run.step(f"labels-{labels}", partial(work, run.training))
        for arm in (*LABELLED, *EVERY, "teacher"):
            row = {"arm": arm, "labels": labels, **shared}
            row |= metrics.summary(y, found[arm])
            row["gain"] = row["test_acc"] - metrics.accuracy(y, found["label-only"])
            rows.append(row | paired(y, found[arm], found["label-only"]))
    return {"rows": rows}


def arms(
    config: dict, taught: dict, parts, full: np.ndarray, first: np.ndarray, training
) -> dict:
    """Test logits (n, K) of each arm; `first`: the rows whose labels are known.

    training: a name -> device and checkpoint of what is trained.
    """
    X, y, seed = parts.train.X, parts.train.y, config["seed"]
    own = {"widths": config["teacher_widths"], "batch": config["batch"], "seed": seed}
    own["epochs"] = epochs(config["teacher_steps"], len(first), config)
    how = training(f"teacher-{len(first)}")
    teacher = net_teachers.teach(taught | own, X[first], y[first], **how)
    targets = {"own": models.predict(teacher, X), "full": full.astype(np.float32)}
    known = np.full(len(X), -100)
    known[first] = y[first]
    found = {"teacher": models.predict(teacher, parts.test.X)}
    for names, rows in ((LABELLED, first), (EVERY, np.arange(len(X)))):
        net = net_teachers.perceptron(config, parts, config["widths"])
        told = {name: logits[rows] for name, logits in targets.items()}
        kd = partial(Cell, "kd", config["alpha"], config["T"])
        cells = [kd(target=name) if name else Cell() for name in names.values()]
        how = {"epochs": epochs(config["steps"], len(rows), config)}
        how |= training(f"students-{len(first)}-of-{len(rows)}")
        how |= net_teachers.fitting(config)
        weights = students.fit_stacked(net, X[rows], known[rows], told, cells, **how)
        logits = students.predict_stacked(net, weights, parts.test.X)
        found |= dict(zip(names, logits, strict=True))
    return found


def epochs(steps: int, rows: int, config: dict) -> int:
    """Epochs over so many rows that make about `steps` steps."""
    return max(1, round(steps / math.ceil(rows / config["batch"])))

"""recipes.few_labels: what a teacher adds when labels are few, and where it comes from.

The same student, with the first n labels of a seed's training images: alone; with a
teacher who saw those labels and no others, on the labelled images or on all of them;
and with the all-knowing teacher, who saw every label. All of them take as many steps.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from kdutils import metrics, models
from kdutils.recipes import image_teachers
from kdutils.recipes.hinton import paired
from kdutils.train import imagegrid
from kdutils.train.imagegrid import Cell

STAGE = "03_kd_images"
LABELLED = {"label-only": None, "distilled": "own", "all-knowing": "full"}
EVERY = {"distilled+unlabelled": "own", "all-knowing+unlabelled": "full"}


def plan(teacher_rows, **settings) -> list[dict]:
    """One config per teacher that saw no validation image."""
    first = teacher_rows[teacher_rows["rows"] == "train"].drop_duplicates("run")
    return [
        {"source": row.source, "seed": row.seed, "teacher": row.run, **settings}
        for row in first.itertuples()
    ]


def digest(config: dict) -> str:
    """The data are the teacher's: its id names them."""
    return config["teacher"]


def compute(config: dict, run) -> dict:
    """Students of every arm at every number of labels, one row each."""
    source = run.need(image_teachers, config["teacher"])
    parts, told = image_teachers.split(source.config), source.arrays("logits")
    shared, y = image_teachers.facts(source.config, parts), parts.test.y
    order = np.random.default_rng([config["seed"], 3]).permutation(len(parts.train))
    if max(config["sizes"]) > len(order):
        raise ValueError(
            f"label sizes hold {max(config['sizes'])}, but there are {len(order)} "
            "training images"
        )
    rows = []
    for labels in config["sizes"]:
        found = run.step(
            f"labels-{labels}",
            lambda labels=labels: arms(
                config, source.config, parts, told["views"][0], order[:labels]
            ),
        )
        for arm in (*LABELLED, *EVERY, "teacher"):
            row = {"arm": arm, "labels": labels, **shared}
            row |= metrics.summary(y, found[arm])
            row["gain"] = row["test_acc"] - metrics.accuracy(y, found["label-only"])
            rows.append(row | paired(y, found[arm], found["label-only"]))
    return {"rows": rows}


def arms(
    config: dict, taught: dict, parts, full: np.ndarray, first: np.ndarray
) -> dict:
    """Test logits (n, K) of each arm; `first`: the rows whose labels are known."""
    X, y, seed = parts.train.X, parts.train.y, config["seed"]
    small = {**taught, "widths": config["teacher_widths"], "batch": config["batch"]}
    teacher = image_teachers.teach(
        small,
        X[first],
        y[first],
        epochs=epochs(config["teacher_steps"], len(first), config),
        seed=seed,
    )
    targets = {"own": models.predict(teacher, X), "full": full.astype(np.float32)}
    known = np.full(len(X), -100)
    known[first] = y[first]
    found = {"teacher": models.predict(teacher, parts.test.X)}
    for names, rows in ((LABELLED, first), (EVERY, np.arange(len(X)))):
        torch.manual_seed(seed)
        size = {"widths": config["widths"]}
        net = models.build("perceptron", X.shape[1], full.shape[1], **size)
        weights = imagegrid.fit_crowd(
            net,
            X[rows],
            known[rows],
            {name: logits[rows] for name, logits in targets.items()},
            [cell(target, config) for target in names.values()],
            epochs=epochs(config["steps"], len(rows), config),
            batch=config["batch"],
            lr=config["lr"],
            seed=seed,
            halved=config["halved"],
        )
        logits = imagegrid.ask_crowd(net, weights, parts.test.X)
        found |= dict(zip(names, logits, strict=True))
    return found


def cell(target: str | None, config: dict) -> Cell:
    """The label-only cell, or one that reads the logits of `target`."""
    if target is None:
        return Cell()
    return Cell("kd", config["alpha"], config["T"], target=target)


def epochs(steps: int, rows: int, config: dict) -> int:
    """Epochs over so many rows that make about `steps` steps."""
    return max(1, round(steps / math.ceil(rows / config["batch"])))

"""recipes.kd_images: small image students of one teacher, α × T and method by method.

One run is one seed and one student: every cell starts from the same weights, meets the
same batches and takes as many steps, and keeps its last weights, so that validation
images choose nothing but α, T and what a method has of its own. Two methods have
another teacher: `takd` an assistant of middle size that learned from the large one
(Mirzadeh et al. 2020), `born-again` the label-only student itself (Furlanello et al.
2018). `fitnet` adds the hint loss of Romero et al. 2015 to plain distillation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product
from operator import itemgetter
from typing import Literal

import numpy as np
import torch

from kdutils import metrics, models
from kdutils.recipes import net_teachers
from kdutils.recipes.tasks import IMAGES, Sizes, paired
from kdutils.store.config import Count, NotNegative, Positive, Share
from kdutils.train import students
from kdutils.train.students import Cell

STUDENTS = {"mlp": "perceptron", "cnn": "convolutional"}
SHOWN = ("val", "test")
digest = itemgetter("teacher")  # the data are the teacher's: its id names them


@dataclass(frozen=True)
class Config(net_teachers.Students):
    """One student of one teacher; what every cell shares."""

    student: Literal["mlp", "cnn"]
    sizes: Sizes
    epochs: Count
    alphas: list[Share]
    temperatures: list[Positive]
    other_alphas: list[Share]
    other_temperatures: list[Positive]
    smoothings: list[Share]
    betas: list[NotNegative]
    hints: list[Positive]
    hint_alpha: Share
    hint_T: Positive
    assistant_widths: list[Count]
    assistant_alpha: Share
    assistant_T: Positive
    assistant_lr: Positive


def plan(teacher_rows, *, students: dict[str, dict], **settings) -> list[dict]:
    """One config per student and teacher that saw no validation image.

    students: name -> {sizes, lr, epochs}; `settings` are those of `cells`.
    """
    return [
        {**one, "student": student, **own}
        for one in net_teachers.plan_students("train", teacher_rows, **settings)
        for student, own in students.items()
    ]


def cells(config: dict) -> dict[str, list[Cell]]:
    """Every method's cells; the label-only student is the first."""
    plain = product(config["alphas"], config["temperatures"])
    pairs = [*product(config["other_alphas"], config["other_temperatures"])]
    a, t = config["hint_alpha"], config["hint_T"]
    return {
        "label-only": [Cell()],
        "label-smoothing": [Cell("hard", coefficient=s) for s in config["smoothings"]],
        "kd": [Cell("kd", *pair) for pair in plain],
        "logit-mse": [Cell("logit-mse", a) for a in config["other_alphas"]],
        "dkd": [Cell("dkd", *p, b) for p, b in product(pairs, config["betas"])],
        "logit-std": [Cell("logit-std", *pair) for pair in pairs],
        "dist": [Cell("dist", *pair) for pair in pairs],
        "takd": [Cell("kd", *pair, target="assistant") for pair in pairs],
        "born-again": [Cell("kd", *pair, target="self") for pair in pairs],
        "fitnet": [Cell("kd", a, t, hint=w) for w in config["hints"]],
    }


def every(config: dict) -> list[tuple[str, Cell]]:
    """The cells one after another, with their method; those with a hint are last."""
    return [(name, cell) for name, some in cells(config).items() for cell in some]


def compute(config: dict, run) -> dict:
    """Train every cell; one row each with its gain over label-only."""
    source = run.need(net_teachers, config["teacher"])
    parts, teacher, shared = net_teachers.kept(source)
    shared["params"] = models.parameters(untrained(config, parts))
    targets = {"teacher": teacher["views"][0]}
    for name, train in (("assistant", assistant), ("self", alone)):
        work = partial(train, config, parts, targets, **run.training(name))
        targets[name] = run.step(name, work)["logits"]
    logits = outputs(config, run, parts, targets, source)
    rows, base = [], logits["test"][0]
    for number, (method, cell) in enumerate(every(config)):
        val, test = logits["val"][number], logits["test"][number]
        row = {"method": method, "alpha": cell.alpha, "T": cell.T}
        row |= {"coefficient": cell.hint or cell.coefficient or None, **shared}
        row |= metrics.summary(parts.test.y, test, teacher["test"])
        row["val_acc"] = metrics.accuracy(parts.val.y, val)
        first = rows[0] if rows else row
        row["gain"] = row["test_acc"] - first["test_acc"]
        row["gain_val"] = row["val_acc"] - first["val_acc"]
        rows.append(row | paired(parts.test.y, test, base))
    return {"rows": rows}


def untrained(config: dict, parts) -> torch.nn.Module:
    """The student with the initial weights of the seed."""
    named = STUDENTS[config["student"]], config["sizes"]
    side, classes = parts.train.X.shape[1], IMAGES.outputs(config)
    return IMAGES.build(*named, config["seed"], side, classes)


def fitting(config: dict) -> dict:
    """The settings that every student of a run shares."""
    return net_teachers.fitting(config) | {"epochs": config["epochs"]}


def assistant(config: dict, parts, targets: dict, **training) -> dict:
    """Logits of training images by a net of middle size that the teacher taught."""
    cell = Cell("kd", config["assistant_alpha"], config["assistant_T"])
    net = net_teachers.perceptron(config, parts, config["assistant_widths"])
    how = fitting(config) | {"lr": config["assistant_lr"]} | training
    students.fit_one(net, parts.train.X, parts.train.y, targets, cell, **how)
    return {"logits": models.predict(net, parts.train.X)}


def alone(config: dict, parts, targets: dict, **training) -> dict:
    """Logits of them by the label-only student, to be its successor's teacher."""
    own = config, parts, targets, [Cell()]
    return {"logits": together(*own, shown=["train"], **training)["train"][0]}


def outputs(config: dict, run, parts, targets: dict, source) -> dict:
    """Logits (cells, n, K) of every cell on validation and test images.

    Cells meet the same batches, so those of any methods train side by side.
    """
    plain = [cell for _, cell in every(config) if not cell.hint]
    hinted = [cell for _, cell in every(config) if cell.hint]
    many = students.stacked(untrained(config, parts)).together
    found, own = [], (config, parts, targets)
    for start in range(0, len(plain), many):
        name, some = f"cells-{start}", plain[start : start + many]
        work = partial(together, *own, some, **run.training(name))
        found.append(run.step(name, work))
    work = partial(with_hints, *own, hinted, source, run.training)
    found.append(run.step("hinted", work))
    return {k: np.concatenate([one[k] for one in found]) for k in SHOWN}


def together(
    config: dict, parts, targets: dict, some: list[Cell], shown=SHOWN, **training
) -> dict:
    """Logits of cells that train side by side, by part of those shown."""
    net, given = untrained(config, parts), (parts.train.X, parts.train.y, targets)
    how = fitting(config) | training
    weights = students.fit_stacked(net, *given, some, **how)
    predict = partial(students.predict_stacked, net, weights)
    return {name: predict(getattr(parts, name).X) for name in shown}


def with_hints(
    config: dict, parts, targets: dict, some: list[Cell], source, training
) -> dict:
    """Logits of cells that read the teacher's last hidden layer too, one by one."""
    X, y, found = parts.train.X, parts.train.y, {name: [] for name in SHOWN}
    large = net_teachers.trained(source)
    features = models.predict(large, X, features=True).astype(np.float16)
    for number, cell in enumerate(some):
        net = untrained(config, parts)
        how = fitting(config) | {"bf16": False, **training(f"hinted-{number}")}
        students.fit_one(net, X, y, targets, cell, features=features, **how)
        for name, logits in found.items():
            logits.append(models.predict(net, getattr(parts, name).X))
    return {name: np.stack(logits) for name, logits in found.items()}

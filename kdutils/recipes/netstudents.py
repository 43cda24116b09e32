"""recipes.netstudents: a distilled image or wafer student, ready to be fine-tuned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from kdutils import losses, metrics, models
from kdutils.compress import shrink
from kdutils.deploy import waferpack
from kdutils.recipes import (
    image_teachers,
    kd_images,
    wafer_answers,
    wafer_students,
    wafer_teachers,
)
from kdutils.train import crowds, imagegrid, turns
from kdutils.train.imagebatches import ImageBatches

PARTS = ("val", "test")


@dataclass(frozen=True)
class Student:
    """A student's net, how it learnt, and the systems that it stands beside.

    batches: seed -> fresh batches; loss: (z, *targets) -> scalar; ask: (net, maps or
    images) -> logits; judge: (y, logits) -> quality, which `quality` names; parts: a
    `Split`; teacher and alone, the label-only student or None: logits by name of part;
    facts: what each row says of the data; cell: what it was taught with, in words.
    """

    net: nn.Module
    batches: Callable
    loss: Callable
    ask: Callable
    judge: Callable
    parts: object
    teacher: dict[str, np.ndarray]
    alone: dict[str, np.ndarray] | None
    teacher_bytes: int
    lr: float
    decay: float
    quality: str
    cell: str
    facts: dict


def image(config: dict, run) -> Student:
    """The student of the sweep `taught`: its cell of the best validation accuracy.

    The sweep kept answers, not weights: the cell is trained again as there, alone
    instead of in a crowd, so that its weights differ by the rounding of sums.
    """
    sweep = run.need(kd_images, config["taught"])
    source = run.need(image_teachers, sweep.config["teacher"])
    parts, told = image_teachers.split(source.config), source.arrays("logits")
    method, cell, alone = chosen(config["methods"], sweep, parts)
    targets = {"teacher": told["views"][0]}
    if cell.target not in targets:
        targets[cell.target] = sweep.arrays(cell.target)["said"]
    X, y, how = parts.train.X, parts.train.y, kd_images.fitting(sweep.config)
    net = kd_images.untrained(sweep.config, parts)

    def learn() -> dict[str, np.ndarray]:
        weights = imagegrid.fit_crowd(net, X, y, targets, [cell], **how)
        return {name: one[0] for name, one in weights.items()}

    def loss(z, labels, t):
        distil = losses.get(cell.method)
        return distil(z, t, labels, kind="multiclass", **cell.settings())

    t = torch.as_tensor(targets[cell.target]).float()
    return Student(
        net=models.load(net, run.step("weights", learn)),
        batches=lambda seed: ImageBatches(X, y, t, batch=how["batch"], seed=seed),
        loss=loss,
        ask=models.predict,
        judge=metrics.accuracy,
        parts=parts,
        teacher={part: told[part] for part in PARTS},
        alone=alone,
        teacher_bytes=shrink.weight_bytes(image_teachers.trained(source)),
        lr=how["lr"],
        decay=0.0,
        quality="accuracy",
        cell=f"{method}, α {cell.alpha:g}, T {cell.T:g}",
        facts=image_teachers.facts(source.config, parts),
    )


def chosen(methods: list[str], sweep, parts) -> tuple:
    """(method, cell) of the best validation accuracy, first of equals, and label-only.

    Read from the answers that the sweep kept; label-only's are logits by name of part.
    Raises ValueError where the sweep has no plain cell of these methods.
    """
    every = [one for one in kd_images.every(sweep.config) if not one[1].hint]
    many = crowds.of(kd_images.untrained(sweep.config, parts)).together
    crowd = [sweep.arrays(f"cells-{at}") for at in range(0, len(every), many)]
    said = {part: np.concatenate([one[part] for one in crowd]) for part in PARTS}
    right = {
        number: metrics.accuracy(parts.val.y, said["val"][number])
        for number, (method, _) in enumerate(every)
        if method in methods
    }
    if not right:
        raise ValueError(f"methods is {methods}: the sweep has no such plain cell")
    alone = {part: said[part][0] for part in PARTS}
    return *every[max(right, key=right.get)], alone


def wafer(config: dict, run) -> Student:
    """The label-free student `taught`, and the one that learnt from labels, if any."""
    taught = run.need(wafer_students, config["taught"])
    own, net = taught.config, wafer_teachers.trained(taught)
    source = run.need(wafer_answers, own["answers"])
    parts, told = wafer_teachers.split(source.config), source.arrays("answers")
    tensors = wafer_students.transfer(own, source, parts)
    how = {"batch": own["batch"], "turned": own["turned"]}
    alone = config["alone"] and run.need(wafer_students, config["alone"])
    asked = [run.need(wafer_teachers, id) for id in source.config["teachers"]]
    whole = [waferpack.folded(wafer_teachers.trained(one)) for one in asked]
    return Student(
        net=net,
        batches=lambda seed: turns.TurnedBatches(*tensors, seed=seed, **how),
        loss=wafer_students.loss(own),
        ask=turns.ask,
        judge=metrics.accuracy,
        parts=parts,
        teacher={part: told[part] for part in PARTS},
        alone=alone and {part: alone.arrays("answers")[part] for part in PARTS},
        teacher_bytes=sum(map(shrink.weight_bytes, whole)),
        lr=own["lr"],
        decay=own["decay"],
        quality="exact match",
        cell="label-free, α {alpha:g}, β {beta:g}".format(**own)
        + (f", T {own['T']:g}" if "T" in own else ""),
        facts=wafer_teachers.facts(source.config, parts),
    )

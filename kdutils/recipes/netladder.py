"""recipes.netladder: image and wafer students pruned and quantized, one row a step.

One run is one finished student and one seed: an image student of its best distilled
cell, or a wafer student that was taught without a label. Each step changes one thing.
Fine-tuning goes on with the batches and the loss that the student was distilled with,
at a `share` of its learning rate; beside it stands what was tuned for as many epochs
and not changed. All is measured with normalisations folded, as deployed.
The structured rows of convolutional students are the narrower nets of their own stage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Literal

import numpy as np
import torch
from torch import nn

from kdutils import losses, metrics, models, train
from kdutils.compress import convert, quantize
from kdutils.compress import prune as compress
from kdutils.data import Split
from kdutils.recipes import (
    kd_images,
    ladder,
    net_teachers,
    tasks,
    wafer_answers,
    wafer_students,
)
from kdutils.recipes.ladder import FP32, Step
from kdutils.recipes.tasks import IMAGES, WAFERS, Images, Sizes
from kdutils.store.config import Count, Natural, Positive, Share
from kdutils.train import students

PARTS = ("val", "test")
CONTROLS = {1: "dense, same extra epochs", 2: "dense, twice the extra epochs"}
JOINT = 8  # bits of a student that is pruned as well
NUMBERS = ("weight_bytes", "params", "nonzero", "steps")
digest = itemgetter("taught")  # the data are the student's: its id names them


@dataclass(frozen=True)
class Config:
    """One student; methods for an image's, alone for a wafer map's."""

    of: Literal["03_kd_images", "05_wafer_label_free"]
    source: str
    seed: Natural
    student: str
    sizes: Sizes
    taught: str
    epochs: Count
    share: Positive
    sparsities: list[Share]
    scope: str
    bits: list[Count]
    both: list[Share]
    units: list[Share]
    methods: list[str] | None = None
    alone: str | None = None


@dataclass(frozen=True)
class Student:
    """A finished student, how it was distilled, and the systems that it stands beside.

    batches: seed -> fresh batches; loss: (z, *targets) -> scalar; parts: a `Split`;
    teacher and alone, the label-only student or None: logits by name of part; facts:
    what each row says of the data; cell: its distillation in words.
    """

    task: Images
    net: nn.Module
    batches: Callable
    loss: Callable
    parts: Split
    teacher: dict[str, np.ndarray]
    alone: dict[str, np.ndarray] | None
    teacher_bytes: int
    lr: float
    decay: float
    cell: str
    facts: dict


TEACHER = Step("teacher", "teacher", after=None, family="control")
ALONE = Step("label-only student fp32", "label-only", after=None, family="control")
DISTILLED = Step(FP32, "distilled", family="control")


def plan(
    image_rows=None, wafer_rows=None, *, methods: list, wafer_sizes=None, **settings
) -> list[dict]:
    """One config per student and seed; either frame may be None or empty.

    image_rows: rows of `kd_images`, of whose cells these methods may give the student;
    wafer_rows: rows of `wafer_students`, of whose group "ours" those of `wafer_sizes`
    are taken, all if it is None. settings: epochs, share, sparsities, scope, bits, both
    (sparsities that are quantized too) and units (shares, for perceptrons alone).
    """
    if missing := set(settings["both"]) - set(settings["sparsities"]):
        raise ValueError(f"both has {sorted(missing)}: expected some of the sparsities")
    configs = []
    if image_rows is not None and len(image_rows):
        for row in image_rows.drop_duplicates("run").itertuples():
            about = {"source": row.source, "student": row.student, "sizes": row.sizes}
            about |= {"seed": row.seed, "taught": row.run, "methods": methods}
            configs.append({"of": "03_kd_images", **about, **settings})
    if wafer_rows is None or not len(wafer_rows):
        return configs
    ours = wafer_rows[wafer_rows["group"] == "ours"]
    if wafer_sizes is not None:
        ours = ours[[sizes in wafer_sizes for sizes in ours["sizes"]]]
    if ours.empty:
        raise ValueError(f"no wafer student of group 'ours' has sizes {wafer_sizes}")
    keys = ["site", "net", "sizes", "seed"]
    labels = wafer_rows[wafer_rows["group"] == "labels"].to_dict("records")
    for row in ours.to_dict("records"):
        alone = [r["run"] for r in labels if all(r[k] == row[k] for k in keys)]
        about = {"source": row["site"], "student": row["net"], "sizes": row["sizes"]}
        about |= {"seed": row["seed"], "taught": row["run"], "alone": [*alone, None][0]}
        configs.append({"of": "05_wafer_label_free", **about, **settings})
    return configs


def steps(config: dict) -> list[Step]:
    """Every rung below the float32 student, each after the one that it starts from."""
    found, after = [], FP32
    once = {"rounds": 1, "tuned": True}
    for rounds, name in CONTROLS.items():
        how = {"after": after, "family": "control"}
        found.append(Step(name, "dense", rounds=rounds, tuned=True, **how))
        after = name
    for share in config["sparsities"]:
        name = f"pruned {100 * share:g} %"
        found.append(Step(name, "pruned", share))
        found.append(Step(f"{name} + fine-tuned", "pruned + fine-tuned", share, **once))
    for share in config["units"] if config["student"] == "mlp" else []:
        name = f"without {100 * share:g} % of the units + fine-tuned"
        found.append(Step(name, "units + fine-tuned", share, units=True, **once))
    for bits in config["bits"]:
        found.append(Step(f"weight-only int{bits}", "weight-only", bits=bits))
        found.append(Step(f"QAT int{bits}", "QAT", bits=bits, **once))
    for share in config["both"]:
        name = f"pruned {100 * share:g} %"
        twice = {"rounds": 2, "tuned": True, "after": f"{name} + fine-tuned"}
        name = f"{name} + QAT int{JOINT}"
        found.append(Step(name, "pruned + QAT", share, JOINT, **twice))
    return found


def compute(config: dict, run) -> dict:
    """Climb down once, keep what each rung predicts, one row for each."""
    student = (image if config["of"] == "03_kd_images" else wafer)(config, run)
    work = partial(descend, config, student, run.training)
    kept = run.step("ladder", work)
    known = {TEACHER: student.teacher, ALONE: student.alone}
    known, rows = {step: logits for step, logits in known.items() if logits}, {}
    model = config["student"]
    if student.task is WAFERS:
        model = tasks.called(model, config["sizes"])
    for order, step in enumerate([*known, DISTILLED, *steps(config)]):
        logits = known.get(step) or {p: kept[f"{step.name}-{p}"] for p in PARTS}
        row = {"step": step.name, "order": order, "family": step.family}
        row |= {"way": step.way, "sparsity": step.sparsity, "bits": step.bits}
        row |= {"tuned": step.rounds * config["epochs"], "cell": student.cell}
        row |= {"quality": student.task.quality, **student.facts, "model": model}
        for part in PARTS:
            row[part] = student.task.score(getattr(student.parts, part).y, logits[part])
        like = FP32 if step == ALONE else step.name  # the same net weighs the same
        numbers = kept.get(f"{like}-numbers", np.array([])).tolist() or [None] * 4
        row |= dict(zip(NUMBERS, numbers, strict=True))
        rows[step.name] = row
    rows[TEACHER.name]["weight_bytes"] = student.teacher_bytes
    for row in rows.values():
        row["drop"] = row["test"] - rows[FP32]["test"]
        row["drop_val"] = row["val"] - rows[FP32]["val"]
        row["control"] = control = CONTROLS.get(row["tuned"] / config["epochs"])
        row["over_control"] = row["test"] - rows[control]["test"] if control else None
    return {"rows": list(rows.values())}


def descend(config: dict, student: Student, training: Callable) -> dict:
    """Logits of validation and test, and NUMBERS, of every rung.

    training: the name of a step -> device and checkpoint of its fine-tuning.
    """
    kept, round_steps = {}, config["epochs"] * len(student.batches(0))
    rung = partial(tuned, config, student, training)
    every = ladder.climb([DISTILLED, *steps(config)], {FP32: student.net}, rung)
    for step, net in every:
        small = deployed(net, step.bits)
        held = sum(int(p.count_nonzero()) for p in small.parameters())
        weighs = compress.weight_bytes(small, bits=step.bits)
        numbers = [weighs, models.parameters(small), held, step.rounds * round_steps]
        kept[f"{step.name}-numbers"] = np.array(numbers)
        for part in PARTS:
            X = getattr(student.parts, part).X
            kept[f"{step.name}-{part}"] = student.task.predict(small, X)
    return kept


def deployed(net: nn.Module, bits: int) -> nn.Module:
    """The net as a file of its weights at these bits is read back."""
    small = convert.folded(net)
    return small if bits == 32 else quantize.quantized(small, bits)


def tuned(
    config: dict, student: Student, training: Callable, step: Step, net: nn.Module
) -> nn.Module:
    """The net of a step, made from the net that it starts from, not yet `deployed`."""
    masks = None
    if step.units:
        net = compress.units(net, share=step.sparsity)
    elif step.sparsity:
        ranked, scope = convert.folded(net), config["scope"]
        masks = compress.masks(ranked, step.sparsity, scope=scope)
        net = compress.masked(net, masks)
    if not step.tuned:
        return net
    own = {"lr": config["share"] * student.lr, "weight_decay": student.decay}

    def fit(net: nn.Module) -> None:
        train.fit(
            net,
            student.batches(config["seed"] + step.rounds),
            student.loss,
            epochs=config["epochs"],
            optimizer=partial(torch.optim.AdamW, **own, fused=True),
            seed=config["seed"],
            **training(step.name),
        )

    bits = step.bits if step.bits < 32 else None
    return quantize.tune(net, fit, masks=masks, bits=bits)


def image(config: dict, run) -> Student:
    """The student of the sweep `taught`: its cell of the best validation accuracy.

    The sweep kept answers, not weights: the cell is trained again as there, alone
    instead of beside others, so that its weights differ by the rounding of sums.
    """
    sweep = run.need(kd_images, config["taught"])
    source = run.need(net_teachers, sweep.config["teacher"])
    parts, logits = IMAGES.load(source.config), source.arrays("logits")
    method, cell, alone = chosen(config["methods"], sweep, parts)
    targets = {"teacher": logits["views"][0]}
    if cell.target not in targets:
        targets[cell.target] = sweep.arrays(cell.target)["logits"]
    X, y, how = parts.train.X, parts.train.y, kd_images.fitting(sweep.config)
    net, training = kd_images.untrained(sweep.config, parts), run.training("weights")

    def learn() -> dict[str, np.ndarray]:
        weights = students.fit_stacked(net, X, y, targets, [cell], **how, **training)
        return {name: one[0] for name, one in weights.items()}

    def loss(z, labels, t):
        distil = losses.get(cell.method)
        return distil(z, t, labels, kind="multiclass", **cell.settings())

    t = torch.as_tensor(targets[cell.target]).float()
    return Student(
        task=IMAGES,
        net=models.load(net, run.step("weights", learn)),
        batches=lambda seed: IMAGES.batches(X, y, t, batch=how["batch"], seed=seed),
        loss=loss,
        parts=parts,
        teacher={part: logits[part] for part in PARTS},
        alone=alone,
        teacher_bytes=compress.weight_bytes(net_teachers.trained(source)),
        lr=how["lr"],
        decay=0.0,
        cell=f"{method}, α {cell.alpha:g}, T {cell.T:g}",
        facts=IMAGES.facts(source.config, parts),
    )


def chosen(methods: list[str], sweep, parts) -> tuple:
    """(method, cell) of the best validation accuracy, first of equals, and label-only.

    Read from the answers that the sweep kept; label-only's are logits by name of part.
    Raises ValueError where the sweep has no plain cell of these methods.
    """
    every = [one for one in kd_images.every(sweep.config) if not one[1].hint]
    many = students.stacked(kd_images.untrained(sweep.config, parts)).together
    kept = [sweep.arrays(f"cells-{at}") for at in range(0, len(every), many)]
    logits = {part: np.concatenate([one[part] for one in kept]) for part in PARTS}
    right = {
        number: metrics.accuracy(parts.val.y, logits["val"][number])
        for number, (method, _) in enumerate(every)
        if method in methods
    }
    if not right:
        raise ValueError(f"methods is {methods}: the sweep has no such plain cell")
    alone = {part: logits[part][0] for part in PARTS}
    return *every[max(right, key=right.get)], alone


def wafer(config: dict, run) -> Student:
    """The label-free student `taught`, and the one that learnt from labels, if any."""
    taught = run.need(wafer_students, config["taught"])
    own, net = taught.config, net_teachers.trained(taught)
    source = run.need(wafer_answers, own["answers"])
    parts, logits = WAFERS.load(source.config), source.arrays("answers")
    tensors = wafer_students.transfer(own, source, parts)
    how = {"batch": own["batch"], "augment": own["augment"]}
    alone = config["alone"] and run.need(wafer_students, config["alone"])
    large = [run.need(net_teachers, id) for id in source.config["teachers"]]
    whole = [convert.folded(net_teachers.trained(one)) for one in large]
    return Student(
        task=WAFERS,
        net=net,
        batches=lambda seed: WAFERS.batches(*tensors, seed=seed, **how),
        loss=wafer_students.loss(own),
        parts=parts,
        teacher={part: logits[part] for part in PARTS},
        alone=alone and {part: alone.arrays("answers")[part] for part in PARTS},
        teacher_bytes=sum(map(compress.weight_bytes, whole)),
        lr=own["lr"],
        decay=own["decay"],
        cell="label-free, α {alpha:g}, β {beta:g}".format(**own)
        + (f", T {own['T']:g}" if "T" in own else ""),
        facts=WAFERS.facts(source.config, parts),
    )

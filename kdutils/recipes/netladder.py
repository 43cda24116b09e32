"""recipes.netladder: image and wafer students pruned and quantized, one row a step.

One run is one finished student and one seed: an image student of its best distilled
cell, or a wafer student that was taught without a label. Each step changes one thing.
Fine-tuning goes on with the batches and the loss that the student was distilled with,
at a `share` of its learning rate; beside it stands what was tuned for as many epochs
and not changed. All is asked and weighed with normalisations folded, as deployed.
The structured rows of convolutional students are the narrower nets of their own stage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from kdutils import models
from kdutils.compress import shrink
from kdutils.deploy import waferpack
from kdutils.recipes import kd_images, wafer_students
from kdutils.recipes.netstudents import PARTS, Student, image, wafer

STAGE = "06_prune_quantize"
CONTROLS = {1: "dense, same extra epochs", 2: "dense, twice the extra epochs"}
JOINT = 8  # bits of a student that is pruned as well
NUMBERS = ("weight_bytes", "params", "nonzero", "steps")


@dataclass(frozen=True)
class Step:
    """One rung: what is done to the net that the step `after` left.

    after: None for a system whose answers are known. rounds: how often a net was tuned
    for `epochs` by then, each time on a new cosine. 0 sparsity and 32 bits change
    nothing; units: the share is one of whole hidden units.
    """

    name: str
    way: str
    sparsity: float = 0.0
    bits: int = 32
    rounds: int = 0
    after: str | None = "student fp32"
    family: str = "ours"
    units: bool = False


TEACHER = Step("teacher", "teacher", after=None, family="control")
ALONE = Step("label-only student fp32", "label-only", after=None, family="control")
FP32 = Step("student fp32", "distilled", family="control")


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
            configs.append({"of": kd_images.STAGE, **about, **settings})
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
        configs.append({"of": wafer_students.STAGE, **about, **settings})
    return configs


def digest(config: dict) -> str:
    """The data are the student's: its id names them."""
    return config["taught"]


def steps(config: dict) -> list[Step]:
    """Every rung below the float32 student, each after the one that it starts from."""
    found, after = [], FP32.name
    for rounds, name in CONTROLS.items():
        found.append(Step(name, "dense", 0.0, 32, rounds, after, "control"))
        after = name
    for share in config["sparsities"]:
        name = f"pruned {100 * share:g} %"
        found.append(Step(name, "pruned", share))
        found.append(Step(f"{name} + fine-tuned", "pruned + fine-tuned", share, 32, 1))
    for share in config["units"] if config["student"] == "mlp" else []:
        name = f"without {100 * share:g} % of the units + fine-tuned"
        found.append(Step(name, "units + fine-tuned", share, rounds=1, units=True))
    for bits in config["bits"]:
        found.append(Step(f"weight-only int{bits}", "weight-only", bits=bits))
        found.append(Step(f"QAT int{bits}", "QAT", bits=bits, rounds=1))
    for share in config["both"]:
        after, name = f"pruned {100 * share:g} % + fine-tuned", f"{100 * share:g} %"
        name = f"pruned {name} + QAT int{JOINT}"
        found.append(Step(name, "pruned + QAT", share, JOINT, 2, after))
    return found


def compute(config: dict, run) -> dict:
    """Climb down once, keep what each rung says, one row for each."""
    student = (image if config["of"] == kd_images.STAGE else wafer)(config, run)
    kept = run.step("ladder", lambda: descend(config, student))
    known = {TEACHER: student.teacher, ALONE: student.alone}
    known, rows = {step: said for step, said in known.items() if said}, {}
    for order, step in enumerate([*known, FP32, *steps(config)]):
        said = known.get(step) or {p: kept[f"{step.name}-{p}"] for p in PARTS}
        row = {"step": step.name, "order": order, "family": step.family}
        row |= {"way": step.way, "sparsity": step.sparsity, "bits": step.bits}
        row |= {"tuned": step.rounds * config["epochs"], "cell": student.cell}
        row |= {"quality": student.quality, **student.facts}
        for part in PARTS:
            row[part] = student.judge(getattr(student.parts, part).y, said[part])
        like = FP32.name if step == ALONE else step.name  # the same net weighs the same
        numbers = kept.get(f"{like}-numbers", np.array([])).tolist() or [None] * 4
        row |= dict(zip(NUMBERS, numbers, strict=True))
        rows[step] = row
    rows[TEACHER]["weight_bytes"] = student.teacher_bytes
    found = {row["step"]: row for row in rows.values()}
    for step, row in rows.items():
        row["drop"] = row["test"] - found[FP32.name]["test"]
        row["drop_val"] = row["val"] - found[FP32.name]["val"]
        row["control"] = control = CONTROLS.get(step.rounds)
        row["over_control"] = row["test"] - found[control]["test"] if control else None
    return {"rows": list(rows.values())}


def descend(config: dict, student: Student) -> dict[str, np.ndarray]:
    """Logits of validation and test, and NUMBERS, of every rung."""
    left, spent, kept = {}, {}, {}
    for step in [FP32, *steps(config)]:
        batches = student.batches(config["seed"] + step.rounds) if step.rounds else ()
        start = left.get(step.after, student.net)
        left[step.name] = net = rung(config, step, start, student, batches)
        spent[step.name] = spent.get(step.after, 0) + config["epochs"] * len(batches)
        small = deployed(net, step.bits)
        held = sum(int(p.count_nonzero()) for p in small.parameters())
        weighs = shrink.weight_bytes(small, bits=step.bits)
        numbers = [weighs, models.parameters(small), held, spent[step.name]]
        kept[f"{step.name}-numbers"] = np.array(numbers)
        for part in PARTS:
            X = getattr(student.parts, part).X
            kept[f"{step.name}-{part}"] = student.ask(small, X)
    return kept


def deployed(net: nn.Module, bits: int) -> nn.Module:
    """The net as a file of its weights at these bits is read back."""
    small = waferpack.folded(net)
    return small if bits == 32 else shrink.quantized(small, bits)


def rung(config: dict, step: Step, net: nn.Module, student: Student, batches):
    """The net of a step, made from the net that it starts from, not yet `deployed`."""
    masks = None
    if step.units:
        net = shrink.units(net, step.sparsity)
    elif step.sparsity:
        ranked, scope = waferpack.folded(net), config["scope"]
        masks = shrink.masks(ranked, step.sparsity, scope=scope)
        net = shrink.masked(net, masks)
    if not step.rounds:
        return net
    return shrink.tune(
        net,
        batches,
        student.loss,
        masks=masks,
        bits=step.bits if step.bits < 32 else None,
        epochs=config["epochs"],
        lr=config["share"] * student.lr,
        decay=student.decay,
        seed=config["seed"],
    )

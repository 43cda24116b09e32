"""recipes.subclass: two classes distilled through subclasses that a teacher invents.

Müller, Kornblith & Hinton 2020, arXiv 2002.03936. One run is one seed of one source and
one way: `published` repeats the authors' notebook for MNIST (Adam at its usual rate for
12 epochs), `ours` the same nets with moved images, the same move for both, a schedule
and epochs of its own. Every teacher and student of a run meets the same images.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from kdutils import losses, metrics, models, train
from kdutils.data.simulate import tester as simulator
from kdutils.losses import subclass
from kdutils.recipes import folds, tasks
from kdutils.recipes.tasks import Images, Net, paired
from kdutils.store.config import Count, Natural, NotNegative, Positive, Share

CLASSES = 2
hard = partial(losses.get("hard"), kind="multiclass")
TEACHERS = ("teacher", "teacher-plain")
TAUGHT_BY = {"student-subclass": "teacher", "student-kd": "teacher"}
TAUGHT_BY |= {"student-kd-plain": "teacher-plain"}


def _perceptron(*widths: int, **sizes) -> dict:
    return {"name": "perceptron", "sizes": {"widths": [*widths], **sizes}}


AUTHORS = {"teacher": {"name": "pooled", "sizes": {}}, "student": _perceptron(784, 784)}
WIDE = partial(_perceptron, 256, 256)
NETS = {
    "mnist": AUTHORS,
    "pneumoniamnist": AUTHORS,
    "digits": {"teacher": WIDE(dropout=0.5), "student": _perceptron(32)},
    "tester": {"teacher": WIDE(dropout=0.25), "student": _perceptron(64)},
}


@dataclass(frozen=True)
class Config:
    """One source, seed and way; max_shift: pixels that images are moved by."""

    source: str
    seed: Natural
    way: str
    teacher: Net
    student: Net
    subclasses: Count
    alpha: Share
    T: Positive
    beta: NotNegative
    spread_T: Positive
    batch: Count
    lr: Positive
    bf16: bool
    teacher_epochs: Count
    student_epochs: Count
    schedule: Literal["constant", "cosine"]
    max_shift: Natural
    select: bool
    models: list[str]
    options: dict | None = None
    root: str | None = None


def plan(
    *, sources, ways: dict[str, dict], seeds: int, root: str, options: dict, **rest
) -> list[dict]:
    """One config per source, way and seed.

    ways: name -> {teacher_epochs, student_epochs, schedule, max_shift, select, models}
    and what else is its own; root: where images are; options: the simulated tester's
    lots and devices. select: keep the epoch of the best validation AUC, where there are
    validation rows. Raises ValueError where `models` lacks one that another needs.
    """
    for way, how in ways.items():
        needed = {"student-kd", "teacher"}
        needed |= {TAUGHT_BY[one] for one in how["models"] if one in TAUGHT_BY}
        if lacking := sorted(needed - set(how["models"])):
            raise ValueError(
                f"the models of way '{way}' need {' and '.join(lacking)} as well"
            )
    return [
        {"source": source, "seed": seed, "way": way, **NETS[source], **rest, **how}
        | ({"options": options} if source == "tester" else {"root": root})
        for source in sources
        for way, how in ways.items()
        for seed in range(seeds)
    ]


@dataclass(frozen=True)
class Material:
    """Data of two classes and their hidden groups.

    X, y: part ('train', 'val', 'test') -> inputs of the task and class 0 or 1, int64
    (n,); truth: part -> hidden group of each row, int64 (n,), or None; names: of those
    groups; facts: what each row of a record says of its data.
    """

    task: Images
    X: dict[str, np.ndarray]
    y: dict[str, np.ndarray]
    truth: dict[str, np.ndarray] | None
    names: list[str]
    facts: dict

    def build(self, net: dict, outputs: int, seed: int) -> nn.Module:
        """The net {name, sizes} with so many outputs; channels last in memory."""
        side = self.X["train"].shape[1]
        model = self.task.build(net["name"], net["sizes"], seed, side, outputs)
        return model.to(memory_format=torch.channels_last)


def material(config: dict) -> Material:
    """The tester's passes and fails, or a source of images as two classes.

    Ten digits become two halves, 0-4 against 5-9.
    """
    task = tasks.of(config)
    if task is tasks.READINGS:
        return tester(config)
    split, digits = task.load(config), task.outputs(config) == 10
    parts = {name: getattr(split, name) for name in tasks.PARTS}
    return Material(
        task=task,
        X={name: part.X for name, part in parts.items()},
        y={name: part.y // 5 if digits else part.y for name, part in parts.items()},
        truth={name: part.y for name, part in parts.items()} if digits else None,
        names=[str(digit) for digit in range(10)] if digits else [],
        facts=task.facts(config, split),
    )


def tester(config: dict) -> Material:
    """Devices that pass or fail, and the defect that the simulator gave to each."""
    source = {"source": "tester", "options": config["options"], "seed": config["seed"]}
    sizes = {"features": 28, "teacher_features": 28}
    fold = next(folds.folds(source | sizes))
    drawn = simulator.defects(config["seed"], **config["options"])
    truth = dict(zip(tasks.PARTS, drawn, strict=True))
    return Material(
        task=tasks.READINGS,
        X=fold.X,
        y={name: y.astype(np.int64) for name, y in fold.y.items()},
        truth=truth,
        names=list(simulator.DEFECTS),
        facts=tasks.READINGS.facts(config, fold.split),
    )


def digest(config: dict) -> str:
    """The content of the source's files, or the simulator's options."""
    return tasks.of(config).digest(config)


def compute(config: dict, run) -> dict:
    """Teachers with and without subclasses, then the students.

    A row per model (`part` model) and, where the hidden groups are known, one for each
    group and subclass (`part` group): how many test rows of that group fall into it.
    """
    data, kept = material(config), {}
    for name in sorted(config["models"], key=lambda name: name not in TEACHERS):
        if data.truth or name != "student-truth":
            learn = teacher if name in TEACHERS else partial(student, kept=kept)
            work = partial(learn, config, data, name, **run.training(name))
            kept[name] = run.step(name, work)
    logits = {name: grouped(one["test"], data, name) for name, one in kept.items()}
    y, s, rows = data.y["test"], kept["teacher"]["test"], []
    for name, z in logits.items():
        row = {"part": "model", "model": name, **data.facts}
        row |= metrics.summary(y, z, logits["teacher"])
        row["test_auc"] = _auc(y, z)
        row["gain"] = row["test_acc"] - metrics.accuracy(y, logits["student-kd"])
        row["auc_gain"] = row["test_auc"] - _auc(y, logits["student-kd"])
        row |= paired(y, z, logits["student-kd"])
        if name == "teacher":
            row |= found(config, data, s, kept.get("teacher-plain"))
            shared = {**data.facts, "ari": row["ari"]}
        rows.append(row)
    return {"rows": rows + [{**row, **shared} for row in groups(config, data, s)]}


def grouped(s: np.ndarray, data: Material, name: str) -> np.ndarray:
    """Class logits (n, 2) of whatever a model says."""
    s = torch.as_tensor(s)
    if name != "student-truth":
        return subclass.class_logits(s, CLASSES).numpy()
    group, y = fine(data, "train"), data.y["train"]
    own = [np.bincount(group[y == k], minlength=s.shape[1]) for k in range(CLASSES)]
    without = torch.as_tensor(np.stack(own) == 0)  # groups that a class does not have
    return s[:, None].masked_fill(without, -torch.inf).logsumexp(-1).numpy()


def fine(data: Material, part: str) -> np.ndarray:
    """Hidden group and class as one number: groups that both classes have are two."""
    return data.truth[part] * CLASSES + data.y[part]


def teacher(config: dict, data: Material, name: str, **training) -> dict:
    """A teacher's logits on every view and the test part, and its features there.

    The plain one has as many outputs as classes, and no auxiliary loss.
    """
    plain = name == "teacher-plain"
    outputs = CLASSES if plain else config["subclasses"]
    model = data.build(config["teacher"], outputs, config["seed"])
    how = {"beta": config["beta"], "T": config["spread_T"], "classes": CLASSES}

    def loss(s: Tensor, y: Tensor) -> Tensor:
        return hard(s, y=y) if plain else subclass.hard_spread(s, y, **how)

    y, epochs = data.y["train"], config["teacher_epochs"]
    _fit(config, data, model, name, loss, y, epochs, **training)
    fast = models.autocast(model, config["bf16"])
    return {
        "views": data.task.views(fast, data.X["train"], config["max_shift"]),
        "test": data.task.predict(model, data.X["test"]),
        "features": data.task.predict(model, data.X["test"], features=True),
    }


def student(config: dict, data: Material, name: str, kept: dict, **training) -> dict:
    """A student's logits on the test part; kept: arrays of the teachers by name."""
    views = None
    if name in TAUGHT_BY:
        views = kept[TAUGHT_BY[name]]["views"]
    if name == "student-kd":
        views = subclass.class_logits(torch.as_tensor(views).float(), CLASSES).numpy()
    y, size = data.y["train"], CLASSES if views is None else views.shape[2]
    if name == "student-truth":
        y = fine(data, "train")
        size = int(y.max()) + 1
    model = data.build(config["student"], size, config["seed"])

    def loss(s: Tensor, y: Tensor, t: Tensor | None = None) -> Tensor:
        if t is None:
            return hard(s, y=y)
        how = {"alpha": config["alpha"], "T": config["T"], "classes": CLASSES}
        return losses.kd(s, t.float(), y, kind="subclass", **how)

    epochs = config["student_epochs"]
    _fit(config, data, model, name, loss, y, epochs, views, **training)
    return {"test": data.task.predict(model, data.X["test"])}


def found(config: dict, data: Material, s: np.ndarray, plain: dict | None) -> dict:
    """How many subclasses are used, and whether they are the hidden groups.

    ari_class, ari_defects: that of the predicted classes alone, and that among rows of
    any other group than `none`; ari_kmeans: the same agreement for k-means of a teacher
    without subclasses, of its last hidden layer on these test rows, in each class that
    it predicts: what was there before any subclass was learnt.
    """
    used, each = s.argmax(-1), config["subclasses"] // CLASSES
    counts = np.bincount(used, minlength=config["subclasses"])
    row = {"used": metrics.effective(counts), "ari": None}
    if data.truth is None:
        return row
    truth = data.truth["test"]
    row |= {"ari": metrics.ari(truth, used), "nmi": metrics.nmi(truth, used)}
    row["ari_class"] = metrics.ari(truth, used // each)
    if "none" in data.names:
        bad = truth != data.names.index("none")
        row["ari_defects"] = metrics.ari(truth[bad], used[bad])
    if plain is None:
        return row
    side, clusters = plain["test"].argmax(-1), np.zeros(len(truth), int)
    for k in range(CLASSES):
        rows = np.flatnonzero(side == k)
        if len(rows) > each:
            own = KMeans(each, n_init=3, random_state=config["seed"])
            clusters[rows] = k * each + own.fit_predict(plain["features"][rows])
    return row | {"ari_kmeans": metrics.ari(truth, clusters)}


def groups(config: dict, data: Material, s: np.ndarray) -> list[dict]:
    """A row per hidden group and subclass: its count of test rows; [] if unknown."""
    if data.truth is None:
        return []
    of, each = data.truth["test"], config["subclasses"] // CLASSES
    counts = np.zeros((len(data.names), config["subclasses"]), int)
    np.add.at(counts, (of, s.argmax(-1)), 1)
    return [
        {"part": "group", "truth": data.names[group], "subclass": k, "class": k // each}
        | {"count": int(count)}
        for (group, k), count in np.ndenumerate(counts)
    ]


def _auc(y: np.ndarray, z: np.ndarray) -> float:
    return float(metrics.auc(y, z[:, 1] - z[:, 0]))


def _fit(config, data, model, name, loss, y, epochs, views=None, **training):
    how = {"batch": config["batch"], "seed": config["seed"]}
    how |= {"augment": config["max_shift"], "views": views}
    held = data.y["val"]

    def validate(_) -> float:
        return _auc(held, grouped(data.task.predict(model, data.X["val"]), data, name))

    train.fit(
        model,
        data.task.batches(data.X["train"], y, **how),
        loss,
        epochs=epochs,
        optimizer=tasks.adam(config | {"decay": 0.0}),
        seed=config["seed"],
        bf16=config["bf16"],
        schedule=train.SCHEDULES[config["schedule"]],
        validate=validate if config["select"] and len(held) else None,
        **training,
    )

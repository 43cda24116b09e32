"""recipes.subclass: two classes distilled through subclasses that a teacher invents.

Müller, Kornblith & Hinton 2020, arXiv 2002.03936. One run is one seed of one source and
one way: `published` repeats the authors' notebook for MNIST (Adam at its usual rate for
12 epochs), `ours` the same nets with moved images, the same move for both, a schedule
and epochs of its own. Every teacher and student of a run meets the same images.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from kdutils import losses, metrics, models
from kdutils.losses import subclass
from kdutils.recipes import materials
from kdutils.recipes.hinton import paired
from kdutils.recipes.materials import Material
from kdutils.train import loop as train

STAGE = "04_kd_subclass"
CLASSES = 2
hard = partial(losses.get("hard"), kind="multiclass")
TEACHERS = ("teacher", "teacher-plain")
AUTHORS = {
    "teacher": {"name": "pooled", "sizes": {}},
    "student": {"name": "perceptron", "sizes": {"widths": [784, 784]}},
}
NETS = {
    "mnist": AUTHORS,
    "pneumoniamnist": AUTHORS,
    "digits": {
        "teacher": {
            "name": "perceptron",
            "sizes": {"widths": [256, 256], "dropout": 0.5},
        },
        "student": {"name": "perceptron", "sizes": {"widths": [32]}},
    },
    "tester": {
        "teacher": {
            "name": "perceptron",
            "sizes": {"widths": [256, 256], "dropout": 0.25},
        },
        "student": {"name": "perceptron", "sizes": {"widths": [64]}},
    },
}


def plan(
    *, sources, ways: dict[str, dict], seeds: int, root: str, options: dict, **rest
) -> list[dict]:
    """One config per source, way and seed.

    ways: name -> {teacher_epochs, student_epochs, schedule, reach, select, models} and
    what else is its own; root: where images are; options: the simulated tester's lots
    and devices. select: keep the epoch of the best validation AUC, where there are
    validation rows. Raises ValueError where `models` lacks one that another needs.
    """
    for way, how in ways.items():
        needed = {"teacher", "student-kd"}
        needed |= {"teacher-plain"} if "student-kd-plain" in how["models"] else set()
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


def digest(config: dict) -> str:
    """The content of the source's files, or the simulator's options."""
    return materials.digest(config)


def compute(config: dict, run) -> dict:
    """Teachers with and without subclasses, then the students: a row per model."""
    data = materials.material(config)
    told, outputs = {}, {}
    for name in sorted(config["models"], key=lambda name: name not in TEACHERS):
        if name in TEACHERS:
            told[name] = run.step(name, lambda name=name: teacher(config, data, name))
            outputs[name] = told[name]["test"]
        elif data.truth or name != "student-truth":
            stored = run.step(name, lambda name=name: student(config, data, name, told))
            outputs[name] = stored["test"]
    y, logits = data.y["test"], {k: grouped(s, data, k) for k, s in outputs.items()}
    rows = []
    for name, z in logits.items():
        row = {"model": name, **data.facts}
        row |= metrics.summary(y, z, logits["teacher"])
        row["test_auc"] = metrics.auc(y, z[:, 1] - z[:, 0])
        row["gain"] = row["test_acc"] - metrics.accuracy(y, logits["student-kd"])
        row["auc_gain"] = row["test_auc"] - _auc(y, logits["student-kd"])
        row |= paired(y, z, logits["student-kd"])
        if name == "teacher":
            row |= found(config, data, outputs["teacher"], told.get("teacher-plain"))
        rows.append(row)
    return {"rows": rows}


def grouped(s: np.ndarray, data: Material, name: str) -> np.ndarray:
    """Class logits (n, 2) of whatever a model says."""
    s = torch.as_tensor(s)
    if name == "student-truth":
        member = np.stack([_share(data, k) for k in range(CLASSES)])
        mask = torch.as_tensor(member == 0)
        every = s[:, None].masked_fill(mask, -torch.inf)
        return every.logsumexp(-1).numpy()
    return subclass.class_logits(s, CLASSES).numpy()


def _share(data: Material, k: int) -> np.ndarray:
    """Which hidden groups, told apart by class, belong to class k."""
    group = fine(data, "train")
    own = group[data.y["train"] == k]
    return np.bincount(own, minlength=int(group.max()) + 1)


def fine(data: Material, part: str) -> np.ndarray:
    """Hidden group and class as one number: groups that both classes have are two."""
    return data.truth[part] * CLASSES + data.y[part]


def teacher(config: dict, data: Material, name: str) -> dict[str, np.ndarray]:
    """A teacher's logits on every view and the test part, and its features there.

    The plain one has as many outputs as classes, and no auxiliary loss.
    """
    plain = name == "teacher-plain"
    torch.manual_seed(config["seed"])
    model = data.build(config["teacher"], CLASSES if plain else config["subclasses"])
    how = {"beta": config["beta"], "T": config["spread_T"], "classes": CLASSES}

    def loss(s: Tensor, y: Tensor) -> Tensor:
        return hard(s, y=y) if plain else subclass.hard_spread(s, y, **how)

    y, epochs = data.y["train"], config["teacher_epochs"]
    _fit(config, data, model, name, loss, y, epochs)
    return {
        "views": data.views(_halved(config, model), config["reach"]),
        "test": data.ask(model, "test"),
        "features": data.ask(model, "test", features=True),
    }


def student(config: dict, data: Material, name: str, told: dict) -> dict:
    """A student's logits on the test part."""
    views = {
        "student-subclass": told["teacher"]["views"],
        "student-kd": class_views(told["teacher"]["views"]),
        "student-kd-plain": told.get("teacher-plain", {}).get("views"),
    }.get(name)
    y, size = data.y["train"], CLASSES if views is None else views.shape[2]
    if name == "student-truth":
        y = fine(data, "train")
        size = int(y.max()) + 1
    torch.manual_seed(config["seed"])
    model = data.build(config["student"], size)

    def loss(s: Tensor, y: Tensor, t: Tensor | None = None) -> Tensor:
        if t is None:
            return hard(s, y=y)
        how = {"alpha": config["alpha"], "T": config["T"], "classes": CLASSES}
        return losses.kd(s, t.float(), y, kind="subclass", **how)

    _fit(config, data, model, name, loss, y, config["student_epochs"], views)
    return {"test": data.ask(model, "test")}


def class_views(views: np.ndarray) -> np.ndarray:
    """Class logits (V, n, 2) of subclass logits (V, n, S)."""
    return subclass.class_logits(torch.as_tensor(views).float(), CLASSES).numpy()


def found(config: dict, data: Material, s: np.ndarray, plain: dict | None) -> dict:
    """How many subclasses are used, and whether they are the hidden groups.

    ari_kmeans: the same agreement for k-means of a teacher without subclasses, of its
    last hidden layer on these test rows, in each class that it predicts: what was there
    before anyone asked for it.
    """
    used, each = s.argmax(-1), config["subclasses"] // CLASSES
    row = {
        "used": metrics.effective(np.bincount(used, minlength=config["subclasses"])),
        "subclass_class": [k // each for k in range(config["subclasses"])],
        "truth_names": data.names,
        "counts": None,
    }
    if data.truth is None:
        return row
    truth = data.truth["test"]
    counts = np.zeros((len(data.names), config["subclasses"]), int)
    np.add.at(counts, (truth, used), 1)
    row["counts"] = counts.tolist()
    row |= {"ari": metrics.ari(truth, used), "nmi": metrics.nmi(truth, used)}
    if plain is None:
        return row
    side, clusters = plain["test"].argmax(-1), np.zeros(len(truth), int)
    for k in range(CLASSES):
        rows = np.flatnonzero(side == k)
        if len(rows) > each:
            own = KMeans(each, n_init=3, random_state=config["seed"])
            clusters[rows] = k * each + own.fit_predict(plain["features"][rows])
    return row | {"ari_kmeans": metrics.ari(truth, clusters)}


def _auc(y: np.ndarray, z: np.ndarray) -> float:
    return float(metrics.auc(y, z[:, 1] - z[:, 0]))


def _fit(config, data, model, name, loss, y, epochs, views=None) -> None:
    schedule = {"constant": train.constant, "cosine": train.cosine}[config["schedule"]]
    how = {key: config[key] for key in ("batch", "seed", "reach")}
    held = data.y["val"]

    def validate(_) -> float:
        return _auc(held, grouped(data.ask(model, "val"), data, name))

    train.fit(
        _halved(config, model),
        data.batches(y, views=views, **how),
        loss,
        epochs=epochs,
        optimizer=partial(
            torch.optim.AdamW, lr=config["lr"], weight_decay=0.0, fused=True
        ),
        seed=config["seed"],
        schedule=schedule,
        validate=validate if config["select"] and len(held) else None,
    )


def _halved(config: dict, model):
    return models.autocast(model, config["halved"])

"""recipes.networks: networks that people deploy: one run is one net, taught or not.

Every run sees the training rows in `sets` fixed sets of augmented views, one set an
epoch, again from the first when they are through. A net that is to teach keeps its
logits of all of them: its students meet the same views (Beyer et al. 2022, "consistent
teaching"), and it is asked once for all students. A net may begin with another run's
weights, and learn with weights of a few bits (`compress.quantize.tune`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import nn

from kdutils import losses, metrics, models, train
from kdutils.compress import convert, quantize
from kdutils.data import Split, registry
from kdutils.recipes import tasks
from kdutils.recipes.tasks import PHOTOGRAPHS, QUESTIONS, SENTENCES, Sizes
from kdutils.store.config import Count, Natural, NotNegative, Positive, Share

REFERS = ("teacher", "start", "beside")  # keys of a config that name other runs


@dataclass(frozen=True)
class Config:
    """One net: its data, its sizes, how it learns, what it learns from.

    student, method: its names in tables; sets: of augmented views that it learns from;
    teaches: whether its logits of these, and of all `views` sets if that is more, are
    kept; teacher, start, beside: runs that it learns from, begins with and is compared
    with, or ""; weights: published ones that it begins with, a name of the registry, or
    ""; optimizer: of a net for images, sentences have Adam; unlabelled: whether rows
    without a label teach too; alpha: the teacher's weight; smoothing: of the labels;
    bits: of its weights while it learns, 32 for float; file_bytes: the most that its
    file may have, 0 for no file.
    """

    student: str
    method: str
    source: str
    root: str
    seed: Natural
    val: Natural
    net: str
    sizes: Sizes
    epochs: Count
    batch: Count
    lr: Positive
    decay: NotNegative
    schedule: str
    smoothing: Share
    augment: dict
    sets: Count
    bf16: bool
    bias_lr: Positive = 1.0
    momentum: Share = 0.0
    optimizer: Literal["descent", "adam"] = "descent"
    weights: str = ""
    teaches: bool = False
    views: Natural = 0
    teacher: str = ""
    start: str = ""
    beside: str = ""
    unlabelled: bool = False
    alpha: Share = 0.0
    T: Positive = 1.0
    bits: Count = 32
    file_bytes: Natural = 0


def plan(arms: list[dict], rows=None, **settings) -> list[dict]:
    """One config per arm and seed, and per cell where alpha and T are lists.

    arms: {student, method, seeds, and what is its own over `settings`}. An arm's
    `teacher`, `start` and `beside` are 'student/method' of `rows`, earlier runs of this
    recipe: of the same seed, the one of the best validation accuracy is meant.
    """
    configs = []
    for arm in arms:
        how = {**settings, **arm}
        grid = [how.pop(key, default) for key, default in (("alpha", 0.0), ("T", 1.0))]
        alphas, temperatures = (g if isinstance(g, list) else [g] for g in grid)
        if max(alphas) > 0 and "teacher" not in how:
            raise ValueError(f"alpha of {arm} is above 0: expected a teacher as well")
        for seed in range(how.pop("seeds")):
            ids = {k: _run(rows, how[k], seed, k) for k in REFERS if k in how}
            configs += [
                {**how, **ids, "seed": seed, "alpha": float(a), "T": float(t)}
                for a in alphas
                for t in temperatures
            ]
    return configs


def _run(rows, name: str, seed: int, key: str) -> str:
    """The id of the best run of 'student/method' of a seed.

    A teacher of fewer seeds is asked again and again: `learn` refuses it where another
    seed has other training rows.
    """
    student, _, method = name.partition("/")
    if rows is not None and len(rows):
        found = rows[(rows["student"] == student) & (rows["method"] == method)]
        seeds = sorted(found["seed"].unique())
        if key == "teacher" and seeds and seed not in seeds:
            seed = seeds[seed % len(seeds)]
        found = found[found["seed"] == seed]
        if len(found):
            return found.loc[found["val_acc"].idxmax(), "run"]
    raise ValueError(f"{key} is {name!r}, of which there is no run of seed {seed}")


def task(config: dict):
    """What the config's kind of data needs."""
    if registry.known(config["source"]).modality != "text":
        return PHOTOGRAPHS
    return QUESTIONS if config["source"] == "squad" else SENTENCES


def digest(config: dict) -> str:
    """The content of the source's files."""
    return task(config).digest(config)


def untrained(config: dict, parts: Split) -> nn.Module:
    """The net of a config with its initial weights."""
    return task(config).untrained(config, parts)


def trained(run, parts: Split) -> nn.Module:
    """The net of a finished run."""
    return models.load(untrained(run.config, parts), run.arrays("weights"))


def loss(config: dict) -> Callable:
    """(z, y[, t]) -> the config's loss of a batch."""
    own = task(config).targets
    if config.get("teacher"):
        kd = losses.kd.using(kind="multiclass", alpha=config["alpha"], T=config["T"])
        return lambda z, y, t: kd(own(z), own(t.float()), own(y)).mean()
    hard = losses.get("hard")
    how = {"kind": "multiclass", "smoothing": config["smoothing"]}
    return lambda z, y: hard(own(z), y=own(y), **how).mean()


def learn(config: dict, run, parts: Split) -> nn.Module:
    """The net, trained from its labels and, if it has one, its teacher."""
    own, X, y = task(config), parts.train.X, parts.train.y
    net, views = untrained(config, parts), None
    if config.get("start"):
        net = trained(run.need(_self(), config["start"]), parts)
    if config.get("teacher"):
        teacher = run.need(_self(), config["teacher"])
        same = ["source", "root", "val", "augment"]
        same += ["seed"] if config["val"] else []
        wrong = [key for key in same if teacher.config[key] != config[key]]
        wrong += ["sets"] if config["sets"] > kept(teacher.config) else []
        if wrong:
            raise ValueError(
                f"{wrong[0]} is not the teacher's: expected the same views"
            )
        views = teacher.arrays("views")["views"][: config["sets"]]
        every = shown(teacher.config, parts, kept(teacher.config))
        sets = [every[e] for e in range(config["sets"])]  # the first of them
    else:
        sets = shown(config, parts, config["sets"])
    some = own.learns(parts, config.get("unlabelled", False))
    if some is not None:
        X, y, sets = X[some], y[some], [sets[e][some] for e in range(len(sets))]
        views = views if views is None else views[:, some]
    how = {"batch": config["batch"], "seed": config["seed"]}

    def fit(net: nn.Module) -> None:
        train.fit(
            net,
            own.batches(X, y, sets=sets, views=views, **how),
            loss(config),
            epochs=config["epochs"],
            optimizer=own.optimizer(config),
            schedule=train.SCHEDULES[config["schedule"]],
            seed=config["seed"],
            bf16=config["bf16"] and config.get("bits", 32) == 32,
            **run.training("weights"),
        )

    if config.get("bits", 32) < 32:
        return quantize.tune(net, fit, bits=config["bits"])
    fit(net)
    return net


def kept(config: dict) -> int:
    """Of how many sets of views a teacher's logits are kept."""
    return max(config["sets"], config.get("views", 0))


def shown(config: dict, parts: Split, count: int):
    """So many sets of views of the training rows, as a config augments them."""
    return task(config).views(parts.train.X, count, config["seed"], **config["augment"])


def compute(config: dict, run) -> dict:
    """Train, predict, and count; one row."""
    own = task(config)
    parts = own.load(config)
    run.step("weights", lambda: models.arrays(learn(config, run, parts)))
    net = trained(run, parts)
    fast = models.autocast(net, config["bf16"])

    def predict() -> dict[str, np.ndarray]:
        plain = {k: own.predict(fast, getattr(parts, k).X) for k in ("val", "test")}
        if parts.test.X.ndim == 4:  # colour images are shown mirrored as well
            plain["mirrored"] = own.mirrored(fast, parts.test.X)
        return plain

    logits = run.step("logits", predict)
    if config.get("teaches"):
        run.step("views", lambda: {"views": view_logits(config, parts, fast)})
    teacher, row = None, own.facts(config, parts)
    if config.get("teacher"):
        teacher = run.need(_self(), config["teacher"]).arrays("logits")["test"]
    row |= own.scores(config, parts, logits, teacher)
    if config.get("beside"):
        base = run.need(_self(), config["beside"]).arrays("logits")["test"]
        right = (own.right(config, parts, z) for z in (logits["test"], base))
        row |= tasks.compared(*right)
    row["params"] = models.parameters(net)
    row["float_bytes"] = convert.torch_bytes(net)
    if config.get("file_bytes"):
        row |= filed(config, parts, net)
    return {"rows": [row]}


def view_logits(config: dict, parts: Split, net: nn.Module) -> np.ndarray:
    """A net's logits float16 (sets, n, K) of every view that is shown."""
    own, sets = task(config), shown(config, parts, kept(config))
    return np.stack([own.predict(net, sets[e]) for e in range(len(sets))]).astype("f2")


def filed(config: dict, parts: Split, net: nn.Module) -> dict:
    """The bytes of the file that ships, its bits, and its accuracy as it is read.

    Nothing of it where the file would be too large, which a line on stderr says: what
    was learnt is kept.
    """
    side, classes = parts.test.X.shape[-1], task(config).outputs(config)
    names = tuple(f"class {k}" for k in range(classes))
    how = {"id": f"{config['source']}-{'0' * 12}", "limit": config["file_bytes"]}
    how["most"] = min(8, config.get("bits", 8))
    try:
        file, small = convert.packed(net, side, names, **how)
    except convert.TooLarge as error:
        print(f"{config['student']} {config['method']}: {error}", file=sys.stderr)
        return {}
    own, found = task(config), {"packed_bytes": len(file), "packed_bits": small.bits}
    for name, part in {"packed_val_acc": parts.val, "packed_acc": parts.test}.items():
        found[name] = metrics.accuracy(part.y, own.shipped(file, small, part.X, parts))
    return found


def _self():
    return sys.modules[__name__]

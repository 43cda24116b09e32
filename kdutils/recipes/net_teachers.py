"""recipes.net_teachers: large nets that learn images or wafer maps from their labels.

Of images, Hinton et al. 2015, section 3: a wide perceptron with dropout and a limit on
each unit's incoming weights, on images shifted by up to two pixels. One run has it
trained on every training image ('all', as published) and one without the validation
images ('train', for sweeps in which something is chosen). Its logits are kept: of the
plain images for a sweep, of every shift for 'all'.
Of wafer maps, one run is one seed of one net, which `augment` shows every map in the
eight symmetries of a square. Its logits are kept of each map as it is, and averaged
over the eight copies. `baseline` nets, those that label-free students are compared
with, are trained by this recipe as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import nn

from kdutils import metrics, models, train
from kdutils.compress import convert
from kdutils.data import Split, wafers
from kdutils.recipes import tasks
from kdutils.recipes.tasks import IMAGES, PARTS, WAFERS, Site, Sizes
from kdutils.store.config import (
    Count,
    Natural,
    NotNegative,
    Positive,
    Share,
    Taught,
    following,
)
from kdutils.train.fit import MaxNorm


@dataclass(frozen=True)
class Training:
    """How every teacher is trained."""

    epochs: Count
    batch: Count
    lr: Positive
    bf16: bool


@dataclass(frozen=True)
class ImageConfig(Training):
    """A perceptron for images; rows: the training images that it sees."""

    source: str
    root: str
    seed: Natural
    val: Natural
    rows: Literal["all", "train"]
    widths: list[Count]
    dropout: Share
    momentum: Share
    max_norm: Positive
    max_shift: Natural


@dataclass(frozen=True)
class WaferTraining(Training):
    """A net for wafer maps; augment: shown in the eight symmetries of a square."""

    net: str
    sizes: Sizes
    decay: NotNegative
    augment: bool


@dataclass(frozen=True)
class WaferConfig(WaferTraining, Site):
    """A teacher of wafer maps; simulated: it learns from no drawn maps."""

    teacher: str
    simulated: Literal[0]


Config = ImageConfig | WaferConfig


@dataclass(frozen=True)
class Students(Taught):
    """What every recipe shares that trains students of an image teacher."""

    batch: Count
    lr: Positive
    bf16: bool


def plan_students(seen: str, teacher_rows, **settings) -> list[dict]:
    """One config per teacher that saw these `rows` of the images: 'all' or 'train'.

    settings: what else the config of a recipe holds that follows.
    """
    return following(teacher_rows[teacher_rows["rows"] == seen], "teacher", **settings)


def fitting(config: dict) -> dict:
    """What `train.students` is told of a config of `Students`."""
    return {key: config[key] for key in ("batch", "lr", "seed", "bf16")}


def perceptron(config: dict, parts: Split, widths: list[int]) -> nn.Module:
    """An untrained student of images, with the initial weights of the seed."""
    side, classes = parts.train.X.shape[1], IMAGES.outputs(config)
    return IMAGES.build("perceptron", {"widths": widths}, config["seed"], side, classes)


def plan_images(
    *, source: str, root: str, seeds: int, val: int, epochs: dict, **settings
) -> list[dict]:
    """One config per seed and `rows`; epochs: {'all': n, 'train': n}."""
    data = {"source": source, "root": root, "val": val}
    return [
        {**data, "seed": seed, "rows": rows, "epochs": count, **settings}
        for seed in range(seeds)
        for rows, count in epochs.items()
    ]


def plan_wafers(*, sites: dict, teachers: dict, **settings) -> list[dict]:
    """One config per teacher and seed.

    sites: name -> {source, root, maps, options}, where maps come from: maps and options
    are the simulator's, see `data.wafers.split`; teachers: name -> {site, net, sizes,
    seeds and what else is its own, over `settings`}.
    """
    configs = []
    for name, own in teachers.items():
        how = {"simulated": 0, **settings, **own}
        where = sites[how["site"]]
        for seed in range(how.pop("seeds")):
            configs.append({"teacher": name, **where, "seed": seed, **how})
    return configs


def digest(config: dict) -> str:
    """The content of the source's files, or the simulator's options."""
    return tasks.of(config).digest(config)


def untrained(config: dict, side: int) -> nn.Module:
    """The net of a config for inputs of side x side."""
    task, named = tasks.of(config), "net" in config
    sizes = {} if named else {key: config[key] for key in ("widths", "dropout")}
    name, sizes = (config["net"], config["sizes"]) if named else ("perceptron", sizes)
    return task.build(name, sizes, config["seed"], side, task.outputs(config))


def trained(run) -> nn.Module:
    """The net of a finished run."""
    weights, side = run.arrays("weights"), 52
    if tasks.of(run.config) is IMAGES:
        side = round(weights["body.1.weight"].shape[1] ** 0.5)
    net = models.load(untrained(run.config, side), weights)
    return net.to(memory_format=torch.channels_last)


def kept(run) -> tuple[Split, dict[str, np.ndarray], dict]:
    """A finished image teacher's split, its logits, and what rows say of its data."""
    parts = IMAGES.load(run.config)
    return parts, run.arrays("logits"), IMAGES.facts(run.config, parts)


def predictor(run) -> nn.Module:
    """The net of a finished run, with products in bfloat16 if it was trained so."""
    return models.autocast(trained(run), run.config["bf16"])


def fit(config: dict, net: nn.Module, batches, loss, **how) -> None:
    """Train a net in place, a cosine to 0; the last weights are kept.

    AdamW, or descent with momentum under a limit on weights where there is a max_norm.
    how: device and checkpoint of `train.fit`.
    """
    if "decay" in config:
        optimizer = tasks.adam(config)
    else:
        own = {"momentum": config["momentum"], "norm": config["max_norm"]}
        optimizer = partial(MaxNorm, lr=config["lr"], **own)
    how |= {key: config[key] for key in ("epochs", "seed", "bf16")}
    train.fit(net, batches, loss, optimizer=optimizer, **how)


def teach(config: dict, X: np.ndarray, y: np.ndarray, **training) -> nn.Module:
    """A teacher trained on X uint8 (n, H, W) with labels y (n,) or (n, 8)."""
    task, net = tasks.of(config), untrained(config, X.shape[1])
    how = {key: config[key] for key in ("batch", "seed")}
    batches = task.batches(X, y, augment=config[task.augment], **how)
    fit(config, net, batches, task.loss, **training)
    return net


def compute(config: dict, run) -> dict:
    """Train and keep the logits; a row for images, two for maps: plain and averaged."""
    task = tasks.of(config)
    parts = task.load(config)
    how = run.training("weights")

    def weights() -> dict[str, np.ndarray]:
        return models.arrays(teach(config, parts.train.X, parts.train.y, **how))

    run.step("weights", weights)
    rows = image_rows if task is IMAGES else wafer_rows
    return {"rows": rows(config, run, parts, trained(run))}


def image_rows(config: dict, run, parts: Split, model: nn.Module) -> list[dict]:
    """One row with the test errors."""
    max_shift = config["max_shift"] if config["rows"] == "all" else 0

    def predict() -> dict[str, np.ndarray]:
        val = IMAGES.predict(model, parts.val.X) if len(parts.val) else np.empty(0)
        test = IMAGES.predict(model, parts.test.X)
        views = IMAGES.views(model, parts.train.X, max_shift)
        return {"views": views, "val": val, "test": test}

    logits = run.step("logits", predict)
    row = {"system": "teacher", **IMAGES.facts(config, parts), "n_val": len(parts.val)}
    row |= metrics.summary(parts.test.y, logits["test"])
    val = metrics.accuracy(parts.val.y, logits["val"]) if len(parts.val) else None
    size = models.parameters(model)
    return [{**row, "val_acc": val, "params": size, "file_bytes": 4 * size}]


def wafer_rows(config: dict, run, parts: Split, net: nn.Module) -> list[dict]:
    """A row for plain logits and one for those averaged over the eight copies."""

    def predict() -> dict[str, np.ndarray]:
        net, found = predictor(run), {}
        for name, views in product(PARTS, (1, 8)):
            X = getattr(parts, name).X
            found[f"{name}{views}"] = WAFERS.predict(net, X, views=views)
        return found

    logits = run.step("answers", predict)
    shared = WAFERS.facts(config, parts) | {
        "model": tasks.called(config["net"], config["sizes"]),
        "params": models.parameters(net),
        "torch_bytes": convert.torch_bytes(net),
    }
    rows = []
    for views in (1, 8):
        own = {name: logits[f"{name}{views}"] for name in PARTS}
        rows.append({"views": views, **shared, **scores(parts, own)})
    return rows


def scores(parts: Split, logits: dict[str, np.ndarray]) -> dict:
    """Exact match on every part; of the test part what else there is to know."""
    y, z = parts.test.y, logits["test"]
    row = {
        f"{name}_exact": metrics.accuracy(getattr(parts, name).y, logits[name])
        for name in PARTS
    }
    row |= {"macro_f1": metrics.macro_f1(y, z)}
    row |= tasks.flat(metrics.by_label(y, z), wafers.classes())
    return row | tasks.flat(metrics.calibration(y, z))

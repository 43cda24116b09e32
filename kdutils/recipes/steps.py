"""recipes.steps: one student on its many ways down, pruned, fine-tuned, quantized."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from kdutils import losses, metrics
from kdutils.compress import prune as compress
from kdutils.compress import quantize
from kdutils.deploy.int8 import Int8
from kdutils.recipes import folds, kd_tabular
from kdutils.train import grid

# step, family, precision, share pruned; the order in which a reader meets them
STEPS = (
    ("student fp32", "control", "fp32", 0.0),
    ("label-only student fp32", "control", "fp32", 0.0),
    ("dense, same extra epochs", "control", "fp32", 0.0),
    ("published: distilled", "published", "fp32", 0.0),
    ("published: pruned each layer 50 %", "published", "fp32", 0.5),
    ("published: dynamic int8", "published", "int8", 0.0),
    ("published: pruned + dynamic int8", "published", "int8", 0.5),
    ("pruned globally", "ours", "fp32", 0.5),
    ("pruned first layer", "ours", "fp32", 0.5),
    ("pruned each layer + fine-tuned", "ours", "fp32", 0.5),
    ("pruned globally + fine-tuned", "ours", "fp32", 0.5),
    ("pruned first layer + fine-tuned", "ours", "fp32", 0.5),
    ("half the units + fine-tuned", "ours", "fp32", 0.5),
    ("weight-only int8", "ours", "int8", 0.0),
    ("static int8", "ours", "int8", 0.0),
    ("QAT int8", "ours", "int8", 0.0),
    ("pruned + weight-only int8", "ours", "int8", 0.5),
    ("pruned + static int8", "ours", "int8", 0.5),
    ("pruned + QAT int8", "ours", "int8", 0.5),
    ("pruned 75 % + QAT int8", "ours", "int8", 0.75),
    ("half the units + QAT int8", "ours", "int8", 0.5),
    ("QAT, 4-bit weights", "ours", "int4", 0.0),
    ("half the units + QAT, 4-bit weights", "ours", "int4", 0.5),
)

# Each family's zero: its own float32 student, before anything is taken away.
FIRST = {"control": 0, "ours": 0, "published": 3}


def students(config: dict, sweep, fold: folds.Fold, targets: dict) -> list:
    """The student of each step of STEPS, in that order.

    Ours start from the cell with the best validation AUC of this fold, the published
    ones from the published distillation.
    """
    share = config["sparsity"]
    cell = kd_tabular.best_cell(sweep, fold.number, config["methods"])
    fp32, alone, published = (
        kd_tabular.student(sweep, fold.number, sweep.config, one)
        for one in (cell, kd_tabular.BASE, kd_tabular.PUBLISHED)
    )
    tune = Tune(config, sweep.config, cell, fold, targets)
    each, whole, first = (
        prune(fp32, share)
        for prune in (compress.l1_each_layer, compress.l1_global, compress.l1_first)
    )
    half = compress.units(fp32, len(fp32["w2"]) // 2)
    pruned = {"each": each, "whole": whole, "first": first, "half": half}
    tuned = {name: tune.float(*one) for name, one in pruned.items()}
    most = compress.l1_first(tuned["first"], 0.75)
    sparse = tune.float(*most)
    one_shot = compress.l1_each_layer(published, 0.5).arrays
    X = fold.X["train"]
    ours = [
        whole.arrays,
        first.arrays,
        tuned["each"],
        tuned["whole"],
        tuned["first"],
        tuned["half"],
        quantize.weight_only(fp32),
        quantize.static(fp32, X),
        tune.int8(fp32),
        quantize.weight_only(tuned["first"]),
        quantize.static(tuned["first"], X),
        tune.int8(tuned["first"], first.mask),
        tune.int8(sparse, most.mask),
        tune.int8(tuned["half"]),
        tune.int8(fp32, bits=4),
        tune.int8(tuned["half"], bits=4),
    ]
    as_published = [
        published,
        one_shot,
        quantize.dynamic(published),
        quantize.dynamic(one_shot),
    ]
    controls = [fp32, alone, tune.float(fp32, None)]
    calibrate = functools.partial(calibrated, X=fold.X["val"], y=fold.y["val"])
    return [*map(calibrate, controls), *as_published, *map(calibrate, ours)]


def calibrated(student: dict | Int8, X: np.ndarray, y: np.ndarray) -> dict | Int8:
    """The same student with its logit scaled and shifted to validation (Platt 1999).

    The last layer takes both, so it costs no byte and changes no ranking. A loss that
    sees logits only up to scale, like logit standardization at alpha 1, needs it.
    """
    rule = LogisticRegression().fit(compress.logits(student, X)[:, None], y)
    slope, shift = np.float32(rule.coef_[0, 0]), np.float32(rule.intercept_[0])
    if slope <= 0:
        return student
    if isinstance(student, Int8):
        shifted = np.float32(slope * student.b2 + shift)
        return replace(student, s2=np.float32(slope * student.s2), b2=shifted)
    shifted = np.float32(slope * student["b2"] + shift)
    return {**student, "w2": slope * student["w2"], "b2": shifted}


class Tune:
    """Fine-tunes students of one fold with the loss that they were distilled with."""

    def __init__(self, config, sweep_config, cell, fold, targets):
        self.cell, self.seed = cell, config["seed"]
        method = kd_tabular.special(self.cell["method"])
        self.X, self.y, self.teacher = kd_tabular.material(method, fold, targets)
        self.fold, self.sweep_config = fold, sweep_config
        settings = {**sweep_config, "steps": config["steps"], "lr": config["lr"]}
        self.settings = kd_tabular.fitting(settings, len(self.y))
        self.qat_lr = config["qat_lr"]

    def float(self, arrays: dict, mask: dict | None) -> dict:
        """The best epoch of a float32 fine-tuning; masked weights stay zero."""
        fitted = grid.fit(
            self.X,
            self.y,
            self.teacher,
            [kd_tabular.as_cell(self.cell, self.sweep_config)],
            seeds=[self.seed],
            X_val=self.fold.X["val"],
            y_val=self.fold.y["val"],
            init=arrays,
            mask=mask,
            **{**self.settings, "hidden": len(arrays["w2"])},
        )
        return fitted.arrays(0, 0)

    def int8(self, arrays: dict, mask: dict | None = None, *, bits: int = 8) -> Int8:
        """The best epoch of a quantization-aware fine-tuning."""
        y, teacher = torch.as_tensor(self.y), torch.as_tensor(self.teacher)
        cell = kd_tabular.as_cell(self.cell, self.sweep_config)
        val_X, val_y = self.fold.X["val"], self.fold.y["val"]

        distil = losses.get(cell.method, "binary")
        given = {key: getattr(cell, key) for key in distil.settings["binary"]}

        def loss(logits, rows):
            return distil(logits, teacher[rows], y[rows], kind="binary", **given)

        return quantize.qat(
            arrays,
            self.X,
            loss,
            epochs=self.settings["epochs"],
            lr=self.qat_lr,
            batch=self.settings["batch"],
            seed=self.seed,
            mask=mask,
            bits=bits,
            validate=lambda student: metrics.auc(val_y, student.logits(val_X)),
        )

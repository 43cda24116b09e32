"""recipes.ladder: pruning and quantization as a list of steps, for any student.

A ladder is a list of `Step`s, each after the one that it starts from; `climb` takes
them one by one. `Tabular` takes the steps of the two-layer students of tables, whose
fine-tuning uses the loss that they were distilled with; `netladder` those of nets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from kdutils import losses, metrics
from kdutils.compress import prune as compress
from kdutils.compress import quantize
from kdutils.deploy.runtime import Int8
from kdutils.recipes import kd_tabular
from kdutils.recipes import teachers as teachers_recipe
from kdutils.recipes.folds import Fold, folds
from kdutils.store.config import Count, Positive, Taught

FP32 = "student fp32"
NEVER = 1 << 30  # epochs from one validation to the next


@dataclass(frozen=True)
class Step:
    """One rung: what is done to the student that the step `after` left.

    way: what a table calls this kind of step. sparsity: the share of the weights, or of
    the hidden units where `units`, that is away by then; 0 takes none. tuned:
    fine-tuned afterwards; rounds: how often by then.
    quantizer: how the result gets its `bits` ('' leaves float32); the next step starts
    from the student before that. after: None for a system that is known.
    """

    name: str
    way: str = ""
    sparsity: float = 0.0
    bits: int = 32
    rounds: int = 0
    after: str | None = FP32
    family: str = "ours"
    scope: str = "first"
    units: bool = False
    tuned: bool = False
    quantizer: str = ""


def climb(
    steps: Iterable[Step], known: dict[str, Any], rung: Callable
) -> Iterator[tuple[Step, Any]]:
    """Each step with its student; rung: (step, student that it starts from) -> student.

    known: students by the names of the steps at which something else starts.
    """
    left = dict(known)
    for step in steps:
        if step.name not in left:
            left[step.name] = rung(step, left[step.after])
        yield step, left[step.name]


@dataclass(frozen=True)
class Tuning(Taught):
    """One sweep run, whose cells of `methods` may give the student to fine-tune."""

    sweep: str
    methods: list[str]
    steps: Count
    lr: Positive
    qat_lr: Positive


@dataclass
class Tabular:
    """A fold's distilled student, and the steps that can be taken from it.

    Fine-tuning goes on with the rows and the loss of the cell {method, alpha, T} that
    the student was distilled by, for so many `steps` of the settings, which are those
    of `kd_tabular.fit`. targets: the teacher's, as of `kd_tabular.train`; fp32: the
    student; validated: whether the best epoch is kept, else the last.
    """

    fold: Fold
    targets: dict
    cell: dict
    settings: dict
    qat_lr: float
    fp32: dict
    validated: bool = True

    def rung(self, step: Step, arrays: dict) -> dict:
        """The float32 student of a step from the one that it starts from."""
        if step.units:
            left = round((1 - step.sparsity) * len(self.fp32["w2"]))
            arrays = compress.fewer_units(arrays, max(1, left))
        elif step.sparsity:
            arrays = compress.pruned(arrays, step.sparsity, scope=step.scope)
        return self.float(arrays) if step.tuned else arrays

    def quantized(self, step: Step, arrays: dict):
        """The float32 student of a step as its quantizer makes it."""
        bits = {"bits": step.bits}
        make = {
            "": lambda: arrays,
            "dynamic": lambda: quantize.dynamic(arrays),
            "weight-only": lambda: quantize.weight_only(arrays, **bits),
            "static": lambda: quantize.static(arrays, self.fold.X["train"], **bits),
            "QAT": lambda: self.int8(arrays, **bits),
        }
        return make[step.quantizer]()

    def float(self, arrays: dict) -> dict:
        """The student after a float32 fine-tuning; weights that are 0 stay 0."""
        own = {"init": arrays, "hidden": len(arrays["w2"])}
        own |= {} if self.validated else {"eval_every": NEVER}
        given = self.settings, self.fold, self.targets, [self.cell]
        return kd_tabular.picked(kd_tabular.train(*given, **own), 0)

    def int8(self, arrays: dict, *, bits: int = 8) -> Int8:
        """The student after a quantization-aware fine-tuning; zeros stay zeros."""
        kind = kd_tabular.special(self.cell["method"])
        X, *known = kd_tabular.material(kind, self.fold, self.targets)
        y, teacher = map(torch.as_tensor, known)
        cell = kd_tabular.as_cell(self.cell, self.settings)
        distil, given = losses.get(cell.method, "binary"), cell.settings("binary")
        val_X, val_y = self.fold.X["val"], self.fold.y["val"]

        def validate(student: Int8) -> float:
            return metrics.auc(val_y, student.logits(val_X))

        return quantize.qat(
            arrays,
            X,
            lambda z, i: distil(z, teacher[i], y[i], kind="binary", **given),
            epochs=kd_tabular.fitting(self.settings, len(y))["epochs"],
            lr=self.qat_lr,
            batch=self.settings["batch"],
            seed=self.settings["seed"],
            bits=bits,
            validate=validate if self.validated else None,
        )


def distilled(config: dict, sweep, fold: Fold, targets: dict) -> Tabular:
    """The best student of a sweep in a fold, with a `Tuning`'s settings."""
    cell = kd_tabular.best_cell(sweep, fold.number, config["methods"])
    settings = sweep.config | {key: config[key] for key in ("steps", "lr", "seed")}
    fp32 = kd_tabular.student(sweep, fold.number, cell)
    return Tabular(fold, targets, cell, settings, config["qat_lr"], fp32)


def calibrated(student: dict | Int8, X: np.ndarray, y: np.ndarray) -> dict | Int8:
    """The same student with its logit scaled and shifted to validation: `platt`."""
    return rescaled(student, *platt(compress.logits(student, X), y))


def platt(z: np.ndarray, y: np.ndarray) -> tuple[np.float32, np.float32]:
    """Slope and shift that calibrate logits z (n,) to verdicts y (n,) (Platt 1999).

    1 and 0 where the slope would turn the ranking round.
    """
    rule = LogisticRegression().fit(z[:, None], y)
    slope, shift = np.float32(rule.coef_[0, 0]), np.float32(rule.intercept_[0])
    return (slope, shift) if slope > 0 else (np.float32(1), np.float32(0))


def rescaled(student: dict | Int8, slope: np.float32, shift: np.float32) -> dict | Int8:
    """The student whose logit is slope z + shift, slope > 0.

    The last layer takes both, so it costs no byte and changes no ranking. A loss that
    sees logits only up to scale, like logit standardization at alpha 1, needs it.
    """
    if isinstance(student, Int8):
        shifted = np.float32(slope * student.b2 + shift)
        return replace(student, s2=np.float32(slope * student.s2), b2=shifted)
    shifted = np.float32(slope * student["b2"] + shift)
    return {**student, "w2": slope * student["w2"], "b2": shifted}


def measured(config: dict, run, name: str, work: Callable) -> tuple:
    """A sweep's folds, the teacher's config, and what `work` keeps of each fold.

    work: (sweep, fold, the teacher's targets) -> arrays, kept as step `name` + number.
    """
    sweep = run.need(kd_tabular, config["sweep"])
    source = run.need(teachers_recipe, config["teacher"])
    every, kept = list(folds(source.config)), []
    for fold in every:
        targets = kd_tabular.targets(source, fold)
        step = f"{name}{fold.number}"
        kept.append(run.step(step, lambda f=fold, t=targets: work(sweep, f, t)))
    return sweep, source, every, kept

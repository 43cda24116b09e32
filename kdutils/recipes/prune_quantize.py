"""recipes.prune_quantize: the distilled student pruned and quantized, one row a step.

The published recipe (half of each layer's weights in one shot, then dynamic int8)
stands beside better ones and beside the dense student that trains for the same extra
epochs. Fine-tuning uses the loss that the student was distilled with.
"""

from __future__ import annotations

import base64
import functools
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from kdutils import losses, metrics
from kdutils.compress import prune as compress
from kdutils.compress import quantize
from kdutils.deploy import bundle
from kdutils.deploy.runtime import Int8
from kdutils.recipes import folds, kd_tabular
from kdutils.recipes import teachers as teachers_recipe
from kdutils.store.config import Count, Positive, Share, Taught, following
from kdutils.train import grid

NUMBERS = ("val_auc", "params", "nonzero", "raw_bytes", "file_bytes", "gzip_bytes")
NUMBERS += ("model_bytes", "bundle_bytes", "moved", "moved_plain")
OUT_OF_RANGE = 1e6  # times the column's median: an open probe
BATCH, DRAWS = 256, 8
digest = itemgetter("sweep")  # the data are the sweep's: its id names them

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


@dataclass(frozen=True)
class Tuning(Taught):
    """One sweep run, whose cells of `methods` may give the student to fine-tune."""

    sweep: str
    methods: list[str]
    steps: Count
    lr: Positive
    qat_lr: Positive


@dataclass(frozen=True)
class Config(Tuning):
    """The share of weights that is pruned."""

    sparsity: Share


def plan(sweep_rows, **settings) -> list[dict]:
    """One config per sweep run; settings: `methods` that may give the student, etc."""
    return following(sweep_rows, "sweep", "teacher", **settings)


def compute(config: dict, run) -> dict:
    """A row per step and fold, and the bundle of each step that has one, of fold 0.

    test_auc, drop, to_teacher and cell are of the fold, all else of the folds together.
    """
    sweep = run.need(kd_tabular, config["sweep"])
    source = run.need(teachers_recipe, config["teacher"])
    every = list(folds.folds(source.config))
    results = []
    for fold in every:
        targets = kd_tabular.targets(source, fold)
        id = f"{config['source']}-{run.id}"
        work = functools.partial(_ladder, config, sweep, fold, targets, id)
        results.append(run.step(f"fold{fold.number}", work))
    best = [kd_tabular.best_cell(sweep, f.number, config["methods"]) for f in every]
    cells = ["{method}, α {alpha:g}, T {T:g}".format(**cell) for cell in best]
    teacher = [source.arrays(f"fold{f.number}-ensemble")["test"] for f in every]
    truth = [fold.y["test"] for fold in every]
    ensemble, rows = folds.rows({}, truth, teacher), []
    for number, (step, family, precision, pruned) in enumerate(STEPS):
        row = {"step": step, "order": number, "family": family}
        row |= {"precision": precision, "sparsity": pruned}
        row |= folds.facts(every, source.config)
        numbers = np.mean([one[f"{number}-numbers"] for one in results], axis=0)
        row |= {
            key: None if np.isnan(value) else float(value)
            for key, value in zip(NUMBERS, numbers, strict=True)
        }
        zero = FIRST[family]
        pair = ([one[f"{n}-test"] for one in results] for n in (number, zero))
        scores, first = pair
        mine = folds.rows(row, truth, scores)
        base = rows[zero] if zero < number else mine
        folds.compare("drop", mine, base, truth, scores, first)
        folds.compare("to_teacher", mine, ensemble, truth, scores, teacher)
        for one, cell in zip(mine, cells, strict=True):
            one |= {"cell": cell, "drop_val": one["val_auc"] - base[0]["val_auc"]}
        file = results[0][f"{number}-bundle"].tobytes()
        if file and config["seed"] == 0:
            mine[0]["bundle"] = base64.b64encode(file).decode()
        rows.append(mine)
    return {"rows": [row for mine in rows for row in mine]}


def _ladder(config: dict, sweep, fold: folds.Fold, targets: dict, id: str) -> dict:
    """Test logits, numbers and bundle bytes of every step in one fold.

    A student that has a bundle is measured as the file that ships, on raw readings.
    """
    kept = {}
    neighbours = Neighbours(config["seed"], sweep.config, fold, targets)
    for number, student in enumerate(students(config, sweep, fold, targets)):
        file = packed(student, fold, 0.0, id)
        val, test = (asked(student, file, fold, name) for name in ("val", "test"))
        threshold = float(np.quantile(val, 1 - fold.y["train"].mean()))
        file = packed(student, fold, threshold, id)
        kept[f"{number}-test"] = test
        kept[f"{number}-bundle"] = np.frombuffer(file, np.uint8)
        size = compress.size(student)
        model = bundle.model_bytes(student, fold.prepare) if file else np.nan
        kept[f"{number}-numbers"] = np.array(
            [
                metrics.auc(fold.y["val"], val),
                *size,
                model,
                len(file) or np.nan,
                neighbours.bounded(student, threshold),
                neighbours.plain(STEPS[number][0]),
            ]
        )
    return kept


def asked(student, file: bytes, fold: folds.Fold, name: str) -> np.ndarray:
    """Logits of a part of the fold: of the file, or of torch's own int8 modules."""
    if not file:
        return compress.logits(student, fold.X[name])
    readings = fold.prepare.pick(getattr(fold.split, name).X)
    return bundle.loads(file, "the student").score(readings)


def packed(student, fold: folds.Fold, threshold: float, id: str = "") -> bytes:
    """The student as a bundle's bytes; empty for torch's own int8 modules."""
    if not isinstance(student, dict | Int8):
        return b""
    units = [fold.split.units[j] for j in fold.prepare.columns if fold.split.units]
    schema = bundle.Schema(tuple(units), legal(fold), id=id)
    return bundle.packed(student, fold.prepare, threshold, schema)


def legal(fold: folds.Fold) -> np.ndarray:
    """Low and high of each reading, float32 (d, 2): all training rows, and as much
    again on either side. An engineer who knows the limits of a test should say so.
    """
    X = fold.prepare.pick(fold.split.train.X).astype(float)
    low, high = np.nanmin(X, axis=0), np.nanmax(X, axis=0)
    return np.float32(np.column_stack((2 * low - high, 2 * high - low)))


def choose(rows, tolerance: float) -> dict:
    """The step to ship: the smallest bundle within `tolerance` of fp32 on validation.

    rows: the stage's rows of one source. Returns step, its mean bundle_bytes, drop_val,
    val_auc and the number of candidates; the test rows take no part in the choice.
    """
    means = (
        rows[rows["bundle_bytes"].notna()]
        .groupby("step")[["bundle_bytes", "drop_val", "val_auc"]]
        .mean()
    )
    means = means.drop(index="label-only student fp32")
    good = means[means["drop_val"] >= -tolerance]
    step = good["bundle_bytes"].idxmin()
    return {"step": step, "candidates": len(means), **good.loc[step].to_dict()}


def shipped(rows, step: str) -> bytes:
    """The bundle of a step: the student of seed 0, fold 0.

    rows: the stage's rows of one source; records keep these bundles, so that a ledger
    alone can hand them over.
    """
    kept = rows[(rows["seed"] == 0) & (rows["step"] == step)]["bundle"].dropna()
    if kept.empty:
        raise ValueError(f"no bundle of step '{step}' was kept: it needs seed 0")
    return base64.b64decode(kept.iloc[0])


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
        compress.pruned(fp32, share, scope=scope)
        for scope in ("layer", "global", "first")
    )
    half = compress.fewer_units(fp32, len(fp32["w2"]) // 2)
    pruned = {"each": each, "whole": whole, "first": first, "half": half}
    tuned = {name: tune.float(*one) for name, one in pruned.items()}
    most = compress.pruned(tuned["first"], 0.75, scope="first")
    sparse = tune.float(*most)
    one_shot = compress.pruned(published, 0.5, scope="layer").arrays
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


class Neighbours:
    """What one reading out of range does to the verdicts of its neighbours.

    Once with the bounded readings of this study, once with plainly standardised ones,
    as the published pipeline has them; for those a student of its own is trained.
    """

    def __init__(self, seed: int, sweep_config: dict, fold: folds.Fold, targets: dict):
        rng = np.random.default_rng([seed, fold.number, 6])
        raw = fold.prepare.pick(fold.split.test.X)
        self.batches = []
        for _ in range(DRAWS):
            rows = rng.choice(len(raw), min(BATCH, len(raw)), replace=False)
            column = int(rng.integers(raw.shape[1]))
            value = OUT_OF_RANGE * max(1.0, abs(float(np.nanmedian(raw[:, column]))))
            self.batches.append((raw[rows], column, value))
        self.prepare = fold.prepare
        train = fold.prepare.pick(fold.split.train.X)
        self.mean, self.sd = np.nanmean(train, axis=0), np.nanstd(train, axis=0)
        fitted = grid.fit(
            self._standardised(train),
            fold.y["train"],
            targets["oof"],
            [grid.Cell("kd", 0.5, 2.0)],
            seeds=[seed],
            X_val=self._standardised(fold.prepare.pick(fold.split.val.X)),
            y_val=fold.y["val"],
            **kd_tabular.fitting(sweep_config, len(fold.y["train"])),
        )
        arrays = fitted.arrays(0, 0)
        scores = compress.logits(arrays, self._standardised(train))
        self.threshold = float(np.quantile(scores, 1 - fold.y["train"].mean()))
        self.students = {
            "student fp32": arrays,
            "published: dynamic int8": quantize.dynamic(arrays),
            "weight-only int8": quantize.weight_only(arrays),
        }

    def _standardised(self, raw: np.ndarray) -> np.ndarray:
        return np.nan_to_num((raw - self.mean) / self.sd).astype(np.float32)

    def _bounded(self, raw: np.ndarray) -> np.ndarray:
        columns = np.arange(raw.shape[1])
        fields = (self.prepare.names, self.prepare.center, self.prepare.scale)
        return type(self.prepare)(columns, *fields).transform(raw)

    def bounded(self, student, threshold: float) -> float:
        """Mean share of neighbours' verdicts moved, readings bounded."""
        return self._moved(student, self._bounded, threshold)

    def plain(self, step: str) -> float:
        """The same with plainly standardised readings; NaN for steps not tried so."""
        if step not in self.students:
            return np.nan
        return self._moved(self.students[step], self._standardised, self.threshold)

    def _moved(self, student, scale, threshold: float) -> float:
        moved = [
            compress.outlier_effect(
                lambda X: compress.logits(student, scale(X)),
                raw,
                row=0,
                column=column,
                value=value,
                threshold=threshold,
            ).moved
            for raw, column, value in self.batches
        ]
        return float(np.mean(moved))

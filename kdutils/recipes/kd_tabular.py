"""recipes.kd_tabular: the α × T grid of small students of one ensemble, with controls.

One run trains every cell of one source and seed at once: label-only, label smoothing,
distillation over α × T (α weighs the teacher), three alternatives that fit two classes,
distillation from in-sample targets, the mistake the study warns of, and with synthetic
rows that only the teacher labels. All of them share initial weights, batch order, split
and number of steps. Each keeps its best epoch by validation AUC, the label-only student
too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import groupby, product
from operator import itemgetter

import numpy as np

from kdutils import metrics
from kdutils.recipes import folds
from kdutils.recipes import teachers as teachers_recipe
from kdutils.store.config import Count, NotNegative, Positive, Share, Taught, following
from kdutils.train import grid

MODEL = ("W1", "b1", "w2", "b2")
BASE = {"method": "label-only", "alpha": 0.0, "T": 1.0}
SYNTHETIC = ("kd-synthetic", "logit-std-synthetic")
PUBLISHED = {"method": "published", "alpha": 0.6, "T": 4.0}  # without T^2, in sample
plan = partial(following, key="teacher")  # (rows of `teachers`, **rest of a `Config`)
digest = itemgetter("teacher")  # the data are the teacher's: its id names them


@dataclass(frozen=True)
class Training(Taught):
    """How a tabular student is trained; looks: how often it is validated."""

    hidden: Count
    steps: Count
    batch: Count
    lr: Positive
    weight_decay: NotNegative
    looks: Count


@dataclass(frozen=True)
class Config(Training):
    """One teacher's grid."""

    alphas: list[Share]
    temperatures: list[Positive]
    other_alphas: list[Share]
    other_temperatures: list[Positive]
    smoothing: Share


def cells(config: dict) -> list[dict]:
    """Every cell of the grid as {method, alpha, T}; the label-only student is first."""
    others = config["other_alphas"], config["other_temperatures"]
    swept = {"kd": (config["alphas"], config["temperatures"])}
    swept["logit-mse"] = others[0], [1.0]
    swept |= dict.fromkeys(("logit-std", "ttm", "kd-insample", *SYNTHETIC), others)
    found = [BASE, {**BASE, "method": "label-smoothing"}]
    for method, axes in swept.items():
        found += [{"method": method, "alpha": a, "T": t} for a, t in product(*axes)]
        found += [PUBLISHED] if method == "kd-insample" else []
    return found


def targets(source, fold: folds.Fold) -> dict[str, np.ndarray]:
    """The ensemble's logits of a fold by part, and `X_made`, its synthetic rows."""
    found = source.arrays(f"fold{fold.number}-ensemble")
    made = teachers_recipe.made(source.config, fold)
    return {**found, "X_made": made[:, fold.narrow]}


def train(
    config: dict, fold: folds.Fold, targets: dict, chosen: list[dict], **own
) -> dict:
    """Students of the chosen cells in one fold: stacked arrays (cells, ...).

    targets: the teacher's logits 'oof' and 'insample' (n_train,), and 'made' on the
    synthetic rows 'X_made'. `chosen` in the order of `cells`. own: as for `fit`.
    Beside the weights `val` and `epochs`, the best validation AUC and its epoch.
    """
    parts = []
    for kind, some in groupby(chosen, key=lambda cell: special(cell["method"])):
        cells = [as_cell(cell, config) for cell in some]
        fitted = fit(config, fold, material(kind, fold, targets), cells, **own)
        weights = {key: fitted.weights[key][0] for key in MODEL}
        found = {"val": fitted.val_auc[0], "epochs": fitted.best_epoch[0]}
        parts.append(weights | found)
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def picked(stacked: dict, index: int) -> dict[str, np.ndarray]:
    """The weights of one student of those that `train` gives."""
    return {key: stacked[key][index] for key in MODEL}


def fit(config: dict, fold: folds.Fold, rows: tuple, cells: list, **own) -> grid.Grid:
    """`grid.fit` of cells on a fold's `material` under the config's settings and seed.

    own: what `grid.fit` is given instead or besides.
    """
    how = {"X_val": fold.X["val"], "y_val": fold.y["val"], "seeds": [config["seed"]]}
    return grid.fit(*rows, cells, **how | fitting(config, len(rows[1])) | own)


def special(method: str) -> str:
    """'insample' or 'synthetic' if a method trains on such targets or rows, else ''."""
    if method in SYNTHETIC:
        return "synthetic"
    return "insample" if method in ("kd-insample", "published") else ""


def material(kind: str, fold: folds.Fold, targets: dict) -> tuple[np.ndarray, ...]:
    """Rows (n, k), verdicts (n,), NaN if unlabelled, and teacher logits of a kind."""
    X, y = fold.X["train"], fold.y["train"]
    if kind != "synthetic":
        return X, y, targets[kind or "oof"]
    unlabelled = np.full(len(targets["made"]), np.nan, np.float32)
    pairs = (X, targets["X_made"]), (y, unlabelled), (targets["oof"], targets["made"])
    return tuple(map(np.concatenate, pairs))


def fitting(config: dict, rows: int) -> dict:
    """The settings of `grid.fit`: epochs that make the same `steps` for every arm."""
    epochs = max(1, round(config["steps"] / np.ceil(rows / config["batch"])))
    how = {key: config[key] for key in ("hidden", "batch", "lr", "weight_decay")}
    return how | {"epochs": epochs, "eval_every": max(1, epochs // config["looks"])}


def as_cell(cell: dict, config: dict) -> grid.Cell:
    """The cell as `grid` names it.

    The published loss, (1 - alpha) hard + alpha soft without T^2, is the same loss, up
    to its scale, as kd at the weight alpha / T^2 : 1 - alpha.
    """
    method, alpha, T = cell["method"], cell["alpha"], cell["T"]
    if method == "published":
        soft = alpha / T**2
        return grid.Cell("kd", soft / (soft + 1 - alpha), T)
    if method == "label-smoothing":
        return grid.Cell("hard", coefficient=config["smoothing"])
    if method == "label-only":
        return grid.Cell("hard")
    return grid.Cell(method.removesuffix(f"-{special(method)}"), alpha, T)


def student(run, number: int, cell: dict) -> dict[str, np.ndarray]:
    """The weights of one cell's student in one fold of a finished run."""
    every = cells(run.config)
    if cell not in every:
        raise ValueError(f"no cell {cell} in run {run.id}")
    return picked(run.arrays(f"fold{number}"), every.index(cell))


def best_cell(run, number: int, methods: list[str]) -> dict:
    """The cell of these methods with the best validation AUC of one fold alone."""
    val = run.arrays(f"fold{number}")["val"]
    every = list(enumerate(cells(run.config)))
    allowed = [number for number, cell in every if cell["method"] in methods]
    if not allowed:
        raise ValueError(f"methods {methods} name no cell of run {run.id}")
    return every[max(allowed, key=lambda number: val[number])][1]


def logits(X: np.ndarray, arrays: dict) -> np.ndarray:
    """Logits of stacked students, (n, k) -> (cells, n)."""
    nets = zip(*(arrays[name] for name in MODEL), strict=True)
    scores = [np.maximum(X @ W1.T + b1, 0) @ w2 + b2 for W1, b1, w2, b2 in nets]
    return np.stack(scores).astype(np.float32)


def compute(config: dict, run) -> dict:
    """Train the grid in every fold; a row per cell and fold with its gain.

    The gain is over label-only; it, val_auc and test_auc are of the fold, all else is
    of the folds together.
    """
    source = run.need(teachers_recipe, config["teacher"])
    every, wanted = list(folds.folds(source.config)), cells(config)
    teacher = [targets(source, fold) for fold in every]
    val, test = [], []
    for fold, own in zip(every, teacher, strict=True):
        work = partial(train, config, fold, own, wanted)
        arrays = run.step(f"fold{fold.number}", work)
        val.append(arrays["val"])
        test.append(logits(fold.X["test"], arrays))
    truth = [fold.y["test"] for fold in every]
    together = np.concatenate([one["test"] for one in teacher])
    mean_val = np.mean(np.array(val, float), axis=0)
    zero, rows = [one[0] for one in test], []
    for number, cell in enumerate(wanted):
        scores = [fold_logits[number] for fold_logits in test]
        shared = {**cell, **folds.facts(every, source.config)}
        shared |= fidelity(np.concatenate(truth), together, np.concatenate(scores))
        shared["gain_val"] = float(mean_val[number] - mean_val[0])
        mine = folds.rows(shared, truth, scores)
        for row, one in zip(mine, val, strict=True):
            row["val_auc"] = float(one[number])
        tested = (truth, scores, zero) if rows else ()
        folds.compare("gain", mine, rows[: len(every)] or mine, *tested)
        rows += mine
    return {"rows": rows}


def fidelity(y: np.ndarray, teacher: np.ndarray, scores: np.ndarray) -> dict:
    """How far a student says what its teacher says: verdicts and divergence.

    Both fail as large a share of rows as really fails.
    """
    share = 1 - y.mean()
    own, theirs = np.quantile(scores, share), np.quantile(teacher, share)
    agreement = metrics.agreement(scores, teacher, own, theirs)
    return {"agreement": agreement, "kl": metrics.kl(teacher, scores)}

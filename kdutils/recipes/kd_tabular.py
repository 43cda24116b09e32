"""recipes.kd_tabular: the α × T grid of small students of one ensemble, with controls.

One run trains every cell of one source and seed at once: label-only, label smoothing,
distillation over α × T (α weighs the teacher), three alternatives that fit two classes,
distillation from in-sample targets, the mistake the study warns of, and with synthetic
rows that only the teacher labels. All of them share initial weights, batch order, split
and number of steps. Each keeps its best epoch by validation AUC, the label-only student
too.
"""

from __future__ import annotations

import itertools

import numpy as np

from kdutils import metrics
from kdutils.recipes import folds
from kdutils.recipes import teachers as teachers_recipe
from kdutils.train import grid

STAGE = "02_kd_tabular"
MODEL = ("W1", "b1", "w2", "b2")
BASE = {"method": "label-only", "alpha": 0.0, "T": 1.0}
SYNTHETIC = ("kd-synthetic", "logit-std-synthetic")
PUBLISHED = {"method": "published", "alpha": 0.6, "T": 4.0}  # without T^2, in sample


def plan(teacher_rows, **settings) -> list[dict]:
    """One config per teacher run; `settings` are those of `cells` and `train`."""
    first = teacher_rows.drop_duplicates("run")
    return [
        {"source": row.source, "seed": row.seed, "teacher": row.run, **settings}
        for row in first.itertuples()
    ]


def digest(config: dict) -> str:
    """The data are the teacher's: its id names them."""
    return config["teacher"]


def cells(config: dict) -> list[dict]:
    """Every cell of the grid as {method, alpha, T}; the label-only student is first."""
    alphas, temperatures = config["alphas"], config["temperatures"]
    others = [
        (a, t) for a in config["other_alphas"] for t in config["other_temperatures"]
    ]
    found = [BASE, {**BASE, "method": "label-smoothing"}]
    found += [
        {"method": "kd", "alpha": a, "T": t} for a in alphas for t in temperatures
    ]
    found += [
        {"method": "logit-mse", "alpha": a, "T": 1.0} for a in config["other_alphas"]
    ]
    for method in ("logit-std", "ttm", "kd-insample", *SYNTHETIC):
        found += [{"method": method, "alpha": a, "T": t} for a, t in others]
        found += [PUBLISHED] if method == "kd-insample" else []
    return found


def train(config: dict, fold: folds.Fold, targets: dict, chosen: list[dict]) -> dict:
    """Students of the chosen cells in one fold: stacked arrays (cells, ...).

    targets: the teacher's logits 'oof' and 'insample' (n_train,), and 'made' on the
    synthetic rows 'X_made'. `chosen` in the order of `cells`.
    """
    parts = []
    for kind, methods in itertools.groupby(
        chosen, key=lambda cell: special(cell["method"])
    ):
        X, y, teacher = material(kind, fold, targets)
        fitted = grid.fit(
            X,
            y,
            teacher,
            [as_cell(cell, config) for cell in methods],
            seeds=[config["seed"]],
            X_val=fold.X["val"],
            y_val=fold.y["val"],
            **fitting(config, len(y)),
        )
        parts.append(
            {**{k: fitted.weights[k][0] for k in MODEL}, "val": fitted.val_auc[0]}
        )
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def special(method: str) -> str:
    """'insample' or 'synthetic' if a method trains on such targets or rows, else ''."""
    if method in SYNTHETIC:
        return "synthetic"
    return "insample" if method in ("kd-insample", "published") else ""


def material(kind: str, fold: folds.Fold, targets: dict) -> tuple[np.ndarray, ...]:
    """Rows (n, k), verdicts (n,), NaN if unlabelled, and teacher logits of a kind."""
    X, y = fold.X["train"], fold.y["train"]
    if kind == "insample":
        return X, y, targets["insample"]
    if kind != "synthetic":
        return X, y, targets["oof"]
    unlabelled = np.full(len(targets["made"]), np.nan, np.float32)
    return (
        np.concatenate([X, targets["X_made"]]),
        np.concatenate([y, unlabelled]),
        np.concatenate([targets["oof"], targets["made"]]),
    )


def fitting(config: dict, rows: int) -> dict:
    """The settings of `grid.fit`: epochs that make the same `steps` for every arm."""
    epochs = max(1, round(config["steps"] / np.ceil(rows / config["batch"])))
    return {
        "hidden": config["hidden"],
        "epochs": epochs,
        "batch": config["batch"],
        "lr": config["lr"],
        "weight_decay": config["weight_decay"],
        "eval_every": max(1, epochs // config["looks"]),
    }


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
        return grid.Cell("hard", smoothing=config["smoothing"])
    if method == "label-only":
        return grid.Cell("hard")
    return grid.Cell(method.removesuffix(f"-{special(method)}"), alpha, T)


def student(run, number: int, config: dict, cell: dict) -> dict[str, np.ndarray]:
    """The weights of one cell's student in one fold of a finished run."""
    stored = run.arrays(f"fold{number}")
    wanted = [list(one.values()) for one in cells(config)]
    values = [cell["method"], cell["alpha"], cell["T"]]
    if values not in wanted:
        raise ValueError(
            f"no cell {values} (method, alpha, T) in run {run.id} of {STAGE}"
        )
    return {key: stored[key][wanted.index(values)] for key in MODEL}


def best_cell(run, number: int, methods: list[str]) -> dict:
    """The cell of these methods with the best validation AUC of one fold alone."""
    val = run.arrays(f"fold{number}")["val"]
    every = list(enumerate(cells(run.config)))
    allowed = [number for number, cell in every if cell["method"] in methods]
    if not allowed:
        raise ValueError(f"methods {methods} name no cell of run {run.id} of {STAGE}")
    return every[max(allowed, key=lambda number: val[number])][1]


def logits(X: np.ndarray, arrays: dict) -> np.ndarray:
    """Logits of stacked students, (n, k) -> (cells, n)."""
    nets = zip(*(arrays[name] for name in MODEL), strict=True)
    scores = [np.maximum(X @ W1.T + b1, 0) @ w2 + b2 for W1, b1, w2, b2 in nets]
    return np.stack(scores).astype(np.float32)


def compute(config: dict, run) -> dict:
    """Train the grid in every fold; one row per cell with its gain over label-only."""
    source = run.need(teachers_recipe, config["teacher"])
    every, wanted = list(folds.folds(source.config)), cells(config)
    teacher = [source.arrays(f"fold{fold.number}-ensemble") for fold in every]
    val, test = [], []
    for fold, targets in zip(every, teacher, strict=True):
        targets["X_made"] = teachers_recipe.made(source.config, fold)[:, fold.narrow]
        arrays = run.step(
            f"fold{fold.number}",
            lambda fold=fold, targets=targets: train(config, fold, targets, wanted),
        )
        val.append(arrays["val"])
        test.append(logits(fold.X["test"], arrays))
    truth = [fold.y["test"] for fold in every]
    together = np.concatenate([one["test"] for one in teacher])
    rows = []
    for number, cell in enumerate(wanted):
        scores = [fold_logits[number] for fold_logits in test]
        row = {**cell, **folds.facts(every, source.config)}
        row |= folds.quality(truth, scores)
        row["vals"] = [float(one[number]) for one in val]
        row["val_auc"] = float(np.mean(row["vals"]))
        row |= fidelity(np.concatenate(truth), together, np.concatenate(scores))
        base = rows[0] if rows else row
        row["gain"] = row["test_auc"] - base["test_auc"]
        row["gain_val"] = row["val_auc"] - base["val_auc"]
        pairs = zip(row["folds"], base["folds"], strict=True)
        row["gains"] = [mine - theirs for mine, theirs in pairs]
        if row["fixed"] and rows:
            zero = [fold_logits[0] for fold_logits in test]
            row["gain_delong"] = folds.difference(truth, scores, zero)
        rows.append(row)
    return {"rows": rows}


def fidelity(y: np.ndarray, teacher: np.ndarray, scores: np.ndarray) -> dict:
    """How far a student says what its teacher says: verdicts and divergence.

    Both fail as large a share of rows as really fails.
    """
    share = 1 - y.mean()
    own, theirs = np.quantile(scores, share), np.quantile(teacher, share)
    return {
        "agreement": metrics.agreement(scores, teacher, own, theirs),
        "kl": metrics.kl(teacher, scores),
    }

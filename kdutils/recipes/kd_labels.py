"""recipes.kd_labels: when distilling helps: few labels, noisy labels, unlabelled rows.

At each number of labels, the same labelled rows choose columns and scales, train a
teacher (XGBoost and MLP in their default settings) and students of one size for one
number of steps: label-only; distilled on the same rows, out of fold; with the rest of
the production as unlabelled rows; with synthetic rows. A quarter as many validation
labels are given, as noisy as the others; the epoch, α and T are chosen on those.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from operator import itemgetter

import numpy as np

from kdutils.data import Split
from kdutils.recipes import folds, kd_tabular
from kdutils.recipes import teachers as teachers_recipe
from kdutils.store.config import Count, Natural, Positive, Share, following
from kdutils.train import grid, teachers

MEMBERS = ("xgboost", "mlp")
FEWEST = 100  # validation labels at the least
FEWEST_FAILS = 5  # in each part: enough for out-of-fold targets and an AUC
digest = itemgetter("teacher")  # the data are the teacher's: its id names them


@dataclass(frozen=True)
class Config(kd_tabular.Training):
    """One teacher run and share of flipped labels."""

    noise: Share
    sizes: list[Count]
    alphas: list[Share]
    temperatures: list[Positive]
    synthetic: Natural


def plan(teacher_rows, *, sizes, noises, **settings) -> list[dict]:
    """One config per teacher run and share of flipped labels."""
    every = following(teacher_rows, "teacher", sizes=sizes, **settings)
    return [{**one, "noise": noise} for one in every for noise in noises]


def compute(config: dict, run) -> dict:
    """One row per number of labels and arm, on the source's first split.

    No row where its test part has fewer than two fails or passes: no AUC of them has an
    interval.
    """
    source = run.need(teachers_recipe, config["teacher"])
    fold = next(folds.folds(source.config))
    rows, fails = [], int(fold.y["test"].sum())
    if min(fails, len(fold.y["test"]) - fails) < 2:
        return {"rows": []}
    for size in config["sizes"]:
        drawn = draw(config, fold.split, size)
        if drawn is None:
            continue
        own = config, source.config, fold.split, *drawn, run.device
        test = run.step(f"labels{size}", partial(arms, *own))
        truth, zero = [fold.y["test"]], [test["label-only"]]
        base = folds.rows({}, truth, zero)
        for arm, scores in test.items():
            shared = {"arm": arm, "labels": size, **folds.facts([fold], source.config)}
            mine = folds.rows(shared, truth, [scores])
            folds.compare("gain", mine, base, truth, [scores], zero)
            rows += mine
    return {"rows": rows}


def draw(config: dict, split: Split, size: int) -> tuple[Split, np.ndarray] | None:
    """A split with `size` labels, some flipped, and the training rows left over.

    Fails and passes are drawn in their shares, FEWEST_FAILS at the least; None where
    the split has too few rows or fails for that.
    """
    rng = np.random.default_rng([config["seed"], size])
    known = _stratified(split.train.y, size, rng)
    count = min(max(FEWEST, size // 4), len(split.val))
    few = _stratified(split.val.y, count, rng)
    if known is None or few is None:
        return None
    parts = []
    for part, rows in ((split.train, known), (split.val, few)):
        taken = part.take(rows)
        flipped = rng.random(len(rows)) < config["noise"]
        y = np.where(flipped, 1 - taken.y, taken.y).astype(np.float32)
        parts.append(replace(taken, y=y))
    rest = np.setdiff1d(np.arange(len(split.train)), known)
    return replace(split, train=parts[0], val=parts[1]), rest


def _stratified(y: np.ndarray, size: int, rng) -> np.ndarray | None:
    fails, passes = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    wanted = max(FEWEST_FAILS, round(size * len(fails) / len(y)))
    if size > len(y) or wanted > len(fails) or size - wanted > len(passes):
        return None
    counts = (fails, wanted), (passes, size - wanted)
    return rng.permutation(np.concatenate([rng.choice(*c, False) for c in counts]))


def arms(
    config, source: dict, whole: Split, split: Split, rest: np.ndarray, device: str
) -> dict:
    """Test logits of the teacher and of each arm's student.

    split: the labelled rows, from which columns and scales are learned too; rest: rows
    of whole.train that stay unlabelled.
    """
    fold = folds.prepared(0, split, source)
    made = teachers_recipe.made(config, fold)
    unlabelled = whole.train.X[rest]
    gaps = folds.with_gaps(fold.wide, unlabelled)
    logits = _teach(source, fold, gaps, made, seed=config["seed"], device=device)
    free = {
        "label-only": None,
        "distilled": (fold.X["train"][:0], logits["oof"][:0]),
        "distilled+unlabelled": (fold.prepare.transform(unlabelled), logits["rest"]),
        "distilled+synthetic": (made[:, fold.narrow], logits["made"]),
    }
    students = {
        arm: _student(config, fold, logits["oof"], extra)
        for arm, extra in free.items()
        if extra is None or arm == "distilled" or len(extra[0])
    }
    return {"teacher": logits["test"], **students}


def _teach(source, fold: folds.Fold, rest, made, *, seed: int, device: str) -> dict:
    """The ensemble's logits: out of fold on labelled rows, plain on all others."""
    members = []
    for name in MEMBERS:
        settings = teachers.candidates(name, 1, seed)[0]
        how = {"epochs": source["epochs"][name], "seed": seed, "device": device}
        model = teachers.fit(name, settings, *fold.taught, **how)
        given = name, settings, fold, source["oof_folds"]
        oof = teachers_recipe.out_of_fold(*given, **how)
        rows = {"rest": rest, "made": made, "test": fold.gaps["test"]}
        logits = {key: model.logits(X) for key, X in rows.items() if len(X)}
        members.append({"oof": oof, **logits})
    rule = teachers.stack([m["oof"] for m in members], fold.y["train"])
    logits = {key: rule([m[key] for m in members]) for key in members[0]}
    return {"rest": np.empty(0, np.float32), **logits}


def _student(config, fold: folds.Fold, oof: np.ndarray, extra) -> np.ndarray:
    """Test logits of the student whose cell has the best validation AUC."""
    kind, targets, cells = "", {"oof": oof}, [grid.Cell()]
    if extra is not None:
        kind, targets = "synthetic", {"oof": oof, "X_made": extra[0], "made": extra[1]}
        pairs = product(config["alphas"], config["temperatures"])
        cells = [grid.Cell("kd", alpha, T) for alpha, T in pairs]
    rows = kd_tabular.material(kind, fold, targets)
    fitted = kd_tabular.fit(config, fold, rows, cells)
    best = [int(np.argmax(fitted.val_auc[0]))]
    chosen = {key: weights[0][best] for key, weights in fitted.weights.items()}
    return kd_tabular.logits(fold.X["test"], chosen)[0]

"""recipes.teachers: tuned teachers of one source and seed, with out-of-fold logits.

Each teacher is tuned on the validation AUC. Then it is trained again on all but one
of `oof_folds` groups-respecting folds of the training rows, each time with the winning
settings, so that every training row has a logit from a model that never saw it: the
targets students learn from. The ensemble stacks the members on those logits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from kdutils import metrics
from kdutils.data import tables
from kdutils.data.simulate import synthetic
from kdutils.recipes import folds
from kdutils.store.config import Count, Natural
from kdutils.train import teachers

KEPT = ("oof", "insample", "made", "val", "test")


@dataclass(frozen=True)
class Config:
    """The settings of one source and seed."""

    source: str
    options: dict
    seed: Natural
    features: Count
    teacher_features: Count
    oof_folds: Count
    synthetic: Natural
    tries: dict[str, Count]
    epochs: dict[str, Count]


def plan(sources, *, seeds: int, options: dict, **settings) -> list[dict]:
    """One config per source and seed.

    sources: names, see `folds.arguments`; options: source -> its arguments; settings:
    what else a `Config` holds. tries and epochs: teacher name -> number of settings
    tried and most passes.
    """
    return [
        {"source": source, "options": options[source], "seed": seed, **settings}
        for source in sources
        for seed in range(seeds)
    ]


def digest(config: dict) -> str:
    """The data digest of a config's source."""
    return tables.digest(**folds.arguments(config))


def compute(config: dict, run) -> dict:
    """Train every teacher in every fold; a row per model and fold."""
    every = list(folds.folds(config))
    teach, names = partial(_teacher, config, run), config["tries"]
    fitted = [{name: teach(fold, name) for name in names} for fold in every]
    for fold, models in zip(every, fitted, strict=True):
        members = list(models.values())
        rule = teachers.stack([one["oof"] for one in members], fold.y["train"])
        together = {k: rule([one[k] for one in members]) for k in KEPT}
        for key in ("bytes", "params", "tried"):
            together[key] = sum(one[key] for one in members)
        work = partial(dict, **together, best="")
        models["ensemble"] = run.step(f"fold{fold.number}-ensemble", work)
        models["logistic"] = _logistic(fold)
        models["constant"] = _constant(fold)
    rows = []
    for name in fitted[0]:
        rows += _rows(name, config, every, [models[name] for models in fitted])
    if every[0].split.test.p is not None:
        rows += _bayes(config, every)
    best = rows[-1]["pooled_auc"] if rows[-1]["model"] == "bayes" else None
    for row in rows:
        row["gap"] = None if best is None else row["pooled_auc"] - best
    return {"rows": rows}


def _teacher(config: dict, run, fold: folds.Fold, name: str) -> dict:
    how = {"epochs": config["epochs"][name], "seed": config["seed"]}
    how["device"] = run.device

    def compute() -> dict:
        group, tries = fold.split.train.group, config["tries"][name]
        best = teachers.tune(name, *fold.taught, tries=tries, **how)
        own = name, best.settings, fold, group, config["oof_folds"]
        rows = {"made": made(config, fold), "insample": fold.gaps["train"]}
        rows |= {part: fold.gaps[part] for part in ("val", "test")}
        return {
            "oof": out_of_fold(*own, **how),
            **{key: best.logits(X) for key, X in rows.items()},
            "bytes": best.bytes,
            "params": best.params,
            "tried": tries,
            "best": json.dumps(best.settings, sort_keys=True),
        }

    return run.step(f"fold{fold.number}-{name}", compute)


def out_of_fold(name, settings, fold, group, parts, *, seed, **how) -> np.ndarray:
    """Logits (n_train,) of every training row from a teacher that did not see it.

    how: epochs and device of `train.teachers.fit`.
    """
    rows, y, *val = fold.taught
    logits = np.empty(len(y), np.float32)
    cut = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    for seen, unseen in cut.split(rows, y, group):
        data = rows[seen], y[seen], *val
        model = teachers.fit(name, settings, *data, seed=seed, **how)
        logits[unseen] = model.logits(rows[unseen])
    return logits


def made(config: dict, fold: folds.Fold) -> np.ndarray:
    """The unlabelled synthetic rows (synthetic, k) that this fold's teachers label."""
    rows = np.nan_to_num(fold.gaps["train"])
    return synthetic.munge(rows, config["synthetic"], seed=config["seed"])


def _logistic(fold: folds.Fold) -> dict:
    X, y = fold.X["train"], fold.y["train"]
    model = LogisticRegression(max_iter=2000, C=0.1).fit(X, y)
    logits = {name: model.decision_function(fold.X[name]) for name in folds.PARTS}
    size = model.coef_.size + 1
    return {**logits, "bytes": 4 * size, "params": size, "tried": 1, "best": ""}


def _constant(fold: folds.Fold) -> dict:
    rate = fold.y["train"].mean()
    logit = float(np.log(rate / (1 - rate)))
    logits = {name: np.full(len(fold.y[name]), logit) for name in folds.PARTS}
    return {**logits, "bytes": 4, "params": 1, "tried": 1, "best": ""}


def _rows(name: str, config: dict, every: list[folds.Fold], models: list) -> list[dict]:
    """A row per fold; all but test_auc is of the folds together, or their mean."""
    row = {"model": name, **folds.facts(every, config)}
    both = zip(every, models, strict=True)
    aucs = [metrics.auc(fold.y["val"], model["val"]) for fold, model in both]
    row["val_auc"] = float(np.mean(aucs))
    for key in ("bytes", "params"):
        row[key] = int(np.mean([m[key] for m in models]))
    row["tried"] = int(models[0]["tried"])
    settings = json.loads(str(models[0]["best"]) or "{}")
    row["best"] = ", ".join(f"{key} {value}" for key, value in settings.items())
    truth = np.concatenate([fold.y["train"] for fold in every])
    for key in ("oof", "insample"):
        logits = [m[key].astype(float) for m in models if key in m]
        if logits:
            p = 1 / (1 + np.exp(-np.concatenate(logits)))
            row[f"{key}_auc"] = metrics.auc(truth, p)
            row[f"{key}_sure"] = metrics.near_certain(p)
            row[f"{key}_fail_p"] = float(p[truth == 1].mean())
    y, test = [fold.y["test"] for fold in every], [model["test"] for model in models]
    return folds.rows(row, y, test)


def _bayes(config: dict, every: list[folds.Fold]) -> list[dict]:
    parts = [{name: getattr(f.split, name).p for name in folds.PARTS} for f in every]
    logits = [{k: np.log(p) - np.log1p(-p) for k, p in part.items()} for part in parts]
    facts = {"bytes": 0, "params": 0, "tried": 0, "best": ""}
    return _rows("bayes", config, every, [{**one, **facts} for one in logits])

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
from kdutils.data.simulate import synthetic
from kdutils.recipes import folds
from kdutils.store.config import Count, Natural
from kdutils.train import teachers

KEPT = ("oof", "insample", "made", "val", "test")
digest = folds.digest


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


def compute(config: dict, run) -> dict:
    """Train every teacher in every fold; a row per model and fold."""
    every = list(folds.folds(config))
    fitted = [_models(config, run, fold) for fold in every]
    rows = []
    for name in fitted[0]:
        rows += _rows(name, config, every, [models[name] for models in fitted])
    best = rows[-1]["pooled_auc"] if "bayes" in fitted[0] else None
    for row in rows:
        row["gap"] = None if best is None else row["pooled_auc"] - best
    return {"rows": rows}


def _models(config: dict, run, fold: folds.Fold) -> dict[str, dict]:
    """Each teacher's logits, size and settings; their ensemble's, and the controls'."""
    y, prefix = fold.y["train"], f"fold{fold.number}-"
    found = {
        name: run.step(f"{prefix}{name}", partial(_teacher, config, run, fold, name))
        for name in config["tries"]
    }
    members = list(found.values())

    def ensemble() -> dict:
        rule = teachers.stack([one["oof"] for one in members], y)
        sums = {k: sum(m[k] for m in members) for k in ("bytes", "params", "tried")}
        return {k: rule([m[k] for m in members]) for k in KEPT} | sums | {"best": ""}

    found["ensemble"] = run.step(f"{prefix}ensemble", ensemble)
    linear = LogisticRegression(max_iter=2000, C=0.1).fit(fold.X["train"], y)
    z = {name: linear.decision_function(fold.X[name]) for name in folds.PARTS}
    found["logistic"] = _untuned(z, linear.coef_.size + 1)
    logit = float(np.log(y.mean() / (1 - y.mean())))
    z = {name: np.full(len(fold.y[name]), logit) for name in folds.PARTS}
    found["constant"] = _untuned(z, 1)
    if fold.split.test.p is not None:
        p = {name: getattr(fold.split, name).p for name in folds.PARTS}
        z = {name: np.log(q) - np.log1p(-q) for name, q in p.items()}
        found["bayes"] = _untuned(z, 0, tried=0)
    return found


def _untuned(logits: dict, params: int, *, tried: int = 1) -> dict:
    return {**logits, "bytes": 4 * params, "params": params, "tried": tried, "best": ""}


def _teacher(config: dict, run, fold: folds.Fold, name: str) -> dict:
    how = {"epochs": config["epochs"][name], "seed": config["seed"]}
    how["device"], tries = run.device, config["tries"][name]
    best = teachers.tune(name, *fold.taught, tries=tries, **how)
    rows = {"made": made(config, fold), "insample": fold.gaps["train"]}
    rows |= {part: fold.gaps[part] for part in ("val", "test")}
    return {
        "oof": out_of_fold(name, best.settings, fold, config["oof_folds"], **how),
        **{key: best.logits(X) for key, X in rows.items()},
        "bytes": best.bytes,
        "params": best.params,
        "tried": tries,
        "best": json.dumps(best.settings, sort_keys=True),
    }


def out_of_fold(name, settings, fold, parts, *, seed, **how) -> np.ndarray:
    """Logits (n_train,) of every training row from a teacher that did not see it.

    how: epochs and device of `train.teachers.fit`.
    """
    rows, y, *val = fold.taught
    logits = np.empty(len(y), np.float32)
    cut = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    for seen, unseen in cut.split(rows, y, fold.split.train.group):
        data = rows[seen], y[seen], *val
        model = teachers.fit(name, settings, *data, seed=seed, **how)
        logits[unseen] = model.logits(rows[unseen])
    return logits


def made(config: dict, fold: folds.Fold) -> np.ndarray:
    """The unlabelled synthetic rows (synthetic, k) that this fold's teachers label."""
    rows = np.nan_to_num(fold.gaps["train"])
    return synthetic.munge(rows, config["synthetic"], seed=config["seed"])


def _rows(name: str, config: dict, every: list[folds.Fold], models: list) -> list[dict]:
    """A row per fold; all but test_auc is of the folds together, or their mean."""
    row = {"model": name, **folds.facts(every, config)}
    both = zip(every, models, strict=True)
    aucs = [metrics.auc(fold.y["val"], model["val"]) for fold, model in both]
    row["val_auc"] = float(np.mean(aucs))
    row |= {key: int(np.mean([m[key] for m in models])) for key in ("bytes", "params")}
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

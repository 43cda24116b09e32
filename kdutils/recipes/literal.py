"""recipes.literal: the tester's published recipe to the letter, then a step mended.

Teachers on standardised rows, in sample: XGBoost, an MLP and TabNet, stopped on the
validation rows. The soft target of a row is sigmoid(mean of their log-probabilities of
a fail / 4), so never above .5; the student meets it without a temperature of its own,
.4 hard + .6 soft, and stops on the validation rows too, whose AUC is what was reported
(github.com/Si-Hyeon-Lee/SPEA-Abnormal-detection-in-Egde-Device). Every mended student
has the same initial weights and order of batches; all are scored on fresh test rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from scipy.special import expit, log_expit
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from kdutils import metrics, models, train
from kdutils.recipes import folds, teachers
from kdutils.store.config import Count, Natural
from kdutils.train import teachers as trained

TEACHERS = {
    "xgboost": {"max_depth": 4, "learning_rate": 0.03, "subsample": 0.7}
    | {"early_stopping_rounds": 50},
    "mlp": {"width": [128, 64], "depth": 2, "dropout": 0.2, "lr": 0.001}
    | {"weight_decay": 0.0},
    "tabnet": {"n_d": 64, "n_steps": 5, "lr": 2e-2},
}
STEPS = ("targets", "tempered", "out of fold", "scale", "patience")
# What each student mends; the first is the recipe as it is.
STUDENTS = {
    "literal": (),
    "targets above .5": ("targets",),
    "tempered student": ("tempered",),
    "both: distillation": ("targets", "tempered"),
    "out-of-fold targets": ("out of fold",),
    "outliers do not set the scale": ("scale",),
    "five times the patience": ("patience",),
    "all": STEPS,
    "labels alone": ("labels",),
    "labels alone, scale and patience mended": ("labels", "scale", "patience"),
}
ALPHA, T, HIDDEN, BATCH, LR, PATIENCE = 0.6, 4.0, 64, 256, 0.003, 10
digest = folds.digest


@dataclass(frozen=True)
class Config:
    """One seed of a source; passes: the most of a net, of 20 trees each; parts: of the
    rows for targets out of fold.
    """

    source: str
    options: dict
    seed: Natural
    features: Count
    teacher_features: Count
    passes: Count
    parts: Count


def plan(teacher_rows, sources: list[str], *, passes: int, parts: int) -> list[dict]:
    """One config per seed of the sources among the rows of `teachers`."""
    rows = teacher_rows[teacher_rows["source"].isin(sources)].drop_duplicates("run")
    names = ["source", "options", "seed", "features", "teacher_features"]
    more = {"passes": passes, "parts": parts}
    return [{**row, **more} for row in rows[names].to_dict("records")]


def compute(config: dict, run) -> dict:
    """A row per student of the first split: its AUC where it stopped, and on test."""
    fold = next(folds.folds(config))
    scaler = StandardScaler().fit(fold.split.train.X)
    z = {part: scaler.transform(getattr(fold.split, part).X) for part in folds.PARTS}
    gaps = {part: np.nan_to_num(rows).astype(np.float32) for part, rows in z.items()}
    fold = replace(fold, gaps=gaps)
    logits = run.step("teachers", lambda: taught(config, fold, run.device))
    base = {**folds.facts([fold], config), "teacher_auc": float(logits["auc"])}
    rows = [
        {"student": name, **base, "fold": 0, **scored(config, fold, logits, mended)}
        for name, mended in STUDENTS.items()
    ]
    return {"rows": rows}


def taught(config: dict, fold: folds.Fold, device: str) -> dict[str, np.ndarray]:
    """Logits (teachers, n_train) 'insample' and 'oof', and the members' test AUC."""
    how = {"epochs": config["passes"], "seed": config["seed"], "device": device}
    X, insample, oof, test = fold.gaps, [], [], []
    for name, settings in TEACHERS.items():
        one = trained.fit(name, settings, *fold.taught, **how)
        insample.append(one.logits(X["train"]))
        test.append(one.logits(X["test"]))
        given = name, settings, fold, config["parts"]
        oof.append(teachers.out_of_fold(*given, **how))
    auc = metrics.auc(fold.y["test"], log_expit(np.array(test, float)).mean(0))
    return {"insample": np.array(insample), "oof": np.array(oof), "auc": np.array(auc)}


def scored(config: dict, fold: folds.Fold, logits: dict, mended: tuple) -> dict:
    """What one student is worth: AUC on the rows that stopped it, and on test rows."""
    z = logits["oof" if "out of fold" in mended else "insample"].astype(float)
    mean = (z if "targets" in mended else log_expit(z)).mean(0)
    targets = torch.tensor(expit(mean / T), dtype=torch.float32)
    X = fold.X if "scale" in mended else fold.gaps
    alpha, warm = 0.0 if "labels" in mended else ALPHA, T if "tempered" in mended else 1

    def loss(z, y, p):
        soft = warm**2 * cross_entropy(z / warm, p)
        return (1 - alpha) * cross_entropy(z, y) + alpha * soft

    torch.manual_seed(config["seed"])
    net = models.build("student", X["train"].shape[1], hidden=HIDDEN)
    rows = X["train"], fold.y["train"], targets
    history = train.fit(
        net,
        train.Batches(*rows, batch=BATCH, seed=config["seed"]),
        loss,
        epochs=4 * config["passes"],
        optimizer=partial(torch.optim.Adam, lr=LR),
        schedule=train.constant,
        validate=lambda net: metrics.auc(fold.y["val"], models.predict(net, X["val"])),
        patience=PATIENCE * (5 if "patience" in mended else 1),
        device="cpu",
    )
    z = models.predict(net, X["test"])
    row = {"val_auc": max(history.val), "epochs": history.best_epoch}
    row["test_auc"] = float(metrics.auc(fold.y["test"], z))
    return row | {"highest_target": float(targets.max())}

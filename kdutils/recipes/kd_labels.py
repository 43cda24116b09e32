"""recipes.kd_labels: when distilling helps: few labels, noisy labels, unlabelled rows.

Import rule: core only.

At each number of labels, the same labelled rows train a teacher (XGBoost and MLP, with
the settings that won in stage 01) and students of the same size for the same number of
steps: label-only; distilled on the same rows, out of fold; distilled with the rest of
the production as unlabelled rows; distilled with synthetic rows. Only a quarter as many
validation labels are given, as noisy as the others; α and T are chosen on those.
"""

from __future__ import annotations

import json

import numpy as np

from kdutils import grid, synthetic, teachers
from kdutils.recipes import folds, kd_tabular
from kdutils.recipes import teachers as teachers_recipe

STAGE = "02_kd_tabular"
MEMBERS = ("xgboost", "mlp")
FEWEST = 100  # validation labels at the least


def plan(teacher_rows, *, sizes, noises, **settings) -> list[dict]:
    """One config per teacher run and share of flipped labels."""
    first = teacher_rows.drop_duplicates("run")
    return [
        {
            "source": row.source,
            "seed": row.seed,
            "teacher": row.run,
            "noise": noise,
            "sizes": sizes,
            **settings,
        }
        for row in first.itertuples()
        for noise in noises
    ]


def digest(config: dict) -> str:
    """The data are the teacher's: its id names them."""
    return config["teacher"]


def compute(config: dict, run) -> dict:
    """One row per number of labels and arm, on the source's first split."""
    source = run.need(teachers_recipe, config["teacher"])
    fold = next(folds.folds(source.config))
    best = {
        name: json.loads(str(source.arrays(f"fold0-{name}")["best"]))
        for name in MEMBERS
    }
    rows = []
    for size in config["sizes"]:
        if size > len(fold.y["train"]):
            continue
        test = run.step(
            f"labels{size}",
            lambda size=size: arms(config, source.config, fold, best, size),
        )
        for arm, scores in test.items():
            quality = folds.quality([fold.y["test"]], [scores])
            rows.append({"arm": arm, "labels": size, **folds.facts([fold]), **quality})
    return {"rows": rows}


def arms(config, source: dict, fold: folds.Fold, best: dict, size: int) -> dict:
    """Test logits of the teacher and of each arm's student, chosen on few labels."""
    seed = config["seed"]
    rng = np.random.default_rng([seed, size])
    order = rng.permutation(len(fold.y["train"]))
    known, rest = order[:size], order[size:]
    few = rng.permutation(len(fold.y["val"]))[: max(FEWEST, size // 4)]
    y, val_y = (
        _flip(part, config["noise"], rng)
        for part in (fold.y["train"][known], fold.y["val"][few])
    )
    small = folds.Fold(
        0,
        None,
        fold.prepare,
        fold.narrow,
        {"train": fold.gaps["train"][known], "val": fold.gaps["val"][few]},
        {"train": fold.X["train"][known], "val": fold.X["val"][few]},
        {"train": y, "val": val_y},
    )
    group = fold.split.train.group[known]
    made = synthetic.munge(
        np.nan_to_num(small.gaps["train"]), config["synthetic"], seed=seed
    )
    told = _teach(source, small, group, best, seed, fold, rest, made)
    free = {
        "label-only": None,
        "distilled": (small.X["train"][:0], told["oof"][:0]),
        "distilled+unlabelled": (fold.X["train"][rest], told["rest"]),
        "distilled+synthetic": (made[:, fold.narrow], told["made"]),
    }
    students = {
        arm: _student(config, small, told["oof"], extra, fold.X["test"])
        for arm, extra in free.items()
        if extra is None or arm == "distilled" or len(extra[0])
    }
    return {"teacher": told["test"], **students}


def _flip(y: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(len(y)) < noise, 1 - y, y).astype(np.float32)


def _teach(source, small, group, best, seed, fold, rest, made) -> dict:
    """The ensemble's logits: out of fold on labelled rows, plain on all others."""
    members = []
    for name in MEMBERS:
        epochs = source["epochs"][name]
        model = teachers.fit(
            name,
            best[name],
            small.gaps["train"],
            small.y["train"],
            small.gaps["val"],
            small.y["val"],
            epochs=epochs,
            seed=seed,
        )
        oof = teachers_recipe.out_of_fold(
            name, best[name], small, group, source["oof_folds"], epochs, seed
        )
        members.append(
            {
                "oof": oof,
                "rest": model.logits(fold.gaps["train"][rest]),
                "made": model.logits(made),
                "test": model.logits(fold.gaps["test"]),
            }
        )
    rule = teachers.stack([m["oof"] for m in members], small.y["train"])
    return {key: rule([m[key] for m in members]) for key in members[0]}


def _student(config, small, oof, extra, test) -> np.ndarray:
    """Test logits of the student whose cell has the best validation AUC."""
    X, y, targets = small.X["train"], small.y["train"], oof
    cells = [grid.Cell("hard", 0.0, 1.0)]
    if extra is not None:
        X = np.concatenate([X, extra[0]])
        y = np.concatenate([y, np.full(len(extra[0]), np.nan, np.float32)])
        targets = np.concatenate([oof, extra[1]])
        pairs = [(a, t) for a in config["alphas"] for t in config["temperatures"]]
        cells = [grid.Cell("kd", alpha, T) for alpha, T in pairs]
    fitted = grid.fit(
        X,
        y,
        targets,
        cells,
        seeds=[config["seed"]],
        X_val=small.X["val"],
        y_val=small.y["val"],
        **kd_tabular.fitting(config, len(y)),
    )
    chosen = fitted.arrays(0, int(np.argmax(fitted.val_auc[0])))
    return kd_tabular.logits(test, {key: value[None] for key, value in chosen.items()})[
        0
    ]

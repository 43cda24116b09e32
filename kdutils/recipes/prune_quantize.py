"""recipes.prune_quantize: the distilled student pruned and quantized, one row a step.

The published recipe (half of each layer's weights in one shot, then dynamic int8)
stands beside better ones and beside the dense student that trains for the same extra
epochs. Fine-tuning uses the loss that the student was distilled with.
"""

from __future__ import annotations

import base64

import numpy as np

from kdutils import metrics
from kdutils.compress import prune as compress
from kdutils.deploy import bundle, kdb
from kdutils.deploy.int8 import Int8
from kdutils.recipes import folds, kd_tabular, steps, wild
from kdutils.recipes import teachers as teachers_recipe

STAGE = "06_prune_quantize"
NUMBERS = ("val_auc", "params", "nonzero", "raw_bytes", "file_bytes", "gzip_bytes")
NUMBERS += ("model_bytes", "bundle_bytes", "moved", "moved_plain")


def plan(sweep_rows, **settings) -> list[dict]:
    """One config per sweep run; settings: `methods` that may give the student, etc."""
    first = sweep_rows.drop_duplicates("run")
    return [
        {
            "source": row.source,
            "seed": row.seed,
            "teacher": row.teacher,
            "sweep": row.run,
            **settings,
        }
        for row in first.itertuples()
    ]


def digest(config: dict) -> str:
    """The data are the sweep's: its id names them."""
    return config["sweep"]


def compute(config: dict, run) -> dict:
    """One row per step, pooled over folds, and the bundle of each step that has one."""
    sweep = run.need(kd_tabular, config["sweep"])
    source = run.need(teachers_recipe, config["teacher"])
    every = list(folds.folds(source.config))
    results = []
    for fold in every:
        targets = source.arrays(f"fold{fold.number}-ensemble")
        targets["X_made"] = teachers_recipe.made(source.config, fold)[:, fold.narrow]
        results.append(
            run.step(
                f"fold{fold.number}",
                lambda fold=fold, targets=targets: _ladder(
                    config, sweep, fold, targets, f"{config['source']}-{run.id}"
                ),
            )
        )
    best = [kd_tabular.best_cell(sweep, f.number, config["methods"]) for f in every]
    cells = ["{method}, α {alpha:g}, T {T:g}".format(**cell) for cell in best]
    teacher = [source.arrays(f"fold{f.number}-ensemble")["test"] for f in every]
    truth = [fold.y["test"] for fold in every]
    ensemble = folds.quality(truth, teacher)
    rows = []
    for number, (step, family, precision, pruned) in enumerate(steps.STEPS):
        row = {"step": step, "order": number, "family": family}
        row |= {"precision": precision, "sparsity": pruned}
        row |= folds.facts(every, source.config)
        row |= folds.quality(truth, [one[f"{number}-test"] for one in results])
        numbers = np.mean([one[f"{number}-numbers"] for one in results], axis=0)
        row |= {
            key: None if np.isnan(value) else float(value)
            for key, value in zip(NUMBERS, numbers, strict=True)
        }
        zero = steps.FIRST[family]
        base = rows[zero] if zero < number else row
        row["drop"] = row["test_auc"] - base["test_auc"]
        row["drop_val"] = row["val_auc"] - base["val_auc"]
        row["cells"] = cells
        pairs = zip(row["folds"], base["folds"], strict=True)
        row["drops"] = [mine - theirs for mine, theirs in pairs]
        file = results[0][f"{number}-bundle"].tobytes()
        if file and config["seed"] == 0:
            row["bundle"] = base64.b64encode(file).decode()
        row["to_teacher"] = row["test_auc"] - ensemble["test_auc"]
        pairs = zip(row["folds"], ensemble["folds"], strict=True)
        row["to_teachers"] = [mine - theirs for mine, theirs in pairs]
        if row["fixed"]:
            pair = ([one[f"{n}-test"] for one in results] for n in (number, zero))
            scores, first = pair
            row["drop_delong"] = folds.difference(truth, scores, first)
            row["to_teacher_delong"] = folds.difference(truth, scores, teacher)
        rows.append(row)
    return {"rows": rows}


def _ladder(config: dict, sweep, fold: folds.Fold, targets: dict, id: str) -> dict:
    """Test logits, numbers and bundle bytes of every step in one fold.

    A student that has a bundle is measured as the file that ships, on raw readings.
    """
    kept = {}
    neighbours = wild.Wild(config["seed"], sweep.config, fold, targets)
    for number, student in enumerate(steps.students(config, sweep, fold, targets)):
        file = packed(student, fold, 0.0, id)
        val, test = (asked(student, file, fold, name) for name in ("val", "test"))
        threshold = float(np.quantile(val, 1 - fold.y["train"].mean()))
        file = packed(student, fold, threshold, id)
        kept[f"{number}-test"] = test
        kept[f"{number}-bundle"] = np.frombuffer(file, np.uint8)
        size = compress.size(student)
        model = kdb.model_bytes(student, fold.prepare) if file else np.nan
        kept[f"{number}-numbers"] = np.array(
            [
                metrics.auc(fold.y["val"], val),
                *size,
                model,
                len(file) or np.nan,
                neighbours.bounded(student, threshold),
                neighbours.plain(steps.STEPS[number][0]),
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
    schema = kdb.Schema(tuple(units), legal(fold), id=id)
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

"""recipes.curves: the tabular student along curves: how sparse, how few bits.

Where `prune_quantize` takes one step of each kind, this takes many: every share of the
weights or of the hidden units, every number of bits, from the same student. The gradual
ways go from each point to the next and fine-tune at each one with the loss that the
student was distilled with; the dense control has as many epochs behind it at every
point.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from kdutils import metrics
from kdutils.compress import prune as compress
from kdutils.compress import quantize
from kdutils.deploy import bundle
from kdutils.recipes import folds, kd_tabular
from kdutils.recipes import teachers as teachers_recipe
from kdutils.recipes.prune_quantize import Tune, Tuning, calibrated
from kdutils.store.config import Count, Share, following

START, CONTROL = "student fp32", "dense, same extra epochs"
FEWEST = "units + fine-tuned + QAT, fewest bits"
NUMBERS = ("val_auc", "model_bytes", "params", "nonzero")
digest = itemgetter("sweep")  # the data are the sweep's: its id names them


@dataclass(frozen=True)
class Config(Tuning):
    """The points of every curve."""

    sparsities: list[Share]
    bits: list[Count]


class Point(NamedTuple):
    """One row: its way, the share taken away, the bits of a weight.

    rounds: how often the float32 student was fine-tuned on the way here.
    """

    way: str
    sparsity: float = 0.0
    bits: int = 32
    rounds: int = 0


def plan(sweep_rows, **settings) -> list[dict]:
    """One config per sweep run; settings: `methods`, `sparsities`, `bits` and steps.

    ValueError unless sparsities rise between 0 and 1.
    """
    shares = [0, *settings["sparsities"], 1]
    if sorted(set(shares)) != shares:
        raise ValueError(
            f"sparsities must rise between 0 and 1, not {settings['sparsities']}"
        )
    return following(sweep_rows, "sweep", "teacher", **settings)


def points(config: dict) -> list[Point]:
    """Every point in the order in which `students` makes them; the start is first."""
    found = [Point(START)]
    for rounds, share in enumerate(config["sparsities"], 1):
        found.append(Point(CONTROL, rounds=rounds))
        for way, behind in (
            ("pruned", 0),
            ("pruned + fine-tuned", rounds),
            ("units + fine-tuned", rounds),
        ):
            found.append(Point(way, share, rounds=behind))
            found.append(Point(f"{way} + QAT", share, 8, behind))
        found.append(Point(FEWEST, share, min(config["bits"]), rounds))
    ways = ("weight-only", "static", "QAT")
    return found + [Point(way, bits=bits) for bits in config["bits"] for way in ways]


def students(config: dict, fp32: dict, tune: Tune, X: np.ndarray) -> list:
    """The student of each of `points`, from the float32 one; X: calibration rows."""
    found, dense, zeros, fewer = [fp32], fp32, fp32, fp32
    for share in config["sparsities"]:
        dense = tune.float(dense, None)
        once = compress.pruned(fp32, share, scope="first")
        left = compress.pruned(zeros, share, scope="first")
        zeros = tune.float(*left)
        fewer = tune.float(compress.fewer_units(fewer, kept(fp32, share)).arrays, None)
        found += [dense, once.arrays, tune.int8(*once), zeros]
        found += [tune.int8(zeros, left.mask), fewer, tune.int8(fewer)]
        found.append(tune.int8(fewer, bits=min(config["bits"])))
    for bits in config["bits"]:
        found.append(quantize.weight_only(fp32, bits=bits))
        found.append(quantize.static(fp32, X, bits=bits))
        found.append(tune.int8(fp32, bits=bits))
    return found


def kept(fp32: dict, share: float) -> int:
    """Hidden units that stay where a share of them goes; one at least."""
    return max(1, round((1 - share) * len(fp32["w2"])))


def compute(config: dict, run) -> dict:
    """A row per point and fold, with its difference from float32.

    test_auc, drop and to_control are of the fold, all else of the folds together.
    """
    sweep = run.need(kd_tabular, config["sweep"])
    source = run.need(teachers_recipe, config["teacher"])
    every = list(folds.folds(source.config))
    results = []
    for fold in every:
        targets = kd_tabular.targets(source, fold)
        work = functools.partial(_measured, config, sweep, fold, targets)
        results.append(run.step(f"curves{fold.number}", work))
    truth = [fold.y["test"] for fold in every]
    facts = folds.facts(every, source.config)
    rows, controls = [], {}
    for number, point in enumerate(points(config)):
        scores = [one["test"][number] for one in results]
        row = {**point._asdict(), "order": number, **facts}
        numbers = np.mean([one["numbers"][number] for one in results], axis=0)
        row |= dict(zip(NUMBERS, map(float, numbers), strict=True))
        row["drop_val"] = row["val_auc"] - [*rows, row][0]["val_auc"]
        mine = folds.rows(row, truth, scores)
        if point.way in (START, CONTROL):
            controls[point.rounds] = mine, scores
        for name, rounds in (("drop", 0), ("to_control", point.rounds)):
            base, theirs = controls[rounds]
            folds.compare(name, mine, base, truth, scores, theirs)
        rows += mine
    return {"rows": rows}


def _measured(config: dict, sweep, fold: folds.Fold, targets: dict) -> dict:
    """test: logits (points, n); numbers: (points, 4), in the order of NUMBERS."""
    cell = kd_tabular.best_cell(sweep, fold.number, config["methods"])
    fp32 = kd_tabular.student(sweep, fold.number, sweep.config, cell)
    tune = Tune(config, sweep.config, cell, fold, targets)
    y, test, numbers = fold.y["val"], [], []
    for student in students(config, fp32, tune, fold.X["train"]):
        student = calibrated(student, fold.X["val"], y)
        val = metrics.auc(y, compress.logits(student, fold.X["val"]))
        size = compress.size(student)
        held = bundle.model_bytes(student, fold.prepare)
        numbers.append([val, held, size.params, size.nonzero])
        test.append(compress.logits(student, fold.X["test"]))
    return {"test": np.stack(test), "numbers": np.array(numbers)}

"""recipes.curves: the tabular student along curves: how sparse, how few bits.

Where `prune_quantize` takes one step of each kind, this takes many: every share of the
weights or of the hidden units, every number of bits, from the same student. The gradual
ways go from each point to the next and fine-tune at each one with the loss that the
student was distilled with; the dense control has as many epochs behind it at every
point.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from operator import itemgetter

import numpy as np

from kdutils import metrics
from kdutils.compress import prune as compress
from kdutils.deploy import bundle
from kdutils.recipes import folds, ladder
from kdutils.recipes.ladder import FP32, Step
from kdutils.store.config import Count, Share, following

START, CONTROL = FP32, "dense, same extra epochs"
FEWEST = "units + fine-tuned + QAT, fewest bits"
NUMBERS = ("val_auc", "model_bytes", "params", "nonzero")
SHOWN = ("way", "sparsity", "bits", "rounds")
digest = itemgetter("sweep")  # the data are the sweep's: its id names them


@dataclass(frozen=True)
class Config(ladder.Tuning):
    """The points of every curve."""

    sparsities: list[Share]
    bits: list[Count]


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


def steps(config: dict) -> list[Step]:
    """Every point; the start is first."""
    found, fewest = [Step(FP32, START)], min(config["bits"])
    dense = zeros = fewer = FP32  # where each gradual way has come to
    qat = {"quantizer": "QAT", "bits": 8}
    for rounds, share in enumerate(config["sparsities"], 1):

        def add(way: str, after: str, share=share, **how) -> str:
            found.append(Step(f"{way} {len(found)}", way, share, after=after, **how))
            return found[-1].name

        tuned = {"rounds": rounds, "tuned": True}
        dense = add(CONTROL, dense, 0.0, **tuned)
        once = add("pruned", FP32)
        add("pruned + QAT", once, **qat)
        zeros = add("pruned + fine-tuned", zeros, **tuned)
        add("pruned + fine-tuned + QAT", zeros, rounds=rounds, **qat)
        fewer = add("units + fine-tuned", fewer, units=True, **tuned)
        small = {"units": True, "rounds": rounds, **qat}
        add("units + fine-tuned + QAT", fewer, **small)
        add(FEWEST, fewer, **small | {"bits": fewest})
    return found + [
        Step(f"{way} {bits}", way, bits=bits, quantizer=way)
        for bits in config["bits"]
        for way in ("weight-only", "static", "QAT")
    ]


def compute(config: dict, run) -> dict:
    """A row per point and fold, with its difference from float32.

    test_auc, drop and to_control are of the fold, all else of the folds together.
    """
    work = partial(descend, config)
    _, source, every, results = ladder.measured(config, run, "curves", work)
    truth = [fold.y["test"] for fold in every]
    facts = folds.facts(every, source.config)
    rows, controls = [], {}
    for number, step in enumerate(steps(config)):
        scores = [one["test"][number] for one in results]
        row = {key: getattr(step, key) for key in SHOWN} | {"order": number, **facts}
        numbers = np.mean([one["numbers"][number] for one in results], axis=0)
        row |= dict(zip(NUMBERS, map(float, numbers), strict=True))
        row["drop_val"] = row["val_auc"] - [*rows, row][0]["val_auc"]
        mine = folds.rows(row, truth, scores)
        if step.way in (START, CONTROL):
            controls[step.rounds] = mine, scores
        for name, rounds in (("drop", 0), ("to_control", step.rounds)):
            base, theirs = controls[rounds]
            folds.compare(name, mine, base, truth, scores, theirs)
        rows += mine
    return {"rows": rows}


def descend(config: dict, sweep, fold: folds.Fold, targets: dict) -> dict:
    """test: logits (points, n); numbers: (points, 4), in the order of NUMBERS."""
    tabular = ladder.distilled(config, sweep, fold, targets)
    test, numbers, val = [], [], (fold.X["val"], fold.y["val"])
    start = {FP32: tabular.fp32}
    for step, arrays in ladder.climb(steps(config), start, tabular.rung):
        student = ladder.calibrated(tabular.quantized(step, arrays), *val)
        auc = metrics.auc(fold.y["val"], compress.logits(student, fold.X["val"]))
        size = compress.size(student)
        held = bundle.model_bytes(student, fold.prepare)
        numbers.append([auc, held, size.params, size.nonzero])
        test.append(compress.logits(student, fold.X["test"]))
    return {"test": np.stack(test), "numbers": np.array(numbers)}

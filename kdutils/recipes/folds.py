"""folds: a source's splits prepared inside each fold, and what is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kdutils import metrics, stats
from kdutils.data import Split, tabular
from kdutils.deploy.prepare import Prepare

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Fold:
    """One split with its columns chosen, centred and scaled on the training rows alone.

    A teacher reads many columns, a student few of them: `narrow` says which.
    gaps: part name -> float32 (n, k) for teachers, NaN where missing.
    X: the same for the student's columns, 0 where missing.
    y: part name -> float32 (n,). prepare: the student's.
    """

    number: int
    split: Split
    prepare: Prepare
    wide: Prepare
    narrow: np.ndarray
    gaps: dict[str, np.ndarray]
    X: dict[str, np.ndarray]
    y: dict[str, np.ndarray]


def arguments(config: dict) -> dict:
    """The keyword arguments with which `tabular` reads a config's source.

    'secom-time' is 'secom' with its rows divided by time.
    """
    source, options = config["source"], config["options"]
    if source.endswith("-time"):
        return {"source": source.removesuffix("-time"), **options, "order": "time"}
    return {"source": source, **options}


def folds(config: dict) -> Iterator[Fold]:
    """Each split of {source, options, seed}, prepared for teachers and for students.

    Teachers get at most `teacher_features` columns, students `features` of them.
    """
    splits = tabular.splits(seed=config["seed"], **arguments(config))
    for number, split in enumerate(splits):
        yield prepared(number, split, config)


def prepared(number: int, split: Split, config: dict) -> Fold:
    """The split with columns, centre and scale learned from its training rows."""
    fitted = (split.train.X, split.train.y, split.features)
    narrow = Prepare.fit(*fitted, config["features"])
    wide = Prepare.fit(*fitted, max(config["teacher_features"], config["features"]))
    X, gaps, y = {}, {}, {}
    for name in PARTS:
        part = getattr(split, name)
        X[name], gaps[name] = narrow.transform(part.X), with_gaps(wide, part.X)
        y[name] = part.y
    places = np.flatnonzero(np.isin(wide.columns, narrow.columns))
    return Fold(number, split, narrow, wide, places, gaps, X, y)


def with_gaps(prepare: Prepare, X: np.ndarray) -> np.ndarray:
    """X (n, d) as read -> float32 (n, k) prepared, NaN where missing."""
    rows = prepare.transform(X)
    rows[np.isnan(prepare.pick(X))] = np.nan
    return rows


def facts(every: list[Fold], config: dict) -> dict:
    """What each row of a record says of its data: kind, counts, how folds share rows.

    rho is the test/train size ratio where folds or seeds share rows, 0 where each seed
    draws data of its own (Nadeau & Bengio 2003). fixed: every seed has the same test
    rows, so that only an interval over rows (DeLong) tells how sure a number is.
    """
    split = every[0].split
    tested = sum(len(fold.split.test) for fold in every)
    share = len(split.test) / (len(split.train) + len(split.val))
    read = arguments(config)
    return {
        "kind": split.kind,
        "n_train": len(split.train),
        "n_test": tested,
        "fails_test": sum(fold.split.test.fails for fold in every),
        "rho": 0.0 if split.kind == "simulated" else share,
        "fixed": read.get("order") == "time" or bool(read.get("time")),
    }


def difference(y: list[np.ndarray], mine: list, theirs: list) -> list[float] | None:
    """[low, high, p] of the AUC's difference on the same rows, after DeLong.

    None where the two score alike: then there is nothing to test.
    """
    found = stats.delong_test(*(np.concatenate(part) for part in (y, mine, theirs)))
    ends = [float(found.low), float(found.high), float(found.p)]
    return ends if np.isfinite(ends).all() else None


def quality(y: list[np.ndarray], logits: list[np.ndarray]) -> dict:
    """Scores pooled over folds: AUC with DeLong interval, calibration, AUC by fold."""
    verdicts, scores = np.concatenate(y), np.concatenate(logits).astype(float)
    auc, low, high = stats.auc_interval(verdicts, scores)
    return {
        "test_auc": auc,
        "ci_low": low,
        "ci_high": high,
        "folds": [float(metrics.auc(a, b)) for a, b in zip(y, logits, strict=True)],
        "ece": metrics.ece(verdicts, scores),
        "brier": metrics.brier(verdicts, scores),
    }

"""marks: metrics where each of several patterns is there or not.

Throughout: y (n, K) is 1 where a pattern is there; logits (n, K) above 0 say that it
is.
"""

from __future__ import annotations

import numpy as np
from scipy.special import entr, expit

from kdutils.metrics import binary as metrics


def verdicts(logits: np.ndarray) -> np.ndarray:
    """uint8 (n, K): 1 where a pattern is likelier there than not."""
    return (np.asarray(logits) > 0).astype(np.uint8)


def right(y: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """bool (n,): maps whose whole set of patterns is right."""
    return (verdicts(logits) == np.asarray(y)).all(axis=1)


def exact(y: np.ndarray, logits: np.ndarray) -> float:
    """Exact match: share of maps whose whole set of patterns is right."""
    return float(right(y, logits).mean())


def fidelity(teacher: np.ndarray, logits: np.ndarray) -> float:
    """Share of maps on which a teacher's logits give the same set: needs no label."""
    return exact(verdicts(teacher), logits)


def by_pattern(y: np.ndarray, logits: np.ndarray) -> dict[str, list[float | None]]:
    """precision, recall and f1 of each pattern; None where it never is or is said."""
    said, true = verdicts(logits).astype(bool), np.asarray(y) == 1
    hits, there = (said & true).sum(axis=0), true.sum(axis=0)
    precision, recall = _share(hits, said.sum(axis=0)), _share(hits, there)
    return {
        "precision": precision,
        "recall": recall,
        "f1": _share(2 * hits, said.sum(axis=0) + there),
    }


def macro_f1(y: np.ndarray, logits: np.ndarray) -> float:
    """Mean F1 over the patterns that are there or said at least once; 1 if none is."""
    known = [f for f in by_pattern(y, logits)["f1"] if f is not None]
    return float(np.mean(known)) if known else 1.0


def doubt(logits: np.ndarray) -> np.ndarray:
    """float64 (n,): entropy of a map's answer in nats, summed over its patterns."""
    p = expit(np.asarray(logits, np.float64))
    return (entr(p) + entr(1 - p)).sum(axis=1)


def calibration(y: np.ndarray, logits: np.ndarray, bins: int = 10) -> dict:
    """How far a teacher's probabilities, and its verdicts as labels, can be trusted.

    ece: over all patterns, in bins of equal mass; entropy: mean `doubt` in nats;
    pseudo_error, pseudo_error_pattern: share of maps, and of single answers, whose
    pseudo-label is wrong; p, share, n: mean probability, share of patterns there and
    number of answers in bins of equal width, for a reliability diagram.
    """
    p = expit(np.asarray(logits, np.float64)).ravel()
    true = np.asarray(y).ravel()
    place = np.minimum((p * bins).astype(int), bins - 1)
    n = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=a, minlength=bins) for a in (p, true)]
    return {
        "ece": metrics.ece(true, p),
        "entropy": float(doubt(logits).mean()),
        "pseudo_error": 1 - exact(y, logits),
        "pseudo_error_pattern": float((verdicts(logits) != y).mean()),
        "reliability_p": _share(sums[0], n),
        "reliability_share": _share(sums[1], n),
        "reliability_n": n.tolist(),
    }


def follows(y: np.ndarray, teacher: np.ndarray, logits: np.ndarray) -> dict:
    """How a student's errors follow its teacher's.

    error_teacher_right, error_teacher_wrong: share of wrong maps where the teacher is
    right, and wrong; copied: of the teacher's wrong sets, the share that it repeats
    word for word.
    """
    wrong, led = ~right(y, logits), ~right(y, teacher)
    same = (verdicts(teacher) == verdicts(logits)).all(axis=1)
    return {
        "error_teacher_right": float(wrong[~led].mean()) if (~led).any() else None,
        "error_teacher_wrong": float(wrong[led].mean()) if led.any() else None,
        "copied": float(same[led].mean()) if led.any() else None,
    }


def by_doubt(y: np.ndarray, teacher: np.ndarray, logits: np.ndarray, bins: int = 5):
    """A student's errors in bins of as many maps each, from a sure teacher to a torn.

    Lists of `bins`: doubt (mean, nats), teacher and student (share of wrong maps).
    """
    every = doubt(teacher)
    parts = np.array_split(np.argsort(every, kind="stable"), bins)
    wrong, led = ~right(y, logits), ~right(y, teacher)
    return {
        "doubt": [float(every[i].mean()) for i in parts],
        "doubt_teacher_error": [float(led[i].mean()) for i in parts],
        "doubt_student_error": [float(wrong[i].mean()) for i in parts],
    }


def _share(part, whole) -> list[float | None]:
    return [float(a / b) if b else None for a, b in zip(part, whole, strict=True)]

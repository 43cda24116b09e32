"""multilabel: what sets of labels have beside `quality`: y (n, K) of 0 and 1."""

from __future__ import annotations

import numpy as np
from scipy.special import entr, expit

from kdutils.metrics.quality import accuracy, correct, ece, predicted


def by_label(y: np.ndarray, logits: np.ndarray) -> dict[str, list[float | None]]:
    """precision, recall and f1 of each label; None where there is none."""
    named = predicted(logits, multilabel=True) == 1
    true = np.asarray(y) == 1
    hits, there = (named & true).sum(axis=0), true.sum(axis=0)
    return {
        "precision": _share(hits, named.sum(axis=0)),
        "recall": _share(hits, there),
        "f1": _share(2 * hits, named.sum(axis=0) + there),
    }


def fidelity(teacher: np.ndarray, logits: np.ndarray) -> float:
    """Share of rows on which two nets predict the same set: needs no label."""
    return accuracy(predicted(teacher, multilabel=True), logits)


def macro_f1(y: np.ndarray, logits: np.ndarray) -> float:
    """Mean F1 over the labels that are there or predicted once; 1 if none is."""
    known = [f for f in by_label(y, logits)["f1"] if f is not None]
    return float(np.mean(known)) if known else 1.0


def entropy(logits: np.ndarray) -> np.ndarray:
    """float64 (n,): entropy of a row's labels in nats, summed over them."""
    p = expit(np.asarray(logits, np.float64))
    return (entr(p) + entr(1 - p)).sum(axis=1)


def calibration(y: np.ndarray, logits: np.ndarray, bins: int = 10) -> dict:
    """How far a teacher's probabilities, and its predictions as labels, can be trusted.

    ece: over all labels, in bins of equal mass; entropy: its mean in nats;
    pseudo_error, pseudo_error_pattern: share of rows, and of single labels, whose
    pseudo-label is wrong; p, share, n: mean probability, share of labels there and
    number of them in bins of equal width, for a reliability diagram.
    """
    p = expit(np.asarray(logits, np.float64)).ravel()
    true = np.asarray(y).ravel()
    place = np.minimum((p * bins).astype(int), bins - 1)
    n = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=a, minlength=bins) for a in (p, true)]
    return {
        "ece": ece(y, logits),
        "entropy": float(entropy(logits).mean()),
        "pseudo_error": 1 - accuracy(y, logits),
        "pseudo_error_pattern": float((predicted(logits, multilabel=True) != y).mean()),
        "reliability_p": _share(sums[0], n),
        "reliability_share": _share(sums[1], n),
        "reliability_n": n.tolist(),
    }


def errors_by_teacher(y: np.ndarray, teacher: np.ndarray, logits: np.ndarray) -> dict:
    """How a student's errors follow its teacher's.

    error_teacher_right, error_teacher_wrong: share of wrong rows where the teacher is
    right, and wrong; copied: of the teacher's wrong sets, the share that it repeats
    exactly.
    """
    wrong, led = ~correct(y, logits), ~correct(y, teacher)
    same = correct(predicted(teacher, multilabel=True), logits)
    return {
        "error_teacher_right": float(wrong[~led].mean()) if (~led).any() else None,
        "error_teacher_wrong": float(wrong[led].mean()) if led.any() else None,
        "copied": float(same[led].mean()) if led.any() else None,
    }


def by_teacher_entropy(
    y: np.ndarray, teacher: np.ndarray, logits: np.ndarray, bins: int = 5
) -> dict[str, list[float]]:
    """Errors in bins of as many rows each, from a teacher's lowest entropy to its top.

    doubt: mean entropy in nats; then the share of wrong rows of teacher and student.
    """
    every = entropy(teacher)
    parts = np.array_split(np.argsort(every, kind="stable"), bins)
    wrong, led = ~correct(y, logits), ~correct(y, teacher)
    return {
        "doubt": [float(every[i].mean()) for i in parts],
        "doubt_teacher_error": [float(led[i].mean()) for i in parts],
        "doubt_student_error": [float(wrong[i].mean()) for i in parts],
    }


def _share(part, whole) -> list[float | None]:
    return [float(a / b) if b else None for a, b in zip(part, whole, strict=True)]

"""metrics: arrays in, floats out: accuracy, AUC, calibration, fidelity to the teacher.

Throughout: y (n,) is 0 for a pass and 1 for a fail, p (n,) is a probability of a fail,
and scores or logits (n,) are larger where a fail is likelier.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata

FLOOR = 1e-7  # probabilities are kept this far from 0 and 1 before a logarithm


def auc(y: np.ndarray, scores: np.ndarray) -> float | np.ndarray:
    """Area under the ROC curve; ties count one half (Mann & Whitney 1947).

    y: (n,); scores: (..., n), one AUC per leading index, so (n,) gives a float.
    Raises ValueError where only one class is there: then no AUC exists.
    """
    fail = np.asarray(y) == 1
    fails, passes = int(fail.sum()), int((~fail).sum())
    if not fails or not passes:
        raise ValueError(
            f"an AUC needs both classes: found {fails} fails, {passes} passes"
        )
    # ranks have the scores' type, and float32 counts to 2^24 only
    ranks = rankdata(np.asarray(scores, np.float64), axis=-1)[..., fail].sum(axis=-1)
    value = (ranks - fails * (fails + 1) / 2) / (fails * passes)
    return float(value) if np.ndim(value) == 0 else value


def accuracy(y: np.ndarray, p: np.ndarray, threshold: float = 0.5) -> float:
    """Share of rows whose verdict (fail where p >= threshold) is right."""
    return float(np.mean((np.asarray(p) >= threshold) == (np.asarray(y) == 1)))


def log_loss(y: np.ndarray, p: np.ndarray) -> float:
    """Mean negative log-likelihood, in nats; p is clipped to [FLOOR, 1 - FLOOR]."""
    y = np.asarray(y, np.float64)
    p = np.clip(np.asarray(p, np.float64), FLOOR, 1 - FLOOR)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log1p(-p)))


def brier(y: np.ndarray, p: np.ndarray) -> float:
    """Mean squared distance of the probability from the outcome (Brier 1950)."""
    return float(np.mean((np.asarray(p, np.float64) - np.asarray(y)) ** 2))


def ece(y: np.ndarray, p: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error over bins of equal mass (Nixon et al. 2019).

    The bins' edges are quantiles of p, so each holds about n / bins rows; equal
    probabilities share a bin. Sums |mean outcome - mean probability|, weighted by rows.
    """
    y, p = np.asarray(y, np.float64), np.asarray(p, np.float64)
    edges = np.quantile(p, np.arange(1, bins) / bins)
    excess = np.bincount(np.searchsorted(edges, p, side="right"), weights=y - p)
    return float(np.abs(excess).sum() / len(p))


def agreement(
    student: np.ndarray,
    teacher: np.ndarray,
    threshold: float = 0.5,
    teacher_threshold: float | None = None,
) -> float:
    """Share of rows on which two probabilities give the same verdict.

    teacher_threshold: the teacher's own, where it differs from the student's.
    """
    other = threshold if teacher_threshold is None else teacher_threshold
    return float(
        np.mean((np.asarray(student) >= threshold) == (np.asarray(teacher) >= other))
    )


def kl_bernoulli(teacher_logits: np.ndarray, student_logits: np.ndarray) -> float:
    """Mean KL(teacher || student) of two Bernoulli predictions, in nats.

    Computed from logits, so it stays finite where a probability rounds to 0 or 1.
    """
    t = np.asarray(teacher_logits, np.float64)
    s = np.asarray(student_logits, np.float64)
    fail = np.logaddexp(0, -s) - np.logaddexp(0, -t)  # log p_t - log p_s
    good = np.logaddexp(0, s) - np.logaddexp(0, t)  # log (1 - p_t) - log (1 - p_s)
    return float(np.mean(expit(t) * fail + expit(-t) * good))


def sure(p: np.ndarray, low: float = 0.02, high: float = 0.98) -> float:
    """Share of near-certain rows, p < low or p > high: targets that are hardly soft."""
    p = np.asarray(p)
    return float(np.mean((p < low) | (p > high)))

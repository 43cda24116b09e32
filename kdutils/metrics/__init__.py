"""metrics: arrays in, floats out: accuracy, AUC, calibration, fidelity.

logits are (n,) for passes and fails, y 0 or 1 (1 a fail); (n, K) for classes, y (n,) of
0 .. K - 1; (n, K) for labels that are there or not, y (n, K) of 0 and 1. Probabilities
are their sigmoid, softmax or sigmoid, in float64.
"""

from __future__ import annotations

import numpy as np
from scipy.special import entr, expit, log_softmax, softmax
from scipy.stats import rankdata
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score


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


def predicted(logits: np.ndarray, *, multilabel: bool = False) -> np.ndarray:
    """The most likely class, int (n,), or set of labels, uint8 (n, K)."""
    logits = np.asarray(logits)
    if multilabel or logits.ndim == 1:
        return (logits > 0).astype(np.uint8)
    return logits.argmax(-1)


def correct(y: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """bool (n,): rows whose class, or whose whole set of labels, is right."""
    y = np.asarray(y)
    same = predicted(logits, multilabel=y.ndim == 2) == y
    return same.all(axis=1) if same.ndim == 2 else same


def errors(y: np.ndarray, logits: np.ndarray) -> int:
    """Number of rows that are not `correct`."""
    return int((~correct(y, logits)).sum())


def accuracy(y: np.ndarray, logits: np.ndarray) -> float:
    """Share of rows that are `correct`: for sets of labels, the exact match."""
    return float(correct(y, logits).mean())


def nll(y: np.ndarray, logits: np.ndarray) -> float:
    """Mean negative log-likelihood of the truth, in nats; finite at any logit."""
    y, logits = np.asarray(y), np.asarray(logits, np.float64)
    if y.ndim == logits.ndim:
        return float((np.logaddexp(0, logits) - y * logits).mean())
    return float(-log_softmax(logits, -1)[np.arange(len(y)), y].mean())


def brier(y: np.ndarray, logits: np.ndarray) -> float:
    """Mean squared distance of the probabilities from the outcome (Brier 1950).

    Of classes the sum over them, 0 to 2: for two, twice that of one logit.
    """
    y, logits = np.asarray(y), np.asarray(logits, np.float64)
    if y.ndim == logits.ndim:
        return float(((expit(logits) - y) ** 2).mean())
    away = softmax(logits, -1)
    away[np.arange(len(y)), y] -= 1
    return float(np.square(away).sum(-1).mean())


def ece(y: np.ndarray, logits: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error over bins of equal mass (Nixon et al. 2019).

    Sums |share of y - mean probability|, weighted by rows; of classes, |share of right
    rows - mean probability of the likeliest| (Guo et al. 2017); of labels, over all of
    them. Bins' edges are quantiles, so each holds about n / bins rows; equal
    probabilities share a bin.
    """
    y, logits = np.asarray(y), np.asarray(logits, np.float64)
    if y.ndim == logits.ndim:
        y, p = y.ravel().astype(np.float64), expit(logits).ravel()
    else:
        y, p = correct(y, logits) * 1.0, np.exp(log_softmax(logits, -1).max(-1))
    edges = np.quantile(p, np.arange(1, bins) / bins)
    excess = np.bincount(np.searchsorted(edges, p, side="right"), weights=y - p)
    return float(np.abs(excess).sum() / len(p))


def agreement(
    student: np.ndarray,
    teacher: np.ndarray,
    threshold: float = 0.0,
    teacher_threshold: float = 0.0,
) -> float:
    """Share of rows on which two nets predict the same class.

    thresholds: the logit from which on each net fails a row, where logits are (n,).
    """
    student, teacher = np.asarray(student), np.asarray(teacher)
    if student.ndim == 1:
        same = (student >= threshold) == (teacher >= teacher_threshold)
        return float(np.mean(same))
    return accuracy(predicted(teacher), student)


def kl(teacher: np.ndarray, student: np.ndarray) -> float:
    """Mean KL(teacher || student) from logits, in nats; finite at any."""
    t, s = np.asarray(teacher, np.float64), np.asarray(student, np.float64)
    if t.ndim == 1:
        fail = np.logaddexp(0, -s) - np.logaddexp(0, -t)  # log p_t - log p_s
        good = np.logaddexp(0, s) - np.logaddexp(0, t)  # log (1 - p_t) - log (1 - p_s)
        return float(np.mean(expit(t) * fail + expit(-t) * good))
    t, s = log_softmax(t, -1), log_softmax(s, -1)
    return float((np.exp(t) * (t - s)).sum(-1).mean())


def summary(
    y: np.ndarray, logits: np.ndarray, teacher: np.ndarray | None = None
) -> dict[str, float | int | None]:
    """errors, test_acc, nll, ece, brier, and the fidelity to a teacher's logits (n, K).

    agreement and kl are None where there is no teacher.
    """
    return {
        "errors": errors(y, logits),
        "test_acc": accuracy(y, logits),
        "nll": nll(y, logits),
        "ece": ece(y, logits),
        "brier": brier(y, logits),
        "agreement": None if teacher is None else agreement(logits, teacher),
        "kl": None if teacher is None else kl(teacher, logits),
    }


def near_certain(p: np.ndarray, low: float = 0.02, high: float = 0.98) -> float:
    """Share of rows with p < low or p > high: targets that are hardly soft."""
    p = np.asarray(p)
    return float(np.mean((p < low) | (p > high)))


def effective(counts: np.ndarray) -> float:
    """Effective number of groups, exp of the entropy of their shares (Hill 1973).

    counts: (k,), not all 0. k groups of one size count as k, one group alone as 1.
    """
    counts = np.asarray(counts, np.float64)
    return float(np.exp(entr(counts / counts.sum()).sum()))


def ari(truth: np.ndarray, found: np.ndarray) -> float:
    """Adjusted Rand index of two groupings (n,): 1 if equal, about 0 by chance.

    Hubert & Arabie 1985; the groups' names do not matter.
    """
    return float(adjusted_rand_score(truth, found))


def nmi(truth: np.ndarray, found: np.ndarray) -> float:
    """Mutual information of two groupings (n,) over the mean of their entropies."""
    return float(normalized_mutual_info_score(truth, found))


# Sets of labels: y (n, K) ------------------------------------------------------------


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
    """Mean F1 over the labels that are there or predicted once; 1 if none is.

    y: sets of labels (n, K), or one class each, int64 (n,).
    """
    if np.ndim(y) == 1:
        every = np.arange(logits.shape[1])
        y = y[:, None] == every
        logits = (logits.argmax(1)[:, None] == every) - 0.5
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

    entropy: mean entropy in nats; then the share of wrong rows of teacher and student.
    """
    every = entropy(teacher)
    parts = np.array_split(np.argsort(every, kind="stable"), bins)
    wrong, led = ~correct(y, logits), ~correct(y, teacher)
    return {
        "entropy": [float(every[i].mean()) for i in parts],
        "teacher_error": [float(led[i].mean()) for i in parts],
        "student_error": [float(wrong[i].mean()) for i in parts],
    }


def _share(part, whole) -> list[float | None]:
    return [float(a / b) if b else None for a, b in zip(part, whole, strict=True)]

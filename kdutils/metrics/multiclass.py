"""scores: metrics for K classes: arrays in, floats out.

Throughout: y (n,) is a class 0 .. K - 1 and logits (n, K) are larger where a class is
likelier; probabilities are their softmax, in float64. `metrics` has the same for two
classes.
"""

from __future__ import annotations

import numpy as np
from scipy.special import entr, log_softmax, softmax
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from kdutils.metrics import binary as metrics


def errors(y: np.ndarray, logits: np.ndarray) -> int:
    """Number of rows whose most likely class is wrong."""
    return int(np.sum(np.argmax(logits, -1) != np.asarray(y)))


def accuracy(y: np.ndarray, logits: np.ndarray) -> float:
    """Share of rows whose most likely class is right."""
    return (len(y) - errors(y, logits)) / len(y)


def nll(y: np.ndarray, logits: np.ndarray) -> float:
    """Mean negative log-likelihood of the right class, in nats; finite at any logit."""
    return float(-_log(logits)[np.arange(len(y)), y].mean())


def brier(y: np.ndarray, logits: np.ndarray) -> float:
    """Mean over rows of sum_k (p_k - [y = k])^2, 0 to 2 (Brier 1950).

    For two classes it is twice `metrics.brier`.
    """
    away = softmax(np.asarray(logits, np.float64), -1)
    away[np.arange(len(y)), y] -= 1
    return float(np.square(away).sum(-1).mean())


def ece(y: np.ndarray, logits: np.ndarray, bins: int = 15) -> float:
    """Calibration error of the top class, over bins of equal mass (`metrics.ece`).

    Sums |share of right rows - mean confidence| over bins of confidence, weighted by
    rows (Guo et al. 2017, with the bins of Nixon et al. 2019).
    """
    right = np.argmax(logits, -1) == np.asarray(y)
    return metrics.ece(right, np.exp(_log(logits).max(-1)), bins)


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Share of rows on which two nets' logits have the same most likely class."""
    return float(np.mean(np.argmax(a, -1) == np.argmax(b, -1)))


def kl(teacher_logits: np.ndarray, student_logits: np.ndarray) -> float:
    """Mean KL(teacher || student) over rows, in nats; finite at any logits."""
    t, s = _log(teacher_logits), _log(student_logits)
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


def _log(logits: np.ndarray) -> np.ndarray:
    return log_softmax(np.asarray(logits, np.float64), -1)

"""stats: intervals, paired tests, corrections for many comparisons."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import expit, logit

LEVEL = 0.95  # of every interval
Z = float(stats.norm.ppf((1 + LEVEL) / 2))


class Interval(NamedTuple):
    """An estimate and the ends of its interval."""

    value: float
    low: float
    high: float


class Paired(NamedTuple):
    """Mean of n paired differences, their sd, the mean's interval and two-sided p."""

    mean: float
    sd: float
    low: float
    high: float
    p: float
    n: int


class Difference(NamedTuple):
    """A difference of two AUCs on the same rows, its interval and two-sided p."""

    value: float
    low: float
    high: float
    p: float


class McNemar(NamedTuple):
    """Rows that only a, or only b, gets right, and the exact two-sided p."""

    only_a: int
    only_b: int
    p: float


def delong(y: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUCs of m scores on the same rows, and their covariance, in O(m n log n).

    y: (n,) of 0 and 1; scores: (m, n). Returns aucs (m,) and covariance (m, m).
    DeLong, DeLong & Clarke-Pearson 1988; by midranks, Sun & Xu 2014, algorithm 2.
    Raises ValueError below two rows of a class: then there is no covariance.
    """
    scores, fail = np.atleast_2d(np.asarray(scores, np.float64)), np.asarray(y) == 1
    fails, passes = int(fail.sum()), int((~fail).sum())
    if min(fails, passes) < 2:
        raise ValueError(
            f"DeLong's variance needs two rows of each class: found {fails} fails and "
            f"{passes} passes"
        )
    ranks = stats.rankdata(scores, axis=-1)
    below = ranks[:, fail] - stats.rankdata(scores[:, fail], axis=-1)
    above = ranks[:, ~fail] - stats.rankdata(scores[:, ~fail], axis=-1)
    fail_part, pass_part = below / passes, 1 - above / fails
    covariance = np.cov(fail_part) / fails + np.cov(pass_part) / passes
    return fail_part.mean(axis=-1), np.atleast_2d(covariance)


def auc_interval(y: np.ndarray, s: np.ndarray) -> Interval:
    """AUC and its interval: DeLong's variance on the logit scale, so within (0, 1).

    Pepe 2003, section 5.2. At an AUC of exactly 0 or 1 that variance is 0; the open end
    is then Clopper & Pearson's bound for the smaller class, each row of it one trial.
    """
    aucs, covariance = delong(y, s)
    auc = float(aucs[0])
    if auc in (0.0, 1.0):
        trials = min(int(np.sum(y)), len(y) - int(np.sum(y)))
        bound = ((1 - LEVEL) / 2) ** (1 / trials)
        return Interval(auc, bound, 1.0) if auc else Interval(auc, 0.0, 1 - bound)
    half = Z * float(np.sqrt(covariance[0, 0]))
    return Interval(auc, *_within(auc, half))


def delong_test(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> Difference:
    """AUC of a minus AUC of b on the same rows, tested by DeLong et al. 1988."""
    aucs, covariance = delong(y, np.stack([a, b]))
    value = float(aucs[0] - aucs[1])
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    error = float(np.sqrt(max(variance, 0.0)))
    if error < 1e-12:  # the same order of rows: nothing but rounding is left
        return Difference(value, value, value, float(abs(value) < 1e-12))
    half = Z * error
    p = 2 * float(stats.norm.sf(abs(value) / error))
    return Difference(value, value - half, value + half, p)


def mcnemar(a_correct: np.ndarray, b_correct: np.ndarray) -> McNemar:
    """Exact test that two classifiers err equally often on the same rows.

    McNemar 1947, on the binomial distribution; rows on which both agree say nothing.
    """
    a, b = np.asarray(a_correct, bool), np.asarray(b_correct, bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if not only_a + only_b:
        return McNemar(0, 0, 1.0)
    return McNemar(
        only_a, only_b, float(stats.binomtest(only_a, only_a + only_b).pvalue)
    )


def share(count: int, n: int) -> Interval:
    """A count of n as a share, and its exact interval: Clopper & Pearson 1934."""
    ends = stats.binomtest(count, n).proportion_ci(LEVEL, "exact")
    return Interval(count / n, float(ends.low), float(ends.high))


def mean_interval(values: np.ndarray) -> Interval:
    """Mean of independent values and its t interval; NaN ends for a single value."""
    result = paired(values)
    return Interval(result.mean, result.low, result.high)


def paired(differences: np.ndarray, rho: float = 0.0) -> Paired:
    """Mean of paired differences, with the variance that shared rows call for.

    The mean's variance is (1/n + rho) s^2, t with n - 1 degrees of freedom. rho: 0 for
    independent samples; rows tested / rows trained on where folds share rows, because
    then the differences are correlated (Nadeau & Bengio 2003, eq. 9; for repeated
    cross-validation Bouckaert & Frank 2004). One value has neither sd, interval nor p.
    """
    d = np.asarray(differences, np.float64)
    n, mean = len(d), float(d.mean())
    if n < 2:
        return Paired(mean, np.nan, np.nan, np.nan, np.nan, n)
    sd = float(d.std(ddof=1))
    if sd < 1e-12:  # all equal: nothing varies, nothing is left to test
        return Paired(mean, 0.0, mean, mean, float(abs(mean) < 1e-12), n)
    error = sd * float(np.sqrt(1 / n + rho))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, n - 1))
    return Paired(mean, sd, mean - half, mean + half, p, n)


def scored(scores: np.ndarray, rho: float = 0.0) -> Paired:
    """`paired` of scores in [0, 1], such as AUCs: the mean's interval is in (0, 1).

    The t interval is taken to the logit scale, as `auc_interval` does (Pepe 2003,
    section 5.2). Scores that are all equal have that value as both ends.
    """
    result = paired(scores, rho)
    if not (0 < result.mean < 1 and result.sd > 0):
        return result
    low, high = _within(result.mean, result.high - result.mean)
    return result._replace(low=low, high=high)


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values (m,) adjusted by Holm 1979; a NaN is no test and stays NaN."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]
    adjusted = np.full(len(p), np.nan)
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def _within(mean: float, half: float) -> tuple[float, float]:
    """Ends of mean ± half on the logit scale, by the delta method."""
    half = half / (mean * (1 - mean))
    return float(expit(logit(mean) - half)), float(expit(logit(mean) + half))

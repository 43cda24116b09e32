"""Intervals and tests against brute force, scipy and published values."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from kdutils import metrics, stats


@pytest.fixture
def scored():
    rng = np.random.default_rng(11)
    y = (rng.random(80) < 0.3).astype(int)
    a = (y + rng.normal(size=80)).round(1)
    return y, np.stack([a, a + rng.normal(size=80).round(1), rng.normal(size=80)])


def brute_force(y, scores):
    """DeLong et al. 1988 from all pairs: the definition, in O(n^2)."""
    aucs, fails, passes = [], [], []
    for s in scores:
        x, z = s[y == 1][:, None], s[y == 0][None]
        wins = (x > z) + 0.5 * (x == z)
        aucs.append(wins.mean())
        fails.append(wins.mean(axis=1))
        passes.append(wins.mean(axis=0))
    covariance = np.cov(fails) / (y == 1).sum() + np.cov(passes) / (y == 0).sum()
    return np.array(aucs), covariance


def test_delong_is_the_definition_with_ties(scored):
    y, scores = scored
    aucs, covariance = stats.delong(y, scores)
    expected_aucs, expected = brute_force(y, scores)
    np.testing.assert_allclose(aucs, expected_aucs, atol=1e-12)
    np.testing.assert_allclose(covariance, expected, atol=1e-12)
    np.testing.assert_allclose(aucs, metrics.auc(y, scores), atol=1e-12)
    one = stats.delong(y, scores[0])
    assert one[0].shape == (1,) and one[1].shape == (1, 1)
    assert one[1][0, 0] == pytest.approx(covariance[0, 0])
    with pytest.raises(ValueError, match="1 fails and 2 passes"):
        stats.delong(np.array([0, 1, 0]), np.arange(3))


def test_auc_interval_covers_nineteen_in_twenty_times_as_it_says():
    rng, separation = np.random.default_rng(5), 1.2
    truth = scipy_stats.norm.cdf(separation / np.sqrt(2))
    covered = 0
    for _ in range(400):
        y = np.repeat([0, 1], [90, 30])
        interval = stats.auc_interval(y, rng.normal(size=120) + separation * y)
        covered += interval.low < truth < interval.high
    assert 0.92 < covered / 400 < 0.98


def test_auc_interval_of_a_perfect_score_has_an_open_end():
    y = np.array([0] * 50 + [1] * 10)
    interval = stats.auc_interval(y, y)
    # Clopper & Pearson for 10 of 10, as in their table: 0.692.
    assert interval == (1.0, pytest.approx(0.6915, abs=1e-4), 1.0)
    assert stats.auc_interval(y, -y).high == pytest.approx(1 - 0.6915, abs=1e-4)


def test_delong_test_is_the_z_test_on_that_covariance(scored):
    y, scores = scored
    aucs, covariance = brute_force(y, scores[:2])
    error = np.sqrt(np.array([1, -1]) @ covariance @ np.array([1, -1]))
    result = stats.delong_test(y, *scores[:2])
    assert result.value == pytest.approx(aucs[0] - aucs[1])
    p = 2 * scipy_stats.norm.sf(abs(result.value) / error)
    assert result.p == pytest.approx(p)
    assert result.high - result.low == pytest.approx(2 * 1.959964 * error)
    result = stats.delong_test(y, scores[0], 2 * scores[0] + 3)
    assert (result.value, result.p) == (0, 1), "the same ranks"


def test_mcnemar_is_exact():
    a = np.array([1] * 8 + [0] * 2 + [1] * 20 + [0] * 5)
    b = np.array([0] * 8 + [1] * 2 + [1] * 20 + [0] * 5)
    # Two-sided binomial, 2 or fewer of 10: 2 (1 + 10 + 45) / 1024.
    assert stats.mcnemar(a, b) == (8, 2, pytest.approx(112 / 1024))
    assert stats.mcnemar(a, a) == (0, 0, 1.0)


def test_paired_is_students_t_on_his_own_data():
    # Student 1908: hours of sleep gained by 10 patients; t = 4.0621, p = .00283.
    gained = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    result = stats.paired(gained)
    assert result.mean == pytest.approx(1.58)
    assert result.mean / (result.sd / np.sqrt(10)) == pytest.approx(4.0621, abs=1e-4)
    assert result.p == pytest.approx(0.00283, abs=1e-5)
    interval = (pytest.approx(0.7001, abs=1e-4), pytest.approx(2.4599, abs=1e-4))
    assert (result.low, result.high) == interval
    assert stats.mean_interval(gained) == (pytest.approx(1.58), *interval)


def test_paired_widens_by_nadeau_and_bengio():
    rng = np.random.default_rng(0)
    d = rng.normal(0.01, 0.02, 100)  # 10 x 10-fold: a tenth is tested, rho = 1 / 9
    plain, shared = stats.paired(d), stats.paired(d, rho=1 / 9)
    factor = np.sqrt((1 / 100 + 1 / 9) / (1 / 100))
    width = (shared.high - shared.low) / (plain.high - plain.low)
    assert width == pytest.approx(factor)
    t = d.mean() / np.sqrt((1 / 100 + 1 / 9) * d.var(ddof=1))
    assert shared.p == pytest.approx(2 * scipy_stats.t.sf(abs(t), 99))
    assert shared.mean == plain.mean and shared.sd == plain.sd


def test_paired_without_variance_or_with_one_value():
    assert stats.paired([0.0, 0.0, 0.0]) == (0, 0, 0, 0, 1, 3)
    assert stats.paired([2.0, 2.0]) == (2, 0, 2, 2, 0, 2)
    one = stats.paired([0.3])
    assert (one.mean, one.n) == (0.3, 1) and np.isnan([one.low, one.high, one.p]).all()


def test_an_interval_of_scores_stays_between_0_and_1():
    scores = np.array([0.97, 0.995, 0.999])
    plain, result = stats.paired(scores), stats.scored(scores)
    assert plain.high > 1 > result.high > result.mean > result.low > 0
    assert result[:2] == plain[:2] and result[4:] == plain[4:]
    logits = scipy_stats.logistic.ppf([result.low, result.mean, result.high])
    half = (plain.high - plain.mean) / (plain.mean * (1 - plain.mean))
    np.testing.assert_allclose(np.diff(logits), half)
    wide = stats.scored(scores, rho=0.5)
    assert 0 < wide.low < result.low and result.high < wide.high < 1
    for value in (0.0, 0.7, 1.0):
        expected = pytest.approx((value, 0, value, value))
        assert stats.scored([value] * 3)[:4] == expected
    one, none = stats.scored([0.3]), stats.scored([0.3, np.nan])
    assert one.mean == 0.3 and np.isnan([one.low, one.high]).all()
    assert np.isnan(none[:4]).all()


def test_holm_by_hand_and_like_statsmodels():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(stats.holm(p), [0.03, 0.06, 0.06, 0.02])
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    many = np.random.default_rng(2).random(49) ** 3
    expected = multitest.multipletests(many, method="holm")[1]
    np.testing.assert_allclose(stats.holm(many), expected)


def test_holm_does_not_count_what_was_not_tested():
    expected = [0.04, np.nan, 0.04]
    np.testing.assert_allclose(stats.holm(np.array([0.02, np.nan, 0.03])), expected)

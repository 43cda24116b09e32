"""Metrics against scikit-learn, by hand, and where logits overflow."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn import metrics as sk

from kdutils import metrics

Y = np.array([0, 0, 1, 1, 0, 1])
P = np.array([0.1, 0.4, 0.35, 0.8, 0.8, 0.9])


@pytest.fixture
def drawn():
    rng = np.random.default_rng(3)
    scores = rng.normal(size=400).round(1)  # rounded: many ties
    return (rng.random(400) < expit(scores - 1)).astype(np.float32), scores


def test_auc_counts_a_tie_as_half():
    # Of 9 (fail, pass) pairs: .35 beats .1, .8 beats .1 .4 and ties .8, .9 beats all.
    assert metrics.auc(Y, P) == pytest.approx((1 + 2.5 + 3) / 9)


def test_auc_is_sklearns_on_ties(drawn):
    assert metrics.auc(*drawn) == pytest.approx(sk.roc_auc_score(*drawn), abs=1e-12)


def test_auc_of_float32_scores_is_that_of_the_same_scores_in_float64():
    n = 40_000  # the sum of the ranks needs 29 bits, float32 has 24
    y, scores = np.arange(n) % 2, np.random.default_rng(2).permutation(n)
    above = np.searchsorted(np.sort(scores[y == 0]), scores[y == 1])
    scores = scores.astype(np.float32)
    assert metrics.auc(y, scores) == above.sum() / 20_000**2


def test_auc_takes_many_score_rows_at_once(drawn):
    y, scores = drawn
    many = np.stack([[scores, -scores], [scores**2, np.zeros(len(y))]])
    single = [[metrics.auc(y, s) for s in row] for row in many]
    assert metrics.auc(y, many).shape == (2, 2)
    np.testing.assert_array_equal(metrics.auc(y, many), single)
    assert single[0][0] + single[0][1] == pytest.approx(1)
    assert single[1][1] == 0.5


def test_auc_of_one_class_says_so():
    with pytest.raises(ValueError, match="0 fails, 3 passes"):
        metrics.auc(np.zeros(3), np.arange(3))


def test_scores_of_probabilities_are_sklearns(drawn):
    y, z = drawn
    p = expit(z)
    assert metrics.accuracy(y, z) == pytest.approx(sk.accuracy_score(y, p > 0.5))
    assert metrics.errors(y, z) == (y != (p > 0.5)).sum()
    assert metrics.nll(y, z) == pytest.approx(sk.log_loss(y, p), rel=1e-6)
    assert metrics.brier(y, z) == pytest.approx(sk.brier_score_loss(y, p))


def test_log_loss_of_a_certain_mistake_is_finite():
    assert metrics.nll(np.array([1.0]), np.array([-800.0])) == pytest.approx(800)


def test_ece_by_hand_over_two_bins_of_equal_mass():
    y, p = np.array([0, 1, 1, 1]), np.array([0.1, 0.2, 0.6, 0.9])
    # Lower half: |0.5 - 0.15|, upper half: |1 - 0.75|, each half of the rows.
    assert metrics.ece(y, logit(p), bins=2) == pytest.approx(0.5 * 0.35 + 0.5 * 0.25)


def test_ece_keeps_equal_probabilities_in_one_bin():
    y = np.array([0, 1, 0, 0, 1, 0, 0, 0, 0, 1.0])
    for order in (y, np.sort(y)):  # row order must not matter
        assert metrics.ece(order, np.full(10, logit(0.2))) == pytest.approx(0.1)


def test_agreement_with_thresholds_of_its_own():
    teacher = np.array([0.2, 0.6, 0.35, 0.7, 0.8, 0.1])
    assert metrics.agreement(logit(P), logit(teacher)) == pytest.approx(4 / 6)
    assert metrics.agreement(P, teacher, 0.5, 0.65) == pytest.approx(5 / 6)


def test_kl_by_hand_and_its_direction():
    t, s = 0.8, 0.5
    logit = np.log(t / (1 - t))
    forward = t * np.log(t / s) + (1 - t) * np.log((1 - t) / (1 - s))
    back = s * np.log(s / t) + (1 - s) * np.log((1 - s) / (1 - t))
    assert metrics.kl([logit], [0.0]) == pytest.approx(forward)
    assert metrics.kl([0.0], [logit]) == pytest.approx(back)
    assert forward != pytest.approx(back, rel=0.1)


def test_kl_is_finite_where_probabilities_round_to_one():
    value = metrics.kl([60.0, -800.0], [-50.0, -800.0])
    assert value == pytest.approx(50 / 2, rel=1e-6)


def test_sure_counts_both_ends_and_not_the_bounds():
    p = np.array([0.001, 0.02, 0.5, 0.98, 0.99, 1.0])
    assert metrics.near_certain(p) == pytest.approx(3 / 6)
    assert metrics.near_certain(p, low=0.1, high=0.995) == pytest.approx(3 / 6)
    assert metrics.near_certain(p, low=0.1) == pytest.approx(4 / 6)

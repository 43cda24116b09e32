"""Scores of K classes against scikit-learn, by hand, and where logits overflow."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sk

from kdutils import metrics

Y = np.array([0, 1, 2, 0])
P = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.2, 0.4, 0.4]])
LOGITS = np.log(P) + 3.0  # a shift that must not matter


@pytest.fixture
def drawn():
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(500, 6)).astype(np.float32) * 2
    p = softmax(logits.astype(np.float64) / 2, -1)  # the nets are too sure
    y = np.array([rng.choice(6, p=row) for row in p])
    return y, logits


def test_by_hand():
    assert metrics.errors(Y, LOGITS) == 2
    assert metrics.accuracy(Y, LOGITS) == 0.5
    expected = -np.mean(np.log([0.7, 0.3, 0.8, 0.2]))
    assert metrics.nll(Y, LOGITS) == pytest.approx(expected)
    squares = [0.09 + 0.04 + 0.01, 0.25 + 0.49 + 0.04, 0.01 + 0.01 + 0.04, 0.96]
    assert metrics.brier(Y, LOGITS) == pytest.approx(np.mean(squares))


def test_errors_are_whole_numbers():
    assert type(metrics.errors(Y, LOGITS)) is int
    assert type(metrics.accuracy(Y, LOGITS)) is float


def test_sklearn_agrees(drawn):
    y, logits = drawn
    p = softmax(logits.astype(np.float64), -1)
    hits = sk.accuracy_score(y, logits.argmax(-1))
    assert metrics.accuracy(y, logits) == pytest.approx(hits)
    assert metrics.errors(y, logits) == round(500 * (1 - hits))
    assert metrics.nll(y, logits) == pytest.approx(sk.log_loss(y, p))
    assert metrics.brier(y, logits) == pytest.approx(
        sum(sk.brier_score_loss(y == k, p[:, k]) for k in range(6))
    )


def test_ece_by_hand_over_two_bins_of_equal_mass():
    # Confidences .7 .5 .8 .4, right: yes no yes no; lower half .4 .5, upper .7 .8.
    expected = 0.5 * 0.45 + 0.5 * 0.25
    assert metrics.ece(Y, LOGITS, bins=2) == pytest.approx(expected)


def test_ece_by_a_loop_over_bins(drawn):
    y, logits = drawn
    p = softmax(logits.astype(np.float64), -1)
    order = np.argsort(p.max(-1))
    bins = np.array_split(order, 15)
    gaps = [
        abs(np.mean(p.argmax(-1)[rows] == y[rows]) - np.mean(p.max(-1)[rows]))
        * len(rows)
        for rows in bins
    ]
    assert metrics.ece(y, logits) == pytest.approx(sum(gaps) / 500, abs=0.01)
    assert metrics.ece(y, logits) > 2 * metrics.ece(y, logits / 2)


def test_two_classes_are_the_binary_metrics(drawn):
    y, p = drawn[0] % 2, softmax(drawn[1][:, :2].astype(np.float64), -1)
    logits = np.log(p)
    fail = logits[:, 1] - logits[:, 0]
    assert metrics.accuracy(y, logits) == metrics.accuracy(y, fail)
    assert metrics.nll(y, logits) == pytest.approx(metrics.nll(y, fail))
    assert metrics.brier(y, logits) == pytest.approx(2 * metrics.brier(y, fail))
    t, s = logits[:250], logits[250:]
    assert metrics.kl(t, s) == pytest.approx(
        metrics.kl(t[:, 1] - t[:, 0], s[:, 1] - s[:, 0])
    )


def test_agreement_counts_the_same_most_likely_class():
    other = np.array([[5, 0, 0], [0, 5, 0], [0, 0, 5], [0, 5, 0]])
    assert metrics.agreement(LOGITS, other) == 0.75
    assert metrics.agreement(LOGITS, LOGITS + 1) == 1


def test_kl_by_hand_and_its_direction():
    t, s = np.array([[0.7, 0.2, 0.1]]), np.array([[0.2, 0.2, 0.6]])
    forward = 0.7 * math.log(3.5) + 0.1 * math.log(1 / 6)
    back = 0.2 * math.log(1 / 3.5) + 0.6 * math.log(6)
    assert metrics.kl(np.log(t), np.log(s) - 7) == pytest.approx(forward)
    assert metrics.kl(np.log(s), np.log(t)) == pytest.approx(back)
    assert forward != pytest.approx(back, rel=0.1)
    assert metrics.kl(LOGITS, LOGITS) == 0


def test_all_is_finite_where_probabilities_round_to_zero():
    logits = np.array([[2000.0, -2000.0, 0.0], [0.0, 90.0, -90.0]], np.float32)
    y = np.array([1, 0])
    assert metrics.nll(y, logits) == pytest.approx((4000 + 90) / 2)
    assert metrics.brier(y, logits) == pytest.approx(2)
    assert metrics.ece(y, logits) == pytest.approx(1)
    assert metrics.kl(logits, -logits) == pytest.approx((4000 + 180) / 2)


def test_the_summary(drawn):
    y, logits = drawn
    found = metrics.summary(y, logits, logits[::-1])
    assert found == {
        "errors": metrics.errors(y, logits),
        "test_acc": metrics.accuracy(y, logits),
        "nll": metrics.nll(y, logits),
        "ece": metrics.ece(y, logits),
        "brier": metrics.brier(y, logits),
        "agreement": metrics.agreement(logits, logits[::-1]),
        "kl": metrics.kl(logits[::-1], logits),
    }
    assert len(set(found.values())) == 7
    assert {type(value) for value in found.values()} == {int, float}
    alone = metrics.summary(y, logits)
    assert alone == {**found, "agreement": None, "kl": None}


def test_the_effective_number_of_groups():
    assert metrics.effective(np.array([30, 0, 0])) == 1
    assert metrics.effective(np.array([7, 7, 7, 7, 0])) == pytest.approx(4)
    shares = np.array([0.5, 0.25, 0.25])
    assert metrics.effective(shares * 80) == pytest.approx(2**1.5)


def test_groupings_are_compared_without_their_names():
    truth, found = np.repeat([0, 1, 2], 4), np.repeat([7, 5, 9], 4)
    assert metrics.ari(truth, found) == metrics.nmi(truth, found) == 1
    merged = np.repeat([0, 0, 1], 4)
    # Pairs together: 18 in truth, 34 merged, 18 in both, 66 in all.
    chance = 18 * 34 / 66
    assert metrics.ari(truth, merged) == pytest.approx((18 - chance) / (26 - chance))
    entropies = math.log(3), -(2 / 3) * math.log(2 / 3) + math.log(3) / 3
    shared = entropies[1] / np.mean(entropies)
    assert metrics.nmi(truth, merged) == pytest.approx(shared)
    rng = np.random.default_rng(0)
    assert abs(metrics.ari(rng.integers(0, 4, 2000), rng.integers(0, 5, 2000))) < 0.01

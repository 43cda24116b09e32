"""Metrics against scikit-learn, by hand, and where logits overflow."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from scipy.special import expit, logit, softmax
from scipy.stats import entropy
from sklearn import metrics as sk

from kdutils import metrics

# Passes and fails, and classes: labels, probabilities, logits.
Y, P = np.array([0, 0, 1, 1, 0, 1]), np.array([0.1, 0.4, 0.35, 0.8, 0.8, 0.9])
Y3 = np.array([0, 1, 2, 0])
P3 = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.2, 0.4, 0.4]])
Z3 = np.log(P3) + 3.0  # a shift that must not matter


@pytest.fixture(scope="module")
def binary():
    rng = np.random.default_rng(3)
    scores = rng.normal(size=400).round(1)  # rounded: many ties
    return (rng.random(400) < expit(scores - 1)).astype(np.float32), scores


@pytest.fixture(scope="module")
def classes():
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(500, 6)).astype(np.float32) * 2
    p = softmax(logits.astype(np.float64) / 2, -1)  # the nets are too sure
    return np.array([rng.choice(6, p=row) for row in p]), logits


@pytest.fixture(scope="module")
def labels():
    """300 rows of 8 labels.

    The 6th and 8th are never there, the 7th and 8th never predicted. Returned: y, a
    teacher's logits and those of a student that is less often right.
    """
    rng = np.random.default_rng(0)
    y = (rng.random((300, 8)) < 0.3).astype(np.uint8)
    teacher = (2.0 * y - 1) * 2 + rng.normal(0, 1.2, y.shape)
    student = teacher + rng.normal(0, 1.2, y.shape)
    y[:, [5, 7]] = 0
    for z in (teacher, student):
        z[:, 6:] = -np.abs(z[:, 6:])
    return y, teacher.astype(np.float32), student.astype(np.float32)


def sets(values):
    return [tuple(row) for row in np.asarray(values).astype(int).tolist()]


# AUC ---------------------------------------------------------------------------------


def test_auc_counts_a_tie_as_half_as_sklearn_does(binary):
    # Of 9 (fail, pass) pairs: .35 beats .1, .8 beats .1 .4 and ties .8, .9 beats all.
    assert metrics.auc(Y, P) == pytest.approx((1 + 2.5 + 3) / 9)
    assert metrics.auc(*binary) == pytest.approx(sk.roc_auc_score(*binary), abs=1e-12)


def test_auc_of_float32_scores_is_that_of_the_same_scores_in_float64():
    n = 40_000  # the sum of the ranks needs 29 bits, float32 has 24
    y, scores = np.arange(n) % 2, np.random.default_rng(2).permutation(n)
    above = np.searchsorted(np.sort(scores[y == 0]), scores[y == 1])
    scores = scores.astype(np.float32)
    assert metrics.auc(y, scores) == above.sum() / 20_000**2


def test_auc_takes_many_score_rows_at_once(binary):
    y, scores = binary
    many = np.stack([[scores, -scores], [scores**2, np.zeros(len(y))]])
    single = [[metrics.auc(y, s) for s in row] for row in many]
    np.testing.assert_array_equal(metrics.auc(y, many), single)
    assert single[0][0] + single[0][1] == pytest.approx(1) and single[1][1] == 0.5
    with pytest.raises(ValueError, match="0 fails, 3 passes"):
        metrics.auc(np.zeros(3), np.arange(3))


# Scores of probabilities -------------------------------------------------------------


def test_scores_of_passes_and_fails_are_sklearns(binary):
    y, z = binary
    p = expit(z)
    assert metrics.accuracy(y, z) == pytest.approx(sk.accuracy_score(y, p > 0.5))
    assert metrics.errors(y, z) == (y != (p > 0.5)).sum()
    assert metrics.nll(y, z) == pytest.approx(sk.log_loss(y, p), rel=1e-6)
    assert metrics.brier(y, z) == pytest.approx(sk.brier_score_loss(y, p))


def test_scores_of_classes_are_sklearns(classes):
    y, z = classes
    p = softmax(z.astype(np.float64), -1)
    accuracy = sk.accuracy_score(y, z.argmax(-1))
    assert metrics.accuracy(y, z) == pytest.approx(accuracy)
    assert metrics.errors(y, z) == round(500 * (1 - accuracy))
    assert metrics.nll(y, z) == pytest.approx(sk.log_loss(y, p))
    expected = sum(sk.brier_score_loss(y == k, p[:, k]) for k in range(6))
    assert metrics.brier(y, z) == pytest.approx(expected)


def test_all_is_finite_where_probabilities_round_to_zero():
    z = np.array([[2000.0, -2000.0, 0.0], [0.0, 90.0, -90.0]], np.float32)
    y = np.array([1, 0])
    assert metrics.nll(y, z) == pytest.approx((4000 + 90) / 2)
    assert metrics.brier(y, z) == pytest.approx(2)
    assert metrics.ece(y, z) == pytest.approx(1)
    assert metrics.kl(z, -z) == pytest.approx((4000 + 180) / 2)
    assert metrics.nll(np.array([1.0]), np.array([-800.0])) == pytest.approx(800)
    assert metrics.kl([60.0, -800.0], [-50.0, -800.0]) == pytest.approx(25, rel=1e-6)


def test_ece_by_hand_over_two_bins_of_equal_mass():
    y, p = np.array([0, 1, 1, 1]), np.array([0.1, 0.2, 0.6, 0.9])
    # Lower half: |0.5 - 0.15|, upper half: |1 - 0.75|, each half of the rows.
    assert metrics.ece(y, logit(p), bins=2) == pytest.approx(0.5 * 0.35 + 0.5 * 0.25)
    # Confidences .7 .5 .8 .4, right: yes no yes no; lower half .4 .5, upper .7 .8.
    assert metrics.ece(Y3, Z3, bins=2) == pytest.approx(0.5 * 0.45 + 0.5 * 0.25)


def test_ece_keeps_equal_probabilities_in_one_bin():
    y = np.array([0, 1, 0, 0, 1, 0, 0, 0, 0, 1.0])
    for order in (y, np.sort(y)):  # row order must not matter
        assert metrics.ece(order, np.full(10, logit(0.2))) == pytest.approx(0.1)


def test_ece_by_a_loop_over_bins(classes):
    y, z = classes
    p = softmax(z.astype(np.float64), -1)
    bins = np.array_split(np.argsort(p.max(-1)), 15)
    gaps = [abs(np.sum((p.argmax(-1) == y)[i]) - np.sum(p.max(-1)[i])) for i in bins]
    assert metrics.ece(y, z) == pytest.approx(sum(gaps) / 500, abs=0.01)
    assert metrics.ece(y, z) > 2 * metrics.ece(y, z / 2)


def test_sure_counts_both_ends_and_not_the_bounds():
    p = np.array([0.001, 0.02, 0.5, 0.98, 0.99, 1.0])
    assert metrics.near_certain(p) == pytest.approx(3 / 6)
    assert metrics.near_certain(p, low=0.1, high=0.995) == pytest.approx(3 / 6)
    assert metrics.near_certain(p, low=0.1) == pytest.approx(4 / 6)


# Two nets ----------------------------------------------------------------------------


def test_agreement_is_the_same_prediction_at_thresholds_of_their_own(labels):
    teacher = np.array([0.2, 0.6, 0.35, 0.7, 0.8, 0.1])
    assert metrics.agreement(logit(P), logit(teacher)) == pytest.approx(4 / 6)
    assert metrics.agreement(P, teacher, 0.5, 0.65) == pytest.approx(5 / 6)
    other = np.array([[5, 0, 0], [0, 5, 0], [0, 0, 5], [0, 5, 0]])
    assert metrics.agreement(Z3, other) == 0.75
    assert metrics.agreement(Z3, Z3 + 1) == 1
    _, teacher, student = labels
    pairs = zip(sets(teacher > 0), sets(student > 0), strict=True)
    expected = np.mean([a == b for a, b in pairs])
    assert metrics.fidelity(teacher, student) == pytest.approx(expected)
    assert metrics.fidelity(student, teacher) == pytest.approx(expected)
    assert metrics.fidelity(teacher, 9 * teacher) == 1 > expected > 0.1


def test_kl_by_hand_and_its_direction():
    t, s = np.array([[0.7, 0.2, 0.1]]), np.array([[0.2, 0.2, 0.6]])
    forward, back = entropy(t[0], s[0]), entropy(s[0], t[0])
    assert metrics.kl(np.log(t), np.log(s) - 7) == pytest.approx(forward)
    assert metrics.kl(np.log(s), np.log(t)) == pytest.approx(back)
    assert forward != pytest.approx(back, rel=0.1) and metrics.kl(Z3, Z3) == 0
    expected = entropy([0.8, 0.2], [0.5, 0.5])
    assert metrics.kl([logit(0.8)], [0.0]) == pytest.approx(expected)


def test_the_summary(classes):
    y, logits = classes
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


# Sets of labels ----------------------------------------------------------------------


def test_a_logit_above_zero_is_a_label_that_is_there():
    found = metrics.predicted([[0.1, 0.0, -0.1], [1e-30, -0.0, 9]], multilabel=True)
    assert found.tolist() == [[1, 0, 0], [1, 0, 1]] and found.dtype == np.uint8


def test_a_row_is_right_if_its_whole_set_is(labels):
    y = [[1, 0, 1], [0, 0, 0], [1, 1, 0], [0, 1, 0]]
    z = [[2, -1, 3], [-1, -1, -1], [1, -1, -1], [1, 1, -1]]
    assert metrics.correct(y, z).tolist() == [True, True, False, False]
    y, teacher, student = labels
    for z in (teacher, student):
        expected = sk.accuracy_score(y, z > 0)
        assert metrics.accuracy(y, z) == pytest.approx(expected)
    assert metrics.accuracy(y, student) < metrics.accuracy(y, teacher) < 1


def test_every_label_has_sklearns_precision_recall_and_f1(labels):
    y, _, student = labels
    found = metrics.by_label(y, student)
    expected = sk.precision_recall_fscore_support(y, student > 0, zero_division=np.nan)
    assert list(found) == ["precision", "recall", "f1"]
    for name, column in zip(found, expected, strict=False):
        assert all(v is None or type(v) is float for v in found[name])
        mine = [np.nan if v is None else v for v in found[name]]
        assert np.allclose(mine, column, equal_nan=True), name
    assert found["recall"][5] is None and found["precision"][5] == found["f1"][5] == 0
    assert found["precision"][6] is None and found["recall"][6] == found["f1"][6] == 0
    assert [found[name][7] for name in found] == [None] * 3


def test_macro_f1_leaves_out_what_is_neither_there_nor_predicted(labels):
    y, _, student = labels
    full = sk.f1_score(y[:, :7], student[:, :7] > 0, average="macro", zero_division=0)
    assert metrics.macro_f1(y, student) == pytest.approx(full)
    assert metrics.macro_f1([[1, 0]], [[1.0, -1.0]]) == 1


def test_entropy_is_that_of_every_label(labels):
    p = expit(labels[1].astype(float))
    expected = entropy(np.stack([p, 1 - p]), axis=0).sum(axis=1)
    found = metrics.entropy(labels[1])
    assert np.allclose(found, expected) and found.dtype == np.float64
    assert metrics.entropy(np.zeros((2, 8))) == pytest.approx([8 * np.log(2)] * 2)
    assert metrics.entropy(np.array([[1e4, -1e4]])).tolist() == [0.0]


def test_calibration_is_counted_label_by_label(labels):
    y, teacher, _ = labels
    found = metrics.calibration(y, teacher, bins=5)
    p, true = expit(teacher.astype(float)).ravel(), y.ravel()
    for k in range(5):
        inside = (k / 5 <= p) & (p < (k + 1) / 5)
        assert found["reliability_n"][k] == inside.sum() > 0
        assert found["reliability_p"][k] == pytest.approx(p[inside].mean())
        assert found["reliability_share"][k] == pytest.approx(true[inside].mean())
    assert sum(found["reliability_n"]) == 2400
    assert found["entropy"] == pytest.approx(metrics.entropy(teacher).mean())
    wrong = (teacher > 0) != y
    assert found["pseudo_error"] == pytest.approx(wrong.any(axis=1).mean())
    assert found["pseudo_error_pattern"] == pytest.approx(wrong.mean())
    parts = np.argsort(p, kind="stable").reshape(15, 160)
    gaps = np.abs(p[parts].sum(1) - true[parts].sum(1))
    assert 0.02 < found["ece"] == pytest.approx(gaps.sum() / 2400, abs=2e-3)
    worse = metrics.calibration(y, 4 * teacher)
    assert worse["ece"] > found["ece"] and worse["entropy"] < found["entropy"]
    assert worse["pseudo_error"] == found["pseudo_error"]


def test_an_empty_bin_has_no_mean_and_certainty_is_in_the_last():
    found = metrics.calibration(np.array([[1, 0]]), np.array([[99.0, -99.0]]), bins=4)
    assert found["reliability_n"] == [1, 0, 0, 1]
    assert found["reliability_p"] == pytest.approx([0, None, None, 1])
    assert found["reliability_share"] == [0, None, None, 1]
    assert found["ece"] < 1e-40 and found["pseudo_error"] == 0


def test_errors_are_split_by_the_teachers(labels):
    y, teacher, student = labels
    led, wrong = metrics.correct(y, teacher), ~metrics.correct(y, student)
    same = ((teacher > 0) == (student > 0)).all(1)
    found = metrics.errors_by_teacher(y, teacher, student)
    assert found == {
        "error_teacher_right": pytest.approx(wrong[led].mean()),
        "error_teacher_wrong": pytest.approx(wrong[~led].mean()),
        "copied": pytest.approx(same[~led].mean()),
    }
    assert len(set(found.values())) == 3 and found["copied"] > 0.1
    names = ("error_teacher_right", "error_teacher_wrong", "copied")
    y, z = np.array([[1, 0], [0, 1]]), np.array([[1.0, -1.0], [-1.0, -1.0]])
    truth = 2.0 * y - 1
    none, only = (metrics.errors_by_teacher(y, *pair) for pair in
                  ((truth, z), (-truth, -truth)))  # fmt: skip
    assert none == dict(zip(names, (0.5, None, None), strict=True))
    assert only == dict(zip(names, (None, 1.0, 1.0), strict=True))


def test_bins_go_from_a_sure_teacher_to_a_torn_one(labels):
    y, teacher, student = labels
    found = metrics.by_teacher_entropy(y, teacher, student, bins=6)
    every = metrics.entropy(teacher)
    parts = np.argsort(every, kind="stable").reshape(6, 50)
    assert found["entropy"] == pytest.approx(every[parts].mean(1))
    for name, z in (("teacher", teacher), ("student", student)):
        wrong = ((z > 0) != y).any(1)
        assert found[f"{name}_error"] == pytest.approx(wrong[parts].mean(1))
    assert found["entropy"] == sorted(found["entropy"])
    assert found["teacher_error"][0] < found["teacher_error"][-1]
    assert found["teacher_error"] != found["student_error"]
    assert len(metrics.by_teacher_entropy(y, teacher, student)["entropy"]) == 5


def test_nothing_warns(labels):
    y, teacher, student = labels
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.by_label(y, student)
        metrics.calibration(y, teacher)
        metrics.errors_by_teacher(y, 2.0 * y - 1, student)

"""The metrics of several patterns against scikit-learn, loops and counts by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    hamming_loss,
    precision_recall_fscore_support,
)

from kdutils import metrics


@pytest.fixture
def drawn():
    """300 maps of 8 patterns; no label of the 6th, no word of the 7th, none of the 8th.

    Returned: y, a teacher's logits and those of a student that is less often right.
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
    return [tuple(row) for row in np.asarray(values).tolist()]


def said(logits):
    return sets([[int(z > 0) for z in row] for row in logits.tolist()])


# --- verdicts, sets and patterns --------------------------------------------------


def test_a_logit_above_zero_is_a_pattern_that_is_there():
    found = metrics.predicted([[0.1, 0.0, -0.1], [1e-30, -0.0, 9]], multilabel=True)
    assert found.tolist() == [[1, 0, 0], [1, 0, 1]] and found.dtype == np.uint8


def test_a_map_is_right_if_its_whole_set_is():
    y = [[1, 0, 1], [0, 0, 0], [1, 1, 0], [0, 1, 0]]
    z = [[2, -1, 3], [-1, -1, -1], [1, -1, -1], [1, 1, -1]]
    assert metrics.correct(y, z).tolist() == [True, True, False, False]
    assert metrics.accuracy(y, z) == 0.5 and type(metrics.accuracy(y, z)) is float


def test_exact_match_is_that_of_sklearn(drawn):
    y, teacher, student = drawn
    for z in (teacher, student):
        expected = accuracy_score(y, np.array(said(z)))
        assert metrics.accuracy(y, z) == pytest.approx(expected)
        assert metrics.correct(y, z).tolist() == [
            a == b for a, b in zip(sets(y), said(z), strict=True)
        ]
    assert metrics.accuracy(y, student) < metrics.accuracy(y, teacher) < 1


def test_fidelity_compares_two_nets_and_no_label(drawn):
    _, teacher, student = drawn
    pairs = list(zip(said(teacher), said(student), strict=True))
    expected = sum(a == b for a, b in pairs) / 300
    assert metrics.fidelity(teacher, student) == pytest.approx(expected)
    assert metrics.fidelity(student, teacher) == pytest.approx(expected)
    assert metrics.fidelity(teacher, 9 * teacher) == 1 > expected > 0.1


def test_every_pattern_has_sklearns_precision_recall_and_f1(drawn):
    y, _, student = drawn
    found = metrics.by_label(y, student)
    assert list(found) == ["precision", "recall", "f1"]
    expected = precision_recall_fscore_support(
        y, np.array(said(student)), zero_division=np.nan
    )
    for name, column in zip(found, expected, strict=False):
        assert len(found[name]) == 8
        assert all(v is None or type(v) is float for v in found[name])
        mine = [np.nan if v is None else v for v in found[name]]
        assert np.allclose(mine, column, equal_nan=True), name
    assert found["recall"][5] is None and found["precision"][5] == found["f1"][5] == 0
    assert found["precision"][6] is None and found["recall"][6] == found["f1"][6] == 0
    assert [found[name][7] for name in found] == [None] * 3


def f1s(y, z):
    """2 hits / (there + said), None where there is nothing."""
    y, v = np.asarray(y) == 1, np.array(said(z)) == 1
    both = [(int((y & v)[:, k].sum()), int(y[:, k].sum() + v[:, k].sum()))
            for k in range(8)]  # fmt: skip
    return np.array([2 * hits / n if n else np.nan for hits, n in both])


def test_macro_f1_leaves_out_what_nobody_spoke_of(drawn):
    y, _, student = drawn
    assert metrics.macro_f1(y, student) == pytest.approx(np.nanmean(f1s(y, student)))
    full = f1_score(y[:, :7], np.array(said(student))[:, :7], average="macro",
                    zero_division=0)  # fmt: skip
    assert metrics.macro_f1(y, student) == pytest.approx(full)
    assert metrics.macro_f1([[1, 0]], [[1.0, -1.0]]) == 1


# --- entropy and calibration --------------------------------------------------------


def test_entropy_is_the_entropy_of_every_answer(drawn):
    _, teacher, _ = drawn
    p = 1 / (1 + np.exp(-teacher.astype(float)))
    expected = entropy(np.stack([p, 1 - p]), axis=0).sum(axis=1)
    found = metrics.entropy(teacher)
    assert np.allclose(found, expected) and found.dtype == np.float64
    assert np.allclose(metrics.entropy(-teacher), expected)
    assert metrics.entropy(np.zeros((2, 8))) == pytest.approx([8 * np.log(2)] * 2)
    assert metrics.entropy(np.array([[1e4, -1e4]])).tolist() == [0.0]


def test_calibration_is_counted_answer_by_answer(drawn):
    y, teacher, _ = drawn
    found = metrics.calibration(y, teacher, bins=5)
    answers = [(1 / (1 + np.exp(-float(z))), int(t))
               for z, t in zip(teacher.ravel(), y.ravel(), strict=True)]  # fmt: skip
    for k in range(5):
        inside = [(p, t) for p, t in answers if k / 5 <= p < (k + 1) / 5]
        assert found["reliability_n"][k] == len(inside) > 0
        p, share = np.mean(inside, axis=0)
        assert found["reliability_p"][k] == pytest.approx(p)
        assert found["reliability_share"][k] == pytest.approx(share)
    assert sum(found["reliability_n"]) == 2400
    assert found["entropy"] == pytest.approx(metrics.entropy(teacher).mean())
    wrong = np.array(said(teacher)) != y
    assert found["pseudo_error"] == pytest.approx(wrong.any(axis=1).mean())
    assert found["pseudo_error_pattern"] == pytest.approx(
        hamming_loss(y, np.array(said(teacher)))
    )
    order = sorted(answers)  # 2400 answers in 15 bins of 160
    parts = [np.array(order[i : i + 160]) for i in range(0, 2400, 160)]
    gaps = [abs(part[:, 0].sum() - part[:, 1].sum()) for part in parts]
    assert found["ece"] == pytest.approx(sum(gaps) / 2400, abs=2e-3)
    assert found["ece"] > 0.02
    worse = metrics.calibration(y, 4 * teacher)
    assert worse["ece"] > found["ece"] and worse["entropy"] < found["entropy"]
    assert worse["pseudo_error"] == found["pseudo_error"]


def test_an_empty_bin_has_no_mean_and_certainty_is_in_the_last():
    found = metrics.calibration(np.array([[1, 0]]), np.array([[99.0, -99.0]]), bins=4)
    assert found["reliability_n"] == [1, 0, 0, 1]
    assert found["reliability_p"][1:3] == found["reliability_share"][1:3] == [None] * 2
    assert found["reliability_p"] == pytest.approx([0, None, None, 1])
    assert found["reliability_share"] == [0, None, None, 1]
    assert found["ece"] < 1e-40 and found["pseudo_error"] == 0


# --- a student behind its teacher -------------------------------------------------


def test_errors_are_split_by_the_teachers(drawn):
    y, teacher, student = drawn
    rows = list(zip(sets(y), said(teacher), said(student), strict=True))
    led = [(t, s, v) for t, s, v in rows if t != s]
    sure = [(t, s, v) for t, s, v in rows if t == s]
    found = metrics.errors_by_teacher(y, teacher, student)
    assert found == {
        "error_teacher_right": pytest.approx(np.mean([v != t for t, _, v in sure])),
        "error_teacher_wrong": pytest.approx(np.mean([v != t for t, _, v in led])),
        "copied": pytest.approx(np.mean([v == s for _, s, v in led])),
    }
    assert len(set(found.values())) == 3 and found["copied"] > 0.1
    total = found["error_teacher_right"] * len(sure)
    total += found["error_teacher_wrong"] * len(led)
    assert total / 300 == pytest.approx(1 - metrics.accuracy(y, student))


def test_a_teacher_without_errors_or_without_anything_else():
    y, z = np.array([[1, 0], [0, 1]]), np.array([[1.0, -1.0], [-1.0, -1.0]])
    truth = 2.0 * y - 1
    none = metrics.errors_by_teacher(y, truth, z)
    assert none == {
        "error_teacher_right": 0.5, "error_teacher_wrong": None, "copied": None
    }  # fmt: skip
    only = metrics.errors_by_teacher(y, -truth, -truth)
    assert only == {
        "error_teacher_right": None, "error_teacher_wrong": 1.0, "copied": 1.0
    }  # fmt: skip


def test_bins_go_from_a_sure_teacher_to_a_torn_one(drawn):
    y, teacher, student = drawn
    found = metrics.by_teacher_entropy(y, teacher, student, bins=6)
    every = metrics.entropy(teacher)
    ranked = sorted(
        zip(every, sets(y), said(teacher), said(student), strict=True),
        key=lambda row: row[0],
    )
    for k in range(6):
        part = ranked[50 * k : 50 * (k + 1)]
        assert found["entropy"][k] == pytest.approx(np.mean([d for d, *_ in part]))
        for name, place in (("teacher", 2), ("student", 3)):
            wrong = np.mean([row[place] != row[1] for row in part])
            assert found[f"{name}_error"][k] == pytest.approx(wrong)
    assert found["entropy"] == sorted(found["entropy"])
    assert found["teacher_error"][0] < found["teacher_error"][-1]
    assert found["teacher_error"] != found["student_error"]
    assert len(metrics.by_teacher_entropy(y, teacher, student)["entropy"]) == 5


def test_nothing_warns(drawn):
    y, teacher, student = drawn
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.by_label(y, student)
        metrics.calibration(y, teacher)
        metrics.errors_by_teacher(y, 2.0 * y - 1, student)

"""Subclass Distillation against its formulas in numpy, and what its losses promise."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kdutils import losses
from kdutils.losses import subclass

S = np.array([[2.0, 0.0, -1.0, 0.5], [0.0, 1.0, 3.0, -2.0], [1.0, -1.0, 0.0, 2.0]])
TEACHER = np.array([[1.0, 3.0, 0.0, -1.0], [-2.0, 0.0, 1.0, 4.0], [0.0, 1.0, 2.0, 2.5]])
Y = np.array([0, 1, 1])
student_loss = partial(losses.kd, kind="subclass")


def tensor(values):
    return torch.tensor(values, dtype=torch.float32)


def spread(s, T):
    """The auxiliary loss as its equation reads, pair by pair."""
    v = [(row - row.mean()) / row.std() / math.sqrt(len(row)) for row in s]
    rows = [math.log(sum(math.exp(a @ b / T) for b in v)) for a in v]
    return np.mean(rows) - 1 / T - math.log(len(s))


def cross_entropy(s):
    p = np.exp(s) / np.exp(s).sum(-1, keepdims=True)
    halves = np.stack([p[:, :2].sum(-1), p[:, 2:].sum(-1)], -1)
    return -np.mean(np.log(halves[np.arange(3), Y]))


def divergence(s, t, T):
    total = 0
    for a, b in zip(s / T, t / T, strict=True):
        p, q = (np.exp(x) / np.exp(x).sum() for x in (b, a))
        total += np.sum(p * np.log(p / q))
    return T * T * total / len(s)


def test_a_class_has_its_subclasses_probability():
    found = torch.softmax(subclass.class_logits(tensor(S), 2), -1)
    expected = F.softmax(tensor(S), -1)
    expected = torch.stack([expected[:, :2].sum(-1), expected[:, 2:].sum(-1)], -1)
    assert torch.allclose(found, expected, atol=1e-6)
    logits = subclass.class_logits(tensor(S), 2)
    assert logits[0, 0].item() == pytest.approx(math.log(math.exp(2) + 1))


def test_as_many_classes_as_subclasses_change_nothing():
    assert torch.equal(subclass.class_logits(tensor(S), 4), tensor(S))
    assert subclass.class_logits(torch.zeros(5, 3, 12), 3).shape == (5, 3, 3)


def test_subclasses_that_cannot_be_shared_are_refused():
    with pytest.raises(ValueError, match=r"4 subclasses .* among 3 classes"):
        subclass.class_logits(tensor(S), 3)


@pytest.mark.parametrize(("T", "golden"), [(1.0, -0.6107), (0.3, -0.9904)])
def test_the_spread_is_its_formula(T, golden):
    found = subclass.spread(tensor(S), T).item()
    assert found == pytest.approx(spread(S, T), rel=1e-5)
    assert found == pytest.approx(golden, abs=1e-4)


def test_the_spread_is_zero_at_one_pattern_and_negative_otherwise():
    row = tensor(S[0])
    same = torch.stack([row, 3 * row + 1, 0.2 * row - 4])  # one pattern, standardised
    assert subclass.spread(same).item() == pytest.approx(0, abs=1e-6)
    for seed in range(20):
        s = torch.randn(8, 6, generator=torch.Generator().manual_seed(seed))
        assert -2 < subclass.spread(s).item() < -0.05


def test_the_spreads_gradient_pulls_rows_apart():
    s = tensor(S[:1]).repeat(6, 1)
    s += 0.01 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    before = subclass.spread(s).item()
    for _ in range(200):
        s.requires_grad_()
        (slope,) = torch.autograd.grad(subclass.spread(s), s)
        s = (s - 5 * slope).detach()
    assert before > -0.001 and subclass.spread(s).item() < -0.5
    assert len(set(s.argmax(-1).tolist())) > 1


def test_the_spread_of_constant_rows_is_finite():
    s = torch.zeros(4, 6, requires_grad=True)
    found = subclass.spread(s)
    found.backward()
    assert found.item() == pytest.approx(-1) and torch.isfinite(s.grad).all()


def test_the_teachers_loss():
    how = {"y": torch.tensor(Y), "classes": 2}
    expected = cross_entropy(S) + 0.5 * spread(S, 0.7)
    found = subclass.hard_spread(tensor(S), **how, beta=0.5, T=0.7).item()
    assert found == pytest.approx(expected, rel=1e-5)
    assert found == pytest.approx(-0.1412, abs=1e-4)
    plain = subclass.hard(tensor(S), **how, smoothing=0.2)
    logits = subclass.class_logits(tensor(S), 2)
    expected = F.cross_entropy(logits, torch.tensor(Y), label_smoothing=0.2)
    assert plain.item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_students_loss():
    labels = torch.tensor(Y)
    how = {"classes": 2, "alpha": 0.6, "T": 4.0}
    found = student_loss(tensor(S), tensor(TEACHER), labels, **how).item()
    soft = divergence(S, TEACHER, 4.0)
    assert found == pytest.approx(0.4 * cross_entropy(S) + 0.6 * soft, rel=1e-5)
    assert found == pytest.approx(1.8579, abs=1e-4)
    free = student_loss(tensor(S), tensor(TEACHER), **how).item()
    assert free == pytest.approx(soft, rel=1e-5)
    same = student_loss(tensor(S), tensor(S), **how).item()
    assert same == pytest.approx(0, abs=1e-6)


def test_subclasses_tell_what_classes_do_not():
    """Moved within a class, the class logits stay and only the subclasses see it."""
    moved = tensor(S[:, [1, 0, 3, 2]])
    classes = [subclass.class_logits(a, 2) for a in (moved, tensor(S))]
    assert losses.kd(*classes, T=4.0).item() < 1e-6
    how = {"classes": 2, "alpha": 1.0, "T": 4.0}
    assert student_loss(moved, tensor(S), **how).item() > 0.5


def test_rows_without_label():
    labels = torch.tensor([0, -100, 1])
    logits = subclass.class_logits(tensor(S), 2)[[0, 2]]
    expected = F.cross_entropy(logits, labels[[0, 2]]).item()
    found = subclass.hard_spread(tensor(S), labels, classes=2, beta=0.0)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_cells_are_independent():
    s = torch.stack([tensor(S), -tensor(S), tensor(TEACHER)])
    t, labels = tensor(TEACHER[::-1].copy()), torch.tensor(Y)
    T, other = torch.tensor([0.5, 1.0, 4.0]), torch.tensor([0.1, 0.5, 0.9])
    teachers = subclass.hard_spread(s, labels, classes=2, beta=other, T=T)
    students = student_loss(s, t, labels, classes=2, alpha=other, T=T)
    assert teachers.shape == students.shape == (3,)
    for i in range(3):
        a, b = float(other[i]), float(T[i])
        alone = subclass.hard_spread(s[i], labels, classes=2, beta=a, T=b)
        assert alone.item() == pytest.approx(teachers[i].item(), rel=1e-5)
        alone = student_loss(s[i], t, labels, classes=2, alpha=a, T=b)
        assert alone.item() == pytest.approx(students[i].item(), rel=1e-5)


def test_the_order_of_rows_and_of_subclasses_does_not_matter():
    order, labels = [2, 0, 1], torch.tensor(Y)
    how = {"classes": 2, "T": 0.7}
    expected = subclass.hard_spread(tensor(S), labels, **how).item()
    rows = subclass.hard_spread(tensor(S[order]), labels[order], **how)
    assert rows.item() == pytest.approx(expected, rel=1e-5)
    columns = subclass.hard_spread(tensor(S[:, [1, 0, 3, 2]]), labels, **how)
    assert columns.item() == pytest.approx(expected, rel=1e-5)
    twice = subclass.hard_spread(tensor(S).repeat(2, 1), labels.repeat(2), **how)
    assert twice.item() == pytest.approx(expected, rel=1e-5)


def test_gradients_are_numeric_ones():
    s, t = torch.randn(2, 2, 5, 6, generator=torch.Generator().manual_seed(1)).double()
    s.requires_grad_()
    labels = torch.tensor([0, 1, -100, 2, 2])
    check = torch.autograd.gradcheck
    assert check(lambda s: subclass.class_logits(s, 3), s)
    assert check(lambda s: subclass.spread(s, 0.6), s)
    assert check(lambda s: subclass.hard_spread(s, labels, classes=3, T=0.6), s)
    how = {"classes": 3, "alpha": 0.6, "T": 3.0}
    assert check(lambda s: student_loss(s, t, labels, **how), s)

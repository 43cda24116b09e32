"""The losses of several patterns, row by row in numpy; labels 0 never reads a label."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kdutils import losses
from kdutils.losses import multilabel

Z = np.array([[0.5, -1.0, 2.0], [0.0, 1.5, -0.5], [-2.0, 0.3, 0.1], [-1.0, 0.2, 0.4]])
TEACHER = np.array([[1.0, -2.0, 0.5], [-1.0, 3.0, 0.1], [1.5, 1.0, -2], [0.7, -0.1, 2]])
Y = np.array([[1, 0, 0], [0, 1, 1], [0, 1, 0], [0, 0, 1]], np.uint8)
ALPHA, BETA, TEMPERATURE = 0.3, 0.65, 3.0


def tensor(values):
    return torch.tensor(values, dtype=torch.float32)


def of(z=Z, t=TEACHER, y=Y, **how):
    z, t = (a if isinstance(a, torch.Tensor) else tensor(a) for a in (z, t))
    return loss(**how)(z, t, y if y is None else torch.as_tensor(y))


def loss(labels=0.0, T=None, alpha=0.5, beta=0.5):
    """By temperature where there is one, else as published."""
    how = {"kind": "multilabel", "alpha": 1 - labels}
    if T is None:
        return losses.get("mse-bce").using(mse=alpha, threshold=beta, **how)
    return losses.kd.using(T=T, **how)


# --- as the papers write them -----------------------------------------------------


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def bce(z, target):
    """Mean over all answers; a target may be a probability."""
    total = 0.0
    for a, b in zip(z.ravel(), target.ravel(), strict=True):
        p = sigmoid(a)
        total -= b * math.log(p) + (1 - b) * math.log1p(-p)
    return total / z.size


def published(alpha=ALPHA, beta=BETA):
    verdict = np.array([[float(sigmoid(t) > beta) for t in row] for row in TEACHER])
    squares = [(a - b) ** 2 for a, b in zip(Z.ravel(), TEACHER.ravel(), strict=True)]
    return alpha * float(np.mean(squares)) + (1 - alpha) * bce(Z, verdict)


def soft(T=TEMPERATURE):
    target = np.array([[sigmoid(t / T) for t in row] for row in TEACHER])
    return T * T * (bce(Z / T, target) - bce(TEACHER / T, target))


def test_labels_alone():
    assert multilabel.hard(tensor(Z), torch.tensor(Y)).item() == pytest.approx(
        bce(Z, Y.astype(float)), rel=1e-6
    )
    assert of(labels=1.0).item() == pytest.approx(bce(Z, Y.astype(float)), rel=1e-6)


@pytest.mark.parametrize("beta", [0.02, 0.3, 0.5, 0.65, 0.72, 0.98])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_published_loss(alpha, beta):
    found = multilabel.mse_bce(tensor(Z), tensor(TEACHER), mse=alpha, threshold=beta)
    assert found.item() == pytest.approx(published(alpha, beta), rel=1e-6)
    told = of(alpha=alpha, beta=beta)
    assert told.item() == pytest.approx(found.item())


def test_beta_is_a_probability_not_a_logit():
    """σ(0.5) = 0.62 and σ(0.7) = 0.67: β = 0.65 lies between them, β = 0.5 below."""
    z, t = torch.zeros(1, 2, requires_grad=True), tensor([[0.5, 0.7]])
    multilabel.mse_bce(z, t, mse=0, threshold=0.65).backward()
    assert torch.allclose(z.grad, tensor([[0.25, -0.25]]))
    values = {round(published(0.0, beta), 4) for beta in (0.02, 0.3, 0.5, 0.65, 0.98)}
    assert len(values) == 5


@pytest.mark.parametrize("T", [0.5, 1.0, 3.0])
def test_the_soft_loss(T):
    found = multilabel.kd(tensor(Z), tensor(TEACHER), T=T).item()
    assert found == pytest.approx(soft(T), rel=1e-5)
    assert of(T=T).item() == pytest.approx(found)


def test_a_hot_teacher_has_its_logits_matched():
    z = tensor(Z).requires_grad_()
    multilabel.kd(z, tensor(TEACHER), T=1000.0).backward()
    assert np.allclose(z.grad, (Z - TEACHER) / 4 / Z.size, atol=1e-4)


@pytest.mark.parametrize("T", [None, 3.0])
@pytest.mark.parametrize("labels", [0.0, 0.25, 1.0])
def test_labels_and_teacher_are_weighed(labels, T):
    own = soft() if T else published()
    expected = labels * bce(Z, Y.astype(float)) + (1 - labels) * own
    found = of(alpha=ALPHA, beta=BETA, T=T, labels=labels)
    assert found.item() == pytest.approx(expected, rel=1e-5)


# --- what is never read -----------------------------------------------------------

HOW = [{"alpha": 0.4}, {"alpha": 0.0}, {"T": 1.0}, {"T": 4.0}]


@pytest.mark.parametrize("how", HOW)
def test_without_labels_no_label_is_read(how):
    """Not even labels that are no numbers, or none at all, change value or gradient."""
    found = []
    for y in (Y, 1 - Y, np.full(Y.shape, np.nan), None):
        z = tensor(Z).requires_grad_()
        value = of(z=z, y=y, labels=0.0, **how)
        value.backward()
        found.append((value.item(), z.grad.tolist()))
    assert all(one == found[0] for one in found) and math.isfinite(found[0][0])
    assert of(y=Y, labels=0.5, **how) != of(y=1 - Y, labels=0.5, **how)
    assert loss(**how)(tensor(Z), tensor(TEACHER), None).item() == (
        pytest.approx(found[0][0])  # no labels is what a loss does if not told
    )


@pytest.mark.parametrize("how", HOW)
def test_with_labels_alone_no_teacher_is_asked(how):
    told = loss(labels=1.0, **how)
    z, y = tensor(Z), torch.tensor(Y)
    assert told(z, tensor(TEACHER), y) == told(z, z * math.nan, y) == told(z, None, y)


# --- as any loss ------------------------------------------------------------------


@pytest.mark.parametrize("how", [*HOW, {"labels": 1.0}, {"labels": 0.3, "T": 2.0}])
def test_a_loss_is_a_mean_over_maps_and_patterns(how):
    each = [of(Z[i : i + 1], TEACHER[i : i + 1], Y[i : i + 1], **how) for i in range(4)]
    whole = of(**how).item()
    assert np.mean(each) == pytest.approx(whole, rel=1e-5)
    each = [of(Z[:, [k]], TEACHER[:, [k]], Y[:, [k]], **how) for k in range(3)]
    assert np.mean(each) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("how", [*HOW, {"labels": 1.0}, {"labels": 0.3, "T": 2.0}])
def test_gradients_are_numeric_ones(how):
    z = torch.tensor(Z, requires_grad=True)
    t, y = torch.tensor(TEACHER), torch.tensor(Y)
    assert torch.autograd.gradcheck(lambda z: loss(**how)(z, t, y), z)


@pytest.mark.parametrize("how", [*HOW, {"labels": 1.0}])
def test_safe_at_any_logit(how):
    z = tensor([[300.0, -300.0, 0.0]]).requires_grad_()
    value = of(z, tensor([[-300.0, 300.0, 0.0]]), Y[:1], **how)
    value.backward()
    assert math.isfinite(value.item()) and torch.isfinite(z.grad).all()


@pytest.mark.parametrize("how", [{"alpha": 1.0}, {"alpha": 0.3}, {"T": 1.0}])
def test_repeating_the_teacher_is_best(how):
    same = of(TEACHER, **how).item()
    assert same < min(of(TEACHER + d, **how).item() for d in (-2.0, 2.0))
    if "T" in how or how["alpha"] == 1:
        z = tensor(TEACHER).requires_grad_()
        of(z, **how).backward()
        assert z.grad.abs().max() < 1e-7


# --- refusals ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"alpha": -0.1}, "mse is -0.1, but must be within [0, 1]"),
        ({"alpha": 1.5}, "mse is 1.5, but must be within [0, 1]"),
        ({"alpha": math.nan}, "mse is nan, but must be within [0, 1]"),
        ({"beta": 0.0}, "threshold is 0, but must be a probability between 0 and 1"),
        ({"beta": 1}, "threshold is 1, but must be a probability between 0 and 1"),
        ({"beta": math.nan}, "threshold is nan, but must be a probability"),
        ({"labels": -0.5}, "alpha is 1.5, but must be within [0, 1]"),
        ({"labels": 2}, "alpha is -1, but must be within [0, 1]"),
        ({"T": 0.0}, "T is 0, but must be above 0 and finite"),
        ({"T": -1.0}, "T is -1, but must be above 0 and finite"),
        ({"T": math.nan}, "T is nan, but must be above 0 and finite"),
    ],
)
def test_settings_outside_their_ranges_are_refused_before_any_training(how, said):
    with pytest.raises(ValueError) as error:
        loss(**how)
    assert str(error.value).startswith(said)

"""The losses against numbers worked out by hand, torch's own, and each other."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from kdutils.losses import binary as losses

Z = torch.tensor([0.5, -1.0, 2.0, 0.0])
TEACHER = torch.tensor([1.0, -2.0, 0.5, 3.0])
Y = torch.tensor([1.0, 0.0, 0.0, 1.0])
NAN = math.nan


def by_hand(z, p):
    """Cross-entropy of one row: -(p log s + (1 - p) log(1 - s)), in plain Python."""
    s = 1 / (1 + math.exp(-z))
    return -(p * math.log(s) + (1 - p) * math.log(1 - s))


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def standardised(values):
    values = values.tolist()
    middle = mean(values)
    spread = math.sqrt(mean((v - middle) ** 2 for v in values))
    return [(v - middle) / spread for v in values]


HARD = mean(by_hand(z, y) for z, y in zip(Z.tolist(), Y.tolist(), strict=True))
PAIRS = list(zip(Z.tolist(), TEACHER.tolist(), strict=True))
SCORES = list(zip(standardised(Z), standardised(TEACHER), strict=True))
SOFT = {
    "kd": 9 * mean(by_hand(z / 3, sigmoid(t / 3)) for z, t in PAIRS),
    "logit-mse": mean((z - t) ** 2 for z, t in PAIRS),
    "logit-std": 9 * mean(by_hand(z / 3, sigmoid(t / 3)) for z, t in SCORES),
    "ttm": mean(by_hand(z, sigmoid(t / 3)) for z, t in PAIRS),
}
GOLDEN = {
    "hard": 0.9019,
    "kd": 4.6008,
    "logit-mse": 2.4581,
    "logit-std": 4.6672,
    "ttm": 0.8082,
}


def of(method, z=Z, t=TEACHER, y=Y, *, alpha=0.7, T=3.0, smoothing=0.0):
    return losses.binary(method, z, t, y, alpha=alpha, T=T, smoothing=smoothing)


@pytest.mark.parametrize("method", losses.METHODS)
def test_golden_values(method):
    expected = HARD if method == "hard" else 0.3 * HARD + 0.7 * SOFT[method]
    assert of(method).item() == pytest.approx(expected, rel=1e-5)
    assert of(method).item() == pytest.approx(GOLDEN[method], abs=1e-4)


def test_golden_values_differ():
    assert len({round(value, 3) for value in GOLDEN.values()}) == len(losses.METHODS)


@pytest.mark.parametrize("method", list(SOFT))
def test_alpha_weighs_the_teacher(method):
    hard, free = losses.binary_hard(Z, Y), of(method, y=None)
    assert of(method, alpha=0.0).item() == pytest.approx(hard.item())
    assert of(method, alpha=1.0).item() == pytest.approx(free.item())
    assert free.item() == pytest.approx(SOFT[method], rel=1e-5)
    half = of(method, alpha=0.5).item()
    assert half == pytest.approx((hard.item() + free.item()) / 2)


def test_hard_is_torchs_cross_entropy_with_smoothed_labels():
    expected = F.binary_cross_entropy_with_logits(Z, Y * 0.8 + 0.1)
    smooth = losses.binary_hard(Z, Y, smoothing=0.2)
    assert smooth.item() == pytest.approx(expected.item(), rel=1e-6)
    assert smooth.item() != pytest.approx(HARD, rel=1e-2)


def test_safe_at_any_logit():
    z = torch.tensor([-200.0, 200.0])
    assert losses.binary_hard(z, torch.tensor([1.0, 0.0])).item() == pytest.approx(200)


def test_rows_without_label_count_for_the_teacher_only():
    y = torch.tensor([1.0, NAN, 0.0, NAN])
    hard = mean([by_hand(0.5, 1), by_hand(2.0, 0)])
    assert losses.binary_hard(Z, y).item() == pytest.approx(hard, rel=1e-6)
    assert of("kd", y=y).item() == pytest.approx(
        0.3 * hard + 0.7 * SOFT["kd"], rel=1e-5
    )
    nothing = torch.full((4,), NAN)
    assert losses.binary_hard(Z, nothing).item() == 0
    assert of("kd", y=nothing).item() == pytest.approx(0.7 * SOFT["kd"], rel=1e-5)


def gradient(z, loss):
    z = z.clone().requires_grad_()
    return torch.autograd.grad(loss(z), z)[0]


def test_t_squared_keeps_the_gradients_scale():
    """Without T^2 the soft gradient falls as 1 / T^2 (Hinton et al. 2015, eq. 4)."""
    sizes = [
        gradient(Z, lambda z, T=T: of("kd", z, y=None, T=T)).norm().item()
        for T in (20.0, 40.0)
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)
    bare = [size / T**2 for size, T in zip(sizes, (20, 40), strict=True)]
    assert bare[0] / bare[1] == pytest.approx(4, rel=0.01)


def test_an_eighth_of_logit_mse_is_the_limit_of_large_temperature():
    kd = gradient(Z, lambda z: of("kd", z, y=None, T=300.0))
    mse = gradient(Z, lambda z: of("logit-mse", z, y=None)) / 8
    assert torch.allclose(kd, mse, rtol=1e-2, atol=1e-4)


def test_a_student_equal_to_its_teacher_is_left_alone():
    for method in ("kd", "logit-mse", "logit-std"):
        left = gradient(TEACHER, lambda z, m=method: of(m, z, y=None))
        assert left.abs().max() < 1e-5, method
    assert gradient(TEACHER, lambda z: of("ttm", z, y=None)).abs().max() > 0.01


def test_standardised_logits_teach_no_location_and_no_scale():
    a, b = of("logit-std", y=None), of("logit-std", 5 * Z - 3, y=None)
    assert a.item() == pytest.approx(b.item(), rel=1e-4)


def test_cells_are_independent():
    z = torch.stack([Z, 2 * Z + 1, -Z])
    alpha, T = torch.tensor([0.1, 0.5, 1.0]), torch.tensor([1.0, 2.0, 8.0])
    for method in losses.METHODS:
        together = of(method, z, alpha=alpha, T=T)
        assert together.shape == (3,)
        alone = [of(method, z[i], alpha=alpha[i], T=T[i]) for i in range(3)]
        assert torch.allclose(together, torch.stack(alone), rtol=1e-6), method
        assert len({round(value.item(), 3) for value in alone}) == 3


@pytest.mark.parametrize("method", losses.METHODS)
def test_the_closed_gradient_is_autograds(method):
    generator = torch.Generator().manual_seed(5)
    z, t = torch.randn(2, 4, 9, generator=generator).mul(3)
    y = torch.tensor([1.0, 0, NAN, 1, 0, 0, NAN, 1, 0])
    how = {
        "alpha": torch.tensor([0.0, 0.3, 0.9, 1.0]),
        "T": torch.tensor([1.0, 2.0, 5.0, 0.5]),
        "smoothing": torch.tensor([0.0, 0.1, 0.2, 0.0]),
    }
    expected = gradient(z, lambda z: losses.binary(method, z, t, y, **how).sum())
    found = losses.binary_gradient(method, z, t, y, **how)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert found.abs().max() > 0.01


def test_an_unknown_method_is_named():
    for function in (losses.binary, losses.binary_gradient):
        with pytest.raises(ValueError, match="'kl' is none of hard, kd"):
            function("kl", Z, TEACHER, Y, alpha=0.5, T=1.0)


STUDENT3 = torch.tensor([[1.0, 0.0, -1.0], [0.2, 0.3, 0.1], [-2.0, 1.0, 0.5]])
TEACHER3 = torch.tensor([[2.0, 1.0, -1.0], [0.0, 3.0, 0.0], [1.0, 1.0, 1.0]])
LABELS3 = torch.tensor([0, 1, 2])


def test_k_classes_against_torch():
    found = losses.distillation(STUDENT3, TEACHER3, LABELS3, alpha=0.6, T=4.0)
    soft = F.cross_entropy(STUDENT3 / 4, F.softmax(TEACHER3 / 4, -1))
    hard = F.cross_entropy(STUDENT3, LABELS3)
    assert found.item() == pytest.approx(
        (0.4 * hard + 0.6 * 16 * soft).item(), rel=1e-6
    )
    free = losses.distillation(STUDENT3, TEACHER3, alpha=0.6, T=4.0)
    assert free.item() == pytest.approx(16 * soft.item(), rel=1e-6)
    only = losses.distillation(STUDENT3, TEACHER3, LABELS3, alpha=1.0, T=4.0)
    assert only.item() == pytest.approx(free.item(), rel=1e-6)


def test_k_classes_skip_rows_without_label():
    labels = torch.tensor([0, -100, 2])
    found = losses.distillation(STUDENT3, TEACHER3, labels, alpha=0.0, T=4.0)
    expected = F.cross_entropy(STUDENT3[[0, 2]], labels[[0, 2]])
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    none = torch.full((3,), -100)
    assert losses.distillation(STUDENT3, TEACHER3, none, alpha=0.0, T=4.0).item() == 0


def test_two_classes_are_the_binary_loss():
    pair = [torch.stack([torch.zeros(4), a], -1) for a in (Z, TEACHER)]
    found = losses.distillation(*pair, Y.long(), alpha=0.7, T=3.0)
    assert found.item() == pytest.approx(of("kd").item(), rel=1e-6)

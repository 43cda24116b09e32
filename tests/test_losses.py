"""The losses against numbers worked out by hand, torch's own, and each other."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from kdutils import losses

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


def divergence(z, t):
    """KL of the teacher's verdicts from the student's."""
    return by_hand(z, sigmoid(t)) - by_hand(t, sigmoid(t))


def standardised(values):
    values = values.tolist()
    middle = mean(values)
    spread = math.sqrt(mean((v - middle) ** 2 for v in values))
    return [(v - middle) / spread for v in values]


HARD = mean(by_hand(z, y) for z, y in zip(Z.tolist(), Y.tolist(), strict=True))
PAIRS = list(zip(Z.tolist(), TEACHER.tolist(), strict=True))
SCORES = list(zip(standardised(Z), standardised(TEACHER), strict=True))
SOFT = {
    "kd": 9 * mean(divergence(z / 3, t / 3) for z, t in PAIRS),
    "logit-mse": mean((z - t) ** 2 for z, t in PAIRS),
    "logit-std": 9 * mean(divergence(z / 3, t / 3) for z, t in SCORES),
    "ttm": mean(by_hand(z, sigmoid(t / 3)) for z, t in PAIRS),
}
GOLDEN = {
    "hard": 0.9019,
    "kd": 0.5186,
    "logit-mse": 2.4581,
    "logit-std": 0.3856,
    "ttm": 0.8082,
}


def of(method, z=Z, t=TEACHER, y=Y, **settings):
    """The loss, which takes of these settings what it reads."""
    loss = losses.get(method, "binary")
    settings = {"alpha": 0.7, "T": 3.0, "smoothing": 0.0, **settings}
    own = {key: settings[key] for key in loss.settings["binary"]}
    return loss(z, t, y, kind="binary", **own)


HARD_OF = losses.binary.hard
METHODS = losses.names("binary")


@pytest.mark.parametrize("method", METHODS)
def test_golden_values(method):
    expected = HARD if method == "hard" else 0.3 * HARD + 0.7 * SOFT[method]
    assert of(method).item() == pytest.approx(expected, rel=1e-5)
    assert of(method).item() == pytest.approx(GOLDEN[method], abs=1e-4)


def test_golden_values_differ():
    assert len({round(value, 3) for value in GOLDEN.values()}) == len(METHODS)


@pytest.mark.parametrize("method", list(SOFT))
def test_alpha_weighs_the_teacher(method):
    hard, free = HARD_OF(Z, Y), of(method, y=None)
    assert of(method, alpha=0.0).item() == pytest.approx(hard.item())
    assert of(method, alpha=1.0).item() == pytest.approx(free.item())
    assert free.item() == pytest.approx(SOFT[method], rel=1e-5)
    half = of(method, alpha=0.5).item()
    assert half == pytest.approx((hard.item() + free.item()) / 2)


def test_hard_is_torchs_cross_entropy_with_smoothed_labels():
    expected = F.binary_cross_entropy_with_logits(Z, Y * 0.8 + 0.1)
    smooth = HARD_OF(Z, Y, smoothing=0.2)
    assert smooth.item() == pytest.approx(expected.item(), rel=1e-6)
    assert smooth.item() != pytest.approx(HARD, rel=1e-2)


def test_safe_at_any_logit():
    z = torch.tensor([-200.0, 200.0])
    assert HARD_OF(z, torch.tensor([1.0, 0.0])).item() == pytest.approx(200)


def test_rows_without_label_count_for_the_teacher_only():
    y = torch.tensor([1.0, NAN, 0.0, NAN])
    hard = mean([by_hand(0.5, 1), by_hand(2.0, 0)])
    assert HARD_OF(Z, y).item() == pytest.approx(hard, rel=1e-6)
    assert of("kd", y=y).item() == pytest.approx(
        0.3 * hard + 0.7 * SOFT["kd"], rel=1e-5
    )
    nothing = torch.full((4,), NAN)
    assert HARD_OF(Z, nothing).item() == 0
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
    for method in METHODS:
        together = of(method, z, alpha=alpha, T=T)
        assert together.shape == (3,)
        alone = [of(method, z[i], alpha=alpha[i], T=T[i]) for i in range(3)]
        assert torch.allclose(together, torch.stack(alone), rtol=1e-6), method
        assert len({round(value.item(), 3) for value in alone}) == 3


@pytest.mark.parametrize("method", METHODS)
def test_the_closed_gradient_is_autograds(method):
    generator = torch.Generator().manual_seed(5)
    z, t = torch.randn(2, 4, 9, generator=generator).mul(3)
    y = torch.tensor([1.0, 0, NAN, 1, 0, 0, NAN, 1, 0])
    how = {
        "alpha": torch.tensor([0.0, 0.3, 0.9, 1.0]),
        "T": torch.tensor([1.0, 2.0, 5.0, 0.5]),
        "smoothing": torch.tensor([0.0, 0.1, 0.2, 0.0]),
    }
    expected = gradient(z, lambda z: of(method, z, t, y, **how).sum())
    found = losses.gradient(method, z, t, y, **how)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert found.abs().max() > 0.01


def test_an_unknown_method_is_named():
    with pytest.raises(ValueError, match="'kl' is none of hard, kd"):
        losses.get("kl")
    with pytest.raises(ValueError, match="'dkd' is none of hard, kd, logit-mse"):
        losses.gradient("dkd", Z, TEACHER, Y, alpha=0.5, T=1.0)
    with pytest.raises(ValueError, match="'ttm' is none of hard, kd"):
        losses.get("ttm")(STUDENT3, TEACHER3, LABELS3, alpha=0.5, T=1.0)


def test_a_loss_without_a_closed_gradient_has_autograds(monkeypatch):
    expected = losses.gradient("ttm", Z, TEACHER, Y, alpha=0.5, T=2.0)
    monkeypatch.delitem(losses.binary.GRADIENTS, "ttm")
    with torch.no_grad():
        found = losses.gradient("ttm", Z, TEACHER, Y, alpha=0.5, T=2.0, smoothing=0.1)
    assert torch.allclose(found, expected, atol=1e-6) and not found.requires_grad


STUDENT3 = torch.tensor([[1.0, 0.0, -1.0], [0.2, 0.3, 0.1], [-2.0, 1.0, 0.5]])
TEACHER3 = torch.tensor([[2.0, 1.0, -1.0], [0.0, 3.0, 0.0], [1.0, 1.0, 1.0]])
LABELS3 = torch.tensor([0, 1, 2])


def test_two_classes_are_the_binary_loss():
    pair = [torch.stack([torch.zeros(4), a], -1) for a in (Z, TEACHER)]
    found = losses.kd(*pair, Y.long(), alpha=0.7, T=3.0)
    assert found.item() == pytest.approx(of("kd").item(), rel=1e-6)


def test_kinds_are_told_from_logits_and_labels():
    """Arrays, whole labels of passes and fails, classes, sets of labels, no label."""
    how = {"alpha": 0.7, "T": 3.0}
    given = [Z.numpy(), TEACHER.numpy(), Y.numpy().astype(int)]
    assert losses.kd(*given, **how).item() == pytest.approx(of("kd").item())
    many = losses.kd(torch.stack([Z, -Z]), TEACHER, Y, **how)
    assert many.shape == (2,) and many[0].item() == pytest.approx(of("kd").item())
    three = losses.kd(STUDENT3, TEACHER3, LABELS3, **how)
    expected = losses.kd(STUDENT3, TEACHER3, LABELS3, kind="multiclass", **how)
    free = losses.kd(STUDENT3, TEACHER3, kind="multiclass", T=3.0)
    assert three == expected and losses.kd(STUDENT3, TEACHER3, T=3.0) == free
    sets = losses.kd(STUDENT3, TEACHER3, torch.eye(3), **how)
    assert sets == losses.kd(STUDENT3, TEACHER3, torch.eye(3), kind="multilabel", **how)
    assert len({three.item(), free.item(), sets.item()}) == 3


def test_every_loss_names_its_settings():
    assert losses.names("binary") == ("hard", "kd", "logit-mse", "logit-std", "ttm")
    assert losses.LOSSES["dkd"].settings == {"multiclass": ("alpha", "T", "beta")}
    assert losses.get("hard").settings["multiclass"] == ("smoothing",)
    with pytest.raises(TypeError, match="loss 'kd' needs alpha"):
        losses.kd(Z, TEACHER, Y, T=3.0)
    with pytest.raises(ValueError, match="T is 0, but must be above 0 and finite"):
        losses.kd.using(kind="binary", alpha=0.5, T=0)

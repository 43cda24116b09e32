"""The K-class losses against their papers' formulas in numpy, and their invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kdutils import losses

Z = np.array([[0.5, -1.0, 2.0], [0.0, 1.5, -0.5], [2.0, 0.3, 0.1], [-1.0, 0.2, 0.4]])
TEACHER = np.array(
    [[1.0, -2.0, 0.5], [-1.0, 3.0, 0.0], [1.5, 1.0, -2.0], [0.7, 0.0, 2.5]]
)
Y = np.array([0, 1, 2, 2])  # the teacher is wrong on the third row
TEMPERATURE, ALPHA, KNOB = 3.0, 0.7, 2.5
SOFT = ("kd", "logit-mse", "dkd", "logit-std", "dist")


def tensor(values):
    return torch.tensor(values, dtype=torch.float32 if np.ndim(values) > 1 else None)


def of(method, z=Z, t=TEACHER, y=Y, *, alpha=ALPHA, T=TEMPERATURE, coefficient=KNOB):
    """The loss, of arrays or tensors, with a coefficient that is no smoothing."""
    z, t = (a if isinstance(a, torch.Tensor) else tensor(a) for a in (z, t))
    y = torch.as_tensor(y) if y is not None else None
    coefficient = 0.0 if method == "hard" else coefficient
    return loss(method, z, t, y, alpha=alpha, T=T, coefficient=coefficient)


def loss(method, z, t, y, *, coefficient, **settings):
    """The loss with what it reads; the coefficient is the setting that it alone has."""
    one = losses.get(method, "multiclass")
    own = {name: settings.get(name, coefficient) for name in one.settings["multiclass"]}
    return one(z, t, y, kind="multiclass", **own)


METHODS = losses.names("multiclass")


# Row by row, as the papers write them ------------------------------------------------


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def divergence(p, q):
    return float(np.sum(p * np.log(p / q)))


def pearson(a, b):
    return float(np.corrcoef(a, b)[0, 1])


def cross_entropy():
    rows = zip(Z, Y, strict=True)
    return np.mean([-math.log(softmax(z)[y]) for z, y in rows])


def kd():
    pairs = zip(Z / TEMPERATURE, TEACHER / TEMPERATURE, strict=True)
    return 9 * np.mean([divergence(softmax(t), softmax(z)) for z, t in pairs])


def logit_mse():
    return np.mean([np.mean((z - t) ** 2) for z, t in zip(Z, TEACHER, strict=True)])


def dkd():
    total = []
    for z, t, y in zip(Z / TEMPERATURE, TEACHER / TEMPERATURE, Y, strict=True):
        s, p = softmax(z), softmax(t)
        target = divergence(np.array([p[y], 1 - p[y]]), np.array([s[y], 1 - s[y]]))
        s, p = np.delete(s, y) / (1 - s[y]), np.delete(p, y) / (1 - p[y])
        total.append(target + KNOB * divergence(p, s))
    return 9 * np.mean(total)


def logit_std():
    total = []
    for z, t in zip(Z, TEACHER, strict=True):
        z, t = (z - z.mean()) / z.std(), (t - t.mean()) / t.std()
        total.append(divergence(softmax(t / TEMPERATURE), softmax(z / TEMPERATURE)))
    return 9 * np.mean(total)


def dist():
    s = np.array([softmax(row / TEMPERATURE) for row in Z])
    p = np.array([softmax(row / TEMPERATURE) for row in TEACHER])
    inter = np.mean([1 - pearson(s[i], p[i]) for i in range(4)])
    intra = np.mean([1 - pearson(s[:, k], p[:, k]) for k in range(3)])
    return 9 * (inter + intra)


FORMULA = {
    "hard": cross_entropy,
    "kd": kd,
    "logit-mse": logit_mse,
    "dkd": dkd,
    "logit-std": logit_std,
    "dist": dist,
}
GOLDEN = {
    "hard": 1.2400,
    "kd": 0.6913,
    "logit-mse": 1.5089,
    "dkd": 1.0109,
    "logit-std": 0.5790,
    "dist": 4.1131,
}


@pytest.mark.parametrize("method", METHODS)
def test_golden_values(method):
    hard, formula = cross_entropy(), FORMULA[method]()
    expected = hard if method == "hard" else 0.3 * hard + 0.7 * formula
    assert of(method).item() == pytest.approx(expected, rel=1e-5)
    assert of(method).item() == pytest.approx(GOLDEN[method], abs=1e-4)


def test_golden_values_differ():
    assert len({round(value, 2) for value in GOLDEN.values()}) == len(GOLDEN)


@pytest.mark.parametrize("method", SOFT)
def test_alpha_weighs_the_teacher(method):
    free = of(method, y=None)
    if method == "dkd":  # label-free, its targets are the teacher's own
        target = TEACHER.argmax(-1)
        assert free.item() == pytest.approx(of(method, y=target, alpha=1.0).item())
        free = of(method, alpha=1.0)
    assert free.item() == pytest.approx(FORMULA[method](), rel=1e-5)
    hard = of("hard").item()
    assert of(method, alpha=0.0).item() == pytest.approx(hard)
    assert of(method, alpha=1.0).item() == pytest.approx(free.item())
    half = of(method, alpha=0.5).item()
    assert half == pytest.approx((hard + free.item()) / 2, rel=1e-6)


def test_hard_is_torchs_cross_entropy_with_smoothing():
    z, y = tensor(Z), torch.tensor(Y)
    for smoothing in (0.0, 0.2, torch.tensor(0.2)):
        expected = F.cross_entropy(z, y, label_smoothing=float(smoothing))
        found = losses.get("hard")(z, y=y, smoothing=smoothing)
        assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert found.item() != pytest.approx(cross_entropy(), rel=1e-2)


def test_hint_is_half_the_mean_square_of_features():
    student = np.array([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.5, 0.0]]])
    teacher = np.array([[0.0, 2.0], [3.0, 1.0]])
    expected = [np.mean((s - teacher) ** 2) / 2 for s in student]
    found = losses.multiclass.hint(tensor(student), tensor(teacher))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(found, [1.25, 1.40625], rtol=1e-6)


# What a distillation loss promises ---------------------------------------------------


def drawn(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype) * 3


@pytest.mark.parametrize("method", SOFT)
def test_a_student_equal_to_its_teacher_has_no_loss_and_no_gradient(method):
    for T in (1.0, 4.0):
        z = drawn(16, 5, dtype=torch.float64).requires_grad_()
        found = of(method, z, z.detach(), y=None, T=T)
        assert abs(found.item()) < 1e-9
        assert torch.autograd.grad(found, z)[0].abs().max() < 1e-9


def test_the_hint_is_zero_at_equality_only():
    a = drawn(4, 3)
    assert losses.multiclass.hint(a, a).item() == 0
    assert losses.multiclass.hint(a, a + 1).item() == pytest.approx(0.5)


@pytest.mark.parametrize("method", SOFT)
def test_a_soft_loss_is_positive_where_nets_differ(method):
    for seed in range(20):
        z, t = drawn(2, 12, 4, seed=seed)
        assert of(method, z, t, y=None).item() > 0.1
    near = t + 0.01 * z
    assert 0 <= of(method, near, t, y=None).item() < 0.1


def test_hard_is_positive():
    assert all(of("hard", drawn(4, 3, seed=seed)).item() > 0 for seed in range(20))


def gradient(z, loss):
    z = z.clone().requires_grad_()
    return torch.autograd.grad(loss(z), z)[0]


@pytest.mark.parametrize("method", ("kd", "dkd", "logit-std"))
def test_t_squared_keeps_the_gradients_scale(method):
    """Without T^2 the soft gradient falls as 1 / T^2 (Hinton et al. 2015, eq. 4)."""
    z, t = drawn(2, 32, 10, dtype=torch.float64) / 2
    sizes = [
        gradient(z, lambda z, T=T: of(method, z, t, y=None, T=T)).norm().item()
        for T in (8.0, 16.0)
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)
    bare = [size / T**2 for size, T in zip(sizes, (8, 16), strict=True)]
    assert bare[0] / bare[1] == pytest.approx(4, rel=0.1)


def test_half_the_mse_of_centred_logits_is_the_limit_of_large_temperature():
    z, t = drawn(2, 8, 6, dtype=torch.float64)
    centred = [a - a.mean(-1, keepdim=True) for a in (z, t)]
    limit = of("logit-mse", *centred, y=None).item() / 2
    assert of("kd", z, t, y=None, T=1e4).item() == pytest.approx(limit, rel=1e-3)
    kd = gradient(z, lambda z: of("kd", z, t, y=None, T=1e4))
    mse = (centred[0] - centred[1]) / z.numel()
    assert torch.allclose(kd, mse, rtol=1e-2, atol=1e-5)


def test_kd_is_tckd_plus_the_teachers_rest_times_nckd():
    """Zhao et al. 2022, eq. 6, on one row: its beta is the teacher's 1 - b."""
    b = softmax(TEACHER[0] / TEMPERATURE)[0]
    one = {"z": Z[:1], "t": TEACHER[:1], "y": Y[:1], "alpha": 1.0}
    expected = of("kd", **one).item()
    assert of("dkd", coefficient=1 - b, **one).item() == pytest.approx(
        expected, rel=1e-5
    )
    assert of("dkd", coefficient=1.0, **one).item() > expected * 1.01


def test_kd_has_the_gradient_of_the_cross_entropy():
    z, t, y = tensor(Z), tensor(TEACHER), torch.tensor(Y)
    found = gradient(z, lambda z: of("kd", z, t, y))

    def written_out(z):
        soft = F.cross_entropy(z / TEMPERATURE, F.softmax(t / TEMPERATURE, -1))
        return (1 - ALPHA) * F.cross_entropy(z, y) + ALPHA * TEMPERATURE**2 * soft

    expected = gradient(z, written_out)
    assert torch.allclose(found, expected, atol=1e-6)


def test_standardised_logits_teach_no_location_and_no_scale():
    a, b = of("logit-std", y=None), of("logit-std", 5 * Z - 3, y=None)
    assert a.item() == pytest.approx(b.item(), rel=1e-4)
    assert of("kd", 5 * Z - 3, y=None).item() > 2 * of("kd", y=None).item()


# Invariances -------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_neither_the_batchs_size_nor_its_order_matters(method):
    expected = of(method).item()
    twice = [np.concatenate([a, a]) for a in (Z, TEACHER, Y)]
    assert of(method, *twice).item() == pytest.approx(expected, rel=1e-5)
    order = [2, 0, 3, 1]
    shuffled = of(method, Z[order], TEACHER[order], Y[order])
    assert shuffled.item() == pytest.approx(expected, rel=1e-5)
    assert of(method, Z[order]).item() != pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("method", METHODS)
def test_the_classes_order_does_not_matter(method):
    order = [1, 2, 0]
    turned = of(method, Z[:, order], TEACHER[:, order], np.argsort(order)[Y])
    assert turned.item() == pytest.approx(of(method).item(), rel=1e-5)


@pytest.mark.parametrize("method", ("hard", "kd", "dkd"))
def test_classes_that_nobody_believes_in_do_not_matter(method):
    more = [np.concatenate([a, np.full((4, 3), -300.0)], 1) for a in (Z, TEACHER)]
    found = of(method, *more).item()
    assert found == pytest.approx(of(method).item(), rel=1e-5)


@pytest.mark.parametrize("method", ("logit-mse", "logit-std", "dist"))
def test_the_number_of_classes_does_not_scale_the_loss(method):
    """Every class twice: means, deviations, divergences and correlations all stay."""
    more = [np.repeat(a, 2, axis=1) for a in (Z, TEACHER)]
    found = of(method, *more, y=None).item()
    assert found == pytest.approx(of(method, y=None).item(), rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_two_classes_and_any_other_number_work(method):
    for classes in (2, 3, 10):
        z, t = drawn(2, 8, classes)
        y = torch.arange(8) % classes
        z.requires_grad_()
        found = of(method, z, t, y)
        found.backward()
        assert found.shape == () and found.item() > 0
        assert torch.isfinite(z.grad).all() and z.grad.abs().max() > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_cells_are_independent(method):
    z = torch.stack([tensor(Z), 2 * tensor(Z) + tensor(TEACHER), -tensor(Z)])
    t = torch.stack([tensor(TEACHER), -tensor(TEACHER), tensor(TEACHER) / 2])
    y = torch.tensor([[0, 1, 2, 2], [1, 1, 2, 0], [2, -100, 1, -100]])
    alpha, T = torch.tensor([0.1, 0.5, 1.0]), torch.tensor([1.0, 2.0, 8.0])
    coefficient = torch.tensor([0.1, 0.3, 0.9])
    for teacher in (t, t[0]):  # a teacher each, or one for all
        for labels in (y, y[1]):
            kwargs = {"alpha": alpha, "T": T, "coefficient": coefficient}
            together = loss(method, z, teacher, labels, **kwargs)
            assert together.shape == (3,)
            alone = [
                loss(
                    method,
                    z[i],
                    teacher if teacher.ndim == 2 else teacher[i],
                    labels if labels.ndim == 1 else labels[i],
                    **{name: float(value[i]) for name, value in kwargs.items()},
                )
                for i in range(3)
            ]
            assert torch.allclose(together, torch.stack(alone), rtol=1e-5)
            assert len({round(value.item(), 3) for value in alone}) == 3


@pytest.mark.parametrize("method", SOFT)
def test_many_settings_of_one_student(method):
    T = torch.tensor([[1.0], [4.0]])
    found = of(method, alpha=torch.tensor([0.2, 0.5, 0.9]), T=T)
    assert found.shape == ((3,) if method == "logit-mse" else (2, 3))
    assert found.flatten()[0].item() == pytest.approx(
        of(method, alpha=0.2, T=1.0).item(), rel=1e-5
    )


def test_rows_without_label_count_for_the_teacher_only():
    y = np.array([0, -100, 2, -100])
    hard = np.mean([-math.log(softmax(Z[i])[i]) for i in (0, 2)])
    assert of("hard", y=y).item() == pytest.approx(hard, rel=1e-6)
    for method in ("kd", "logit-mse", "logit-std", "dist"):
        expected = 0.3 * hard + 0.7 * FORMULA[method]()
        assert of(method, y=y).item() == pytest.approx(expected, rel=1e-5)
    assert TEACHER.argmax(-1)[[1, 3]].tolist() == Y[[1, 3]].tolist()
    assert of("dkd", y=y).item() == pytest.approx(0.3 * hard + 0.7 * dkd(), rel=1e-5)
    only = np.array([0, -100, -100, -100])
    assert of("hard", y=only).item() == pytest.approx(-math.log(softmax(Z[0])[0]))
    nothing = np.full(4, -100)
    assert of("hard", y=nothing).item() == 0
    assert of("kd", y=nothing).item() == pytest.approx(0.7 * kd(), rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_safe_at_any_logit(method):
    z = torch.tensor([[300.0, -300.0, 0.0], [0.0, 0.0, 0.0], [-90.0, 80.0, 90.0]])
    t = torch.tensor([[-300.0, 300.0, 0.0], [0.0, 0.0, 0.0], [200.0, 0.0, 0.0]])
    z.requires_grad_()
    found = of(method, z, t, torch.tensor([1, 0, 0]), T=1.0)
    found.backward()
    assert math.isfinite(found.item()) and torch.isfinite(z.grad).all()


@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_numeric_ones(method):
    z, t = drawn(2, 2, 5, 4, dtype=torch.float64) / 2
    y = torch.tensor([[0, 1, -100, 3, 2], [1, 1, 0, -100, 3]])
    how = {
        "alpha": torch.tensor([0.3, 0.9], dtype=torch.float64),
        "T": torch.tensor([1.0, 4.0], dtype=torch.float64),
        "coefficient": torch.tensor([0.1, 0.4], dtype=torch.float64),
    }
    z.requires_grad_()
    for labels in (y,) if method == "hard" else (y, None):
        assert torch.autograd.gradcheck(
            lambda z, y=labels: loss(method, z, t, y, **how), z
        )


def test_the_hints_gradient_is_the_numeric_one():
    a = drawn(2, 3, 4, dtype=torch.float64).requires_grad_()
    b = drawn(3, 4, seed=1, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a: losses.multiclass.hint(a, b), a)


# Refusals ----------------------------------------------------------------------------


def test_an_unknown_method_is_named():
    with pytest.raises(ValueError, match="'kl' is none of hard, kd, logit-mse"):
        of("kl")


@pytest.mark.parametrize("alpha", [-0.1, 1.01, math.nan, [0.5, 2.0], math.inf])
def test_alpha_outside_its_interval_is_refused(alpha):
    with pytest.raises(ValueError, match=r"^alpha is \S+, but .*\[0, 1\]$"):
        losses.check(alpha=alpha, T=4.0)


@pytest.mark.parametrize("T", [0, -1.0, math.nan, math.inf, [4.0, 0.0]])
def test_a_temperature_that_is_none_is_refused(T):
    with pytest.raises(ValueError, match=r"^T is \S+, but .* above 0 and finite$"):
        losses.check(alpha=0.5, T=T)


@pytest.mark.parametrize("word", ["hot", None])
def test_what_is_no_number_is_refused(word):
    with pytest.raises(ValueError, match=r"^T is .*, but must be a number$"):
        losses.check(alpha=0.5, T=word)


def test_good_settings_pass():
    losses.check(alpha=0, T=1)
    losses.check(alpha=1.0, T=0.01)
    losses.check(alpha=[0.0, 0.5, 1.0], T=torch.tensor([1.0, 20.0]))

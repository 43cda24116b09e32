"""Losses against the papers' formulas in plain numpy, and what every loss promises."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch.nn import functional as F

from kdutils import losses
from kdutils.losses import multiclass, multilabel, subclass

NAN, NO_LABEL, T, ALPHA, OWN = math.nan, -100, 3.0, 0.7, 2.5
Z = {
    "binary": np.array([0.5, -1.0, 2.0, 0.0]),
    "multiclass": np.array(
        [[0.5, -1.0, 2.0], [0.0, 1.5, -0.5], [2.0, 0.3, 0.1], [-1.0, 0.2, 0.4]]
    ),
    "multilabel": np.array(
        [[0.5, -1.0, 2.0], [0.0, 1.5, -0.5], [-2.0, 0.3, 0.1], [-1.0, 0.2, 0.4]]
    ),
    "subclass": np.array(
        [[2.0, 0.0, -1.0, 0.5], [0.0, 1.0, 3.0, -2.0], [1.0, -1.0, 0.0, 2.0]]
    ),
}
TEACHER = {
    "binary": np.array([1.0, -2.0, 0.5, 3.0]),
    "multiclass": np.array(
        [[1.0, -2.0, 0.5], [-1.0, 3.0, 0.0], [1.5, 1.0, -2.0], [0.7, 0.0, 2.5]]
    ),
    "multilabel": np.array(
        [[1.0, -2.0, 0.5], [-1.0, 3.0, 0.1], [1.5, 1.0, -2.0], [0.7, -0.1, 2.0]]
    ),
    "subclass": np.array(
        [[1.0, 3.0, 0.0, -1.0], [-2.0, 0.0, 1.0, 4.0], [0.0, 1.0, 2.0, 2.5]]
    ),
}
Y = {
    "binary": np.array([1.0, 0.0, 0.0, 1.0], np.float32),
    "multiclass": np.array([0, 1, 2, 2]),  # the teacher is wrong on the third row
    "multilabel": np.array([[1, 0, 0], [0, 1, 1], [0, 1, 0], [0, 0, 1]], np.uint8),
    "subclass": np.array([0, 1, 1]),
}


# Row by row, as the papers write them ------------------------------------------------


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def bits(z, p):
    """Cross-entropy of answers with probabilities p, their mean."""
    return float(np.mean(-(p * np.log(expit(z)) + (1 - p) * np.log(expit(-z)))))


def divergence(z, t):
    """KL of the student's softmax from the teacher's, mean over rows."""
    q, p = softmax(z), softmax(t)
    return float(np.mean(np.sum(p * np.log(p / q), -1)))


def standard(z, axis=-1):
    return (z - z.mean(axis, keepdims=True)) / z.std(axis, keepdims=True)


def sigmoid_kd(z, t, y):
    return T * T * (bits(z / T, expit(t / T)) - bits(t / T, expit(t / T)))


def softmax_kd(z, t, y):
    return T * T * divergence(z / T, t / T)


def logit_mse(z, t, y):
    return float(np.mean((z - t) ** 2))


def dkd(z, t, y):
    total = []
    for s, p, k in zip(softmax(z / T), softmax(t / T), y, strict=True):
        target = divergence(np.log([s[k], 1 - s[k]]), np.log([p[k], 1 - p[k]]))
        rest = divergence(np.log(np.delete(s, k)), np.log(np.delete(p, k)))
        total.append(target + OWN * rest)
    return T * T * np.mean(total)


def dist(z, t, y):
    s, p = softmax(z / T), softmax(t / T)
    rows = [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(s, p, strict=True)]
    columns = [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(s.T, p.T, strict=True)]
    return T * T * (np.mean(rows) + np.mean(columns))


def mse_bce(z, t, y, mse=0.3, threshold=0.65):
    verdict = (expit(t) > threshold).astype(float)
    return mse * logit_mse(z, t, y) + (1 - mse) * bits(z, verdict)


def hard(kind, z, y):
    if kind == "subclass":  # two classes of two subclasses each
        z = np.log(np.exp(z.reshape(-1, 2, 2)).sum(-1))
    if kind in ("binary", "multilabel"):
        return bits(z, y.astype(float))
    return float(-np.mean(np.log(softmax(z)[np.arange(len(y)), y])))


@dataclass(frozen=True)
class Case:
    """A loss of one kind, its soft term in numpy, and 0.3 hard + 0.7 soft in digits."""

    kind: str
    name: str
    soft: object
    golden: float
    own: dict = field(default_factory=dict)

    def of(self, z=None, t=None, y="known", *, alpha=ALPHA, **own):
        """The loss; of arrays, by default those above."""
        z = Z[self.kind] if z is None else z
        t = TEACHER[self.kind] if t is None else t
        y = Y[self.kind] if isinstance(y, str) else y
        z, t = (torch.as_tensor(np.float32(a) if is_array(a) else a) for a in (z, t))
        y = None if y is None else torch.as_tensor(y)
        settings = self.own | own | ({"alpha": alpha} if self.name != "hard" else {})
        return losses.get(self.name)(z, t, y, kind=self.kind, **settings)

    def formula(self):
        return self.soft(Z[self.kind], TEACHER[self.kind], Y[self.kind])


def is_array(a):
    return isinstance(a, np.ndarray) and a.dtype == np.float64


hot = {"T": T}
SOFT = [
    Case("binary", "kd", sigmoid_kd, 0.5186, hot),
    Case("binary", "logit-mse", logit_mse, 2.4581),
    Case("binary", "logit-std", lambda z, t, y: sigmoid_kd(standard(z), standard(t), y),
         0.3856, hot),
    Case("binary", "ttm", lambda z, t, y: bits(z, expit(t / T)), 0.8082, hot),
    Case("multiclass", "kd", softmax_kd, 0.6913, hot),
    Case("multiclass", "logit-mse", logit_mse, 1.5089),
    Case("multiclass", "dkd", dkd, 1.0109, hot | {"beta": OWN}),
    Case("multiclass", "logit-std",
         lambda z, t, y: softmax_kd(standard(z), standard(t), y), 0.5790, hot),
    Case("multiclass", "dist", dist, 4.1131, hot),
    Case("multilabel", "kd", sigmoid_kd, 0.4045, hot),
    Case("multilabel", "mse-bce", mse_bce, 1.1393, {"mse": 0.3, "threshold": 0.65}),
    Case("subclass", "kd", softmax_kd, 2.1387, hot | {"classes": 2}),
]  # fmt: skip
HARD = [Case("binary", "hard", None, 0.9019), Case("multiclass", "hard", None, 1.2400)]
HARD += [Case("multilabel", "hard", None, 0.6527)]
HARD += [Case("subclass", "hard", None, 0.2325, {"classes": 2})]
every = pytest.mark.parametrize("case", SOFT + HARD, ids=lambda c: f"{c.kind}-{c.name}")
rowwise = pytest.mark.parametrize(
    "case",
    [case for case in SOFT + HARD if case.kind != "multilabel"],
    ids=lambda c: f"{c.kind}-{c.name}",
)
soft = pytest.mark.parametrize("case", SOFT, ids=lambda c: f"{c.kind}-{c.name}")


def one(kind, *names):
    """The cases of these names."""
    return [
        next(c for c in SOFT + HARD if (c.kind, c.name) == (kind, n)) for n in names
    ]


@every
def test_golden_values(case):
    expected = hard(case.kind, Z[case.kind], Y[case.kind])
    if case.soft:
        expected = (1 - ALPHA) * expected + ALPHA * case.formula()
    assert case.of().item() == pytest.approx(expected, rel=1e-5)
    assert case.of().item() == pytest.approx(case.golden, abs=1e-4)


def test_golden_values_differ_and_every_loss_has_one():
    assert len({case.golden for case in SOFT + HARD}) == len(SOFT + HARD)
    known = {(kind, name) for kind in losses.KINDS for name in losses.names(kind)}
    assert known == {(case.kind, case.name) for case in SOFT + HARD}


@soft
def test_alpha_weighs_the_teacher(case):
    zero = hard(case.kind, Z[case.kind], Y[case.kind])
    one = case.of(alpha=1.0).item()
    assert one == pytest.approx(case.formula(), rel=1e-5)
    assert case.of(alpha=0.0).item() == pytest.approx(zero, rel=1e-6)
    assert case.of(alpha=0.5).item() == pytest.approx((zero + one) / 2, rel=1e-6)


@soft
def test_without_labels_no_label_is_read_and_with_labels_alone_no_teacher(case):
    free = case.of(y=None)
    target = TEACHER[case.kind].argmax(-1)  # of dkd, where no row has a label
    if case.name == "dkd":
        assert free.item() == pytest.approx(case.of(y=target, alpha=1.0).item())
    else:
        strange = np.full(Y[case.kind].shape, NAN)
        assert case.of(y=strange, alpha=1.0) == free == case.of(alpha=1.0)
    nothing = torch.full(TEACHER[case.kind].shape, NAN)
    assert case.of(t=nothing, alpha=0.0) == case.of(alpha=0.0)


# What a distillation loss promises ---------------------------------------------------


def drawn(case, n=8, seed=0, dtype=torch.float64):
    """Logits of a student and a teacher of n rows, with labels."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n, *Z[case.kind].shape[1:])
    z, t = 3 * torch.randn(2, *shape, generator=generator, dtype=dtype)
    y = torch.as_tensor(np.resize(Y[case.kind], (n, *Y[case.kind].shape[1:])))
    return z, t, y


def gradient(z, loss):
    z = z.clone().requires_grad_()
    return torch.autograd.grad(loss(z).sum(), z)[0]


@soft
def test_a_student_equal_to_its_teacher_has_no_loss_and_no_gradient(case):
    _, t, _ = drawn(case)
    slope = gradient(t, lambda z: case.of(z, t, None)).abs().max()
    if case.name in ("ttm", "mse-bce"):  # a hotter or a rounded teacher is no equal
        assert slope > 0.01
    else:
        assert abs(case.of(t, t, None).item()) < 1e-9 and slope < 1e-7


@every
def test_neither_the_batchs_size_nor_its_order_matters(case):
    known, arrays = case.of().item(), [a[case.kind] for a in (Z, TEACHER, Y)]
    twice = [np.concatenate([a, a]) for a in arrays]
    assert case.of(*twice).item() == pytest.approx(known, rel=1e-5)
    order = [2, 0, *range(3, len(arrays[0])), 1]
    assert case.of(*(a[order] for a in arrays)).item() == pytest.approx(known, rel=1e-5)
    assert case.of(arrays[0][order]).item() != pytest.approx(known, rel=1e-3)


@pytest.mark.parametrize("labels", ["shared", "own"])
@rowwise
def test_students_side_by_side_are_independent(case, labels):
    z, t, y = drawn(case, 6, dtype=torch.float32)
    z = torch.stack([z, 2 * z + t, -z])
    if labels == "own":
        y = torch.stack([y, y.roll(1, -1), y.roll(2, -1)])
    ranges = {"alpha": [0.1, 0.5, 0.9], "T": [1.0, 2.0, 8.0], "beta": [0.1, 2.0, 5.0]}
    own = {
        k: torch.tensor(v) for k, v in ranges.items() if k in case.own | {"alpha": 0}
    }
    together = case.of(z, t, y, **own)
    alone = []
    for i in range(3):
        own_y, of_one = (
            y[i] if labels == "own" else y,
            {k: v[i] for k, v in own.items()},
        )
        alone.append(case.of(z[i], t, own_y, **of_one))
    assert torch.allclose(together, torch.stack(alone), rtol=1e-5)
    assert len({round(value.item(), 3) for value in alone}) == 3


@rowwise
def test_rows_without_label_count_for_the_teacher_only(case):
    none = NAN if case.kind == "binary" else NO_LABEL
    y = Y[case.kind].copy()
    y[1:] = none
    first = hard(case.kind, Z[case.kind][:1], Y[case.kind][:1])
    nothing = np.full_like(y, none)
    if not case.soft:
        assert case.of(y=y).item() == pytest.approx(first, rel=1e-5)
        assert case.of(y=nothing).item() == 0
        return
    free = case.of(y=None).item()
    if case.name != "dkd":
        assert case.of(y=y).item() == pytest.approx(0.3 * first + 0.7 * free, rel=1e-5)
    assert case.of(y=nothing).item() == pytest.approx(0.7 * free, rel=1e-5)


def test_a_row_without_label_has_the_teachers_class_as_dkds_target():
    (case,) = one("multiclass", "dkd")
    y = np.array([0, NO_LABEL, 2, NO_LABEL])
    assert (TEACHER["multiclass"].argmax(-1) == Y["multiclass"])[[1, 3]].all()
    known = hard("multiclass", Z["multiclass"][[0, 2]], y[[0, 2]])
    expected = 0.3 * known + 0.7 * case.formula()
    assert case.of(y=y).item() == pytest.approx(expected, rel=1e-5)


@every
def test_safe_at_any_logit(case):
    z, t, y = drawn(case, 9, dtype=torch.float32)
    z, t = 300 * z.sign() * (z > -1), 300 * t.sign() * (t < 1)
    assert (
        math.isfinite(case.of(z, t, y))
        and torch.isfinite(gradient(z, lambda z: case.of(z, t, y))).all()
    )


@every
def test_gradients_are_numeric_ones(case):
    z, t, y = drawn(case, 5)
    z.requires_grad_()
    if case.kind != "multilabel":
        y[2] = NAN if case.kind == "binary" else NO_LABEL
    for labels in (y, None) if case.soft else (y,):
        assert torch.autograd.gradcheck(lambda z, y=labels: case.of(z, t, y), z)


# Papers' own remarks -----------------------------------------------------------------


def test_label_smoothing_is_torchs():
    z, y = torch.tensor(Z["multiclass"]), torch.tensor(Y["multiclass"])
    for smoothing in (0.0, 0.2, torch.tensor(0.2)):
        expected = F.cross_entropy(z, y, label_smoothing=float(smoothing))
        found = losses.get("hard")(z, y=y, smoothing=smoothing)
        assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    z, y = torch.tensor(Z["binary"]), torch.tensor(Y["binary"], dtype=torch.float64)
    expected = F.binary_cross_entropy_with_logits(z, y * 0.8 + 0.1)
    assert losses.binary.hard(z, y, smoothing=0.2).item() == pytest.approx(expected)
    s, y = torch.tensor(Z["subclass"]), torch.tensor(Y["subclass"])
    expected = F.cross_entropy(subclass.class_logits(s, 2), y, label_smoothing=0.2)
    found = subclass.hard(s, y, classes=2, smoothing=0.2)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_hint_is_half_the_mean_square_of_features():
    student = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.5, 0.0]]])
    teacher = torch.tensor([[0.0, 2.0], [3.0, 1.0]])
    found = multiclass.hint(student, teacher)
    np.testing.assert_allclose(found, [1.25, 1.40625], rtol=1e-6)
    assert multiclass.hint(teacher, teacher).item() == 0


@pytest.mark.parametrize(("mse", "threshold"), [(0.0, 0.5), (0.3, 0.02), (1.0, 0.98)])
def test_the_published_loss_of_labels(mse, threshold):
    z, t, how = Z["multilabel"], TEACHER["multilabel"], (mse, threshold)
    own = {"mse": mse, "threshold": threshold}
    found = multilabel.mse_bce(torch.tensor(z), torch.tensor(t), **own)
    assert found.item() == pytest.approx(mse_bce(z, t, None, *how), rel=1e-6)


# Subclasses --------------------------------------------------------------------------


def spread(s, T):
    """The auxiliary loss as its equation reads, pair by pair."""
    v = standard(s) / math.sqrt(s.shape[1])
    rows = [math.log(sum(math.exp(a @ b / T) for b in v)) for a in v]
    return np.mean(rows) - 1 / T - math.log(len(s))


def test_a_class_has_its_subclasses_probability():
    s = torch.tensor(Z["subclass"])
    found = torch.softmax(subclass.class_logits(s, 2), -1)
    expected = F.softmax(s, -1).unflatten(-1, (2, 2)).sum(-1)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.equal(subclass.class_logits(s, 4), s)
    assert subclass.class_logits(torch.zeros(5, 3, 12), 3).shape == (5, 3, 3)
    with pytest.raises(ValueError, match=r"4 subclasses .* among 3 classes"):
        subclass.class_logits(s, 3)


@pytest.mark.parametrize(("T", "golden"), [(1.0, -0.6107), (0.3, -0.9904)])
def test_the_spread_is_its_formula(T, golden):
    found = subclass.spread(torch.tensor(Z["subclass"]), T).item()
    assert found == pytest.approx(spread(Z["subclass"], T), rel=1e-5)
    assert found == pytest.approx(golden, abs=1e-4)


def test_the_spread_is_zero_at_one_pattern_and_negative_otherwise():
    row = torch.tensor(Z["subclass"][0])
    same = torch.stack([row, 3 * row + 1, 0.2 * row - 4])  # one pattern, standardised
    assert subclass.spread(same).item() == pytest.approx(0, abs=1e-6)
    for seed in range(20):
        s = torch.randn(8, 6, generator=torch.Generator().manual_seed(seed))
        assert -2 < subclass.spread(s).item() < -0.05
    flat = torch.zeros(4, 6)
    assert subclass.spread(flat).item() == pytest.approx(-1)
    assert torch.isfinite(gradient(flat, subclass.spread)).all()


def test_the_teachers_loss_of_subclasses():
    s, y = torch.tensor(Z["subclass"]), torch.tensor(Y["subclass"])
    found = subclass.hard_spread(s, y, classes=2, beta=0.5, T=0.7)
    expected = hard("subclass", s.numpy(), Y["subclass"])
    expected += 0.5 * spread(Z["subclass"], 0.7)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert found.item() == pytest.approx(-0.1412, abs=1e-4)
    many, T = torch.stack([s, -s, 2 * s]), torch.tensor([0.5, 1.0, 4.0])
    together = subclass.hard_spread(many, y, classes=2, beta=T / 5, T=T)
    for i in range(3):
        beta, own = float(T[i]) / 5, float(T[i])
        alone = subclass.hard_spread(many[i], y, classes=2, beta=beta, T=own)
        assert alone.item() == pytest.approx(together[i].item(), rel=1e-5)
    s, y = s.clone().requires_grad_(), torch.tensor([0, NO_LABEL, 1])
    check = torch.autograd.gradcheck
    assert check(lambda s: subclass.hard_spread(s, y, classes=2, T=0.6), s)


# One call for every kind -------------------------------------------------------------


def test_kinds_are_recognised_by_logits_and_labels():
    """Arrays, whole labels of passes and fails, classes, sets of labels, no label."""
    how, known = {"alpha": ALPHA, "T": T}, SOFT[0].of().item()
    z, t, y = (torch.tensor(a["binary"]) for a in (Z, TEACHER, Y))
    assert losses.kd(z.numpy(), t.numpy(), y.numpy().astype(int), **how) == (
        pytest.approx(known)
    )
    many = losses.kd(torch.stack([z, -z]), t, y, **how)
    assert many.shape == (2,) and many[0].item() == pytest.approx(known)
    z, t, y = (torch.tensor(a["multiclass"]) for a in (Z, TEACHER, Y))
    three = losses.kd(z, t, y, **how)
    assert three == losses.kd(z, t, y, kind="multiclass", **how)
    assert losses.kd(z, t, T=T) == losses.kd(z, t, kind="multiclass", T=T) != three
    sets = torch.tensor(Y["multilabel"])
    assert losses.kd(z, t, sets, **how) == losses.kd(
        z, t, sets, kind="multilabel", **how
    )


@pytest.mark.parametrize("name", losses.names("binary"))
def test_the_closed_gradient_is_autograds(name, monkeypatch):
    generator = torch.Generator().manual_seed(5)
    z, t = torch.randn(2, 4, 9, generator=generator).mul(3)
    y = torch.tensor([1.0, 0, NAN, 1, 0, 0, NAN, 1, 0])
    how = {"alpha": torch.tensor([0.0, 0.3, 0.9, 1.0])}
    how |= {"T": torch.tensor([1.0, 2.0, 5.0, 0.5])}
    how |= {"smoothing": torch.tensor([0.0, 0.1, 0.2, 0.0])}
    loss = losses.get(name, "binary")
    own = {key: how[key] for key in loss.settings["binary"]}
    expected = gradient(z, lambda z: loss(z, t, y, kind="binary", **own))
    found = losses.gradient(name, z, t, y, **how)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert found.abs().max() > 0.01
    if name != "hard":
        monkeypatch.delitem(losses.binary.GRADIENTS, name)
        with torch.no_grad():
            by_autograd = losses.gradient(name, z, t, y, **how)
        assert torch.allclose(found, by_autograd, rtol=1e-4, atol=1e-6)
        assert not by_autograd.requires_grad


# Refusals ----------------------------------------------------------------------------


def test_every_loss_names_its_settings_and_unknown_names_are_refused():
    assert losses.names("binary") == ("hard", "kd", "logit-mse", "logit-std", "ttm")
    assert losses.LOSSES["dkd"].settings == {"multiclass": ("alpha", "T", "beta")}
    assert losses.get("hard").settings["multiclass"] == ("smoothing",)
    z, t, y = (torch.tensor(a["multiclass"]) for a in (Z, TEACHER, Y))
    with pytest.raises(TypeError, match="loss 'kd' needs alpha"):
        losses.kd(z, t, y, T=3.0)
    with pytest.raises(ValueError, match="'kl' is none of hard, kd"):
        losses.get("kl")
    with pytest.raises(ValueError, match="'dkd' is none of hard, kd, logit-mse"):
        losses.gradient("dkd", z, t, y, alpha=0.5, T=1.0)
    with pytest.raises(ValueError, match="'ttm' is none of hard, kd"):
        losses.get("ttm")(z, t, y, alpha=0.5, T=1.0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"alpha": -0.1}, r"alpha is -0.1, but must be from 0 to 1"),
        ({"alpha": [0.5, 2.0]}, r"alpha is 2, but must be from 0 to 1"),
        ({"alpha": NAN}, r"alpha is nan, but must be from 0 to 1"),
        ({"mse": 1.5}, r"mse is 1.5, but must be from 0 to 1"),
        ({"threshold": 0.0}, "threshold is 0, but must be between 0 and"),
        ({"threshold": NAN}, "threshold is nan, but must be between"),
        ({"T": 0}, "T is 0, but must be above 0"),
        ({"T": [4.0, -1.0]}, "T is -1, but must be above 0"),
        ({"T": math.inf}, "T is inf, but must be above 0"),
        ({"T": NAN}, "T is nan, but must be above 0"),
        ({"T": "hot"}, "T is 'hot', but must be a number"),
        ({"T": None}, "T is None, but must be a number"),
    ],
)
def test_settings_outside_their_ranges_are_refused_before_any_training(
    settings, sentence
):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        losses.check(**settings)
    with pytest.raises(ValueError, match=f"^{sentence}"):
        losses.kd.using(kind="binary", **settings)


def test_good_settings_pass():
    losses.check(alpha=0, T=1, threshold=0.5, mse=1)
    losses.check(alpha=[0.0, 0.5, 1.0], T=torch.tensor([0.01, 20.0]))

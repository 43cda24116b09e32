"""multiclass: distillation losses for K classes: pure functions of tensors.

Convention: alpha weighs the teacher, L = (1 - alpha) * hard + alpha * soft, and every
soft term holds its own T^2. Logits z of the student and t of the teacher have shape
(..., n, K) and broadcast; leading dimensions are independent cells. Losses return
(...), a mean over the n rows; alpha, T, smoothing and beta are numbers or tensors that
broadcast to (...). Labels, int64 (n,) or (..., n), are -100 where a row has none: the
hard term averages over the labelled rows (0 if there are none). labels=None is
label-free: soft alone.

Inside, the rows come last, (..., K, n): over a short last dimension torch's softmax is
some ten times slower on a CPU.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid, softmax

METHODS = ("hard", "kd", "logit-mse", "dkd", "logit-std", "dist")
NO_LABEL = -100


def hard(z: Tensor, labels: Tensor, *, smoothing=0.0) -> Tensor:
    """Cross-entropy with label smoothing (Szegedy et al. 2016, section 7).

    The target is (1 - smoothing) * one-hot + smoothing / K.
    """
    return _hard(_turn(z), labels, smoothing)


def kd(z: Tensor, t: Tensor, labels: Tensor | None = None, *, alpha, T) -> Tensor:
    """Hinton et al. 2015, section 2: soft = T^2 * KL(teacher || student), both at T.

    The paper's soft term is the cross-entropy; that minus the teacher's entropy is the
    divergence, which has the same gradients and is 0 where both nets agree.
    """
    z = _turn(z)
    return _mix(_divergence(z, _turn(t), T), z, labels, alpha)


def logit_mse(z: Tensor, t: Tensor, labels: Tensor | None = None, *, alpha) -> Tensor:
    """Mean squared difference of logits over rows and classes (Kim et al. 2021, eq. 3).

    The paper's norm sums over classes; the mean keeps alpha free of K. Half of it, of
    logits that are centred over classes, is what `kd`'s soft term tends to as T grows.
    """
    return _mix((z - t).square().mean((-2, -1)), _turn(z), labels, alpha)


def dkd(z: Tensor, t: Tensor, labels: Tensor | None = None, *, alpha, T, beta):
    """Decoupled: soft = T^2 (TCKD + beta * NCKD) (Zhao et al. 2022, eq. 7).

    TCKD: KL of the target's probability b against the rest; NCKD: KL among the other
    classes; the paper's own alpha, TCKD's weight, is 1. `kd` is TCKD + (1 - b) NCKD
    with the teacher's b. The target is the label, and where a row has none the
    teacher's most likely class.
    """
    z, t, wide = _turn(z), _turn(t), _wide(T, z)
    target = t.argmax(-2)
    if labels is not None:
        target = torch.where(labels == NO_LABEL, target, labels)
    target = target[..., None, :]
    other = torch.arange(z.shape[-2] - 1, device=z.device)[:, None]
    other = other + (other >= target)  # the K - 1 other classes of each row
    (d, log_s), (d_t, log_t) = (_decouple(a / wide, target, other) for a in (z, t))
    tckd = sum(
        torch.sigmoid(sign * d_t) * (logsigmoid(sign * d_t) - logsigmoid(sign * d))
        for sign in (1, -1)
    )
    nckd = (log_t.exp() * (log_t - log_s)).sum(-2)
    soft = T * T * (tckd + _wide(beta, z)[..., 0] * nckd).mean(-1)
    return _mix(soft, z, labels, alpha)


def logit_standardized(
    z: Tensor, t: Tensor, labels: Tensor | None = None, *, alpha, T
) -> Tensor:
    """`kd` of each row's logits z-scored over the classes (Sun et al. 2024, alg. 2).

    Only the order and the shape of a row are taught; the hard term fixes its scale. The
    deviation divides by K, as in their algorithm 1. Two classes are left with nothing
    but the verdict: see `losses.logit_standardized`.
    """
    z = _turn(z)
    return _mix(_divergence(_standard(z), _standard(_turn(t)), T), z, labels, alpha)


def dist(z: Tensor, t: Tensor, labels: Tensor | None = None, *, alpha, T) -> Tensor:
    """DIST: correlations instead of a divergence (Huang et al. 2022, NeurIPS).

    soft = T^2 (inter + intra) of the probabilities at T: inter is the mean over rows of
    1 - Pearson's r over classes, intra the mean over classes of 1 - r over the batch.
    Both weights are 1 and T^2 is as in the authors' code. A class that hardly occurs in
    the batch, its probabilities all within about 1e-4, counts as uncorrelated.
    """
    z, wide = _turn(z), _wide(T, z)
    s, p = softmax(z / wide, -2), softmax(_turn(t) / wide, -2)
    centre = 1 / z.shape[-2]  # a row's mean probability
    inter = _cosine(s - centre, p - centre, -2)
    intra = _cosine(s - s.mean(-1, keepdim=True), p - p.mean(-1, keepdim=True), -1)
    soft = T * T * (2 - inter.mean(-1) - intra.mean(-1))
    return _mix(soft, z, labels, alpha)


def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """FitNets: half the mean squared feature difference (Romero et al. 2015, eq. 3).

    student: (..., n, d), already through the regressor; teacher: (n, d) or (..., n, d).
    The paper sums over the d features; the mean keeps its weight free of the width.
    """
    return (student - teacher).square().mean((-2, -1)) / 2


def loss(
    method: str, z: Tensor, t: Tensor | None, labels, *, alpha, T, knob=None
) -> Tensor:
    """The loss called `method`, one of METHODS.

    knob: smoothing for 'hard' (0 if None), beta for 'dkd' (1 if None), else not read;
    'hard' reads neither t, alpha nor T. Raises ValueError for an unknown method; see
    `check` for alpha and T, which are not looked at here, step after step.
    """
    if method == "hard":
        return hard(z, labels, smoothing=0.0 if knob is None else knob)
    if method == "kd":
        return kd(z, t, labels, alpha=alpha, T=T)
    if method == "logit-mse":
        return logit_mse(z, t, labels, alpha=alpha)
    if method == "dkd":
        beta = 1.0 if knob is None else knob
        return dkd(z, t, labels, alpha=alpha, T=T, beta=beta)
    if method == "logit-std":
        return logit_standardized(z, t, labels, alpha=alpha, T=T)
    if method == "dist":
        return dist(z, t, labels, alpha=alpha, T=T)
    raise ValueError(f"method '{method}' is none of {', '.join(METHODS)}")


def check(alpha, T) -> None:
    """ValueError unless every alpha is within [0, 1] and every T above 0 and finite.

    alpha, T: a number, a list or a tensor each.
    """
    for value in _numbers("alpha", alpha):
        if not 0 <= value <= 1:
            raise ValueError(
                f"alpha is {value:g}, but the teacher's weight must be within [0, 1]"
            )
    for value in _numbers("T", T):
        if not 0 < value < math.inf:
            raise ValueError(
                f"T is {value:g}, but a temperature must be above 0 and finite"
            )


def _turn(logits: Tensor) -> Tensor:
    """(..., n, K) as (..., K, n), the layout of all functions below."""
    return logits.mT.contiguous()


def _hard(z: Tensor, labels: Tensor, smoothing=0.0) -> Tensor:
    known = labels != NO_LABEL
    weight = known / known.sum(-1, keepdim=True).clamp(min=1)
    log_s = log_softmax(z, -2)
    loss = -_take(log_s, labels.masked_fill(~known, 0)[..., None, :])[..., 0, :]
    if isinstance(smoothing, Tensor) or smoothing:
        loss = torch.lerp(loss, -log_s.mean(-2), _wide(smoothing, z)[..., 0])
    return (weight * loss).sum(-1)


def _divergence(z: Tensor, t: Tensor, T) -> Tensor:
    """T^2 * KL(softmax(t / T) || softmax(z / T)), mean over rows."""
    wide = _wide(T, z)
    log_s, log_t = log_softmax(z / wide, -2), log_softmax(t / wide, -2)
    return T * T * (log_t.exp() * (log_t - log_s)).sum((-2, -1)) / z.shape[-1]


def _mix(soft: Tensor, z: Tensor, labels: Tensor | None, alpha) -> Tensor:
    if labels is None:
        return soft
    return (1 - alpha) * _hard(z, labels) + alpha * soft


def _take(values: Tensor, index: Tensor) -> Tensor:
    """values (..., K, n) at index (..., m, n), whose leading dimensions broadcast."""
    shape = torch.broadcast_shapes(values.shape[:-2], index.shape[:-2])
    values = values.expand(*shape, *values.shape[-2:])
    return values.gather(-2, index.expand(*shape, *index.shape[-2:]))


def _decouple(z: Tensor, target: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """The target's logit against the rest (..., n), and the rest's own log-softmax."""
    rest = _take(z, other)
    return _take(z, target)[..., 0, :] - rest.logsumexp(-2), log_softmax(rest, -2)


def _standard(z: Tensor) -> Tensor:
    """z-scores over the classes."""
    z = z - z.mean(-2, keepdim=True)
    return z * (z.square().mean(-2, keepdim=True) + 1e-14).rsqrt()


def _cosine(a: Tensor, b: Tensor, dim: int) -> Tensor:
    size = a.square().sum(dim) * b.square().sum(dim)
    return (a * b).sum(dim) * (size + 1e-16).rsqrt()


def _wide(value, like: Tensor) -> Tensor:
    """A number per cell (...) as (..., 1, 1), to meet logits (..., K, n)."""
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)[..., None, None]


def _numbers(name: str, value) -> list[float]:
    try:
        return torch.as_tensor(value, dtype=torch.float64).flatten().tolist()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} is {value!r}, but must be a number") from None

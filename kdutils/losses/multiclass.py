"""multiclass: losses for K classes, with the rows last: z and t are (..., K, n).

Over a short last dimension torch's softmax is some ten times slower on a CPU, so that
`losses` turns logits (..., n, K) once for all terms. Labels y are int64 (n,) or (...,
n), -100 where a row has none; leading dimensions are independent students.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid, softmax

NO_LABEL = -100


def hard(z: Tensor, y: Tensor, *, smoothing=0.0) -> Tensor:
    """Cross-entropy with label smoothing (Szegedy et al. 2016, section 7).

    The target is (1 - smoothing) * one-hot + smoothing / K.
    """
    known = y != NO_LABEL
    weight = known / known.sum(-1, keepdim=True).clamp(min=1)
    log_s = log_softmax(z, -2)
    loss = -_take(log_s, y.masked_fill(~known, 0)[..., None, :])[..., 0, :]
    if isinstance(smoothing, Tensor) or smoothing:
        loss = torch.lerp(loss, -log_s.mean(-2), _wide(smoothing, z)[..., 0])
    return (weight * loss).sum(-1)


def kd(z: Tensor, t: Tensor, *, T) -> Tensor:
    """T^2 KL(teacher || student) at temperature T (Hinton et al. 2015, section 2).

    The paper's soft term is the cross-entropy; that minus the teacher's entropy is the
    divergence, which has the same gradients and is 0 where both nets agree.
    """
    wide = _wide(T, z)
    log_s, log_t = log_softmax(z / wide, -2), log_softmax(t / wide, -2)
    return T * T * (log_t.exp() * (log_t - log_s)).sum((-2, -1)) / z.shape[-1]


def logit_mse(z: Tensor, t: Tensor) -> Tensor:
    """Mean squared difference of logits over rows and classes (Kim et al. 2021, eq. 3).

    The paper's norm sums over classes; the mean keeps alpha free of K. Half of it, of
    logits that are centred over classes, is what `kd` tends to as T grows.
    """
    return (z - t).square().mean((-2, -1))


def dkd(z: Tensor, t: Tensor, *, T, beta=1.0, y: Tensor | None = None) -> Tensor:
    """Decoupled: T^2 (TCKD + beta * NCKD) (Zhao et al. 2022, eq. 7).

    TCKD: KL of the target's probability b against the rest; NCKD: KL among the other
    classes; the paper's own alpha, TCKD's weight, is 1. `kd` is TCKD + (1 - b) NCKD
    with the teacher's b. The target is the label, and where a row has none the
    teacher's most likely class.
    """
    wide, target = _wide(T, z), t.argmax(-2)
    if y is not None:
        target = torch.where(y == NO_LABEL, target, y)
    target = target[..., None, :]
    other = torch.arange(z.shape[-2] - 1, device=z.device)[:, None]
    other = other + (other >= target)  # the K - 1 other classes of each row
    (d, log_s), (d_t, log_t) = (_decouple(a / wide, target, other) for a in (z, t))
    tckd = sum(
        torch.sigmoid(sign * d_t) * (logsigmoid(sign * d_t) - logsigmoid(sign * d))
        for sign in (1, -1)
    )
    nckd = (log_t.exp() * (log_t - log_s)).sum(-2)
    return T * T * (tckd + _wide(beta, z)[..., 0] * nckd).mean(-1)


def logit_standardized(z: Tensor, t: Tensor, *, T) -> Tensor:
    """`kd` of each row's logits z-scored over the classes (Sun et al. 2024, alg. 2).

    Only the order and the shape of a row are taught; the hard term fixes its scale. The
    deviation divides by K, as in their algorithm 1. Two classes are left with nothing
    but the verdict: see `binary.logit_standardized`.
    """
    return kd(_standard(z), _standard(t), T=T)


def dist(z: Tensor, t: Tensor, *, T) -> Tensor:
    """DIST: correlations instead of a divergence (Huang et al. 2022, NeurIPS).

    T^2 (inter + intra) of the probabilities at T: inter is the mean over rows of
    1 - Pearson's r over classes, intra the mean over classes of 1 - r over the batch.
    Both weights are 1 and T^2 is as in the authors' code. A class that hardly occurs in
    the batch, its probabilities all within about 1e-4, counts as uncorrelated.
    """
    wide = _wide(T, z)
    s, p = softmax(z / wide, -2), softmax(t / wide, -2)
    centre = 1 / z.shape[-2]  # a row's mean probability
    inter = _cosine(s - centre, p - centre, -2)
    intra = _cosine(s - s.mean(-1, keepdim=True), p - p.mean(-1, keepdim=True), -1)
    return T * T * (2 - inter.mean(-1) - intra.mean(-1))


TERMS = {
    "hard": hard,
    "kd": kd,
    "logit-mse": logit_mse,
    "dkd": dkd,
    "logit-std": logit_standardized,
    "dist": dist,
}


def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """FitNets: half the mean squared feature difference (Romero et al. 2015, eq. 3).

    student: (..., n, d), already through the regressor; teacher: (n, d) or (..., n, d).
    The paper sums over the d features; the mean keeps its weight free of the width.
    """
    return (student - teacher).square().mean((-2, -1)) / 2


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

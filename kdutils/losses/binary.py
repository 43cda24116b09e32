"""binary: losses for passes and fails: logits z, t (..., n), labels y 0, 1 or NaN."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def hard(z: Tensor, y: Tensor, *, smoothing=0.0) -> Tensor:
    """Cross-entropy with labels y (1 - s) + s / 2 (Szegedy et al. 2016, section 7)."""
    target, weight = _targets(y, smoothing)
    return (weight * _cross_entropy(z, target)).sum(-1)


def kd(z: Tensor, t: Tensor, *, T) -> Tensor:
    """T^2 KL(teacher || student) at temperature T (Hinton et al. 2015).

    Equal to the one of `multiclass` on the logit pairs (0, z) and (0, t).
    """
    z, t = z / wide(T), t / wide(T)
    p = torch.sigmoid(t)
    divergence = _cross_entropy(z, p).mean(-1) - _cross_entropy(t, p).mean(-1)
    return torch.as_tensor(T) ** 2 * divergence


def logit_mse(z: Tensor, t: Tensor) -> Tensor:
    """Mean squared difference of logits (Ba & Caruana 2014; Kim et al. 2021, eq. 3).

    An eighth of it is what `kd` tends to as T grows.
    """
    return (z - t).square().mean(-1)


def logit_standardized(z: Tensor, t: Tensor, *, T) -> Tensor:
    """`kd` of standardised logits (Sun et al. 2024, CVPR, alg. 1), adapted.

    The paper z-scores a row's logits over its classes, which for two classes is always
    (-1, 1) or (1, -1) and teaches nothing but the verdict. Here both nets' logits are
    z-scored over the batch instead: only the ranking and the shape are taught, and the
    hard term alone fixes location and scale.
    """
    return kd(_standard(z)[0], _standard(t)[0], T=T)


def transformed_teacher(z: Tensor, t: Tensor, *, T) -> Tensor:
    """Transformed teacher matching (Zheng & Yang 2024, ICLR): T for the teacher only.

    The student stays at temperature 1, so the soft term takes no T^2.
    """
    return _cross_entropy(z, torch.sigmoid(t / wide(T))).mean(-1)


TERMS = {
    "hard": hard,
    "kd": kd,
    "logit-mse": logit_mse,
    "logit-std": logit_standardized,
    "ttm": transformed_teacher,
}


# d term.sum() / dz: the cross-entropy of target p at logit z has sigmoid(z) - p.


def hard_gradient(z: Tensor, y: Tensor, *, smoothing=0.0) -> Tensor:
    target, weight = _targets(y, smoothing)
    return torch.sigmoid(z).sub_(target).mul_(weight)


def _kd_gradient(z: Tensor, t: Tensor, *, T) -> Tensor:
    T = wide(T)
    return torch.sigmoid(z / T).sub_(torch.sigmoid(t / T)).mul_(T / z.shape[-1])


def _mse_gradient(z: Tensor, t: Tensor) -> Tensor:
    return (z - t).mul_(2 / z.shape[-1])


def _std_gradient(z: Tensor, t: Tensor, *, T) -> Tensor:
    u, deviation = _standard(z)
    g = _kd_gradient(u, _standard(t)[0], T=T)
    along = (g * u).mean(-1, keepdim=True)
    return (g - g.mean(-1, keepdim=True) - u * along) / deviation


def _ttm_gradient(z: Tensor, t: Tensor, *, T) -> Tensor:
    return torch.sigmoid(z).sub_(torch.sigmoid(t / wide(T))).div_(z.shape[-1])


GRADIENTS = {
    "kd": _kd_gradient,
    "logit-mse": _mse_gradient,
    "logit-std": _std_gradient,
    "ttm": _ttm_gradient,
}


def wide(value) -> Tensor:
    """A number per student (...) as (..., 1), to meet rows (..., n)."""
    return torch.as_tensor(value, dtype=torch.float32)[..., None]


def _cross_entropy(z: Tensor, p: Tensor) -> Tensor:
    """-(p log s + (1 - p) log(1 - s)) with s = sigmoid(z), safe at any z."""
    return softplus(z) - p * z


def _targets(y: Tensor, smoothing) -> tuple[Tensor, Tensor]:
    """Smoothed labels, and weights that average over the labelled rows."""
    known = ~torch.isnan(y)
    weight = known / known.sum(-1, keepdim=True).clamp(min=1)
    smoothing = wide(smoothing)
    return torch.nan_to_num(y) * (1 - smoothing) + smoothing / 2, weight


def _standard(z: Tensor) -> tuple[Tensor, Tensor]:
    """z-scores over the last dimension, and what they were divided by."""
    deviation = z.std(-1, correction=0, keepdim=True) + 1e-7
    return (z - z.mean(-1, keepdim=True)) / deviation, deviation

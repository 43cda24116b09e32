"""losses: distillation losses: pure functions of tensors.

Convention: alpha weighs the teacher, L = (1 - alpha) * hard + alpha * T^2 * soft.
Binary losses take logits z of the student and t of the teacher, shape (..., n), and
return (...): the mean over the last dimension, any leading dimension being independent
cells; alpha, T and smoothing are numbers or tensors that broadcast to (...).
Labels y, shape (..., n), are 0 or 1, NaN where a row has none: the hard term averages
over the labelled rows (0 if there are none). y=None is label-free: T^2 * soft alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, softmax, softplus

METHODS = ("hard", "kd", "logit-mse", "logit-std", "ttm")


def binary_hard(z: Tensor, y: Tensor, *, smoothing=0.0) -> Tensor:
    """Cross-entropy with labels y (1 - s) + s / 2 (Szegedy et al. 2016, section 7)."""
    target, weight = _targets(y, _wide(smoothing))
    return (weight * _cross_entropy(z, target)).sum(-1)


def binary_distillation(z: Tensor, t: Tensor, y: Tensor | None = None, *, alpha, T):
    """Hinton et al. 2015 for two classes: soft is the cross-entropy at temperature T.

    Equal to `distillation` on the logit pairs (0, z) and (0, t).
    """
    wide = _wide(T)
    soft = _cross_entropy(z / wide, torch.sigmoid(t / wide)).mean(-1)
    return _mix(torch.as_tensor(T) ** 2 * soft, z, y, alpha)


def logit_mse(z: Tensor, t: Tensor, y: Tensor | None = None, *, alpha) -> Tensor:
    """Mean squared difference of logits (Ba & Caruana 2014; Kim et al. 2021, eq. 3).

    An eighth of it is what T^2 * soft of `binary_distillation` tends to as T grows.
    """
    return _mix((z - t).square().mean(-1), z, y, alpha)


def logit_standardized(z: Tensor, t: Tensor, y: Tensor | None = None, *, alpha, T):
    """Distillation of standardised logits (Sun et al. 2024, CVPR, alg. 1), adapted.

    The paper z-scores a row's logits over its classes, which for two classes is always
    (-1, 1) or (1, -1) and teaches nothing but the verdict. Here both nets' logits are
    z-scored over the batch instead: only the ranking and the shape are taught, and the
    hard term alone fixes location and scale.
    """
    soft = binary_distillation(_standard(z)[0], _standard(t)[0], alpha=1.0, T=T)
    return _mix(soft, z, y, alpha)


def transformed_teacher(z: Tensor, t: Tensor, y: Tensor | None = None, *, alpha, T):
    """Transformed teacher matching (Zheng & Yang 2024, ICLR): T for the teacher only.

    The student stays at temperature 1, so the soft term takes no T^2.
    """
    soft = _cross_entropy(z, torch.sigmoid(t / _wide(T))).mean(-1)
    return _mix(soft, z, y, alpha)


def distillation(student: Tensor, teacher: Tensor, labels=None, *, alpha, T) -> Tensor:
    """Hinton et al. 2015, section 2, for K classes; a scalar.

    student, teacher: logits (n, K); labels: int64 (n,), -100 where a row has none, or
    None for label-free. soft = -sum_k softmax(teacher / T) log_softmax(student / T).
    """
    target = softmax(teacher / T, -1)
    soft = T**2 * -(target * log_softmax(student / T, -1)).sum(-1).mean()
    if labels is None:
        return soft
    hard = cross_entropy(student, labels, ignore_index=-100, reduction="sum")
    hard = hard / (labels != -100).sum().clamp(min=1)
    return (1 - alpha) * hard + alpha * soft


def binary(method: str, z: Tensor, t: Tensor, y: Tensor, *, alpha, T, smoothing=0.0):
    """The binary loss called `method`, one of METHODS; only 'hard' reads smoothing."""
    if method == "hard":
        return binary_hard(z, y, smoothing=smoothing)
    if method == "kd":
        return binary_distillation(z, t, y, alpha=alpha, T=T)
    if method == "logit-mse":
        return logit_mse(z, t, y, alpha=alpha)
    if method == "logit-std":
        return logit_standardized(z, t, y, alpha=alpha, T=T)
    if method == "ttm":
        return transformed_teacher(z, t, y, alpha=alpha, T=T)
    raise ValueError(f"method '{method}' is none of {', '.join(METHODS)}")


def binary_gradient(method: str, z, t, y, *, alpha, T, smoothing=0.0) -> Tensor:
    """d binary(method, ...).sum() / dz, shape (..., n), in closed form.

    The derivative of the cross-entropy of target p at logit z is sigmoid(z) - p.
    Autograd gives the same, some twenty times slower.
    """
    target, weight = _targets(y, _wide(smoothing) if method == "hard" else 0.0)
    hard = torch.sigmoid(z).sub_(target).mul_(weight)
    if method == "hard":
        return hard
    T, n = _wide(T), z.shape[-1]
    if method == "kd":
        soft = torch.sigmoid(z / T).sub_(torch.sigmoid(t / T)).mul_(T / n)
    elif method == "logit-mse":
        soft = (z - t).mul_(2 / n)
    elif method == "ttm":
        soft = torch.sigmoid(z).sub_(torch.sigmoid(t / T)).div_(n)
    elif method == "logit-std":
        u, spread = _standard(z)
        g = torch.sigmoid(u / T).sub_(torch.sigmoid(_standard(t)[0] / T)).mul_(T / n)
        along = (g * u).mean(-1, keepdim=True)
        soft = (g - g.mean(-1, keepdim=True) - u * along) / spread
    else:
        raise ValueError(f"method '{method}' is none of {', '.join(METHODS)}")
    return hard.lerp_(soft, _wide(alpha))


def _cross_entropy(z: Tensor, p: Tensor) -> Tensor:
    """-(p log s + (1 - p) log(1 - s)) with s = sigmoid(z), safe at any z."""
    return softplus(z) - p * z


def _targets(y: Tensor, smoothing) -> tuple[Tensor, Tensor]:
    """Smoothed labels, and weights that average over the labelled rows."""
    known = ~torch.isnan(y)
    weight = known / known.sum(-1, keepdim=True).clamp(min=1)
    return torch.nan_to_num(y) * (1 - smoothing) + smoothing / 2, weight


def _standard(z: Tensor) -> tuple[Tensor, Tensor]:
    """z-scores over the last dimension, and what they were divided by."""
    spread = z.std(-1, correction=0, keepdim=True) + 1e-7
    return (z - z.mean(-1, keepdim=True)) / spread, spread


def _mix(soft: Tensor, z: Tensor, y: Tensor | None, alpha) -> Tensor:
    if y is None:
        return soft
    return (1 - alpha) * binary_hard(z, y) + alpha * soft


def _wide(value) -> Tensor:
    """A number per cell (...) as (..., 1), to meet rows (..., n)."""
    return torch.as_tensor(value, dtype=torch.float32)[..., None]

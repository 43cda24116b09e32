"""subclass: Subclass Distillation: a few classes taught through invented subclasses.

Müller, Kornblith & Hinton 2020, Subclass Distillation, arXiv 2002.03936, and the
authors' notebook. Subclass logits s have shape (..., n, S); subclasses 0 .. S / K - 1
belong to class 0, the next S / K to class 1, and so on, so that two classes have two
class logits. Labels y are classes, int64 (n,) or (..., n), -100 where a row has none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kdutils.losses import multiclass


def class_logits(s: Tensor, classes: int) -> Tensor:
    """logsumexp over each class's subclasses, (..., n, S) to (..., n, classes).

    Their softmax is the sum of the subclasses' probabilities. Raises ValueError where S
    is no multiple of `classes`.
    """
    if s.shape[-1] % classes:
        raise ValueError(
            f"{s.shape[-1]} subclasses cannot be shared evenly among {classes} classes"
        )
    return s.unflatten(-1, (classes, -1)).logsumexp(-1)


def spread(s: Tensor, T=1.0) -> Tensor:
    """The auxiliary loss, which pulls a batch's rows apart over the subclasses.

    mean_i logsumexp_j(v_i . v_j / T) - 1 / T - log n, where v is a row's logits less
    their own mean, over their own deviation and sqrt(S): of length 1. It is 0 where all
    rows have the same pattern and below 0 otherwise.
    """
    n, size = s.shape[-2:]
    T = torch.as_tensor(T, dtype=s.dtype, device=s.device)
    centred = s - s.mean(-1, keepdim=True)
    v = centred * (centred.square().sum(-1, keepdim=True) + 1e-9 * size).rsqrt()
    alike = v @ v.mT / T[..., None, None]
    return alike.logsumexp(-1).mean(-1) - 1 / T - math.log(n)


def hard(s: Tensor, y: Tensor, *, classes: int, smoothing=0.0) -> Tensor:
    """Cross-entropy of the classes."""
    logits = class_logits(s, classes).mT.contiguous()
    return multiclass.hard(logits, y, smoothing=smoothing)


def hard_spread(s: Tensor, y: Tensor, *, classes: int, beta=1.0, T=1.0) -> Tensor:
    """The teacher's: cross-entropy of the classes + beta * `spread` at T."""
    return hard(s, y, classes=classes) + beta * spread(s, T)


def kd(s: Tensor, t: Tensor, *, T) -> Tensor:
    """T^2 KL(teacher || student) of the subclasses at temperature T.

    The authors take the cross-entropy, whose gradients are the same.
    """
    return multiclass.kd(s.mT.contiguous(), t.mT.contiguous(), T=T)


TERMS = {"hard": hard, "kd": kd}

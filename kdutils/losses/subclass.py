"""subclass: Subclass Distillation: a few classes taught through invented subclasses.

Müller, Kornblith & Hinton 2020, Subclass Distillation, arXiv 2002.03936, and the
authors' notebook. Subclass logits s have shape (..., n, S); subclasses 0 .. S / K - 1
belong to class 0, the next S / K to class 1, and so on, so that two classes have two
class logits. Leading dimensions are independent cells; losses return (...), a mean over
the n rows, and beta, alpha and T are numbers or tensors that broadcast to (...). Labels
are classes, int64 (n,) or (..., n), -100 where a row has none.
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


def teacher_loss(
    s: Tensor, labels: Tensor, *, classes: int, beta=1.0, T=1.0, smoothing=0.0
) -> Tensor:
    """Cross-entropy of the classes plus beta * `spread` at temperature T."""
    hard = multiclass.hard(class_logits(s, classes), labels, smoothing=smoothing)
    return hard + beta * spread(s, T)


def student_loss(
    s: Tensor, t: Tensor, labels: Tensor | None = None, *, classes: int, alpha, T
) -> Tensor:
    """(1 - alpha) * cross-entropy of the classes + alpha * T^2 * KL of the subclasses.

    s, t: subclass logits of student and teacher; labels=None is label-free. The authors
    take the cross-entropy with the teacher, whose gradients are the same.
    """
    soft = multiclass.kd(s, t, alpha=1.0, T=T)
    if labels is None:
        return soft
    hard = multiclass.hard(class_logits(s, classes), labels)
    return (1 - alpha) * hard + alpha * soft

"""multilabel: losses where each of several patterns is there or not.

Throughout: z (n, K) are a student's logits, t (n, K) its teacher's, y (n, K) is 1 where
a pattern is there; a loss is the mean over maps and patterns.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as entropy
from torch.nn.functional import mse_loss


def labelled(z: Tensor, y: Tensor) -> Tensor:
    """Binary cross-entropy with the labels."""
    return entropy(z, y.to(z.dtype))


def published(z: Tensor, t: Tensor, *, alpha: float, beta: float) -> Tensor:
    """Label-free, as in arXiv 2303.13974: α MSE(z, t) + (1 - α) BCE(z, [σ(t) > β]).

    β in (0, 1) is the probability above which the teacher's word counts as a label. The
    paper leaves α and β open. Raises ValueError outside of their ranges.
    """
    check(alpha, beta)
    verdict = (t > math.log(beta / (1 - beta))).to(z.dtype)
    return alpha * mse_loss(z, t) + (1 - alpha) * entropy(z, verdict)


def soft(z: Tensor, t: Tensor, *, T: float = 1.0) -> Tensor:
    """Cross-entropy with the teacher's probabilities at a temperature, times T².

    Hinton et al. 2015, section 2, with a sigmoid for each pattern. T = 1 has it match
    probabilities, a large T approaches the mean squared error of logits.
    """
    if not T > 0:
        raise ValueError(f"T is {T}: expected a number above 0")
    return T**2 * entropy(z / T, torch.sigmoid(t / T))


def check(alpha: float, beta: float) -> None:
    """Raises ValueError unless 0 <= α <= 1 and 0 < β < 1."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}: expected 0 to 1")
    if not 0 < beta < 1:
        raise ValueError(f"beta is {beta}: expected a probability between 0 and 1")


def loss(
    *, alpha: float = 0.5, beta: float = 0.5, T: float = 0.0, labels: float = 0.0
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """(z, t, y) -> labels * labelled + (1 - labels) * what the teacher says.

    T above 0: the teacher speaks by `soft`, else by `published` with α and β. labels: 0
    never looks at y, 1 never at t, between them distillation is supervised.
    Raises ValueError for settings outside of their ranges.
    """
    if not 0 <= labels <= 1:
        raise ValueError(f"labels is {labels}: expected 0 to 1")
    if not T >= 0:
        raise ValueError(f"T is {T}: expected 0, for none, or a number above it")
    check(alpha, beta)

    def told(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
        total = z.new_zeros(())
        if labels > 0:
            total = total + labels * labelled(z, y)
        if labels < 1:
            own = soft(z, t, T=T) if T else published(z, t, alpha=alpha, beta=beta)
            total = total + (1 - labels) * own
        return total

    return told

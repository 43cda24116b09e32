"""multilabel: losses where each of K labels is there or not: z, t and y are (n, K)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.nn.functional import mse_loss


def hard(z: Tensor, y: Tensor) -> Tensor:
    """Binary cross-entropy with the labels, mean over rows and labels."""
    return cross_entropy(z, y.to(z.dtype))


def kd(z: Tensor, t: Tensor, *, T) -> Tensor:
    """T^2 KL(teacher || student) at temperature T, with a sigmoid for each label.

    T = 1 has it match probabilities, a large T approaches the squared error of logits.
    """
    z, t = z / T, t / T
    p = torch.sigmoid(t)
    return T**2 * (cross_entropy(z, p) - cross_entropy(t, p))


def mse_bce(z: Tensor, t: Tensor, *, mse: float, threshold: float) -> Tensor:
    """Of arXiv 2303.13974: mse MSE(z, t) + (1 - mse) BCE(z, [sigmoid(t) > threshold]).

    threshold, the paper's beta: the probability above which the teacher's prediction
    counts as a label; mse is its alpha. The paper leaves both open.
    """
    label = (t > math.log(threshold / (1 - threshold))).to(z.dtype)
    return mse * mse_loss(z, t) + (1 - mse) * cross_entropy(z, label)


TERMS = {"hard": hard, "kd": kd, "mse-bce": mse_bce}

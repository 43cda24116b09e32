"""crowds: copies of a small image net side by side, as a few large products.

A crowd of C nets takes float32 images (B, H, W) and returns logits (C, B, K). Its
parameters are those of one net, each with a first axis of C, so that AdamW, which
works number by number, trains every net as if it were alone.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from kdutils import models


class Crowd(nn.Module):
    """C copies of a net, to be trained apart.

    together: so many of them at a time hide the overhead and fit the cache.
    """

    together = 64

    def __init__(self, net: nn.Module, C: int) -> None:
        super().__init__()
        own = net.state_dict()
        self.names = list(own)
        self.p = nn.ParameterList(
            nn.Parameter(p.expand(C, *p.shape).clone()) for p in own.values()
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights by the names of one net's, each (C, ...)."""
        own = (p.detach().numpy().copy() for p in self.p)
        return dict(zip(self.names, own, strict=True))


class Perceptrons(Crowd):
    """Copies of `Perceptron`: the first layers of all are one matrix."""

    def forward(self, x: Tensor) -> Tensor:
        W, b = self.p[0], self.p[1]
        h = (W.flatten(0, 1) @ x.flatten(1).t()).view(*W.shape[:2], -1)
        h = h + _wide(b, h)
        for W, b in zip(self.p[2::2], self.p[3::2], strict=True):
            h = torch.baddbmm(_wide(b, h), W, h.relu_())
        return h.transpose(1, 2)


class Convolutionals(Crowd):
    """Copies of `Convolutional`: patches are cut once, for all first layers.

    A convolution is a product of its filters with the patches it meets (Chellapilla et
    al. 2006). Patches are cut in the order (place in a 2 x 2 block, block, image): then
    what one layer writes is, without a copy, the matrix that the next one reads.
    """

    together = 16

    def forward(self, x: Tensor) -> Tensor:
        W1, b1, W2, b2, W3, b3 = self.p
        C, c = W1.shape[:2]
        patches = blocks(x.bfloat16() if torch.is_autocast_enabled("cpu") else x)
        h = (W1.view(C * c, 25) @ patches).view(C, c, -1)
        h = (h + _wide(b1, h)).relu_().view(C, 4 * c, -1)
        h = torch.baddbmm(_wide(b2, h), W2.view(C, -1, 4 * c), h).relu_()
        h = h.view(C, W3.shape[2], len(x))
        return torch.baddbmm(_wide(b3, h), W3, h).transpose(1, 2)


def blocks(x: Tensor) -> Tensor:
    """5 x 5 patches at every second pixel of images (B, H, H), as (25, 4 n n B).

    Columns run over the place (2, 2) in a block of patches, the block (n, n), and the
    image; n = ceil(H / 2) // 2, what is left of a block at the border is left out.
    """
    n = -(-x.shape[1] // 2) // 2
    cut = pad(x, (2, 2, 2, 2)).unfold(1, 5, 2).unfold(2, 5, 2)[:, : 2 * n, : 2 * n]
    cut = cut.unflatten(2, (n, 2)).unflatten(
        1, (n, 2)
    )  # image, row, 2, column, 2, 5, 5
    return cut.permute(5, 6, 2, 4, 1, 3, 0).reshape(25, -1)


KINDS = {models.Perceptron: Perceptrons, models.images.Convolutional: Convolutionals}


def of(net: nn.Module) -> type[Crowd]:
    """The crowd that a perceptron or a convolutional net can be in."""
    if type(net) not in KINDS:
        known = " or ".join(kind.__name__ for kind in KINDS)
        raise ValueError(f"a {type(net).__name__} has no crowd: expected a {known}")
    return KINDS[type(net)]


def _wide(b: Tensor, like: Tensor) -> Tensor:
    return b[..., None].to(like.dtype)

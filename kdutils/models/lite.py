"""lite: EfficientNet-Lite, which begins with ImageNet's weights and takes any images.

Grey images uint8 (n, H, W) or colour images uint8 (n, 3, H, W) -> logits (n, K). The
net itself repeats the grey channel and resizes: who is handed the net need not.
"""

from __future__ import annotations

import math
import pickle
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from kdutils.models.photographs import Photographs
from kdutils.models.wafers import Residual

STEM, HEAD, EXPAND = 32, 1280, 6  # channels that no width scales; a block's growth
# Blocks of one width: repeats, kernel, stride of the first, channels (Tan & Le 2019).
STAGES = (
    (1, 3, 1, 16),
    (2, 3, 2, 24),
    (2, 5, 2, 40),
    (3, 3, 2, 80),
    (3, 5, 1, 112),
    (4, 5, 2, 192),
    (1, 3, 1, 320),
)


class Lite(Photographs):
    """EfficientNet-Lite (Tan & Le 2019, arXiv 1905.11946; Liu 2020, the Lite variants).

    As EfficientNet, with ReLU6, without squeeze-and-excitation; stem and head are of
    one size for all. width, depth: factors of channels and repeats; pixels: the side
    that images are resized to, bilinearly, 0 for as they are; dropout: before the last
    layer. At width and depth 1 it has 3,371,008 weights and 1,281 for each class.
    """

    def __init__(self, side, classes, width=1.0, depth=1.0, pixels=0, dropout=0.2):
        self.pixels, at = pixels or side, (pixels or side) + 1 >> 1
        layers, inputs = _normed(3, STEM, 3, 2, side=self.pixels), STEM
        for number, (repeats, kernel, stride, channels) in enumerate(STAGES):
            if 0 < number < len(STAGES) - 1:
                repeats = math.ceil(repeats * depth)
            outputs, grown = _scaled(channels, width), EXPAND if number else 1
            for step in [stride] + [1] * (repeats - 1):
                kind = Residual if step == 1 and inputs == outputs else nn.Sequential
                layers.append(kind(*_block(inputs, outputs, kernel, step, grown, at)))
                inputs, at = outputs, -(-at // step)
        layers += [*_normed(inputs, HEAD), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        last = nn.Dropout(dropout), nn.Linear(HEAD, classes)
        super().__init__(nn.Sequential(*layers, *last))

    def forward(self, x: Tensor) -> Tensor:
        x = (x if x.ndim == 4 else x[:, None]).to(torch.float32).sub(127).div(128)
        if x.shape[-1] != self.pixels:
            x = interpolate(x, (self.pixels, self.pixels), mode="bilinear")
        x = x.expand(-1, 3, -1, -1)
        return self.body(x.contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def pretrained(self, path: Path) -> Lite:
        """Set all but the last layer from a file of weights, in the order it has them.

        ValueError, one sentence, where they are not those of a net of this size.
        """
        try:
            held = list(torch.load(path, "cpu", weights_only=True).values())[:-2]
        except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError):
            held = []
        own = list(self.state_dict().values())[:-2]
        if [a.shape for a in own] != [a.shape for a in held]:
            raise ValueError(
                f"{path} holds {len(held)} arrays that are not the {len(own)} of this "
                "net: expected the weights of a net of its width and depth"
            )
        for mine, theirs in zip(own, held, strict=True):
            mine.copy_(theirs)
        return self


def _scaled(channels: int, width: float) -> int:
    """The nearest multiple of 8 to channels times width, at most a tenth below it."""
    wanted = channels * width
    near = max(8, int(wanted + 4) // 8 * 8)
    return near + 8 * (near < 0.9 * wanted)


def _normed(a, b, kernel=1, stride=1, groups=1, side=0, active=True) -> list[nn.Module]:
    """A convolution, normalised, and ReLU6; with a stride, padded as TensorFlow is.

    There images of an even side have one zero more at their end than at their start.
    """
    layers, padding = [], kernel // 2
    if stride > 1:
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        ends, padding = (total // 2, total - total // 2), 0
        layers.append(nn.ZeroPad2d(ends * 2))
    how = {"padding": padding, "groups": groups, "bias": False}
    layers += [nn.Conv2d(a, b, kernel, stride, **how), nn.BatchNorm2d(b, eps=1e-3)]
    return layers + [nn.ReLU6(inplace=True)] * active


def _block(a, b, kernel, stride, grown, side) -> list[nn.Module]:
    """An inverted bottleneck (Sandler et al. 2018): widen, filter channels, narrow."""
    wide = a * grown
    layers = _normed(a, wide) if grown > 1 else []
    layers += _normed(wide, wide, kernel, stride, groups=wide, side=side)
    return layers + _normed(wide, b, active=False)


MODELS = {"lite0": Lite, "lite2": partial(Lite, width=1.1, depth=1.2, dropout=0.3)}

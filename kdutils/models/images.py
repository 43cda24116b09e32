"""images: networks for images and tables; nothing about training.

A net for images takes (n, H, W), bytes or float32 between 0 and 1, and returns logits
(n, K); `features` are the activations that its last layer reads. A net for tables takes
float32 (n, d) and returns one logit a row, (n,), in nats: its sigmoid is P(fail).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from kdutils.models import net

ARRAYS = ("W1", "b1", "w2", "b2")  # a tabular student's weights outside torch


class Net(nn.Module):
    """body, then the layer `last`; bytes become numbers between 0 and 1."""

    def features(self, x: Tensor) -> Tensor:
        return self.body(x.float().div_(255) if x.dtype == torch.uint8 else x)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.features(x))


class Perceptron(Net):
    """inputs -> widths -> K, rectified units, with dropout of the hidden ones.

    Hinton et al. 2015, section 3: widths (1200, 1200) with dropout is the teacher,
    (800, 800) without the student. inputs: pixels, or readings (n, inputs).
    """

    def __init__(self, inputs: int, classes: int, widths=(800, 800), dropout=0.0):
        super().__init__()
        sizes = [inputs, *widths]
        layers = [nn.Flatten()]
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b), nn.ReLU(inplace=True), ByteDropout(dropout)]
        self.body = nn.Sequential(*layers)
        self.last = nn.Linear(sizes[-1], classes)


class MLP(nn.Module):
    """A teacher of tables: `depth` hidden layers of `width` units with dropout.

    width: one for all, or a list of one for each.
    """

    def __init__(self, d: int, width=256, depth: int = 2, dropout: float = 0.0):
        super().__init__()
        widths = [d, *([width] * depth if isinstance(width, int) else width)]
        hidden = [
            nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout))
            for a, b in pairwise(widths)
        ]
        self.hidden = nn.Sequential(*hidden)
        self.last = nn.Linear(widths[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.hidden(x)).squeeze(-1)


class Student(nn.Module):
    """The deployable net: d readings -> `hidden` rectified units -> one logit."""

    def __init__(self, d: int, hidden: int = 64) -> None:
        super().__init__()
        self.first = nn.Linear(d, hidden)
        self.last = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x))).squeeze(-1)

    def arrays(self) -> dict[str, np.ndarray]:
        """Copies as float32: W1 (hidden, d), b1 (hidden,), w2 (hidden,), b2 ()."""
        W1, b1, w2, b2 = net.arrays(self).values()
        return dict(zip(ARRAYS, (W1, b1, w2[0], b2.reshape(())), strict=True))


class Convolutional(Net):
    """Two convolutions and one linear layer: a few thousand weights and no pooling.

    5 x 5 at every second pixel, then 2 x 2 blocks that do not overlap, so that many
    of them at once are a few matrix products.
    """

    def __init__(self, side: int, classes: int, channels: int = 8) -> None:
        super().__init__()
        corner = -(-side // 2) // 2
        self.body = nn.Sequential(
            nn.Unflatten(1, (1, side)),
            nn.Conv2d(1, channels, 5, stride=2, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, 2 * channels, 2, stride=2),
            nn.ReLU(inplace=True),
            nn.Flatten(),
        )
        self.last = nn.Linear(2 * channels * corner * corner, classes)


class Pooled(Net):
    """The teacher of Müller, Kornblith & Hinton 2020, as their notebook for MNIST has
    it: 3 x 3 convolutions of 32 and 64 channels, unpadded, each with 2 x 2 maximum
    pooling, a layer of 128 units, dropout of a half before and after it.
    """

    def __init__(self, side: int, classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        left = ((side - 2) // 2 - 2) // 2
        self.body = nn.Sequential(
            nn.Unflatten(1, (1, side)),
            nn.Conv2d(1, 32, 3),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, 3),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            ByteDropout(dropout),
            nn.Linear(64 * left * left, 128),
            nn.ReLU(inplace=True),
            ByteDropout(dropout),
        )
        self.last = nn.Linear(128, classes)


class ByteDropout(nn.Module):
    """Inverted dropout (Srivastava et al. 2014) whose mask costs one byte a unit.

    p is rounded to a 256th. On a processor nn.Dropout draws a double for each unit,
    which took a third of the time of a teacher's step.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.below = round(256 * p)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.below:
            return x
        drawn = torch.empty(-(-x.numel() // 8), dtype=torch.int64)
        drawn.random_(-(2**63), None)
        keep = drawn.view(torch.uint8)[: x.numel()].view(x.shape) >= self.below
        return x * keep.to(x.device, x.dtype).mul_(256 / (256 - self.below))


def perceptron(side: int, classes: int, **sizes) -> Perceptron:
    """A `Perceptron` for images of side x side."""
    return Perceptron(side * side, classes, **sizes)


MODELS = {
    "student": Student,
    "mlp": MLP,
    "perceptron": perceptron,
    "convolutional": Convolutional,
    "pooled": Pooled,
}

"""nets: image networks by name and width; nothing about training.

Every net takes float32 images (n, H, W) between 0 and 1 and returns logits (n, K);
`features` are the activations that its last layer reads.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn


class Perceptron(nn.Module):
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

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x))


class Convolutional(nn.Module):
    """Two convolutions and one linear layer: a few thousand weights and no pooling.

    5 x 5 at every second pixel, then 2 x 2 blocks that do not overlap, so that a whole
    crowd of them is a few matrix products.
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

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x))


class Pooled(nn.Module):
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

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x))


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
        drawn = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(
            -(2**63), None
        )
        keep = drawn.view(torch.uint8)[: x.numel()].view(x.shape) >= self.below
        return x * keep.to(x.device, x.dtype).mul_(256 / (256 - self.below))


class Halved(nn.Module):
    """A net whose products run in bfloat16; weights and logits stay float32.

    On a processor with bfloat16 instructions a step takes half as long or less.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            logits = self.net(x)
        return logits.float()


NETS = {"perceptron": Perceptron, "convolutional": Convolutional, "pooled": Pooled}


def build(name: str, side: int, classes: int, **sizes) -> nn.Module:
    """The net called `name` for images of side x side, with torch's initial weights."""
    if name not in NETS:
        raise ValueError(f"net '{name}' is none of {', '.join(NETS)}")
    return NETS[name](side * side if name == "perceptron" else side, classes, **sizes)


def parameters(net: nn.Module) -> int:
    """How many numbers a net holds."""
    return sum(p.numel() for p in net.parameters())


def arrays(net: nn.Module) -> dict[str, np.ndarray]:
    """Copies of a net's weights as float32, by their names."""
    return {k: v.detach().cpu().numpy().copy() for k, v in net.state_dict().items()}


def load(net: nn.Module, weights: dict[str, np.ndarray]) -> nn.Module:
    """The net with the weights that `arrays` gave, ready to be asked."""
    net.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    return net.eval()


def ask(net: nn.Module, X, *, rows: int = 1000, features: bool = False) -> np.ndarray:
    """Logits (n, K), or features, of uint8 images (n, H, W), some rows at a time."""
    say = net.features if features else net
    net.eval()
    with torch.no_grad():
        parts = torch.as_tensor(X).split(rows)
        return torch.cat([say(x.float().div_(255)).float() for x in parts]).numpy()

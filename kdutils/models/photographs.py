"""photographs: networks for colour images, uint8 (n, 3, H, W) -> logits (n, K).

Nets from torchvision have the stem that small images need: at up to 32 pixels the first
two steps keep the resolution, at up to 64 one of them does.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from kdutils.models.wafers import Residual

SHIFT, SPREAD = 128.0, 64.0  # of a colour's value: its rough mean and deviation


class Photographs(nn.Module):
    """A net behind the step that standardises bytes, channels last in memory."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(torch.float32, memory_format=torch.channels_last)
        return self.body(x.sub_(SHIFT).div_(SPREAD))


class Airbench(Photographs):
    """The net of cifar10-airbench (Jordan 2024, arXiv 2404.00498), for 32 pixels.

    A 2 x 2 convolution whose filters whiten the patches of the training images and stay
    as they are; three blocks of `depth` 3 x 3 convolutions, the first pooled by 2, the
    third and later ones residual; the largest value of each channel, one linear layer.
    Convolutions begin as identities of their first channels; normalisations have no
    scale. widths: channels of the blocks; (64, 256, 256) has 2.0 million weights.
    """

    def __init__(self, side: int, classes: int, widths=(64, 256, 256), depth=2, gelu=0):
        kind = nn.GELU if gelu else nn.ReLU
        white = nn.Conv2d(3, 24, 2)
        layers = [white, kind()]
        for a, b in pairwise((24, *widths)):
            layers += [_identity(a, b), nn.MaxPool2d(2), _normed(b), kind()]
            layers += [_identity(b, b), _normed(b), kind()]
            for _ in range(depth - 2):
                layers += [Residual(_identity(b, b), _normed(b), kind())]
        last = Ninth(widths[-1], classes)
        left = (side - 1) // 2 ** len(widths)
        super().__init__(nn.Sequential(*layers, nn.MaxPool2d(left), nn.Flatten(), last))
        white.weight.requires_grad = False

    @torch.no_grad()
    def whiten(self, X: np.ndarray, eps: float = 5e-4) -> None:
        """Set the first filters from the 2 x 2 patches of X uint8 (n, 3, H, W)."""
        x = (torch.as_tensor(X).float() - SHIFT) / SPREAD
        patches = x.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5)
        patches = patches.reshape(-1, 12)
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / (values + eps).sqrt()).T.flip(0).reshape(12, 3, 2, 2)
        self.body[0].weight.copy_(torch.cat((filters, -filters)))


class Ninth(nn.Linear):
    """A linear layer without bias whose outputs are divided by 9."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        with torch.no_grad():
            self.weight /= self.weight.std()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 9

    def folded(self) -> nn.Linear:
        """The same as a plain layer."""
        layer = nn.Linear(self.in_features, self.out_features, bias=False)
        layer.weight = nn.Parameter(self.weight.detach() / 9)
        return layer


def _identity(a: int, b: int) -> nn.Conv2d:
    """A 3 x 3 convolution that begins by handing on its first channels."""
    convolution = nn.Conv2d(a, b, 3, padding=1, bias=False)
    nn.init.dirac_(convolution.weight[: min(a, b)])
    return convolution


def _normed(width: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width, momentum=0.4)
    norm.weight.requires_grad = False
    return norm


def resnet50(side: int, classes: int) -> nn.Module:
    """ResNet-50 (He et al. 2016) with a 3 x 3 stem."""
    import torchvision

    net = torchvision.models.resnet50(num_classes=classes)
    if side <= 64:
        stride = 1 if side <= 32 else 2
        net.conv1 = nn.Conv2d(3, 64, 3, stride=stride, padding=1, bias=False)
        net.maxpool = nn.Identity()
    return Photographs(net)


def mobilenetv2(side: int, classes: int, width: float = 1.0) -> nn.Module:
    """MobileNetV2 (Sandler et al. 2018) of a width."""
    import torchvision

    net = torchvision.models.mobilenet_v2(num_classes=classes, width_mult=width)
    if side <= 64:
        net.features[2].conv[1][0].stride = (1, 1)
    if side <= 32:
        net.features[0][0].stride = (1, 1)
    blocks = []
    for m in net.features:
        kind = Residual if getattr(m, "use_res_connect", False) else nn.Sequential
        blocks.append(kind(*getattr(m, "conv", m)))
    pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.classifier
    return Photographs(nn.Sequential(*blocks, *pooled))


MODELS = {"airbench": Airbench, "mobilenetv2": mobilenetv2, "resnet50": resnet50}

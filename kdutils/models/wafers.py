"""wafers: networks for wafer maps; nothing about training.

Every net takes maps (n, H, W) of {0: off the wafer, 1: pass, 2: fail}, of any number
type, and returns a logit for each of the patterns, (n, patterns).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class Reader(nn.Module):
    """A net of images behind the step that turns maps into images.

    planes: 1 has the map itself as grey values 0, .5 and 1, as published; 2 has a
    plane of dies and one of failed dies; 3 repeats the grey values, for photographs.
    """

    def __init__(self, planes: int, body: nn.Module) -> None:
        super().__init__()
        self.planes, self.body = planes, body
        self.to(memory_format=torch.channels_last)

    def forward(self, maps: Tensor) -> Tensor:
        if self.planes == 2:
            x = torch.stack((maps > 0, maps > 1), -1).float()
        else:
            x = (maps.float() / 2)[..., None].expand(*maps.shape, self.planes)
        return self.body(x.permute(0, 3, 1, 2))  # channels last in memory


class Residual(nn.Sequential):
    """Layers whose input is added to their output."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def resnet18(side: int, patterns: int) -> nn.Module:
    """ResNet-18 (He et al. 2016) as for photographs, with its 7 x 7 stem."""
    from torchvision.models import resnet18 as published

    return Reader(3, published(num_classes=patterns))


def student1(side: int, patterns: int) -> nn.Module:
    """Student-1 of arXiv 2303.13974: convolutions of 6, 16 and 32, 60,928 weights.

    The paper gives the convolutions, 60 K and 248 KB; 5 x 5 unpadded with 2 x 2 pooling
    and layers of 120 and 84, as in LeNet-5, meet both numbers, so they are ours.
    """
    left = (((side - 4) // 2 - 4) // 2 - 4) // 2
    return _chain(
        *_lenet(1, 6, 2),
        *_lenet(6, 16, 2),
        *_lenet(16, 32, 2),
        *_dense(32 * left**2, 120, 84, patterns),
    )


def student2(side: int, patterns: int) -> nn.Module:
    """Student-2 of arXiv 2303.13974: convolutions of 6 and 16, 4,628 weights.

    The paper gives the convolutions, 4 K and 21 KB; 5 x 5 with 3 x 3 pooling and one
    linear layer meet them.
    """
    left = ((side - 4) // 3 - 4) // 3
    return _chain(*_lenet(1, 6, 3), *_lenet(6, 16, 3), *_dense(16 * left**2, patterns))


def takeshi(side: int, patterns: int) -> nn.Module:
    """After Nakazawa & Kulkarni 2018: three convolutions with pooling, two layers.

    Theirs reads maps of 286 x 400 and tells 22 classes apart. The layers are kept; the
    widths 16, 32, 64 and 128, for maps of 52 x 52, are ours.
    """
    left = side // 2 // 2 // 2
    return _chain(
        *_padded(1, 16, 5),
        *_padded(16, 32, 5),
        *_padded(32, 64, 5),
        *_dense(64 * left**2, 128, patterns),
    )


def kiryong(side: int, patterns: int) -> nn.Module:
    """After Kyeong & Kim 2018: two 3 x 3 convolutions with pooling, a layer, dropout.

    Theirs is one binary classifier for each pattern; here one net has an output for
    each. The widths 16, 32 and 64 are ours.
    """
    left = side // 2 // 2
    return _chain(
        *_padded(1, 16, 3),
        *_padded(16, 32, 3),
        *_dense(32 * left**2, 64),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(64, patterns),
    )


def compact(
    side: int, patterns: int, widths=(8, 16, 24), depth: int = 1, head: int = 0
) -> nn.Module:
    """Ours: a 5 x 5 stem, 3 x 3 convolutions, average pooling, one linear layer.

    Each of `widths` halves the map; `depth` residual convolutions follow each but the
    first. head: channels that a depthwise separable layer widens the last ones to.
    Each convolution has a batch normalisation, which `convert` folds into it.
    """
    layers = _normed(2, widths[0], 5, 2)
    for a, b in pairwise(widths):
        layers += _normed(a, b, 3, 2)
        layers += [Residual(*_normed(b, b, 3, 1)) for _ in range(depth)]
    last = widths[-1]
    if head:
        layers += _apart(last, head, 1)
        last = head
    pooled = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, patterns))
    return Reader(2, nn.Sequential(*layers, *pooled))


def separable(
    side: int, patterns: int, widths=(8, 12, 24), depth: int = 1
) -> nn.Module:
    """Ours, smaller still: 3 x 3 depthwise and 1 x 1 pointwise convolutions.

    As `compact`, but each convolution after the stem is in two steps (Howard et al.
    2017), which have about a fifth of its weights at these widths.
    """
    layers = _normed(2, widths[0], 5, 2)
    for a, b in pairwise(widths):
        layers += _apart(a, b, 2)
        layers += [Residual(*_apart(b, b, 1)) for _ in range(depth)]
    pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], patterns)
    return Reader(2, nn.Sequential(*layers, *pooled))


def _chain(*layers: nn.Module) -> Reader:
    """Layers that read a map's grey values."""
    return Reader(1, nn.Sequential(*layers))


def _dense(*sizes: int) -> list[nn.Module]:
    layers = [(nn.Linear(a, b), nn.ReLU(inplace=True)) for a, b in pairwise(sizes)]
    return [nn.Flatten(), *(layer for pair in layers for layer in pair)][:-1]


def _lenet(a: int, b: int, pool: int) -> list[nn.Module]:
    return [nn.Conv2d(a, b, 5), nn.ReLU(inplace=True), nn.MaxPool2d(pool)]


def _padded(a: int, b: int, k: int) -> list[nn.Module]:
    convolution = nn.Conv2d(a, b, k, padding=k // 2)
    return [convolution, nn.ReLU(inplace=True), nn.MaxPool2d(2)]


def _apart(a: int, b: int, stride: int) -> list[nn.Module]:
    each = nn.Conv2d(a, a, 3, stride=stride, padding=1, groups=a, bias=False)
    return [each, *_normed(a, b, 1, 1)]


def _normed(a: int, b: int, k: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(a, b, k, stride=stride, padding=k // 2, bias=False)
    return [convolution, nn.BatchNorm2d(b), nn.ReLU(inplace=True)]


NETS = resnet18, student1, student2, takeshi, kiryong, compact, separable
MODELS = {net.__name__: net for net in NETS}

"""convert: a torch net of maps as the steps and arrays of a deployed file."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kdutils.compress import quantize
from kdutils.compress.prune import layers
from kdutils.deploy import bundle, words
from kdutils.models.photographs import Ninth, Photographs
from kdutils.models.text import Hashed
from kdutils.models.wafers import Reader, Residual


class TooLarge(ValueError):
    """The file of a net has more bytes than it may have."""


CLOSING = {"relu": 1, "relu6": 2}  # what may close a step, and its number there


def folded(net: nn.Module) -> nn.Module:
    """A copy in which each convolution has its batch normalisation's work to do.

    A maximum may be taken between the two if no scale is negative: the largest stays
    the largest. Raises ValueError for a normalisation that follows no convolution.
    """
    net = copy.deepcopy(net).eval()
    for part in list(net.modules()):
        some = list(part.named_children())
        pooled = [
            (some[k - 1], some[k + 1])
            for k in range(1, len(some) - 1)
            if isinstance(some[k][1], nn.MaxPool2d) and _rising(some[k + 1][1])
        ]
        for (name, a), (after, b) in [*pairwise(some), *pooled]:
            if isinstance(a, nn.Conv2d) and isinstance(b, nn.BatchNorm2d):
                setattr(part, name, fuse_conv_bn_eval(a, b))
                setattr(part, after, nn.Identity())
        for name, m in some:
            if isinstance(m, Ninth):
                setattr(part, name, m.folded())
    if any(isinstance(m, nn.BatchNorm2d) for m in net.modules()):
        raise ValueError("a normalisation that follows no convolution cannot be folded")
    return net


def _rising(m: nn.Module) -> bool:
    """Whether it is a normalisation without a negative scale."""
    return isinstance(m, nn.BatchNorm2d) and bool((m.weight >= 0).all())


def rounded(net: nn.Module, *, bits: int = 8) -> nn.Module:
    """The folded net as a file of it is read back, activations in float32.

    8 bits keep the largest weight of each output; fewer cut some off, see
    `quantize.rounded`.
    """
    clips = [1.0] if bits == 8 else quantize.CLIPS
    return quantize.quantized(folded(net), bits, clips)


def packed(
    net: nn.Module,
    side: int,
    classes: tuple[str, ...],
    *,
    id: str,
    limit: int | None = None,
    most: int = 8,
) -> tuple[bytes, nn.Module]:
    """The file of a trained net of maps or colour images, and the net as it holds it.

    The weights have `most` bits each, or as many of fewer, down to 4, as keep the file
    within `limit` bytes; the net's `bits` says so. TooLarge if no file is as small;
    BundleError for a net that has a step that `deploy.runtime` has not.
    """
    schema = bundle.Schema(classes=tuple(classes), id=id)
    for bits in range(most, min(most, 4) - 1, -1):
        if isinstance(net, Hashed):
            small, weights, halves, *alive = _sentences(net, bits)
            steps, told, side = net.program(), partial(_golden, small), 0
        else:
            small, weights, halves, *alive = _images(net, bits)
            steps, told = program(small), partial(_predict, small)
        parts = steps, weights, halves, side, schema, told
        file = bundle.packed_maps(*parts, *alive)
        if limit is None or len(file) <= limit:
            small.bits = bits
            return file, small
    raise TooLarge(
        f"the net has {len(file):,} bytes with weights of {bits} bits, expected at "
        f"most {limit:,}"
    )


def _images(net: nn.Module, bits: int) -> tuple:
    """A net of maps or images as its file holds it, its weights and halves there."""
    small = rounded(net, bits=bits).cpu()
    weights, halves = [], []
    for layer in layers(small).values():
        steps, scale = quantize.steps(layer.weight.detach(), bits, [1.0])
        weights.append(steps.numpy().astype(np.int8))
        halves += [scale.numpy()]
        halves += [] if layer.bias is None else [layer.bias.detach().numpy()]
    return small, weights, halves


@torch.no_grad()
def _predict(net: nn.Module, inputs: np.ndarray) -> np.ndarray:
    return net(torch.from_numpy(inputs)).numpy()


@torch.no_grad()
def _sentences(net: Hashed, bits: int) -> tuple:
    """A net of sentences as its file holds it, and the weights, halves and rows there.

    The table has weights of `bits` bits and a scale for each column, all others 8 bits.
    A row of nothing but zeros is left out.
    """
    small, weights, halves = copy.deepcopy(net).cpu().eval(), [], []
    table = small.embed.weight
    for p in small.parameters():
        if p.ndim == 1:
            p.copy_(p.half().float())
            halves.append(p.numpy())
            continue
        w, own = (p[1:].T, bits) if p is table else (p, 8)
        whole, scale = quantize.steps(w, own, [1.0] if own == 8 else quantize.CLIPS)
        back = whole * scale[:, None]
        p[-len(back.T if p is table else back) :] = back.T if p is table else back
        if p is table:
            alive = (whole != 0).any(0).numpy()
            whole = whole.T[alive]
        weights.append(whole.numpy().astype(np.int8))
        halves.append(scale.numpy())
    return small, weights, halves, alive


def _golden(net: Hashed, texts) -> np.ndarray:
    """A net's logits of texts, each alone."""
    told, found = copy.deepcopy(net), []
    with torch.no_grad():
        for text in texts:
            some = words.divided(text)
            x = torch.arange(len(some))[None]
            found.append(told.spell(some)(x)[0].numpy())
    return np.array(found)


def torch_bytes(net: nn.Module) -> int:
    """Bytes that `torch.save` makes of a net's weights: the published way to count."""
    held = io.BytesIO()
    torch.save(net.state_dict(), held)
    return held.tell()


def program(net: nn.Module) -> list[list]:
    """The steps, as `deploy.runtime` has them, of a net without normalisations."""
    if not isinstance(net, Reader | Photographs):
        raise bundle.BundleError("expected a net of maps or of colour images")
    steps = [["planes", net.planes] if isinstance(net, Reader) else ["colours"]]
    for word, *numbers in _steps(net.body):
        last = -2 if steps[-1][0] == "max" else -1  # of the largest is the same
        if word in CLOSING and steps[last][0] in ("conv", "each", "linear"):
            steps[last][-1] = CLOSING[word]
        elif not (word == "flatten" and steps[-1][0] == "mean"):
            steps.append([word, *numbers])
    return steps


def _steps(part: nn.Module) -> Iterator[list]:
    for m in part.children():
        if isinstance(m, Residual):
            yield from (["keep"], *_steps(m), ["add"])
        elif isinstance(m, nn.Sequential):
            yield from _steps(m)
        elif isinstance(m, nn.Conv2d) and m.groups in (1, m.in_channels):
            rest = m.kernel_size[0], m.stride[0], m.padding[0], int(m.bias is not None)
            alone = m.groups > 1 and m.groups == m.out_channels
            yield ["each", *rest, 0] if alone else ["conv", m.out_channels, *rest, 0]
        elif isinstance(m, nn.Linear):
            yield ["linear", m.out_features, int(m.bias is not None), 0]
        elif isinstance(m, nn.MaxPool2d) and not m.padding:
            yield ["max", m.kernel_size]
        elif isinstance(m, nn.AdaptiveAvgPool2d) and m.output_size == 1:
            yield ["mean"]
        elif isinstance(m, nn.Flatten | nn.ReLU | nn.ReLU6):
            yield [type(m).__name__.lower()]
        elif not isinstance(m, nn.Identity | nn.Dropout):
            kind = type(m).__name__
            raise bundle.BundleError(f"a student's file has no step for {kind}")

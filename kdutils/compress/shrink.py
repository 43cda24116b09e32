"""shrink: any net of convolutions and linear layers, pruned and quantized.

Weights alone are pruned, and rounded with a scale for each output; activations stay
float32. A net that is rounded for good or weighed has each normalisation folded into
its convolution before. What comes in is not changed, what comes out is a copy. Names
are those of a net's state dict, such as "body.1.weight".
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kdutils.models import straight_through
from kdutils.train import loop as train

CLIPS = [1 - step / 20 for step in range(11)]  # shares of the largest weight, 1 to .5
LEAST = 2.0**-24  # the smallest float16 above 0
HALF = 16  # bits of a bias
SCOPES = ("global", "layer")


def layers(net: nn.Module) -> dict[str, nn.Module]:
    """The convolutions and linear layers by name, in the net's order."""
    kinds = nn.Conv2d | nn.Linear
    return {name: m for name, m in net.named_modules() if isinstance(m, kinds)}


def masks(net: nn.Module, share: float, *, scope: str = "global") -> dict[str, Tensor]:
    """By name of a weight, bool of its shape: False for the `share` smallest |w|.

    scope: 'global' ranks the weights of all layers together, 'layer' each layer's own
    (Han et al. 2015). Raises ValueError for a share outside [0, 1] or another scope.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}: expected 0 to 1")
    if scope not in SCOPES:
        raise ValueError(f"scope is '{scope}': expected {' or '.join(SCOPES)}")
    size = {f"{k}.weight": m.weight.detach().abs() for k, m in layers(net).items()}
    parts = [size] if scope == "global" else [{k: v} for k, v in size.items()]
    return {k: v for part in parts for k, v in _largest(part, share).items()}


def masked(net: nn.Module, masks: dict[str, Tensor]) -> nn.Module:
    """A copy whose weights are 0 where their mask is False."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        for name, mask in masks.items():
            net.get_parameter(name).masked_fill_(~mask, 0.0)
    return net


def units(net: nn.Module, share: float) -> nn.Module:
    """A copy without the `share` least of each hidden layer's units: a smaller net.

    A unit counts for the norm of its incoming weights times that of its outgoing ones,
    as in `compress.units`; one stays at least. For a chain of linear layers alone, else
    ValueError: a convolutional net is made narrower before it learns.
    """
    net = copy.deepcopy(net)
    for a, b in pairwise(layers(net).values()):
        chained = isinstance(a, nn.Linear) and isinstance(b, nn.Linear)
        if not chained or a.out_features != b.in_features:
            raise ValueError("units are taken from a chain of linear layers alone")
        weight = (a.weight.norm(dim=1) * b.weight.norm(dim=0)).detach()
        keep = max(1, a.out_features - round(share * a.out_features))
        kept = weight.argsort(descending=True, stable=True)[:keep].sort().values
        a.weight = nn.Parameter(a.weight.detach()[kept])
        a.bias = None if a.bias is None else nn.Parameter(a.bias.detach()[kept])
        b.weight = nn.Parameter(b.weight.detach()[:, kept])
        a.out_features = b.in_features = keep
    return net


def quantized(net: nn.Module, bits: int) -> nn.Module:
    """A copy with weights of `bits` bits, as a file of them is read back.

    See `rounded`; biases are rounded to float16. A second time changes nothing. Raises
    ValueError for bits outside of 2 to 8 and where a normalisation is not folded.
    """
    _check(bits)
    _plain(net)
    net = copy.deepcopy(net)
    with torch.no_grad():
        for layer in layers(net).values():
            layer.weight.copy_(rounded(layer.weight, bits))
            if layer.bias is not None:
                layer.bias.copy_(layer.bias.half().float())
    return net


def rounded(w: Tensor, bits: int) -> Tensor:
    """Weights (outputs, ...) as whole steps, 2^(bits - 1) - 1 of them either way.

    Symmetric, with a float16 step for each output: that of CLIPS with the least squared
    error (Banner, Nahshan & Soudry 2019 derive it).
    """
    top, rows = 2 ** (bits - 1) - 1, w.flatten(1)
    clips = torch.tensor(CLIPS, dtype=w.dtype, device=w.device)[:, None]
    scales = (clips * rows.abs().amax(1) / top).clamp(min=LEAST).half().to(w.dtype)
    steps = (rows / scales[..., None]).round_().clamp_(-top, top)
    error = steps.mul_(scales[..., None]).sub_(rows).square_().sum(-1)
    best = scales.gather(0, error.argmin(0)[None])[0]
    scale = best.view(-1, *[1] * (w.dim() - 1))
    return (w / scale).round().clamp(-top, top) * scale


def tune(
    net: nn.Module,
    batches,
    loss: Callable[..., Tensor],
    *,
    masks: dict[str, Tensor] | None = None,
    bits: int | None = None,
    epochs: int,
    lr: float,
    decay: float,
    seed: int,
) -> nn.Module:
    """A copy trained further by `train.fit`: AdamW, a cosine to 0, the last weights.

    masks: these weights are 0 in every step and afterwards. bits: every forward pass
    sees the weights and biases of `quantized`, and gradients pass straight through the
    rounding (Bengio et al. 2013; Jacob et al. 2018); what comes back is rounded.
    A normalisation stays and learns: it multiplies an output as its scale does, so that
    folding it afterwards moves scales and no step. Products are float32. Raises
    ValueError for bits outside of 2 to 8.
    """
    _check(bits)
    net = copy.deepcopy(net)
    seen = {}
    for name, layer in layers(net).items():
        mask = (masks or {}).get(f"{name}.weight")
        if mask is not None or bits is not None:
            seen[layer, "weight"] = _Seen(mask, bits)
        if bits is not None and layer.bias is not None:
            seen[layer, "bias"] = _Seen(None, HALF)
    for (layer, name), how in seen.items():
        parametrize.register_parametrization(layer, name, how)
    train.fit(
        net,
        batches,
        loss,
        epochs=epochs,
        optimizer=partial(torch.optim.AdamW, lr=lr, weight_decay=decay, fused=True),
        seed=seed,
    )
    for layer, name in seen:
        parametrize.remove_parametrizations(layer, name)
    return net


def weight_bytes(
    net: nn.Module, *, bits: int = 32, masks: dict[str, Tensor] | None = None
) -> int:
    """Bytes of the numbers in a file of the net, without what names its layers.

    Each layer's weights at their bits: dense, or as a bitmap and those that are not 0
    (or that a mask keeps), whichever is smaller, in whole bytes; at 32 bits float32
    biases, else float16 biases and a float16 scale for each output.
    """
    _plain(net)
    total = 0
    for name, layer in layers(net).items():
        mask = (masks or {}).get(f"{name}.weight")
        kept = int((layer.weight if mask is None else mask).count_nonzero())
        count, rows = layer.weight.numel(), len(layer.weight)
        sparse = math.ceil(count / 8) + math.ceil(kept * bits / 8)
        total += min(math.ceil(count * bits / 8), sparse)
        biases = 0 if layer.bias is None else rows
        total += 4 * biases if bits == 32 else 2 * (rows + biases)
    return total


class _Seen(nn.Module):
    """A weight as the forward pass sees it: masked, then rounded."""

    def __init__(self, mask: Tensor | None, bits: int | None) -> None:
        super().__init__()
        self.gone, self.bits = None if mask is None else ~mask, bits

    def forward(self, w: Tensor) -> Tensor:
        w = w if self.gone is None else w.masked_fill(self.gone, 0.0)
        if self.bits is None:
            return w
        half = self.bits == HALF
        return straight_through(
            w, lambda w: w.half().float() if half else rounded(w, self.bits)
        )


def _largest(size: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """False for the `share` smallest of all numbers, the first of equals."""
    every = torch.cat([v.flatten() for v in size.values()])
    keep = torch.ones(len(every), dtype=torch.bool)
    keep[every.argsort(stable=True)[: round(share * len(every))]] = False
    parts = zip(size, keep.split([v.numel() for v in size.values()]), strict=True)
    return {name: part.view(size[name].shape) for name, part in parts}


def _check(bits: int | None) -> None:
    if bits is not None and bits not in range(2, 9):
        raise ValueError(f"bits is {bits}: expected 2 to 8")


def _plain(net: nn.Module) -> None:
    """ValueError unless every number belongs to a convolution or a linear layer."""
    held = sum(p.numel() for m in layers(net).values() for p in m.parameters())
    if held != sum(p.numel() for p in net.parameters()):
        raise ValueError(
            "the net holds more than convolutions and linear layers: expected its "
            "normalisations folded into them"
        )

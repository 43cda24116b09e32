"""prune: weights or units taken away, and honest sizes.

A student is a dict of float32 arrays W1 (hidden, d), b1 (hidden,), w2 (hidden,), b2 (),
an `Int8`, or a torch module. What comes in is not changed, what comes out is a copy.
Names are those of a net's state dict, such as "body.1.weight".
"""

from __future__ import annotations

import copy
import gzip
import io
import math
from dataclasses import fields
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

SCOPES = ("global", "layer", "first")


def layers(net: nn.Module) -> dict[str, nn.Module]:
    """The convolutions and linear layers by name, in the net's order."""
    kinds = nn.Conv2d | nn.Linear
    return {name: m for name, m in net.named_modules() if isinstance(m, kinds)}


def masks(net: nn.Module, share: float, *, scope: str = "global") -> dict[str, Tensor]:
    """By name of a weight, bool of its shape: False for the `share` smallest |w|.

    scope: 'global' ranks the weights of all layers together, 'layer' each layer's own
    (Han et al. 2015), as published for the tester; 'first' only the first layer's: a
    student of 64 output weights keeps them all. Raises ValueError for a share outside
    [0, 1] or another scope.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}: expected 0 to 1")
    if scope not in SCOPES:
        raise ValueError(f"scope is '{scope}': expected {', '.join(SCOPES)}")
    size = {f"{k}.weight": m.weight.detach().abs() for k, m in layers(net).items()}
    parts = [size] if scope == "global" else [{k: v} for k, v in size.items()]
    parts = parts[:1] if scope == "first" else parts
    return {k: v for part in parts for k, v in _largest(part, share).items()}


def masked(net: nn.Module, masks: dict[str, Tensor]) -> nn.Module:
    """A copy whose weights are 0 where their mask is False."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        for name, mask in masks.items():
            net.get_parameter(name).masked_fill_(~mask, 0.0)
    return net


def pruned(arrays: dict[str, np.ndarray], share: float, *, scope: str) -> dict:
    """A student's arrays without the `share` smallest weights: see `masks`."""
    net = network(arrays)
    return unwrapped(masked(net, masks(net, share, scope=scope)))


def units(net: nn.Module, *, share: float = 0.0, keep: int | None = None) -> nn.Module:
    """A copy with `keep`, or all but `share`, of each hidden layer's units: smaller.

    A unit counts for the norm of its incoming weights times that of its outgoing ones;
    of a share one stays at least. No bitmap, no sparse kernel. ValueError unless the
    net is a chain of linear layers and 1 <= keep <= units: a convolutional net is made
    narrower before it learns.
    """
    net = copy.deepcopy(net)
    for a, b in pairwise(layers(net).values()):
        chained = isinstance(a, nn.Linear) and isinstance(b, nn.Linear)
        if not chained or a.out_features != b.in_features:
            raise ValueError("units are taken from a chain of linear layers alone")
        hidden = a.out_features
        left = max(1, hidden - round(share * hidden)) if keep is None else keep
        if not 1 <= left <= hidden:
            raise ValueError(f"keep must be 1 to {hidden} hidden units, not {left}")
        weight = (a.weight.norm(dim=1) * b.weight.norm(dim=0)).detach()
        kept = weight.argsort(descending=True, stable=True)[:left].sort().values
        a.weight = nn.Parameter(a.weight.detach()[kept])
        a.bias = None if a.bias is None else nn.Parameter(a.bias.detach()[kept])
        b.weight = nn.Parameter(b.weight.detach()[:, kept])
        a.out_features = b.in_features = left
    return net


def fewer_units(arrays: dict[str, np.ndarray], keep: int) -> dict[str, np.ndarray]:
    """A two-layer student's arrays with `keep` of its hidden units, see `units`."""
    return unwrapped(units(network(arrays), keep=keep))


def network(arrays: dict[str, np.ndarray]) -> nn.Sequential:
    """The arrays as Linear, ReLU, Linear, Flatten: (n, d) -> (n,) logits."""
    hidden, d = arrays["W1"].shape
    ends = nn.Linear(d, hidden), nn.Linear(hidden, 1)
    net = nn.Sequential(ends[0], nn.ReLU(), ends[1], nn.Flatten(0))
    values = (arrays[k] for k in ("W1", "b1", "w2", "b2"))
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), values, strict=True):
            parameter.copy_(torch.as_tensor(value).reshape(parameter.shape))
    return net


def unwrapped(net: nn.Sequential) -> dict[str, np.ndarray]:
    """The arrays of a `network`."""
    W1, w2 = (net[i].weight.detach().numpy() for i in (0, 2))
    b1, b2 = (net[i].bias.detach().numpy() for i in (0, 2))
    return {"W1": W1 + 0, "b1": b1, "w2": w2[0] + 0, "b2": b2[0]}  # -0 becomes 0


def _largest(size: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """False for the `share` smallest of all numbers, the first of equals."""
    every = torch.cat([v.flatten() for v in size.values()])
    keep = torch.ones(len(every), dtype=torch.bool, device=every.device)
    keep[every.argsort(stable=True)[: round(share * len(every))]] = False
    parts = zip(size, keep.split([v.numel() for v in size.values()]), strict=True)
    return {name: part.view(size[name].shape) for name, part in parts}


def plain(net: nn.Module) -> None:
    """ValueError unless every number belongs to a convolution or a linear layer."""
    held = sum(p.numel() for m in layers(net).values() for p in m.parameters())
    if held != sum(p.numel() for p in net.parameters()):
        raise ValueError(
            "the net holds more than convolutions and linear layers: expected its "
            "normalisations folded into them"
        )


def weight_bytes(net: nn.Module, *, bits: int = 32) -> int:
    """Bytes of the numbers in a file of the net, without what names its layers.

    Each layer's weights at their bits: dense, or as a bitmap and those that are not 0,
    whichever is smaller, in whole bytes; at 32 bits float32 biases, else float16 biases
    and a float16 scale for each output.
    """
    plain(net)
    total = 0
    for layer in layers(net).values():
        kept = int(layer.weight.count_nonzero())
        count, rows = layer.weight.numel(), len(layer.weight)
        sparse = math.ceil(count / 8) + math.ceil(kept * bits / 8)
        total += min(math.ceil(count * bits / 8), sparse)
        biases = 0 if layer.bias is None else rows
        total += 4 * biases if bits == 32 else 2 * (rows + biases)
    return total


class Size(NamedTuple):
    """Sizes are plural: what a model weighs depends on what one counts.

    params: weights and biases; nonzero: those that are not 0.
    raw_bytes: every stored number at its own width, scales included.
    file_bytes: torch.save of the state dict; gzip_bytes: that file, gzip level 9.
    """

    params: int
    nonzero: int
    raw_bytes: int
    file_bytes: int
    gzip_bytes: int


SCALES = {"scale", "zero_point", "s1", "s2", "s_in", "s_hidden"}


def size(student) -> Size:
    """Size of a dict of arrays, an `Int8` or a torch module; the same on every call."""
    state = _state(student)
    numbers = [(name, t) for name, v in state.items() for t in _tensors(v)]
    weights = [t for name, t in numbers if name.rsplit(".")[-1] not in SCALES]
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return Size(
        params=sum(t.numel() for t in weights),
        nonzero=sum(int(t.count_nonzero()) for t in weights),
        raw_bytes=sum(t.numel() * t.element_size() for _, t in numbers),
        file_bytes=len(buffer.getvalue()),
        gzip_bytes=len(gzip.compress(buffer.getvalue(), 9, mtime=0)),
    )


def _state(student) -> dict:
    if isinstance(student, dict):
        student = network(student)
    if isinstance(student, nn.Module):
        return student.state_dict()
    values = {f.name: getattr(student, f.name) for f in fields(student)}
    return {k: torch.as_tensor(v) for k, v in values.items() if v is not None}


def _tensors(value) -> list[Tensor]:
    """The plain tensors in one entry of a state dict, packed quantized ones opened."""
    if isinstance(value, tuple):
        return [t for v in value for t in _tensors(v)]
    if not isinstance(value, Tensor):
        return []
    return [value.int_repr() if value.is_quantized else value]


def logits(student, X: np.ndarray) -> np.ndarray:
    """Prepared X (n, d) -> float32 logits (n,) of any form a student takes."""
    if isinstance(student, dict):
        student = network(student)
    if isinstance(student, nn.Module):
        with torch.no_grad():
            return student(torch.as_tensor(np.asarray(X, np.float32))).numpy()
    return student.logits(X)

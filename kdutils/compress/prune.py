"""compress: prune, honest sizes, and what one wild cell does to its neighbours.

A student is a dict of float32 arrays W1 (hidden, d), b1 (hidden,), w2 (hidden,), b2 (),
an `Int8`, or a torch module.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from dataclasses import fields
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.utils import prune


class Pruned(NamedTuple):
    """What is left: the arrays, and a mask of W1 and w2, float32, 0 = pruned."""

    arrays: dict[str, np.ndarray]
    mask: dict[str, np.ndarray]


def network(arrays: dict[str, np.ndarray]) -> nn.Sequential:
    """The arrays as Linear, ReLU, Linear, Flatten: (n, d) -> (n,) logits."""
    hidden, d = arrays["W1"].shape
    net = nn.Sequential(
        nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Flatten(0)
    )
    values = (arrays[k] for k in ("W1", "b1", "w2", "b2"))
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), values, strict=True):
            parameter.copy_(torch.as_tensor(value).reshape(parameter.shape))
    return net


def l1_each_layer(arrays: dict[str, np.ndarray], share: float) -> Pruned:
    """The published recipe: the `share` smallest |w| of each layer, in one shot.

    The output layer loses `share` of its 64 weights like any other: whole hidden units
    fall silent. A share outside [0, 1] is torch's ValueError, here and below.
    """
    net = network(arrays)
    for layer in (net[0], net[2]):
        prune.l1_unstructured(layer, "weight", float(share))
        prune.remove(layer, "weight")
    return _pruned(net)


def l1_global(arrays: dict[str, np.ndarray], share: float) -> Pruned:
    """The `share` smallest |w| of both layers in one ranking."""
    net = network(arrays)
    pairs = [(net[0], "weight"), (net[2], "weight")]
    prune.global_unstructured(
        pairs, pruning_method=prune.L1Unstructured, amount=float(share)
    )
    for layer, name in pairs:
        prune.remove(layer, name)
    return _pruned(net)


def l1_first(arrays: dict[str, np.ndarray], share: float) -> Pruned:
    """The `share` smallest |w| of the first layer; the output layer stays whole."""
    net = network(arrays)
    prune.l1_unstructured(net[0], "weight", float(share))
    prune.remove(net[0], "weight")
    return _pruned(net)


def units(arrays: dict[str, np.ndarray], keep: int) -> Pruned:
    """Whole hidden units: `keep` of them stay, those with the largest |w2| ||W1 row||.

    What is left is a smaller dense student: no bitmap, no sparse kernel.
    ValueError unless 1 <= keep <= hidden.
    """
    hidden = len(arrays["w2"])
    if not 1 <= keep <= hidden:
        raise ValueError(f"keep must be 1 to {hidden} hidden units, not {keep}")
    weight = np.abs(arrays["w2"]) * np.linalg.norm(arrays["W1"], axis=1)
    kept = np.sort(np.argsort(-weight, kind="stable")[:keep])
    smaller = {k: arrays[k][kept] for k in ("W1", "b1", "w2")} | {"b2": arrays["b2"]}
    return _pruned(network(smaller))


def _pruned(net: nn.Sequential) -> Pruned:
    W1, w2 = (net[i].weight.detach().numpy() for i in (0, 2))
    b1, b2 = (net[i].bias.detach().numpy() for i in (0, 2))
    arrays = {"W1": W1 + 0, "b1": b1, "w2": w2[0] + 0, "b2": b2[0]}  # -0 becomes 0
    return Pruned(arrays, {k: np.float32(arrays[k] != 0) for k in ("W1", "w2")})


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


def _tensors(value) -> list[torch.Tensor]:
    """The plain tensors in one entry of a state dict, packed quantized ones opened."""
    if isinstance(value, tuple):
        return [t for v in value for t in _tensors(v)]
    if not isinstance(value, torch.Tensor):
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


class Wild(NamedTuple):
    """moved: share of the other rows whose verdict changed; largest: max |change|."""

    moved: float
    largest: float


def wild_cell(
    score: Callable[[np.ndarray], np.ndarray],
    X: np.ndarray,
    *,
    row: int,
    column: int,
    value: float,
    threshold: float,
) -> Wild:
    """What one wild reading X[row, column] = value does to the other rows of its batch.

    score: X (n, d) -> logits (n,); a verdict is logit > threshold. Dynamic int8 takes
    its activation scale from the whole batch, so one wild cell coarsens the steps of
    all rows. Fixed scales and float32 activations leave the neighbours alone.
    """
    wild = X.copy()
    wild[row, column] = value
    others = np.arange(len(X)) != row
    before, after = np.asarray(score(X))[others], np.asarray(score(wild))[others]
    moved = (before > threshold) != (after > threshold)
    return Wild(float(moved.mean()), float(np.abs(after - before).max()))

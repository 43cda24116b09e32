"""waferbundle: a trained wafer net as a file that the device asks without torch."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from kdutils.deploy import container, mapnet, waferpack
from kdutils.deploy.container import BundleError
from kdutils.models.wafers import Reader, Residual


def pack(
    net: nn.Module,
    name: str,
    side: int,
    patterns: tuple[str, ...],
    *,
    id: str,
    golden: np.ndarray,
    **sizes,
) -> bytes:
    """The file of a trained net that `models.build` built with these arguments.

    patterns: the names of its outputs; id: the model's; golden: maps (k, side, side),
    kept with what torch says of them with the rounded weights, which are those of
    `waferpack.pack`. The file is read again here, so numpy has said the same of these
    maps. BundleError for a net that has a step that `mapsteps` has not.
    """
    golden = mapnet.checked(golden, side)
    if not len(golden):
        raise BundleError("expected at least one golden map")
    file = waferpack.pack(net, name, side, len(patterns), **sizes)
    small = waferpack.unpack(file)
    with torch.no_grad():
        said = small(torch.from_numpy(golden)).numpy()
    about = {
        "format": mapnet.FORMAT,
        "id": id,
        "net": name,
        "side": str(side),
        "patterns": _json(patterns),
        "program": _json(program(small)),
    }
    tensors = {
        "golden_logits": said,
        **_rounded(file, small),
        "golden_maps": mapnet.squeezed(golden),
    }
    data = container.write(tensors, about)
    mapnet.loads(data, f"the file of {name}")
    return data


def program(net: nn.Module) -> list[list]:
    """The steps, as `mapsteps` has them, of a net without batch normalisation."""
    if not isinstance(net, Reader):
        raise BundleError("expected a net of wafernets")
    steps = [["planes", net.planes]]
    for word, *numbers in _steps(net.body):
        if word == "relu" and steps[-1][0] in ("conv", "linear"):
            steps[-1][-1] = 1
        elif not (word == "flatten" and steps[-1][0] == "mean"):
            steps.append([word, *numbers])
    return steps


def _steps(part: nn.Module) -> Iterator[list]:
    for m in part.children():
        if isinstance(m, Residual):
            yield from (["keep"], *_steps(m), ["add"])
        elif isinstance(m, nn.Conv2d):
            kernel = m.kernel_size[0], m.stride[0], m.padding[0], m.groups
            yield ["conv", m.out_channels, *kernel, int(m.bias is not None), 0]
        elif isinstance(m, nn.Linear):
            yield ["linear", m.out_features, int(m.bias is not None), 0]
        elif isinstance(m, nn.MaxPool2d) and not m.padding:
            yield ["max", m.kernel_size]
        elif isinstance(m, nn.AdaptiveAvgPool2d) and m.output_size == 1:
            yield ["mean"]
        elif isinstance(m, nn.Flatten | nn.ReLU):
            yield [type(m).__name__.lower()]
        elif not isinstance(m, nn.Identity | nn.Dropout):
            raise BundleError(f"a wafer file has no step for {type(m).__name__}")


def _rounded(file: bytes, net: nn.Module) -> dict[str, np.ndarray]:
    """The numbers of a `waferpack` file, as its layout has them, by their kind."""
    kinds = {"halves": [], "weights": []}
    at = 6 + int.from_bytes(file[4:6], "little")

    def take(kind: str, dtype: str, count: int) -> None:
        nonlocal at
        kinds[kind].append(np.frombuffer(file, dtype, count, at))
        at += kinds[kind][-1].nbytes

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            take("halves", "<f2", len(layer.weight))
            take("weights", "i1", layer.weight.numel())
            take("halves", "<f2", 0 if layer.bias is None else len(layer.bias))
    if at != len(file) - 4:
        raise BundleError("a packed wafer net is longer than its layers")
    return {kind: np.concatenate(found) for kind, found in kinds.items()}


def _json(value) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)

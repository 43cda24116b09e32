"""waferpack: a wafer net as one small file of eight-bit weights.

Layout, little-endian: magic "KDW" and a zero byte; u16, bytes of the note; the note,
UTF-8 JSON {"name", "side", "patterns", ...sizes}; then per layer, in the net's order, a
float16 scale for each output, its int8 weights and its float16 biases, batch
normalisation folded in; u32, CRC-32 of every byte before it. Activations stay float32.
"""

from __future__ import annotations

import copy
import io
import json
import struct
import zlib
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kdutils import models

MAGIC = b"KDW\0"


class PackError(ValueError):
    """A file that is not a whole packed net: one sentence, which and why."""


def folded(net: nn.Module) -> nn.Module:
    """A copy in which each convolution has its batch normalisation's work to do.

    Raises PackError for a normalisation that does not follow a convolution.
    """
    net = copy.deepcopy(net).eval()
    for part in list(net.modules()):
        for (name, a), (after, b) in pairwise(list(part.named_children())):
            if isinstance(a, nn.Conv2d) and isinstance(b, nn.BatchNorm2d):
                setattr(part, name, fuse_conv_bn_eval(a, b))
                setattr(part, after, nn.Identity())
    if any(isinstance(m, nn.BatchNorm2d) for m in net.modules()):
        raise PackError("a normalisation that follows no convolution cannot be folded")
    return net


def pack(net: nn.Module, name: str, side: int, patterns: int, **sizes) -> bytes:
    """The file of a trained net that `models.build` built with these arguments."""
    about = {"name": name, "side": side, "patterns": patterns, **sizes}
    note = json.dumps(about, separators=(",", ":")).encode()
    parts = [MAGIC, struct.pack("<H", len(note)), note]
    for layer in _layers(folded(net)):
        W = layer.weight.detach().numpy()
        flat = np.ascontiguousarray(W).reshape(len(W), -1)
        top = np.abs(flat).max(axis=1) / 127
        scale = np.where(top > 2.0**-24, top, 2.0**-24).astype("<f2")
        steps = np.rint(flat / scale.astype(np.float32)[:, None])
        parts += [scale.tobytes(), steps.clip(-127, 127).astype(np.int8).tobytes()]
        if layer.bias is not None:
            parts.append(layer.bias.detach().numpy().astype("<f2").tobytes())
    held = b"".join(parts)
    return held + struct.pack("<I", zlib.crc32(held))


def unpack(data: bytes) -> nn.Module:
    """The net of a file that `pack` wrote, ready to be asked; PackError otherwise."""
    try:
        return _read(data)
    except PackError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise PackError(f"a packed wafer net cannot be read ({error})") from None


def _read(data: bytes) -> nn.Module:
    if len(data) < 10 or data[:4] != MAGIC:
        raise PackError("this is no packed wafer net: it does not begin with KDW")
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise PackError("a packed wafer net is damaged: its checksum does not match")
    at = 6 + int.from_bytes(data[4:6], "little")
    net = folded(models.build(**json.loads(data[6:at])))
    with torch.no_grad():
        for layer in _layers(net):
            rows, count = len(layer.weight), layer.weight.numel()
            scale = np.frombuffer(data, "<f2", rows, at).astype(np.float32)
            steps = np.frombuffer(data, np.int8, count, at + 2 * rows)
            W = steps.reshape(rows, -1) * scale[:, None]
            layer.weight.copy_(torch.from_numpy(W).view(layer.weight.shape))
            at += 2 * rows + count
            if layer.bias is not None:
                bias = np.frombuffer(data, "<f2", rows, at).astype(np.float32)
                layer.bias.copy_(torch.from_numpy(bias))
                at += 2 * rows
    if at != len(data) - 4:
        raise PackError(
            f"a packed wafer net has {len(data)} bytes where {at + 4} were expected"
        )
    return net


def torch_bytes(net: nn.Module) -> int:
    """Bytes that `torch.save` makes of a net's weights: the published way to count."""
    held = io.BytesIO()
    torch.save(net.state_dict(), held)
    return held.tell()


def _layers(net: nn.Module) -> list[nn.Module]:
    return [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]

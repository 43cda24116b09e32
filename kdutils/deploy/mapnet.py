"""mapnet: a wafer net as one file, asked on the device with numpy alone.

The file is one of `container`, about {"format", "id", "net", "side", "patterns" and
"program", the last two in JSON: names, and steps of `mapsteps`}. Its arrays: `weights`
int8 and `halves` float16, scales and biases, as `mapsteps.steps` uses them up;
`golden_maps`, see `squeezed`; and what the net said of them, `golden_logits` float32
(k, patterns).
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdutils.deploy import container, mapsteps
from kdutils.deploy.container import BundleError
from kdutils.deploy.mapsteps import Step

FORMAT = "wafer net 1"
TENSORS = {"golden_logits": "f4", "halves": "f2", "weights": "i1", "golden_maps": "u1"}
TOLERANCE = 1e-4
WRONG = (ValueError, TypeError, KeyError, IndexError, ArithmeticError, zlib.error)
WRONG += (MemoryError, RecursionError)


@dataclass(frozen=True, eq=False)
class MapNet:
    """A net of wafer maps of side x side, and what it said when it was written.

    golden: maps uint8 (k, side, side) and their logits float32 (k, patterns); parts:
    bytes of the file by what they hold.
    """

    id: str
    net: str
    side: int
    patterns: tuple[str, ...]
    steps: tuple[Step, ...]
    golden: tuple[np.ndarray, np.ndarray]
    parts: dict[str, int]

    def logits(self, maps: np.ndarray) -> np.ndarray:
        """Maps (n, side, side) of 0, 1 and 2 -> float32 logits (n, patterns).

        One map at a time: a row's logits depend on that map alone. BundleError for
        maps of another size or with other values.
        """
        maps = checked(maps, self.side)
        said = np.empty((len(maps), len(self.patterns)), np.float32)
        for row, one in enumerate(maps):
            said[row] = mapsteps.ask(self.steps, one)
        return said


def load(path: str | Path) -> MapNet:
    """The net of a file, as `loads` reads it."""
    return loads(Path(path).read_bytes(), str(path))


def loads(data: bytes, name: str) -> MapNet:
    """The net of file `name`: its checksum first, then its parts, then its answers.

    The golden maps' logits may differ from those in the file by 1e-4, or 1e-4 of their
    size where that is above 1: machines sum products in different orders. BundleError,
    which names the file, if they differ more or the file is no such net.
    """
    tensors, about = container.read(data, name)
    if about.get("format") != FORMAT:
        raise BundleError(f"{name} is no wafer net: expected the format '{FORMAT}'")
    try:
        net = _parsed(tensors, about, len(data))
        maps, told = net.golden
        gap = np.abs(net.logits(maps) - told)
    except WRONG as error:
        raise BundleError(f"{name} is not a whole wafer net ({error})") from None
    if not (gap <= TOLERANCE * np.maximum(1, np.abs(told))).all():
        raise BundleError(f"{name} does not say here what it said when it was written")
    return net


def describe(net: MapNet) -> list[tuple[str, str]]:
    """Lines for a person: what, and its value."""
    lines = [
        ("model", net.id),
        ("net", net.net),
        ("reads", f"wafer maps of {net.side} x {net.side} dies"),
        ("patterns", ", ".join(net.patterns)),
    ]
    for place, step in enumerate(net.steps, 1):
        what = " ".join(map(str, (step.word, *step.numbers)))
        held = "" if step.W is None else f" by weights {_by(step.W.shape)}"
        lines.append((f"step {place}", f"{what}: {_by(step.shape)}{held}"))
    lines.append(("weights", f"{net.parts['weights']:,}"))
    lines.append(("golden maps", f"{len(net.golden[0])}, answered as when written"))
    lines += [(f"bytes of {key}", f"{size:,}") for key, size in net.parts.items()]
    return [*lines, ("bytes", f"{sum(net.parts.values()):,}")]


def checked(maps: np.ndarray, side: int) -> np.ndarray:
    """Maps as uint8 (n, side, side); BundleError for another shape or value."""
    maps = np.asarray(maps)
    if maps.ndim != 3 or maps.shape[1:] != (side, side):
        raise BundleError(
            f"expected wafer maps of shape (n, {side}, {side}), got {maps.shape}"
        )
    wrong = (maps != 0) & (maps != 1) & (maps != 2)
    if wrong.any():
        n, row, column = np.argwhere(wrong)[0]
        raise BundleError(
            f"map {n + 1} has {maps[n, row, column]} in row {row + 1}, column "
            f"{column + 1}, expected 0 (off the wafer), 1 (pass) or 2 (fail)"
        )
    return maps.astype(np.uint8)


def squeezed(maps: np.ndarray) -> np.ndarray:
    """Maps of 0, 1 and 2 as uint8 (bytes,): a bit a place, one a die, deflated.

    Places and dies in C order, each of both filled up with zeros to whole bytes.
    """
    dies = maps > 0
    bits = np.packbits(dies).tobytes() + np.packbits(maps[dies] > 1).tobytes()
    return np.frombuffer(zlib.compress(bits, 9), np.uint8)


def spread(held: np.ndarray, n: int, side: int) -> np.ndarray:
    """The maps uint8 (n, side, side) that `squeezed` held; ValueError if it did not."""
    count = n * side**2
    bits = zlib.decompressobj().decompress(held.tobytes(), count // 4 + 3)
    first, rest = bits[: -(-count // 8)], bits[-(-count // 8) :]
    dies = np.unpackbits(np.frombuffer(first, np.uint8))[:count]
    failed = np.unpackbits(np.frombuffer(rest, np.uint8))
    if n < 1 or len(dies) != count or len(rest) != -(-int(dies.sum()) // 8):
        raise ValueError(f"its golden maps are not {n} of {side} x {side}")
    maps = dies.copy()
    maps[dies > 0] += failed[: dies.sum()]
    return maps.reshape(n, side, side)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _parsed(tensors: dict, about: dict[str, str], size: int) -> MapNet:
    found = {key: array.dtype.str[1:] for key, array in tensors.items()}
    if found != TENSORS:
        raise ValueError(f"its arrays are {found}, expected {TENSORS}")
    side, patterns = int(about["side"]), tuple(json.loads(about["patterns"]))
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise ValueError("a pattern's name is no text")
    logits = tensors["golden_logits"]
    maps = spread(tensors["golden_maps"], len(logits), side)
    steps = mapsteps.steps(json.loads(about["program"]), maps[0], tensors)
    if not steps or not steps[-1].shape == (len(patterns),) == logits.shape[1:]:
        raise ValueError(f"its program does not end in {len(patterns)} logits")
    parts = {key: array.nbytes for key, array in tensors.items()}
    return MapNet(
        id=about["id"],
        net=about["net"],
        side=side,
        patterns=patterns,
        steps=steps,
        golden=(maps, logits),
        parts=parts | {"header and checksum": size - sum(parts.values())},
    )

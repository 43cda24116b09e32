"""edge.simulate: the simulated tester: lots, bursts, crashes in the middle, garbage."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

OPTIONS = (
    ("files", int, 100, "how many lots"),
    ("rows", int, 25, "devices in a lot"),
    ("rate", float, 20.0, "bursts a second; 0 = as fast as it can"),
    ("burst", int, 1, "lots at once"),
    ("jitter", float, 0.2, "how uneven the pauses are, as a share"),
    ("garbage", float, 0.0, "share of malformed lots"),
    ("crash", float, 0.0, "share of lots cut in the middle of a row"),
    ("rename", float, 0.5, "share written under a hidden name and renamed"),
    ("seed", int, 0, "the same seed writes the same lots"),
)
CELLS = [("number", text) for text in ("1_0", "NaN", "inf", "", "0x1F", "1 ")]
CELLS += [("range", "1e400"), ("range", "-1e39")]


@dataclass(frozen=True)
class Lot:
    """A file to write. kind: `good`, or the kind of Malformed it must be refused with.

    row, column: where the fault is, None where it has no place. renamed: written under
    a hidden name first.
    """

    name: str
    content: bytes
    kind: str
    rows: int
    row: int | None = None
    column: str | None = None
    renamed: bool = False


def content(model, rng: np.random.Generator, rows: int) -> list[list[str]]:
    """Header and rows of a good lot as cells; ids d0001, ..., readings to 6 digits."""
    X = np.clip(model.typical(rng, rows).round(6), model.low, model.high)
    both = model.low, model.high
    cells = [[f"d{i:04d}", *map(shown, x.tolist(), *both)] for i, x in enumerate(X, 1)]
    return [[model.id, *model.features], *cells]


def shown(x: float, low: float, high: float) -> str:
    """A legal reading to 6 digits, to all where those would not be legal."""
    return text if low <= float(text := f"{x:.6g}") <= high else repr(x)


def joined(cells: list[list[str]], end: str = "\n") -> bytes:
    """Cells as CSV, quoted where they must be."""
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows(cells)
    return text.getvalue().encode()


def garbled(model, rng, rows: int) -> tuple[bytes, str, int | None, str | None]:
    """A malformed lot: its bytes, and the kind, row and column of its fault."""
    cells = content(model, rng, rows)
    row = int(rng.integers(1, rows + 1))
    place = int(rng.integers(1, len(cells[0])))
    name, fault = cells[0][place], int(rng.integers(len(CELLS) + 5)) - len(CELLS)
    if fault < 0:
        kind, cells[row][place] = CELLS[fault]
        return joined(cells), kind, row, name
    if fault == 0:
        cells[0][place] = f"{name}?"
        return joined(cells), "header", 0, name
    if fault == 1:
        cells[1:] = [[*line, "0"] for line in cells[1:]]
        return joined(cells), "cells", 1, None
    if fault == 2:
        cells.append(cells[row])
        return joined(cells), "duplicate", len(cells) - 1, cells[0][0]
    if fault == 3:
        cells[row].pop()
        return joined(cells), "cells", row, None
    return bytes([0xFF, 0, row % 256, place % 256]) * 64 + b"\n", "encoding", 0, None


def lots(model, **chosen) -> Iterator[Lot]:
    """Lots in the order and at the pace of the options, which are OPTIONS' names."""
    options = {name: default for name, _, default, _ in OPTIONS} | chosen
    rng = np.random.default_rng(options["seed"])
    pause = options["burst"] / options["rate"] if options["rate"] > 0 else 0.0
    for number in range(options["files"]):
        yield one(model, rng, number, options)
        if pause and (number + 1) % options["burst"] == 0:
            time.sleep(max(0.0, pause * (1 + options["jitter"] * rng.normal())))


def one(model, rng: np.random.Generator, number: int, options: dict) -> Lot:
    """Lot `number`; no two lots have the same content."""
    rows, name = options["rows"], f"lot-{number:06d}.csv"
    fate, renamed = rng.random(), bool(rng.random() < options["rename"])
    if fate < options["garbage"]:
        data, kind, row, column = garbled(model, rng, rows)
        return Lot(name, data, kind, rows, row, column, renamed)
    data = joined(content(model, rng, rows))
    if fate < options["garbage"] + options["crash"]:
        cut = data.rstrip(b"\n").rfind(b",")  # within the last row
        return Lot(name, data[:cut], "short", rows, rows, None, False)
    return Lot(name, data, "good", rows, renamed=renamed)


def write(inbox: Path, lot: Lot, pieces: int = 2) -> None:
    """Put a lot into the inbox as a tester does: in pieces, or renamed when whole."""
    path = inbox / lot.name
    hidden = inbox / f".{lot.name}.part" if lot.renamed else path
    fd = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    step = max(1, -(-len(lot.content) // pieces))
    for at in range(0, len(lot.content), step):
        os.write(fd, lot.content[at : at + step])
    os.close(fd)
    if lot.renamed:
        os.replace(hidden, path)

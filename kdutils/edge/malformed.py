"""edge.malformed: what is wrong with a lot: the row, the column, what was expected."""

from __future__ import annotations

import re

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
LONGEST_ID = 64
SHOWN = 60


class Malformed(ValueError):
    """A lot that is refused: kind, row, column, what was found and expected.

    kind: one of encoding, header, cells, id, duplicate, number, range, short, size,
    file. row: 1 is the first below the header, 0 the header, None the whole file.
    """

    def __init__(self, kind: str, row, column, found, expected: str):
        self.kind, self.row, self.column = kind, row, column
        self.expected = expected
        self.found = found if len(found) <= SHOWN else found[:SHOWN] + "..."
        where = [] if row is None else ["the header" if row == 0 else f"row {row}"]
        where += [] if column is None else [f"column {column!r}"]
        start = ", ".join(where) + ": " if where else ""
        super().__init__(f"{start}found {self.found}, expected {expected}")

    def record(self) -> dict:
        """What stands beside the quarantined file."""
        names = ("kind", "row", "column", "found", "expected")
        return {name: getattr(self, name) for name in names} | {"reason": str(self)}


def undecodable(data: bytes, at: int, first: int) -> Malformed:
    """Malformed for byte `at` of a block whose first row is `first`."""
    row = first + data.count(b"\n", 0, at)
    return Malformed("encoding", row, None, f"byte 0x{data[at]:02x}", "UTF-8 text")


def explain(
    lines, first: int, model, seen, *, empty: bool, crlf: bool
) -> Malformed | None:
    """The first thing that is wrong in lines (rows `first`, ...), or None.

    seen: the ids of earlier rows; empty: an empty cell is a test that was not run;
    crlf: each line must end with a carriage return. model: id, features, low and high.
    """
    new: set[str] = set()
    for row, line in enumerate(lines, first):
        wrong = _line(row, line, model, seen, new, empty, crlf)
        if wrong is not None:
            return wrong
    return None


def _line(row, line, model, seen, new, empty, crlf) -> Malformed | None:
    if line.endswith("\r") != crlf:
        ends = ("a line feed alone", "a carriage return and a line feed")
        found, expected = ends if crlf else ends[::-1]
        return Malformed("cells", row, None, found, f"{expected}, as in the header")
    id, *cells = line.removesuffix("\r").split(",")
    if len(cells) != len(model.features):
        expected = f"{len(model.features) + 1} cells"
        return Malformed("cells", row, None, f"{len(cells) + 1} cells", expected)
    if not good_id(id):
        expected = f"1 to {LONGEST_ID} printable characters without quotes"
        return Malformed("id", row, model.id, repr(id), expected)
    if id in seen or id in new:
        return Malformed("duplicate", row, model.id, repr(id), "each id once")
    new.add(id)
    bounds = zip(model.features, cells, model.low, model.high, strict=True)
    for name, cell, low, high in bounds:
        if cell == "" and empty:
            continue
        if not NUMBER.fullmatch(cell):
            expected = "a finite decimal number such as -1.25e-3"
            return Malformed("number", row, name, repr(cell), expected)
        if not low <= float(cell) <= high:
            expected = f"a reading from {low:.9g} to {high:.9g}"
            return Malformed("range", row, name, cell, expected)
    return None


def good_id(id: str) -> bool:
    """Whether an id may stand in a verdict: printable, no quotes, no outer spaces."""
    right = 1 <= len(id) <= LONGEST_ID and id.isprintable() and '"' not in id
    return right and id == id.strip()

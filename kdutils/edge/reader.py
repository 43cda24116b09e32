"""edge.reader: one lot, strict CSV: read in blocks and judged, or what is wrong.

Strict: UTF-8 with or without a byte order mark, every line ended the same way (LF or
CRLF), as many cells as the header has, plain finite decimals in range. Not accepted:
quotes outside the header and ignored columns, spaces, `1_0`, `nan`, `inf`, `1e400`, an
id twice. Rows are parsed in bulk; only where that fails, one by one for the reason.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import warnings
from collections import Counter
from dataclasses import dataclass, field
from operator import itemgetter
from time import perf_counter
from typing import NamedTuple

import numpy as np

from kdutils.deploy import readings
from kdutils.edge import verdicts

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
DIGITS = b"0123456789+-.eE,"
HOLE = re.compile(r"(?<![^,])(?=,|$)")
LONGEST_ID = 64
MISSING = 0.5  # the share of its readings that a row may lack
SHOWN, NAMED = 60, 8  # characters of what was found, columns that are too many
BLOCK = 1 << 20
BOM = b"\xef\xbb\xbf"


class Malformed(ValueError):
    """A lot that is refused: kind, row, column, what was found and expected.

    kind: one of encoding, header, cells, id, duplicate, number, range, short, size,
    missing, late, file. row: 1 is the first below the header, 0 the header, None the
    whole file.
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


@dataclass(frozen=True)
class Limits:
    """Above this a lot is refused: bytes unread, rows as soon as they are counted."""

    bytes: int = 16 << 20
    rows: int = 100_000


@dataclass
class Lot:
    """What came of a file: its digest, and verdicts as CSV or what is wrong.

    seconds: spent in `read` (with hashing), `parse` and `model`; judged: readings and
    logits, block by block.
    """

    digest: str = ""
    rows: int = 0
    fails: int = 0
    content: bytes = b""
    wrong: Malformed | None = None
    seconds: Counter = field(default_factory=Counter)
    judged: list[tuple] = field(default_factory=list)


def judge(fd: int, model, limits: Limits, *, empty=False, name: str = "") -> Lot:
    """Read the open file to its end. Never raises Malformed: it is in `wrong`.

    name: the lot's, for each row of its verdict. OSError where the file cannot be read.
    The same bytes, bundle and name give the same content, but for the time in it.
    """
    lot, digest, pieces = Lot(), hashlib.sha256(), [verdicts.COLUMNS + b"\n"]
    blocks, trace = (
        _blocks(fd, digest, lot.seconds, limits),
        verdicts.trace(model, name),
    )
    try:
        _check(lot, blocks, model, limits, pieces, empty, trace)
        lot.content = b"".join(pieces)
    except Malformed as wrong:
        lot.wrong = wrong
        for _ in blocks:
            pass
    lot.digest = digest.hexdigest()
    return lot


def lines(ids, scores, fails, classes, trace: str) -> bytes:
    """Rows of a verdict, with its `verdicts.trace`; nine digits, as float32 needs."""
    ends = [f"{word},{trace}\n" for word in classes]
    cells = zip(ids, scores.tolist(), [ends[f] for f in fails.tolist()], strict=True)
    return "".join(["%s,%.9g,%s" % row for row in cells]).encode()  # noqa: UP031


def _blocks(fd, digest, seconds, limits):
    left = limits.bytes
    while left >= 0:
        start = perf_counter()
        data = os.read(fd, min(BLOCK, left + 1))
        digest.update(data)
        seconds["read"] += perf_counter() - start
        if not data:
            return
        left -= len(data)
        yield data


def _check(lot, blocks, model, limits, pieces, empty, trace) -> None:
    rest, form, seen, size = b"", None, set(), 0
    for block in blocks:
        size += len(block)
        start = perf_counter()
        if size > limits.bytes:
            raise too_large(size, limits)
        whole, newline, rest = (rest + block).rpartition(b"\n")
        if len(rest) > BLOCK:
            raise Malformed("cells", None, None, f"{len(rest)} bytes", "short lines")
        data = whole + newline
        if form is None and data:
            form, data = head(data, model)
        if data:
            first = lot.rows + 1
            ids, X = rows(data, first, model, seen, empty=empty, form=form)
            seen.update(ids)
            ready = perf_counter()
            scores, fails = model.judge(X)
            judged = perf_counter()
            lot.judged.append((X.astype(np.float32), scores))
            pieces.append(lines(ids, scores, fails, model.classes, trace))
            lot.rows += len(ids)
            lot.fails += int(fails.sum())
            lot.seconds["model"] += judged - ready
            start += judged - ready
        lot.seconds["parse"] += perf_counter() - start
        if lot.rows > limits.rows:
            found = f"more than {limits.rows} rows"
            raise Malformed("size", None, None, found, f"at most {limits.rows}")
    if rest:
        row = lot.rows + (form is not None)
        found = f"{len(rest)} bytes without a line end"
        raise Malformed("short", row, None, found, "a whole last line")
    if lot.rows == 0:
        raise Malformed("short", None, None, "no rows", "a header and rows below it")


def head(data: bytes, model) -> tuple[Form, bytes]:
    """Check the first line; (how the rows are written, the bytes below it)."""
    line, _, below = data.removeprefix(BOM).partition(b"\n")
    try:
        text = line.decode()
    except UnicodeDecodeError as problem:
        raise undecodable(line, problem.start, 0) from None
    return header(text, model), below


def too_large(size: int, limits: Limits) -> Malformed:
    """Malformed for a file above the limit, known from its size alone."""
    found = f"{size:,} bytes or more"
    return Malformed("size", None, None, found, f"at most {limits.bytes:,} bytes")


class Form(NamedTuple):
    """How the rows below a header are written.

    crlf: lines end with CRLF; width: cells in a row; places: of the id and of each
    reading among them, none where they stand so already and nothing else does.
    """

    crlf: bool = False
    width: int = 0
    places: tuple[int, ...] = ()

    def plain(self, lines: list[str], first: int) -> tuple[list[str], Malformed | None]:
        """The id and the readings of each line, up to the first that is wrong; why."""
        if not self.places:
            return lines, None
        picked, pick = [], itemgetter(*self.places)
        for row, line in enumerate(lines, first):
            cells = _cells(line.removesuffix("\r"))
            if len(cells) != self.width:
                found, expected = f"{len(cells)} cells", f"{self.width} cells"
                if not cells:
                    found, expected = "a stray quote", "quotes around whole cells"
                return picked, Malformed("cells", row, None, found, expected)
            picked.append(",".join(pick(cells)) + "\r" * line.endswith("\r"))
        return picked, None


PLAIN = Form()


def header(line: str, model) -> Form:
    """What a header, up to its line feed, says of the rows; Malformed if it cannot be.

    The id and each reading once, in any order; other columns where the model says so.
    """
    wanted, crlf = [model.id, *model.features], line.endswith("\r")
    line = line.removesuffix("\r")
    if line.split(",") == wanted:
        return Form(crlf)
    try:
        names = readings.names(line)
        places = readings.columns(names, wanted)
    except csv.Error as problem:
        raise Malformed("header", 0, None, str(problem), "CSV") from None
    except readings.ColumnError as wrong:
        found = f"it {wrong.count} times" if wrong.count else "no such column"
        raise Malformed("header", 0, wrong.name, found, "it once") from None
    if names == wanted:
        return Form(crlf)
    read = set(places)
    extra = [name for place, name in enumerate(names) if place not in read]
    if extra and model.extra != "ignore":
        shown = ", ".join(repr(name[:SHOWN]) for name in extra[:NAMED])
        shown += f" and {len(extra) - NAMED} more" if len(extra) > NAMED else ""
        expected = f"only {model.id!r} and the readings: leave out {shown}, or use "
        found = f"{len(extra)} columns too many" if extra[1:] else "a column too many"
        raise Malformed("header", 0, extra[0], found, f"{expected}--extra ignore")
    return Form(crlf, len(names), tuple(places))


def rows(data: bytes, first: int, model, seen, *, empty=False, form: Form = PLAIN):
    """Whole lines of bytes -> (ids, float64 readings (n, d)).

    first: the number of the first row; seen: the ids of earlier rows, which must not
    come again; NaN only where `empty` allows an empty cell.
    Malformed names the first row and column that is wrong.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as problem:
        raise undecodable(data, problem.start, first) from None
    lines = text.split("\n")
    lines.pop()
    lines, uneven = form.plain(lines, first)
    found = None if uneven else _fast(lines, model, seen, empty, form.crlf)
    if found is None:
        explain(lines, first, model, seen, empty=empty, crlf=form.crlf)
        expected = "plain decimal numbers"
        raise uneven or Malformed("number", first, None, "an odd number", expected)
    return found


def _fast(lines, model, seen, empty, crlf):
    """Everything at once, or None if anything is wrong."""
    if crlf:
        if not all(line.endswith("\r") for line in lines):
            return None
        lines = [line[:-1] for line in lines]
    parts = [line.partition(",") for line in lines]
    ids, cells = [part[0] for part in parts], [part[2] for part in parts]
    if not _good(ids) or len(set(ids)) < len(ids) or not seen.isdisjoint(ids):
        return None
    if "\n".join(cells).encode().translate(None, DIGITS + b"\n"):
        return None
    if empty:
        cells = [HOLE.sub("nan", line) for line in cells]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            X = np.loadtxt(cells, delimiter=",", comments=None, ndmin=2)
    except ValueError:
        return None
    if X.shape != (len(ids), len(model.features)):
        return None
    wrong = np.less(X, model.low) | np.greater(X, model.high)
    lacking = empty and (np.isnan(X).mean(1) > MISSING).any()
    return None if wrong.any() or lacking else (ids, X)


def _cells(line: str) -> list[str]:
    """The cells of a row, commas in quotes as spaces; none if a quote is stray."""
    if '"' not in line:
        return line.split(",")
    parts = line.split('"')
    parts[1::2] = [part.replace(",", " ") for part in parts[1::2]]
    cells = '"'.join(parts).split(",")
    stray = any('"' in cell and not cell[0] == cell[-1] == '"' for cell in cells)
    return [] if stray or len(parts) % 2 == 0 else cells


def _good(ids: list[str]) -> bool:
    """Whether ids may stand in a verdict: printable, no quotes, no outer spaces."""
    joined, lengths = "".join(ids), list(map(len, ids))
    right = min(lengths) >= 1 and max(lengths) <= LONGEST_ID and '"' not in joined
    return right and joined.isprintable() and list(map(str.strip, ids)) == ids


def undecodable(data: bytes, at: int, first: int) -> Malformed:
    """Malformed for byte `at` of a block whose first row is `first`."""
    row = first + data.count(b"\n", 0, at)
    return Malformed("encoding", row, None, f"byte 0x{data[at]:02x}", "UTF-8 text")


def explain(lines, first: int, model, seen, *, empty: bool, crlf: bool) -> None:
    """Raise Malformed for the first thing that is wrong in lines (rows `first`, ...).

    seen: the ids of earlier rows; empty: an empty cell is a test that was not run;
    crlf: each line must end with a carriage return. model: id, features, low and high.
    """
    new: set[str] = set()
    for row, line in enumerate(lines, first):
        if line.endswith("\r") != crlf:
            ends = ("a line feed alone", "a carriage return and a line feed")
            found, expected = ends if crlf else ends[::-1]
            raise Malformed("cells", row, None, found, f"{expected}, as in the header")
        id, *cells = line.removesuffix("\r").split(",")
        if len(cells) != len(model.features):
            expected = f"{len(model.features) + 1} cells"
            raise Malformed("cells", row, None, f"{len(cells) + 1} cells", expected)
        if not _good([id]):
            expected = f"1 to {LONGEST_ID} printable characters without quotes"
            raise Malformed("id", row, model.id, repr(id), expected)
        if id in seen or id in new:
            raise Malformed("duplicate", row, model.id, repr(id), "each id once")
        new.add(id)
        bounds = zip(model.features, cells, model.low, model.high, strict=True)
        for name, cell, low, high in bounds:
            if cell == "" and empty:
                continue
            if not NUMBER.fullmatch(cell):
                expected = "a finite decimal number such as -1.25e-3"
                raise Malformed("number", row, name, repr(cell), expected)
            if not low <= float(cell) <= high:
                expected = f"a reading from {low:.9g} to {high:.9g}"
                raise Malformed("range", row, name, cell, expected)
        if (lacking := cells.count("")) > MISSING * len(cells):
            found = f"{lacking} of {len(cells)} readings empty"
            raise Malformed("missing", row, None, found, f"at most {100 * MISSING:g} %")

"""edge.reader: one lot, read from an open file in blocks and judged."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from time import perf_counter

from kdutils.edge import malformed, parse
from kdutils.edge.malformed import Malformed

BLOCK = 1 << 20
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Limits:
    """Above this a lot is refused: bytes unread, rows as soon as they are counted."""

    bytes: int = 16 << 20
    rows: int = 100_000


@dataclass
class Lot:
    """What came of a file: its digest, and verdicts as CSV or why there are none.

    seconds: spent in `read` (with hashing), `parse` and `model`.
    """

    digest: str = ""
    rows: int = 0
    fails: int = 0
    content: bytes = b""
    wrong: Malformed | None = None
    seconds: Counter = field(default_factory=Counter)


def judge(fd: int, model, limits: Limits, *, empty: bool = False) -> Lot:
    """Read the open file to its end. Never raises Malformed: it is in `wrong`.

    OSError where the file cannot be read. The same bytes and the same bundle give the
    same content, on whatever day.
    """
    lot, digest, pieces = Lot(), hashlib.sha256(), [b"id,score,verdict\n"]
    blocks = _blocks(fd, digest, lot.seconds, limits)
    try:
        _check(lot, blocks, model, limits, pieces, empty)
        lot.content = b"".join(pieces)
    except Malformed as wrong:
        lot.wrong = wrong
        for _ in blocks:
            pass
    lot.digest = digest.hexdigest()
    return lot


def lines(ids, scores, fails) -> bytes:
    """Rows of a verdict: `id,score,verdict`, nine digits, which float32 survives."""
    words = ["fail" if fail else "pass" for fail in fails.tolist()]
    cells = zip(ids, scores.tolist(), words, strict=True)
    return "".join(["%s,%.9g,%s\n" % row for row in cells]).encode()  # noqa: UP031


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


def _check(lot, blocks, model, limits, pieces, empty) -> None:
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
            ids, X = parse.rows(data, first, model, seen, empty=empty, form=form)
            seen.update(ids)
            ready = perf_counter()
            scores, fails = model.judge(X)
            judged = perf_counter()
            pieces.append(lines(ids, scores, fails))
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


def head(data: bytes, model) -> tuple[parse.Form, bytes]:
    """Check the first line; (how the rows are written, the bytes below it)."""
    line, _, below = data.removeprefix(BOM).partition(b"\n")
    try:
        text = line.decode()
    except UnicodeDecodeError as problem:
        raise malformed.undecodable(line, problem.start, 0) from None
    return parse.header(text, model), below


def too_large(size: int, limits: Limits) -> Malformed:
    """Malformed for a file above the limit, known from its size alone."""
    found = f"{size:,} bytes or more"
    return Malformed("size", None, None, found, f"at most {limits.bytes:,} bytes")

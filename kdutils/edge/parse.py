"""edge.parse: rows of strict CSV to readings, in bulk.

Strict: UTF-8 with or without a byte order mark, every line ended the same way (LF or
CRLF), as many cells as the header has, plain finite decimals in range. Not accepted:
quotes outside the header and ignored columns, spaces, `1_0`, `nan`, `inf`, `1e400`, an
id twice.
"""

from __future__ import annotations

import csv
import re
import warnings
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from kdutils.deploy import readings
from kdutils.edge import malformed
from kdutils.edge.malformed import LONGEST_ID, Malformed

DIGITS = b"0123456789+-.eE,"
HOLE = re.compile(r"(?<![^,])(?=,|$)")
SHOWN = 8


class Form(NamedTuple):
    """How the rows below a header are written.

    crlf: lines end with CRLF; width: cells in a row; places: of the id and of each
    reading among them, none where they stand so already and nothing else does.
    """

    crlf: bool = False
    width: int = 0
    places: tuple[int, ...] = ()

    def plain(self, lines: list[str], first: int) -> tuple[list[str], Malformed | None]:
        """The id and the readings of each line, up to the first without such cells.

        And what is wrong with that one, or None.
        """
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
        shown = ", ".join(repr(name[: malformed.SHOWN]) for name in extra[:SHOWN])
        shown += f" and {len(extra) - SHOWN} more" if len(extra) > SHOWN else ""
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
        raise malformed.undecodable(data, problem.start, first) from None
    lines = text.split("\n")
    lines.pop()
    lines, uneven = form.plain(lines, first)
    found = None if uneven else _fast(lines, model, seen, empty, form.crlf)
    if found is None:
        how = {"empty": empty, "crlf": form.crlf}
        wrong = malformed.explain(lines, first, model, seen, **how) or uneven
        expected = "plain decimal numbers"
        raise wrong or Malformed("number", first, None, "an odd number", expected)
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
        cells = [HOLE.sub("nan", line) if _holes(line) else line for line in cells]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            X = np.loadtxt(cells, delimiter=",", comments=None, ndmin=2)
    except ValueError:
        return None
    if X.shape != (len(ids), len(model.features)):
        return None
    wrong = np.less(X, model.low) | np.greater(X, model.high)
    return None if wrong.any() else (ids, X)


def _cells(line: str) -> list[str]:
    """The cells of a row, quotes and all; none if a quote is not one of a whole cell.

    A comma inside quotes becomes a space.
    """
    if '"' not in line:
        return line.split(",")
    parts = line.split('"')
    parts[1::2] = [part.replace(",", " ") for part in parts[1::2]]
    cells = '"'.join(parts).split(",")
    stray = any('"' in cell and not cell[0] == cell[-1] == '"' for cell in cells)
    return [] if stray or len(parts) % 2 == 0 else cells


def _good(ids: list[str]) -> bool:
    joined, lengths = "".join(ids), list(map(len, ids))
    right = min(lengths) >= 1 and max(lengths) <= LONGEST_ID and '"' not in joined
    return right and joined.isprintable() and list(map(str.strip, ids)) == ids


def _holes(line: str) -> bool:
    return line == "" or ",," in line or line[0] == "," or line[-1] == ","

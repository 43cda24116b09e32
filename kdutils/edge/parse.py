"""edge.parse: rows of strict CSV to readings, in bulk.

Import rule: standard library, numpy and `edge.malformed`.

Strict: UTF-8 with or without a byte order mark, every line ended the same way (LF or
CRLF), `id` and the features as the header has them, plain finite decimals in range.
Not accepted: quotes, spaces, `1_0`, `nan`, `inf`, `1e400`, an id twice.
"""

from __future__ import annotations

import re
import warnings

import numpy as np

from kdutils.edge import malformed
from kdutils.edge.malformed import LONGEST_ID, Malformed

DIGITS = b"0123456789+-.eE,"
HOLE = re.compile(r"(?<![^,])(?=,|$)")


def rows(data: bytes, first: int, model, seen, *, empty=False, crlf=False):
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
    found = _fast(lines, model, seen, empty, crlf)
    if found is None:
        wrong = malformed.explain(lines, first, model, seen, empty=empty, crlf=crlf)
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


def _good(ids: list[str]) -> bool:
    joined, lengths = "".join(ids), list(map(len, ids))
    right = min(lengths) >= 1 and max(lengths) <= LONGEST_ID and '"' not in joined
    return right and joined.isprintable() and list(map(str.strip, ids)) == ids


def _holes(line: str) -> bool:
    return line == "" or ",," in line or line[0] == "," or line[-1] == ","

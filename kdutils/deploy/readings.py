"""readings: a CSV table of readings, read without pandas."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kdutils.deploy.container import BundleError

MISSING = {"", "na", "n/a", "nan", "-nan", "none", "null", "<na>", "#n/a", "#na"}
MISSING |= {"#n/a n/a", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"}
TRUTH = {"true": 1.0, "false": 0.0}
RULE = (
    "id (or --id NAME) and each reading of the student, found by name in any order; "
    "another column is refused, or skipped with --extra ignore"
)


class ColumnError(BundleError):
    """A column that a header does not have exactly once: its name and how often."""

    def __init__(self, name: str, count: int):
        self.name, self.count = name, count
        super().__init__(f"{count} columns named {name!r}, expected one")


def names(header: str, sep: str = ",") -> list[str]:
    """The names in a header line, quoted as in CSV; the i-th is `column i` if empty.

    csv.Error if the line is not CSV.
    """
    if header.count('"') % 2:
        raise csv.Error("a quote that is not closed")
    cells = _cells(header, sep)
    return [name.strip() or f"column {i}" for i, name in enumerate(cells, 1)]


def columns(header: list[str], wanted: Iterable[str]) -> list[int]:
    """The place of each wanted column among a header's names, from 0.

    ColumnError for the first that is not there exactly once; others do not matter.
    """
    places: dict[str, list[int]] = {}
    for place, name in enumerate(header):
        places.setdefault(name, []).append(place)
    found = [(name, places.get(name, [])) for name in wanted]
    for name, there in found:
        if len(there) != 1:
            raise ColumnError(name, len(there))
    return [there[0] for _, there in found]


def read_table(path: str | Path, features: tuple[str, ...]) -> np.ndarray:
    """CSV with a header -> float64 (n, d): the named columns, NaN where missing.

    The columns may have any order; others are not read.
    Reads without pandas what the training side reads (data.usertable): separated by
    commas, semicolons or tabs, UTF-8 with or without a byte order mark, a decimal comma
    where the separator leaves it free, a column of true and false as 1 and 0, the i-th
    column named `column i` if it has no name. Missing: empty or a word in MISSING, in
    any case. Empty lines do not count; one of separators alone is a row without
    readings, so that every row has its score. BundleError names the column that is not
    there, or the row (1 is the first below the header) and column of what is no number.
    """
    try:
        text = Path(path).read_text("utf-8-sig")
        lines = [line for line in text.split("\n") if line] or [""]
        sep = max(",;\t", key=lambda s: len(_cells(lines[0], s)))
        header, rows = names(lines[0], sep), [_cells(line, sep) for line in lines[1:]]
    except (UnicodeDecodeError, csv.Error) as problem:
        raise BundleError(f"{path} is not a CSV file in UTF-8: {problem}") from None
    try:
        places = columns(header, features)
    except ColumnError as wrong:
        raise BundleError(f"{path} has {wrong}") from None
    for i, row in enumerate(rows, 1):
        if lines[i].count('"') % 2:
            raise BundleError(f"{path}, row {i}: a quote is opened and not closed")
        if len(row) != len(header):
            raise BundleError(
                f"{path}, row {i} has {len(row)} cells instead of {len(header)}"
            )
    X = np.empty((len(rows), len(features)))
    for j, (name, place) in enumerate(zip(features, places, strict=True)):
        column = [row[place].strip() for row in rows]
        numbers = _numbers(column, comma=sep != ",")
        if None in numbers:
            i = numbers.index(None)
            where = f"{path}, row {i + 1}, column {name!r}"
            raise BundleError(f"{where}: {column[i]!r} is not a number")
        X[:, j] = numbers
    return X


def _cells(line: str, sep: str) -> list[str]:
    return next(csv.reader([line], delimiter=sep)) if '"' in line else line.split(sep)


def _numbers(column: list[str], comma: bool) -> list[float | None]:
    """The readings of a column, None where none is. Dots rule decimal commas out."""
    there = [cell for cell in column if cell.casefold() not in MISSING]
    words = dict.fromkeys(MISSING, float("nan"))
    if all(cell.casefold() in TRUTH for cell in there):
        words |= TRUTH
    comma = comma and not any("." in cell for cell in there)

    def number(cell: str) -> float | None:
        if cell.casefold() in words:
            return words[cell.casefold()]
        try:
            return float((cell.replace(",", ".") if comma else cell).replace("_", "?"))
        except ValueError:  # 1_000 too, which float() alone would take for a number
            return None

    return [number(cell) for cell in column]

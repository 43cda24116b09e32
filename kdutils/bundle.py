"""bundle: a student as one deployable file.

Import rule: numpy and the standard library; from kdutils only `kdb`, `prepare` and
`int8`. So it runs on a tester PC that has Python and numpy:

    python -m kdutils.bundle student.kdb table.csv    # CSV on stdout: row,score,verdict
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdutils import kdb
from kdutils.int8 import Int8
from kdutils.kdb import BundleError
from kdutils.prepare import Prepare

MISSING = {"", "na", "n/a", "nan", "-nan", "none", "null", "<na>", "#n/a", "#na"}
MISSING |= {"#n/a n/a", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"}
TRUTH = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class Bundle:
    """A student with everything between a raw reading and a verdict."""

    prepare: Prepare
    student: Int8 | dict[str, np.ndarray]
    threshold: float
    note: str

    @property
    def features(self) -> tuple[str, ...]:
        """The columns it reads, in the order `score` wants them."""
        return self.prepare.names

    def score(self, X: np.ndarray) -> np.ndarray:
        """Raw X (n, d) -> float32 logits (n,); columns as in `features`, NaN = missing.

        BundleError if X has not d columns.
        """
        with np.errstate(over="ignore"):
            X = np.asarray(X, np.float32)
        if X.ndim != 2 or X.shape[1] != len(self.features):
            raise BundleError(
                f"expected readings of shape (n, {len(self.features)}), got {X.shape}"
            )
        Z = self.prepare.transform(X)
        if isinstance(self.student, Int8):
            return self.student.logits(Z)
        W1, b1, w2, b2 = (self.student[k] for k in ("W1", "b1", "w2", "b2"))
        return np.maximum(Z @ W1.T + b1, 0) @ w2 + b2

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Raw X (n, d) -> bool (n,), True = fail: the logit is above the threshold."""
        return self.score(X) > self.threshold


def save(path: str | Path, student, prepare, threshold: float, note: str = "") -> int:
    """Write the bundle under a temporary name, then rename it; returns its bytes."""
    data = b"".join(kdb.sections(student, prepare, threshold, note).values())
    part = Path(f"{path}.part")
    part.write_bytes(data)
    os.replace(part, path)
    return len(data)


def load(path: str | Path) -> Bundle:
    """Read a bundle; BundleError if the file is none, newer, cut short or damaged."""
    prepare, student, threshold, note = kdb.unpack(Path(path).read_bytes(), str(path))
    return Bundle(prepare, student, threshold, note)


def read_table(path: str | Path, features: tuple[str, ...]) -> np.ndarray:
    """CSV with a header -> float64 (n, d): the named columns, NaN where missing.

    Reads without pandas what the training side reads (kdutils.data.cells): separated by
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
        header, *rows = [_cells(line, sep) for line in lines]
    except (UnicodeDecodeError, csv.Error) as problem:
        raise BundleError(f"{path} is not a CSV file in UTF-8: {problem}") from None
    header = [name.strip() or f"column {i}" for i, name in enumerate(header, 1)]
    for name in features:
        if header.count(name) != 1:
            raise BundleError(
                f"{path} has {header.count(name)} columns named {name!r}, expected one"
            )
    for i, row in enumerate(rows, 1):
        if lines[i].count('"') % 2:
            raise BundleError(f"{path}, row {i}: a quote is opened and not closed")
        if len(row) != len(header):
            raise BundleError(
                f"{path}, row {i} has {len(row)} cells instead of {len(header)}"
            )
    X = np.empty((len(rows), len(features)))
    for j, name in enumerate(features):
        place = header.index(name)
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


def main(arguments: list[str] | None = None) -> int:
    """The command line: score a table; exit code 2 and one sentence if it cannot."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("bundle", help="a student, written by kdutils.bundle.save")
    parser.add_argument("table", help="a CSV file whose header names the features")
    chosen = parser.parse_args(arguments)
    try:
        bundle = load(chosen.bundle)
        scores = bundle.score(read_table(chosen.table, bundle.features))
    except (BundleError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 2
    print("row,score,verdict")
    for row, score in enumerate(scores, 1):
        print(f"{row},{score},{'fail' if score > bundle.threshold else 'pass'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

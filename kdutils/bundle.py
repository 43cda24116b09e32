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

MISSING = {"", "na", "n/a", "nan", "none", "null"}


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

    Missing: empty, NA, N/A, NaN, none or null. Empty lines do not count. BundleError
    names the column that is not there, or the row (1 is the first below the header) and
    column of a cell that is no number.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row] or [[]]
    except (UnicodeDecodeError, csv.Error) as problem:
        raise BundleError(f"{path} is not a CSV file in UTF-8: {problem}") from None
    header = [name.strip() for name in header]
    for name in features:
        if header.count(name) != 1:
            raise BundleError(
                f"{path} has {header.count(name)} columns named {name!r}, expected one"
            )
    places = [header.index(name) for name in features]
    X = np.empty((len(rows), len(features)))
    for i, row in enumerate(rows):
        if len(row) != len(header):
            raise BundleError(
                f"{path}, row {i + 1} has {len(row)} cells instead of {len(header)}"
            )
        for j, place in enumerate(places):
            X[i, j] = _number(row[place], path, i + 1, features[j])
    return X


def _number(cell: str, path, row: int, column: str) -> float:
    cell = cell.strip()
    try:
        return float("nan") if cell.lower() in MISSING else float(cell)
    except ValueError:
        raise BundleError(
            f"{path}, row {row}, column {column!r}: {cell!r} is not a number"
        ) from None


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

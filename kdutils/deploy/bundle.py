"""bundle: a student as one deployable file.

python -m kdutils.deploy.bundle FILE table.csv    # CSV on stdout: row,score,verdict
python -m kdutils.deploy.bundle inspect FILE      # what is inside, for a person
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdutils.deploy import kdb
from kdutils.deploy.container import BundleError
from kdutils.deploy.int8 import Int8
from kdutils.deploy.kdb import Schema
from kdutils.deploy.prepare import Prepare
from kdutils.deploy.readings import read_table

CLOSE = 1e-4  # of 1 + |logit|: what float sums may differ by between machines


@dataclass(frozen=True, eq=False)
class Bundle:
    """A student with everything between a raw reading and a verdict.

    golden: readings float32 (k, d) and their logits float32 (k,), repeated at loading.
    """

    prepare: Prepare
    student: Int8 | dict[str, np.ndarray]
    threshold: float
    schema: Schema
    golden: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """The columns it reads, in the order `score` wants them."""
        return self.prepare.names

    @property
    def units(self) -> tuple[str, ...]:
        """The unit of each feature, '' where nobody said."""
        return self.schema.units or ("",) * len(self.features)

    @property
    def ranges(self) -> np.ndarray:
        """Legal low and high of each feature, float32 (d, 2), NaN = open."""
        if self.schema.ranges is None:
            return np.full((len(self.features), 2), np.nan, np.float32)
        return self.schema.ranges

    @property
    def classes(self) -> tuple[str, str]:
        """What a logit up to the threshold is called, and one above it."""
        return self.schema.classes

    @property
    def id(self) -> str:
        """Which student this is."""
        return self.schema.id

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


def packed(student, prepare, threshold: float, schema: Schema | None = None) -> bytes:
    """A student as a file's bytes; BundleError for what does not fit together.

    Its golden logits are those of the scaler as the file keeps it.
    """
    schema = schema or Schema()
    scale = kdb.arrays(student, prepare, threshold)["scale"].astype(np.float32)
    numbers = np.arange(len(prepare.names))
    kept = Prepare(numbers, prepare.names, np.float32(prepare.center), scale)
    asked = Bundle(kept, student, threshold, schema).score
    return kdb.pack(student, prepare, threshold, schema, asked)


def save(path: str | Path, *parts, **named) -> int:
    """Write `packed(...)` under a temporary name, then rename it; returns its bytes."""
    data = packed(*parts, **named)
    part = Path(f"{path}.part")
    part.write_bytes(data)
    os.replace(part, path)
    return len(data)


def load(path: str | Path) -> Bundle:
    """Read a bundle; BundleError if the file is none, newer, cut short or damaged."""
    return loads(Path(path).read_bytes(), str(path))


def loads(data: bytes, name: str) -> Bundle:
    """The bundle of a file's bytes: checksum first, golden readings last.

    BundleError, which names the file, also if this machine does not repeat the golden
    logits: bit for bit where all is in integers, else within CLOSE.
    """
    *parts, X, logits = kdb.unpack(data, name)
    loaded = Bundle(*parts, golden=(X, logits))
    exact = isinstance(loaded.student, Int8) and loaded.student.s_in is not None
    wrong = np.abs(loaded.score(X) - logits) > (0 if exact else CLOSE) * (
        1 + np.abs(logits)
    )
    if wrong.any() or not np.isfinite(logits).all():
        raise BundleError(
            f"{name} does not repeat its golden vectors on this machine: do not use it"
        )
    return loaded


def main(arguments: list[str] | None = None) -> int:
    """The command line: score a table; exit code 2 and one sentence if it cannot."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("bundle", help="a student's file, or the word inspect")
    said = "a CSV file whose header names the readings, in any order, beside others"
    parser.add_argument("table", help=said)
    chosen = parser.parse_args(arguments)
    try:
        if chosen.bundle == "inspect":
            from kdutils.deploy import describe

            print(describe.bundle(chosen.table))
            return 0
        bundle = load(chosen.bundle)
        scores = bundle.score(read_table(chosen.table, bundle.features))
    except (BundleError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 2
    print("row,score,verdict")
    for row, score in enumerate(scores, 1):
        print(f"{row},{score},{bundle.classes[int(score > bundle.threshold)]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

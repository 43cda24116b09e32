"""claims: what a notebook says held, or not, computed and kept in tables/claims.csv.

Import rule: from kdutils only views and paths.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd

from kdutils import paths
from kdutils.views import put

COLUMNS = ["stage", "claim", "holds", "detail"]


def record(sentence: str, holds: bool, detail: str = "", *, stage: str) -> None:
    """Print ✓ or ✗ with the sentence, and keep it: one row per stage and sentence.

    A sentence said again takes its old row; stages are in order of their names. Raises
    ValueError where `holds` is no truth value: a gain of -0.1 would count as true.
    """
    if not isinstance(holds, (bool, np.bool_)):
        raise ValueError(
            f"claim {sentence!r}: holds must be True or False, not {holds!r}"
        )
    with _alone():
        frame = read()
        same = (frame["stage"] == stage) & (frame["claim"] == sentence)
        place = int(np.argmax(same)) if same.any() else len(frame)
        frame.loc[place] = [stage, sentence, bool(holds), detail]
        _write(frame.sort_values("stage", kind="stable"))
    print(f"{'✓' if holds else '✗'} {sentence}" + (f" ({detail})" if detail else ""))


def begin(stage: str) -> None:
    """Forget the stage's claims, so that a reworded one leaves no stale row behind."""
    with _alone():
        frame = read()
        _write(frame[frame["stage"] != stage])


def read() -> pd.DataFrame:
    """All claims: stage, claim, holds (bool), detail; empty before the first."""
    path = paths.tables() / "claims.csv"
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS).astype({"holds": object})
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame["holds"] = pd.Series([v == "True" for v in frame["holds"]], dtype=object)
    return frame.astype(object)


def demand(phrase: str) -> str:
    """One line saying that every claim with this phrase held; ValueError if not so."""
    frame = read()
    frame = frame[frame["claim"].str.contains(phrase, regex=False)]
    if not len(frame):
        raise ValueError(f"no claim in {paths.reports().name} says '{phrase}'")
    for row in frame[~frame["holds"].astype(bool)].itertuples():
        raise ValueError(f"not held: {row.claim} ({row.detail})")
    return f"{len(frame)} claims that say '{phrase}' held"


def _write(frame: pd.DataFrame) -> None:
    csv = frame.to_csv(index=False, lineterminator="\n")
    put(paths.tables() / "claims.csv", csv.encode())


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One notebook at a time reads and writes: stages may run side by side."""
    paths.tables().mkdir(parents=True, exist_ok=True)
    folder = os.open(paths.tables(), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


if __name__ == "__main__":
    try:
        print(demand(sys.argv[1]))
    except ValueError as error:
        sys.exit(str(error))

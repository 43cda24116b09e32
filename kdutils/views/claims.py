"""claims: what a notebook says held, or not, computed and kept in tables/claims.csv.

A notebook at work keeps its claims in a file of its own. `accept`, called when it has
come to its end, puts them in place of the stage's old ones; a notebook that stopped
half way leaves claims.csv as it was.
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from kdutils import paths

COLUMNS = ["stage", "claim", "holds", "detail"]
NAME, OWN = "claims.csv", "claims.{}.part.csv"


def record(sentence: str, holds: bool, detail: str = "", *, stage: str) -> None:
    """Print ✓ or ✗ with the sentence, and keep it: one row per stage and sentence.

    A sentence said again takes its old row; stages are in order of their names. Raises
    ValueError where `holds` is no truth value: a gain of -0.1 would count as true.
    """
    if not isinstance(holds, (bool, np.bool_)):
        raise ValueError(
            f"claim {sentence!r}: holds must be True or False, not {holds!r}"
        )
    path = _own(stage)
    frame = _frame(path)
    same = frame["claim"] == sentence
    place = int(np.argmax(same)) if same.any() else len(frame)
    frame.loc[place] = [stage, sentence, bool(holds), detail]
    _write(frame, path)
    print(f"{'✓' if holds else '✗'} {sentence}" + (f" ({detail})" if detail else ""))


def begin(stage: str) -> None:
    """Start the stage's claims anew, so that a reworded one leaves no stale row."""
    _write(_frame(None), _own(stage))


def accept(stage: str) -> None:
    """Let the claims that a notebook made be those of its stage; none made, no change.

    One process at a time: stages may run side by side.
    """
    if not _own(stage).exists():
        return
    folder = os.open(paths.tables(), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        path = paths.tables() / NAME
        frame = _merged(_frame(path), _frame(_own(stage)), stage)
        _write(frame, path)
        _own(stage).unlink()
    finally:
        os.close(folder)


def refuse(stage: str) -> None:
    """Forget the claims of a notebook that stopped half way."""
    _own(stage).unlink(missing_ok=True)


def read() -> pd.DataFrame:
    """All claims: stage, claim, holds (bool), detail; empty before the first.

    Those of a notebook at work stand in place of its stage's accepted ones.
    """
    frame = _frame(paths.tables() / NAME)
    for path in sorted(paths.tables().glob(OWN.format("*"))):
        frame = _merged(frame, _frame(path), path.name.split(".")[1])
    return frame


def _own(stage: str) -> Path:
    return paths.tables() / OWN.format(stage)


def _merged(frame: pd.DataFrame, new: pd.DataFrame, stage: str) -> pd.DataFrame:
    """The claims with those of one stage replaced, stages in order of their names."""
    frame = pd.concat([frame[frame["stage"] != stage], new], ignore_index=True)
    return frame.sort_values("stage", kind="stable", ignore_index=True)


def _frame(path: Path | None) -> pd.DataFrame:
    if path is None or not path.exists():
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


def _write(frame: pd.DataFrame, path: Path) -> None:
    paths.write(path, frame.to_csv(index=False, lineterminator="\n").encode())


if __name__ == "__main__":
    try:
        print(demand(sys.argv[1]))
    except ValueError as error:
        sys.exit(str(error))

"""paths: where everything lives, and how it is written: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def profile() -> str:
    """The profile at work: smoke, default, paper, or csv for a user's own table."""
    return os.environ.get("KD_PROFILE", "default")


def reports(name: str | None = None) -> Path:
    """The report folder at work, or the one named.

    What make does not run, a notebook in an editor say, works in a report of its own.
    """
    own = os.environ.get("KD_REPORT") or f"scratch-{profile()}"
    return ROOT / "reports" / (name or own)


def tables() -> Path:
    return reports() / "tables"


def figures() -> Path:
    return reports() / "figures"


def measured() -> Path:
    """Milliseconds of one machine: written beside the tables, never compared."""
    return reports() / "measured"


def ship() -> Path:
    """What an engineer takes away: the student's file and why it was chosen."""
    return reports() / "ship"


def runs(stage: str) -> Path:
    return reports() / "runs" / stage


def ledger(stage: str) -> Path:
    return reports() / "ledger" / f"{stage}.jsonl"


def params(stage: str) -> Path:
    return ROOT / "params" / profile() / f"{stage}.yaml"


def claimed() -> Path:
    """The published numbers that the scoreboard answers, one a row."""
    return ROOT / "params" / "claimed.csv"


def data(root: str = "") -> Path:
    """The folder of data sets: `root` inside the project, else KD_DATA, else .data."""
    if root:
        return ROOT / root
    return Path(os.environ.get("KD_DATA") or ROOT / ".data").expanduser()


def write(path: Path, content: bytes) -> Path:
    """Write under a temporary name, then rename: a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    return part.replace(path)

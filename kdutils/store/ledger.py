"""ledger: one committed line per run: numbers without training."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

from kdutils import paths


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces, so that equal configs have equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def read(stage: str) -> dict[str, dict]:
    """A stage's committed records by run id; empty if there are none.

    Empty too for the stages that KD_FRESH names: their records are computed anew.
    """
    return {} if fresh(stage) else every(stage)


def fresh(stage: str) -> bool:
    """Whether KD_FRESH names the stage."""
    return stage in os.environ.get("KD_FRESH", "").split()


def every(stage: str = "*") -> dict[str, dict]:
    """Every line of a stage's file by run id; by default of all stages' files."""
    files = sorted(paths.ledger("").parent.glob(f"{stage}.jsonl"))
    found = (json.loads(text) for f in files for text in f.read_text().splitlines())
    return {line["id"]: line for line in found}


def find(id: str) -> dict | None:
    """The line of a run, in whichever stage it is; None where KD_FRESH names that."""
    line = every().get(id)
    return None if line is None or fresh(line["stage"]) else line


def refers(config: dict) -> list[str]:
    """The ids of the runs that a config names."""
    return re.findall(r"\b[0-9a-f]{12}\b", canonical(config))


def keep(stage: str, recipe: str, new: list[dict], old: dict[str, dict]) -> None:
    """Let `new` be this recipe's lines; of the `old` ones, other recipes' stay."""
    found = {id: line for id, line in old.items() if line["recipe"] != recipe}
    found |= {line["id"]: {**line, "recipe": recipe} for line in new}
    text = "".join(canonical(found[id]) + "\n" for id in sorted(found))
    paths.write(paths.ledger(stage), text.encode())


def machine() -> dict[str, str]:
    """What the numbers were computed on: processor, Python, versions of libraries."""
    import importlib.metadata as metadata

    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for text in Path("/proc/cpuinfo").read_text().splitlines():
            if text.startswith("model name"):
                cpu = text.split(":", 1)[1].strip()
                break
    versions = {"cpu": cpu, "python": platform.python_version()}
    for package in ("numpy", "torch", "xgboost", "scikit-learn"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def seconds(ids: Iterable[str], kept: dict[str, dict] | None = None) -> float:
    """What some runs took, with every run that they need; 0 without a ledger.

    kept: what `every` gave, for a caller that looks up many rows.
    """
    kept = every() if kept is None else kept
    total, seen, todo = 0.0, set(), list(ids)
    while todo:
        id = todo.pop()
        if id in kept and id not in seen:
            seen.add(id)
            total += kept[id]["seconds"]
            todo += refers(kept[id]["config"])
    return total

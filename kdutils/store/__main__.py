"""store: a row of the scoreboard computed again: `python -m kdutils.store SYSTEM`.

Every run of the row, and every run that it needs, is computed anew in a report of its
own, reports/scratch-row; then each record is compared with the committed one.
"""

from __future__ import annotations

import csv
import importlib
import json
import os
import shutil
import sys

from kdutils import paths
from kdutils.store import ledger, runs


def again(system: str) -> list[str]:
    """One line per run of a system's rows: its record is the same, or what differs.

    Raises ValueError where the scoreboard or the ledger of the report has no such row.
    """
    report, scoreboard = paths.reports(), paths.tables() / "scoreboard.csv"
    with scoreboard.open() as file:
        rows = [row for row in csv.DictReader(file) if row["system"] == system]
    ids = dict.fromkeys(id for row in rows for id in row["runs"].split())
    if not ids or not paths.ledger("").parent.exists():
        raise ValueError(f"{report.name} has no committed run of {system!r}")
    os.environ["KD_REPORT"] = "scratch-row"
    shutil.rmtree(paths.reports(), ignore_errors=True)
    shutil.copytree(report / "ledger", paths.reports() / "ledger")
    lines = []
    for id in ids:
        line = ledger.find(id)
        name = line["recipe"].partition("-")[0]
        recipe = importlib.import_module(f"kdutils.recipes.{name}")
        folder = runs.open(recipe, id).folder
        found = json.loads((folder / runs.RECORD).read_text())["record"]
        new, old = found["rows"], line["record"]["rows"]
        if len(new) != len(old):
            lines.append(f"{id} has {len(new)} rows where {len(old)} are committed")
            continue
        pairs = zip(new, old, strict=True)
        moved = {key for a, b in pairs for key in b if a.get(key) != b[key]}
        differs = f"differs in {', '.join(sorted(moved))}"
        lines.append(f"{id} {differs if moved else 'is the same'}")
    return lines


if __name__ == "__main__":
    try:
        print(*again(sys.argv[1]), sep="\n")
    except (ValueError, OSError) as error:
        sys.exit(str(error))

"""data.__main__: find or fetch every data set of the paper profile; one line each.

python -m kdutils.data          find or fetch
python -m kdutils.data --csv    the registry as a table, for the pages
"""

from __future__ import annotations

import csv
import sys

from kdutils.data import registry


def table() -> None:
    """Print name, modality, kind, licence and page of each data set as CSV."""
    lines = csv.writer(sys.stdout, lineterminator="\n")
    lines.writerow(["name", "modality", "kind", "licence", "page"])
    for name, its in registry.DATASETS.items():
        about = its.modality, its.kind or "real", its.licence or "–", its.page
        lines.writerow([name, *about])


def main(argv: list[str]) -> int:
    """Print where each data set is, or what to do instead; 1 if one is missing."""
    if argv == ["--csv"]:
        table()
        return 0
    missing = 0
    for name, its in registry.DATASETS.items():
        if not its.files:  # simulated, yours, or what comes with scikit-learn
            continue
        before = {*registry.folder(name).glob("*")}
        try:
            found = registry.find(name)
        except registry.SourceError as problem:
            missing = 1
            print(f"missing: {problem}", flush=True)
            continue
        new = {*registry.folder(name).glob("*")} - before
        print(f"{name}: {'fetched into' if new else 'found in'} {found}", flush=True)
    return missing


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

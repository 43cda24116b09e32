"""data.__main__: find or fetch every data set of the paper profile; one line each.

python -m kdutils.data
"""

from __future__ import annotations

import sys
from pathlib import Path

from kdutils.data import imagesources, sources, wafersources
from kdutils.data.sources import SourceError


def main() -> int:
    """Print where each data set is, or why not and what to do; 1 if one is missing."""
    missing = 0
    for module in (sources, imagesources, wafersources):
        for name, source in module.SOURCES.items():
            if not source.files:  # digits come with scikit-learn
                continue
            before = _files(module.folder(name))
            try:
                found = module.find(name)
            except SourceError as problem:
                missing = 1
                print(f"missing: {problem}", flush=True)
                continue
            new = _files(module.folder(name)) - before
            how = "fetched into" if new else "found in"
            print(f"{name}: {how} {found}", flush=True)
    return missing


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*")}


if __name__ == "__main__":
    sys.exit(main())

"""data.__main__: find or fetch every data set of the paper profile; one line each.

python -m kdutils.data
"""

from __future__ import annotations

import sys

from kdutils.data import registry


def main() -> int:
    """Print where each data set is, or what to do instead; 1 if one is missing."""
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
    sys.exit(main())

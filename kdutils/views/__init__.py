"""views: tables, figures, claims and pages of what was computed; nothing trains here.

Import rule: no torch, no xgboost, and from kdutils only views, paths and stats.
"""

from __future__ import annotations

import os
from pathlib import Path


def put(path: Path, content: bytes) -> Path:
    """Write under a temporary name, then rename: a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    return part.replace(path)

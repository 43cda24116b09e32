"""download: one official file, which gets its name only when its md5 is right."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from kdutils.data.sources import SourceError


def fetch(urls: Sequence[str], path: Path, md5: str, *, timeout: float = 60) -> None:
    """Download a file from the first of its addresses that has it, and name it `path`.

    md5: hex digest of the official file; timeout: seconds without an answer.
    Raises SourceError, one sentence with each address's reason, and leaves no file.
    """
    failed = []
    for url in urls:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".part-", dir=path.parent) as part:
                _receive(url, Path(part) / path.name, md5, timeout)
                os.replace(Path(part) / path.name, path)
            return
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", "") or error)
            failed.append(f"{url} ({reason or type(error).__name__})")
    raise SourceError(
        f"{path.name} could not be downloaded from {' nor from '.join(failed)}"
    )


def md5_of(path: Path) -> str:
    """Hex md5 of a file: it tells official files from others, and guards no secret."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _receive(url: str, path: Path, md5: str, timeout: float) -> None:
    """Write what an address answers to `path`; raises what is wrong with it."""
    received = 0
    with urllib.request.urlopen(url, timeout=timeout) as answer, path.open("wb") as out:
        expected = answer.headers.get("Content-Length")
        while block := answer.read(1 << 16):
            received += out.write(block)
    if expected and received != int(expected):
        raise OSError(f"it ended after {received} of {expected} bytes")
    if (found := md5_of(path)) != md5:
        raise ValueError(f"its md5 is {found} where {md5} was expected")

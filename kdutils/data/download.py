"""download: official files, which get their names only when they are right."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

ERRORS = OSError, ValueError, http.client.HTTPException, zlib.error, zipfile.BadZipFile


class SourceError(ValueError):
    """A data set that is neither here nor to be had; says how to get it by hand."""


def fetch(
    urls: Sequence[str],
    place: Path,
    files: dict[str, str],
    *,
    check: Callable[[Path], object] | None = None,
    timeout: float = 60,
) -> None:
    """Download files to the folder `place` from the first address that has them.

    urls: of the one file, or of a zip archive with all; files: name -> md5, '' for any;
    check: raises ValueError unless a folder holds what is expected;
    timeout: seconds without an answer.
    Raises SourceError, one sentence with each address's reason, and leaves no file.
    """
    failed = []
    for url in urls:
        try:
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".part-", dir=place) as part:
                _receive(url, Path(part), files, timeout)
                if check:
                    check(Path(part))
                for name in files:
                    os.replace(Path(part) / name, place / name)
            return
        except ERRORS as error:
            reason = str(getattr(error, "reason", "") or error) or type(error).__name__
            if isinstance(error, zipfile.BadZipFile):
                reason = "it is not a whole zip archive"
            failed.append(f"{url} ({reason})")
    what, where = " and ".join(files), " nor from ".join(failed)
    raise SourceError(f"{what} could not be downloaded from {where}")


def md5_of(path: Path) -> str:
    """Hex md5 of a file: it tells official files from others, and guards no secret."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _receive(url: str, part: Path, files: dict[str, str], timeout: float) -> None:
    """Write what an address answers to `part`; raises what is wrong with it."""
    zipped = url.partition("?")[0].endswith(".zip")
    path = part / ("archive" if zipped else next(iter(files)))
    received = 0
    with urllib.request.urlopen(url, timeout=timeout) as answer, path.open("wb") as out:
        expected = answer.headers.get("Content-Length")
        while block := answer.read(1 << 16):
            received += out.write(block)
    if expected and received != int(expected):
        raise OSError(f"it ended after {received} of {expected} bytes")
    if zipped:
        with zipfile.ZipFile(path) as archive:
            members = {PurePosixPath(name).name: name for name in archive.namelist()}
            for name in files:
                if name not in members:
                    raise ValueError(f"the archive has no {name}")
                (part / name).write_bytes(archive.read(members[name]))
    for name, md5 in files.items():
        if md5 and (found := md5_of(part / name)) != md5:
            raise ValueError(f"its md5 is {found} where {md5} was expected")

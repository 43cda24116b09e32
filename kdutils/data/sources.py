"""sources: where data sets live and come from: files, address, licence, checksum."""

from __future__ import annotations

import http.client
import os
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

import numpy as np

from kdutils import paths

MARKER = "GENERATED"


class SourceError(ValueError):
    """A data set that is neither here nor to be had; says how to get it by hand."""


@dataclass(frozen=True)
class Source:
    """A data set: its files, the official archive that holds them, its page, its terms.

    sha256: hex digest of what `content(folder)` reads.
    """

    files: tuple[str, ...]
    url: str
    page: str
    licence: str
    sha256: str
    content: Callable[[Path], str]


def _secom(folder: Path) -> str:
    # Inside a function, because secom finds its files through this module.
    from kdutils.data import secom

    return secom.content(folder)


SOURCES = {
    "secom": Source(
        files=("secom.data", "secom_labels.data"),
        url="https://archive.ics.uci.edu/static/public/179/secom.zip",
        page="https://archive.ics.uci.edu/dataset/179/secom",
        licence="CC BY 4.0",
        sha256="bb9862016d27ddaba14efd274c6e506e2272d5d414855397a7286f5b8b248bb9",
        content=_secom,
    ),
}


def folder(name: str, root: str = "") -> Path:
    """Where a data set's files belong, there or not: <root, KD_DATA or .data>/name."""
    if name not in SOURCES:
        raise SourceError(
            f"data set {name!r} is unknown: expected {', '.join(sorted(SOURCES))}"
        )
    return paths.data(root) / name


def find(name: str, root: str = "", *, url: str = "", timeout: float = 60) -> Path:
    """The folder that holds a data set's files, which are downloaded if one is missing.

    url: another address of the official archive; timeout: seconds without an answer.
    A download is checked in a temporary folder before its files get their names;
    files that are there already are checked by the module that reads them.
    Raises SourceError, one sentence, if the files can be had neither way.
    """
    place, source = folder(name, root), SOURCES[name]
    if all((place / file).is_file() for file in source.files):
        return place
    url = url or source.url
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=place) as part:
            _fetch(source, url, Path(part), timeout)
            for file in source.files:
                os.replace(Path(part) / file, place / file)
    except (OSError, ValueError, http.client.HTTPException, zlib.error) as error:
        reason = str(getattr(error, "reason", "") or error) or type(error).__name__
    except zipfile.BadZipFile:
        reason = "it is not a whole zip archive"
    else:
        return place
    raise SourceError(
        f"{name} is not in {place} and could not be downloaded from {url} ({reason}): "
        f"get it from {source.page} and put {' and '.join(source.files)} into {place}"
    )


def verify(name: str, place: Path, sha256: str) -> None:
    """Raise SourceError unless `sha256`, of what was read in `place`, is official."""
    if sha256 != SOURCES[name].sha256:
        raise SourceError(
            f"{place} does not hold the official content of {SOURCES[name].page} "
            f"({_unlike(sha256, SOURCES[name])}): remove its files to download again"
        )


def _unlike(sha256: str, source: Source) -> str:
    return f"sha256 {sha256[:12]} where {source.sha256[:12]} was expected"


def _fetch(source: Source, url: str, part: Path, timeout: float) -> None:
    """Download, check and unpack into the folder `part`; raises what went wrong."""
    expected, received = None, 0
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        expected = answer.headers.get("Content-Length")
        with (part / "archive").open("wb") as out:
            while block := answer.read(1 << 16):
                received += out.write(block)
    if expected and received != int(expected):
        raise OSError(f"it ended after {received} of {expected} bytes")
    with zipfile.ZipFile(part / "archive") as archive:
        members = {PurePosixPath(member).name: member for member in archive.namelist()}
        for file in source.files:
            if file not in members:
                raise ValueError(f"the archive has no {file}")
            (part / file).write_bytes(archive.read(members[file]))
    if (sha256 := source.content(part)) != source.sha256:
        raise ValueError(
            f"its content is not the official one: {_unlike(sha256, source)}"
        )


def generated(place: Path) -> bool:
    """Whether a folder holds a generated miniature instead of the data set itself."""
    return (place / MARKER).is_file()


def write_miniature(root: str, seed: int = 0) -> Path:
    """Write a generated SECOM in the official layout, for the smoke profile.

    400 rows of 60 readings, 100 of them fails, over 90 days: 6 columns are constant,
    5 mostly missing; 10 readings and one interaction carry the verdict.
    Returns its folder; refuses one with files that are not a miniature's.
    """
    place, n, d = folder("secom", root), 400, 60
    data, labels = (place / file for file in SOURCES["secom"].files)
    if not generated(place) and (data.exists() or labels.exists()):
        raise SourceError(f"{place} holds real files, so no miniature is written there")
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, d))
    weights = np.where(rng.permutation(d) < 10, rng.choice((-1.0, 1.0), d), 0.0)
    a, b = np.flatnonzero(weights)[:2]
    score = Z @ weights + 2 * Z[:, a] * Z[:, b] + 1.5 * rng.standard_normal(n)
    failed = score >= np.sort(score)[-n // 4]
    X = Z * 10 ** rng.uniform(-1, 3, d) + rng.normal(0, 1000, d)
    plain = rng.permutation(np.flatnonzero(weights == 0))
    X[:, plain[:6]] = rng.integers(0, 200, 6)
    X[rng.random((n, d)) < 0.03] = np.nan
    X[:, plain[6:11]] = np.where(rng.random((n, 5)) < 0.7, np.nan, X[:, plain[6:11]])
    start = datetime(2008, 7, 19, 11, 55)
    times = [
        start + timedelta(minutes=int(m)) for m in np.sort(rng.integers(0, 129_600, n))
    ]
    verdicts = [
        f'{1 if fail else -1} "{time:%d/%m/%Y %H:%M:%S}"\r\n'
        for fail, time in zip(failed, times, strict=True)
    ]
    rows = [" ".join("NaN" if x != x else f"{x:.4f}" for x in row) + "\n" for row in X]
    place.mkdir(parents=True, exist_ok=True)
    _write(place / MARKER, f"A miniature generated with seed {seed}; not SECOM.\n")
    _write(data, "".join(rows))
    _write(labels, "".join(verdicts))
    return place


def _write(file: Path, text: str) -> None:
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.write_text(text, "ascii", newline="")
    os.replace(part, file)

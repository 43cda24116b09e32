"""secom: the UCI SECOM semiconductor table, read from its official files.

McCann and Johnston, SECOM, UCI Machine Learning Repository, 2008, CC BY 4.0: 1,567
wafers, 590 sensor readings without names or units, a verdict and a time each.
Rows whose values could not be confirmed against a second copy are left out, so that
every copy gives the same 1,537 rows (89 fails).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from kdutils.data import Part, Split, sources
from kdutils.data.tabular import Table, divide

# Row numbers in secom.data, counted from 1.
UNCONFIRMED = (*range(1, 20), 24, 39, 41, 46, 49, 50, 51, 58, 59, 63, 65)
_LABEL = re.compile(r'(-?1)\s+"?(\d\d/\d\d/\d{4} \d\d:\d\d:\d\d)"?')


def splits(
    *,
    seed: int,
    folds: int = 5,
    order: str = "random",
    root: str = "",
    val_share: float = 0.2,
) -> Iterator[Split]:
    """SECOM's splits: `folds` stratified ones moved by the seed, or one by time.

    order='time' trains on the oldest 60 % of the rows and tests on the newest 20 %,
    whatever the seed. Columns that are constant or more than half missing among a
    split's training rows are left out of that split. See `tabular.divide`.
    """
    if order not in ("random", "time"):
        raise ValueError(f"order is {order!r}: expected 'random' or 'time'")
    table = read(root)
    if order == "random":
        table = replace(table, time=None)
    for split in divide(table, seed=seed, folds=folds, val_share=val_share):
        yield _usable(split)


def read(root: str = "") -> Table:
    """All confirmed rows, downloaded at need, checked unless they are a miniature's.

    X (1537, 590); features are 'x001' to 'x590', time is in seconds since 1970.
    """
    folder = sources.find("secom", root)
    X, failed, time = _parse(folder)
    row = np.arange(len(X))
    if not sources.generated(folder):
        sources.verify("secom", folder, _sum(X, failed, time))
        row = row[_confirmed(len(X))]
    features = tuple(f"x{j:03d}" for j in range(1, X.shape[1] + 1))
    return Table(
        X[row].astype(np.float32),
        failed[row].astype(np.float32),
        np.arange(len(row)),
        row,
        features,
        source="secom",
        kind=kind(root),
        time=time[row].astype(np.float64),
    )


def digest(root: str = "", **_) -> str:
    """The content's sha256, known without the files; a miniature's is of its bytes."""
    folder = sources.folder("secom", root)
    if not sources.generated(folder):
        return sources.SOURCES["secom"].sha256
    files = sources.SOURCES["secom"].files
    return hashlib.sha256(
        b"".join((folder / f).read_bytes() for f in files)
    ).hexdigest()


def kind(root: str = "") -> str:
    """'generated' where the folder holds a miniature, else 'real'."""
    return "generated" if sources.generated(sources.folder("secom", root)) else "real"


def content(folder: Path) -> str:
    """Hex sha256 of the confirmed rows in `folder`, whatever the text's formatting.

    Over the bytes, little-endian and row by row, of the readings (float64, one NaN),
    the verdicts (int8, 1 for a fail) and the times (int64 seconds since 1970, as UTC).
    """
    return _sum(*_parse(folder))


def _sum(X: np.ndarray, failed: np.ndarray, time: np.ndarray) -> str:
    rows = _confirmed(len(X))
    readings = np.where(np.isnan(X), np.nan, X + 0.0)[rows]  # one NaN, one zero
    parts = readings.astype("<f8"), failed[rows].astype("<i1"), time[rows].astype("<i8")
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def _confirmed(n: int) -> np.ndarray:
    return ~np.isin(np.arange(1, n + 1), UNCONFIRMED)


def _parse(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Readings float64 (n, d), fails int64 (n,), seconds int64 (n,), all rows."""
    data, labels = (folder / name for name in sources.SOURCES["secom"].files)
    try:
        X = np.loadtxt(data, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{data}: {error}") from None
    lines = [line for line in labels.read_text("ascii").splitlines() if line.strip()]
    if len(lines) != len(X):
        raise ValueError(f"{labels} has {len(lines)} rows where {data} has {len(X)}")
    failed, time = np.empty(len(X), int), np.empty(len(X), int)
    for i, line in enumerate(lines):
        if not (found := _LABEL.fullmatch(line.strip())):
            raise ValueError(
                f"{labels}, row {i + 1}: {line!r} is not a verdict and a time such as "
                '-1 "19/07/2008 11:55:00"'
            )
        when = datetime.strptime(found[2], "%d/%m/%Y %H:%M:%S").replace(tzinfo=UTC)
        failed[i], time[i] = found[1] == "1", when.timestamp()
    return X, failed, time


def _usable(split: Split) -> Split:
    X = split.train.X
    read = np.isnan(X).mean(axis=0) <= 0.5
    low, high = (f(X, axis=0, initial=e, where=~np.isnan(X)) for f, e in _RANGE)
    columns = np.flatnonzero(read & (low < high))

    def narrow(part: Part) -> Part:
        return replace(part, X=part.X[:, columns])

    return replace(
        split,
        train=narrow(split.train),
        val=narrow(split.val),
        test=narrow(split.test),
        features=tuple(split.features[j] for j in columns),
        units=tuple(split.units[j] for j in columns),
    )


_RANGE = ((np.min, np.inf), (np.max, -np.inf))

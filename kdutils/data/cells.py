"""cells: a CSV file as a frame whose index is the file's line number."""

from __future__ import annotations

import csv
import difflib
import io
import re
from pathlib import Path

import pandas as pd

from kdutils import paths
from kdutils.data.tabular import TableError

_DECIMAL = re.compile(r"-?\d+,\d+")


def locate(path: str) -> Path:
    """The file at `path`, relative to the working folder or else to the project."""
    given = Path(path).expanduser()
    file = given if given.exists() else paths.ROOT / given
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise TableError(f"{path} {what}: expected a CSV file")
    return file


def read(
    file: Path, wanted: list[str], unwanted: list[str] = ()
) -> tuple[pd.DataFrame, list[str]]:
    """The cells of a CSV and the warnings that reading it gave.

    Separated by commas, semicolons or tabs; UTF-8, with or without a byte order mark;
    with a decimal comma where the separator leaves it free. Wanted columns stay text;
    both lists must be in the header. Empty lines are skipped, an uneven one refused.
    """
    raw = file.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise TableError(
            f"{file.name}, line {line}: not UTF-8 text: save the table as CSV UTF-8"
        ) from None
    if not text or text.isspace():
        raise TableError(f"{file.name} is empty: expected a header and rows")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")
    sep = max(",;\t", key=lambda s: len(_cells(lines[0], s)))
    names = [c.strip() or f"column {i}" for i, c in enumerate(_cells(lines[0], sep), 1)]
    _check_header(file, names, wanted, unwanted)
    _check_lines(file, lines, sep, len(names))
    comma = sep != "," and next(filter(None, map(_DECIMAL.search, lines[1:])), None)
    frame = pd.read_csv(
        io.BytesIO(raw),
        sep=sep,
        decimal="," if comma else ".",
        header=0,
        names=names,
        dtype=dict.fromkeys(wanted, str),
        encoding="utf-8-sig",
        skip_blank_lines=False,
        low_memory=False,
    )
    frame.index = pd.RangeIndex(2, len(frame) + 2)
    frame = frame.dropna(how="all")
    if frame.empty:
        raise TableError(f"{file.name} has a header but no rows")
    notes = (
        [f"{file.name}: numbers such as {comma[0]} have a decimal comma"]
        if comma
        else []
    )
    return frame, notes


def quoted(names: list[str], most: int = 8) -> str:
    """Some names for a sentence: 'a', 'b' and 3 more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(str(name)) for name in names[:most]) + more


def dropped(record: str) -> list[str]:
    """The columns that DROP names: one CSV record. TableError if it is none."""
    try:
        (names,) = csv.reader([record], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as problem:
        raise TableError(
            f"DROP={record} is not one CSV record ({problem}): expected names, quoted "
            "where they hold commas, such as DROP='a,\"b, MHz\"'"
        ) from None
    return [name.strip() for name in names if name.strip()]


def _cells(line: str, sep: str) -> list[str]:
    return next(csv.reader([line], delimiter=sep)) if '"' in line else line.split(sep)


def _check_header(
    file: Path, names: list[str], wanted: list[str], unwanted: list[str]
) -> None:
    if len(names) == 1:
        raise TableError(
            f"{file.name}, line 1: only one column, {names[0]!r}: expected columns "
            "separated by commas, semicolons or tabs"
        )
    for i, name in enumerate(names):
        if name in names[:i]:
            where = f"{names.index(name) + 1} and {i + 1}"
            raise TableError(f"{file.name}, line 1: columns {where} are both {name!r}")
    roles = [*wanted, *unwanted]
    for name in roles:
        if name not in names:
            lower = {n.casefold(): n for n in names}
            close = difflib.get_close_matches(name.casefold(), lower, cutoff=0.5)
            hint = quoted([lower[c] for c in close])
            hint = f"did you mean {hint}?" if close else f"it has {quoted(names)}"
            raise TableError(f"{file.name}, line 1: no column {name!r}: {hint}")
        if roles.count(name) > 1:
            raise TableError(f"{file.name}: column {name!r} is given two roles")


def _check_lines(file: Path, lines: list[str], sep: str, width: int) -> None:
    for number, line in enumerate(lines, 1):
        quotes = line.count('"')
        if quotes % 2:
            raise TableError(
                f"{file.name}, line {number}: a quote is opened and not closed"
            )
        n = len(_cells(line, sep)) if quotes else line.count(sep) + 1
        if line and n != width:
            raise TableError(
                f"{file.name}, line {number}: {n} cells where the header has {width}"
            )

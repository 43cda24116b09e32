"""table: the user's own pass/fail table, read from a CSV, every problem in a sentence.

A line number is the file's, whose header is line 1; `Part.row` is that number less 2.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd

from kdutils.data import Split, cells
from kdutils.data.tabular import Table, TableError, divide, dropping, joined, leaks

FEW = 3_000  # rows; below it every row is tested once, in folds
FAIL_WORDS = {"fail", "failed", "fails", "f", "bad", "nok", "ng", "reject", "rejected"}
FAIL_WORDS |= {"scrap", "defect", "defective", "faulty"}
PASS_WORDS = {"pass", "passed", "passes", "p", "good", "ok", "accept", "accepted"}
YES, NO = {"1", "true", "yes", "y", "t"}, {"0", "-1", "false", "no", "n", "f"}


def splits(
    path: str,
    target: str,
    group: str = "",
    time: str = "",
    *,
    seed: int,
    folds: int = 5,
    drop: str = "",
    fail: str = "",
) -> Iterator[Split]:
    """The splits of a CSV: by time if a time column is named; else `folds` stratified
    ones below 3,000 rows, and one of 60, 20 and 20 % from there on. See `read`."""
    table = read(path, target, group, time, drop=drop, fail=fail)
    yield from divide(table, seed=seed, folds=folds if len(table.y) < FEW else 1)


def digest(path: str, **options) -> str:
    """Hex sha256 over the file's bytes and the options, whatever the file's name."""
    read_so = json.dumps(options, sort_keys=True).encode()
    return hashlib.sha256(cells.locate(path).read_bytes() + read_so).hexdigest()


def read(
    path: str,
    target: str,
    group: str = "",
    time: str = "",
    *,
    drop: str = "",
    fail: str = "",
) -> Table:
    """Read a CSV whose path is relative to the working folder, or else to the project.

    target: the column of verdicts, two classes in any spelling. Which one is the fail
    says `fail`; or the words (pass, fail and the like; 1 in a column named fail, 0 in
    one named pass); or else it is the rarer class, and a warning says so.
    group: rows of one group never cross parts; time: rows are divided by time;
    drop: columns to leave out, as one CSV record.
    Identical rows share a group. Columns that are constant, empty or identifiers (whole
    numbers that only rise or only fall; text that never repeats) are left out with a
    warning. A column that alone tells fails from passes is kept, with a warning.
    Raises TableError.
    """
    file, roles = cells.locate(path), [name for name in (target, group, time) if name]
    unwanted = cells.dropped(drop)
    frame, notes = cells.read(file, roles, unwanted)
    line = frame.index.to_numpy()
    y, fail = _verdicts(file.name, frame[target], fail, notes)
    when = _times(file.name, frame[time], notes) if time else None
    own = _groups(file.name, frame[group]) if group else np.arange(len(frame))
    numbers = _numbers(file.name, frame.drop(columns=[*roles, *unwanted]), notes)
    X, features = numbers.to_numpy(np.float32), tuple(numbers.columns)
    shared, found = joined(X, y, own, line)
    notes += [f"{file.name}: {note}" for note in found + leaks(X, y, features)]
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return Table(
        X, y, shared, line - 2, features, file.name, "yours", when, fail, tuple(notes)
    )


def _refuse_empty(file: str, column: pd.Series, need: str) -> None:
    empty = column.isna() | (column.str.strip() == "")
    if empty.any():
        more = f" and {empty.sum() - 1} more" if empty.sum() > 1 else ""
        raise TableError(
            f"{file}, line {empty.idxmax()}{more}, column {column.name!r}: empty, but "
            f"every row needs {need}"
        )


def _verdicts(
    file: str, column: pd.Series, fail: str, notes: list[str]
) -> tuple[np.ndarray, str]:
    """float32 (n,), 1 for a fail, and how the file spells a fail."""
    _refuse_empty(file, column, "a verdict")
    classes = column.map({raw: _class(raw) for raw in column.unique()})
    counts = classes.value_counts()
    shown = ", ".join(f"{c!r}: {n}" for c, n in counts[:4].items())
    shown += ", ..." if len(counts) > 4 else ""
    if len(counts) == 1:
        raise TableError(f"{file}: column {column.name!r} has one class ({shown})")
    if len(counts) > 2:
        line = (classes == counts.index[-1]).idxmax()
        raise TableError(
            f"{file}, line {line}: {column[line]!r} is one of {len(counts)} classes "
            f"({shown}) in column {column.name!r}: expected two, such as pass and fail"
        )
    if fail and _class(fail) not in counts:
        raise TableError(f"{file}: column {column.name!r} has no {fail!r} ({shown})")
    chosen = _class(fail) if fail else _fail_by_words(set(counts.index), column.name)
    if not chosen:
        chosen = min(sorted(counts.index, reverse=True), key=counts.get)
        notes.append(
            f"{file}: {chosen!r} in column {column.name!r} ({shown}) is taken for the "
            "fail because it is the rarer class: option fail says otherwise"
        )
    failed = classes == chosen
    return failed.to_numpy(np.float32), column[failed.idxmax()].strip()


def _class(raw: str) -> str:
    """One name for every spelling of a class: ' PASS' is 'pass', '1.0' is '1'."""
    try:
        return f"{float(raw):g}"
    except ValueError:
        return raw.strip().casefold()


def _fail_by_words(classes: set[str], column: str) -> str:
    """The class that means a fail by its own name or by its column's, or ''."""
    yes, no = classes & YES, classes & NO
    if len(yes) == len(no) == 1:
        name = set(re.split(r"[^a-z]+", column.casefold()))
        bad, good = bool(name & FAIL_WORDS), bool(name & PASS_WORDS)
        return "" if bad == good else (yes if bad else no).pop()
    bad, good = classes & FAIL_WORDS, classes & PASS_WORDS
    if len(bad) == 1:
        return bad.pop()
    return (classes - good).pop() if len(good) == 1 else ""


def _groups(file: str, column: pd.Series) -> np.ndarray:
    _refuse_empty(file, column, "a group")
    codes, names = pd.factorize(column.str.strip())
    if len(names) == 1:
        raise TableError(
            f"{file}: column {column.name!r} has a single group, {names[0]!r}"
        )
    return codes


def _times(file: str, column: pd.Series, notes: list[str]) -> np.ndarray:
    """Numbers as they are, dates as seconds since 1970: float64 (n,)."""
    _refuse_empty(file, column, "a time")
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.notna().all():
        return numbers.to_numpy(np.float64)
    if column.str.match(r"\s*\d{4}-").all():
        readings = [pd.to_datetime(column, format="ISO8601", errors="coerce", utc=True)]
    else:
        day_first = (True, False) if "." in column.iloc[0] else (False, True)
        readings = [
            pd.to_datetime(column, dayfirst=first, errors="coerce", utc=True)
            for first in day_first
        ]
    best = min(readings, key=lambda times: times.isna().sum())
    if best.isna().any():
        line = best.isna().idxmax()
        raise TableError(
            f"{file}, line {line}, column {column.name!r}: {column[line]!r} is not a "
            "time: expected numbers, or dates such as 2008-07-19 11:55:00"
        )
    if any(times.notna().all() and not times.equals(best) for times in readings):
        notes.append(
            f"{file}: {column.iloc[0]!r} in column {column.name!r} is taken for "
            f"{best.iloc[0]:%Y-%m-%d}: write dates so to be sure of day and month"
        )
    return (best - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy()


def _numbers(file: str, frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The columns to learn from; refuses text, leaves out what says nothing."""
    kept, texts, left_out = {}, [], {"empty": [], "constant": [], "an identifier": []}
    for name, column in frame.items():
        numbers = pd.to_numeric(column, errors="coerce").astype(float)
        read = column.notna()
        if not (wrong := read & numbers.isna()).any():
            text = _rises_or_falls(numbers)
        else:
            read &= column.astype(str).str.strip() != ""
            wrong &= read
            text = 2 * wrong.sum() > read.sum()
        if not read.any():
            left_out["empty"].append(name)
        elif column[read].nunique() == 1:
            left_out["constant"].append(name)
        elif text and column[read].is_unique:
            left_out["an identifier"].append(name)
        elif text:
            texts.append(name)
        else:
            _refuse(file, column, wrong, "is not a number")
            _refuse(file, column, np.abs(numbers) > _LARGEST, "is not a finite reading")
            kept[name] = numbers
    if texts:
        column = frame[texts[0]]
        line = column.first_valid_index()
        raise TableError(
            f"{file}, line {line}: {column[line]!r} is text, as is most of column"
            f"{'s' * (len(texts) > 1)} {cells.quoted(texts)}: write numbers, or leave "
            f"out with {dropping(texts)}"
        )
    for why, names in left_out.items():
        if names:
            which = "columns are" if len(names) > 1 else "a column is"
            notes.append(f"{file}: {which} left out as {why}: {cells.quoted(names)}")
    if not kept:
        raise TableError(f"{file} has no column left to learn from")
    return pd.DataFrame(kept)


_LARGEST = float(np.finfo(np.float32).max)


def _rises_or_falls(numbers: pd.Series) -> bool:
    """Whether these are whole numbers that only rise or only fall: a running number."""
    steps = np.diff(numbers)
    whole = bool((numbers == np.floor(numbers)).all())
    return whole and (bool((steps > 0).all()) or bool((steps < 0).all()))


def _refuse(file: str, column: pd.Series, wrong: pd.Series, why: str) -> None:
    if wrong.any():
        line = wrong.idxmax()
        more = f" ({wrong.sum() - 1} more in this column)" if wrong.sum() > 1 else ""
        value = column[line] if isinstance(column[line], str) else float(column[line])
        raise TableError(
            f"{file}, line {line}, column {column.name!r}: {value!r} {why}{more}: "
            "expected a number, or nothing where no reading was taken"
        )

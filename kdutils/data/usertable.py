"""usertable: the user's own pass/fail table, read from a CSV, or refused in a sentence.

A line number is the file's, whose header is line 1; `Part.row` is that number less 2.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import json
import re
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import rankdata

from kdutils import paths
from kdutils.data import Part, Rows, Split
from kdutils.data.divide import TableError, divide

LEAK = 0.99  # AUC of one column alone
_DECIMAL = re.compile(r"-?\d+,\d+")
FEW = 3_000  # rows; below it every row is tested once, in folds
FAIL_WORDS = {"fail", "failed", "fails", "f", "bad", "nok", "ng", "reject", "rejected"}
FAIL_WORDS |= {"scrap", "defect", "defective", "faulty"}
PASS_WORDS = {"pass", "passed", "passes", "p", "good", "ok", "accept", "accepted"}
YES, NO = {"1", "true", "yes", "y", "t"}, {"0", "-1", "false", "no", "n", "f"}


def splits(*which: str, seed: int, folds: int = 5, **options: str) -> Iterator[Split]:
    """The splits of a CSV: by time if a time column is named; else `folds` stratified
    ones below 3,000 rows, and one of 60, 20 and 20 % from there on.

    which, options: those of `read`.
    """
    table = read(*which, **options)
    yield from divide(table, seed=seed, folds=folds if len(table.y) < FEW else 1)


def digest(path: str, **options) -> str:
    """Hex sha256 over the file's bytes and the options, whatever the file's name."""
    form = json.dumps(options, sort_keys=True).encode()
    return hashlib.sha256(locate(path).read_bytes() + form).hexdigest()


def read(
    path: str,
    target: str,
    group: str = "",
    time: str = "",
    *,
    drop: str = "",
    fail: str = "",
) -> Rows:
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
    file, roles = locate(path), [name for name in (target, group, time) if name]
    unwanted = dropped(drop)
    frame, notes = cells(file, roles, unwanted)
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
    its = {"source": file.name, "kind": "yours", "fail": fail, "warnings": tuple(notes)}
    return Rows(X, y, shared, line - 2, features, time=when, **its)


def check(table: Rows, *, seeds: int, oof_folds: int) -> None:
    """Raise TableError, one sentence, if a part is too small to train or to measure.

    In training rows, fails and passes must stand in `oof_folds` groups at least, one
    for each out-of-fold part. Where there is one split, its test rows need two of each:
    no AUC has an interval below that.
    """
    for seed in range(seeds):
        splits = list(divide(table, seed=seed, folds=5 if len(table.y) < FEW else 1))
        for number, split in enumerate(splits, 1):
            where = f"part of split {number}"
            _check(table, split.train, f"training {where}", oof_folds, "out-of-fold")
            if len(splits) == 1:
                _check(table, split.test, f"test {where}", 2, "")


def _check(table: Rows, part: Part, where: str, least: int, folds: str) -> None:
    """Raise TableError unless the part has `least` of each; of groups if for folds."""
    for name, value in (("fails", 1), ("passes", 0)):
        chosen = part.group[part.y == value]
        found = len(np.unique(chosen)) if folds else len(chosen)
        grouped = f" in {found} groups" if found < len(chosen) else ""
        if found < least:
            raise TableError(
                f"{table.source}: too few {name} in the {where}: {len(chosen)}{grouped}"
                f", expected {least}{' groups' if grouped else ''} at least, "
                + ("one for each out-of-fold part" if folds else "for an interval")
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
            f"{'s' * (len(texts) > 1)} {quoted(texts)}: write numbers, or leave "
            f"out with {dropping(texts)}"
        )
    for reason, names in left_out.items():
        if names:
            which = "columns are" if len(names) > 1 else "a column is"
            notes.append(f"{file}: {which} left out as {reason}: {quoted(names)}")
    if not kept:
        raise TableError(f"{file} has no column left to learn from")
    return pd.DataFrame(kept)


_LARGEST = float(np.finfo(np.float32).max)


def _rises_or_falls(numbers: pd.Series) -> bool:
    """Whether these are whole numbers that only rise or only fall: a running number."""
    steps = np.diff(numbers)
    whole = bool((numbers == np.floor(numbers)).all())
    return whole and (bool((steps > 0).all()) or bool((steps < 0).all()))


def _refuse(file: str, column: pd.Series, wrong: pd.Series, reason: str) -> None:
    if wrong.any():
        line = wrong.idxmax()
        more = f" ({wrong.sum() - 1} more in this column)" if wrong.sum() > 1 else ""
        value = column[line] if isinstance(column[line], str) else float(column[line])
        raise TableError(
            f"{file}, line {line}, column {column.name!r}: {value!r} {reason}{more}: "
            "expected a number, or nothing where no reading was taken"
        )


def joined(
    X: np.ndarray, y: np.ndarray, group: np.ndarray, line: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Groups such that identical rows of X share one, int64 (n,) from 0; and warnings.

    line: what to call each row by. Rows are compared by a 64-bit hash.
    """
    same, _ = pd.factorize(pd.util.hash_pandas_object(pd.DataFrame(X), index=False))
    own = np.unique(group, return_inverse=True)[1]
    copies, fails = np.bincount(same), np.bincount(same, y)
    if copies.max() == 1:
        return own, []
    first = line[same == (copies > 1).argmax()][:2]
    notes = [
        f"{copies[copies > 1].sum()} rows repeat the readings of another (lines "
        f"{first[0]} and {first[1]} are the first): identical rows stay in one part"
    ]
    if (mixed := (fails > 0) & (fails < copies)).any():
        one = same == mixed.argmax()
        notes.append(
            f"lines {line[one & (y == 0)][0]} and {line[one & (y == 1)][0]} have the "
            f"same readings, but one passes and one fails ({mixed.sum()} such sets)"
        )
    size = len(copies) + own.max() + 1
    edges = coo_array((np.ones(len(y)), (same, len(copies) + own)), shape=(size, size))
    component = connected_components(edges, directed=False)[1][same]
    return np.unique(component, return_inverse=True)[1], notes


def leaks(X: np.ndarray, y: np.ndarray, features: tuple[str, ...]) -> list[str]:
    """A sentence for each column that alone has an AUC above .99 or below .01.

    Either among the rows where it was read (five fails and five passes at least), or
    among all with a missing reading as the lowest: that it was read may be the leak.
    """
    notes, failed = [], y == 1
    for column, name in zip(X.T, features, strict=True):
        read = ~np.isnan(column)
        aucs = [_auc(np.where(read, column, -np.inf), failed)]
        if np.bincount(failed[read], minlength=2).min() >= 5:
            aucs.append(_auc(column[read], failed[read]))
        auc = max(aucs, key=lambda a: abs(a - 0.5))
        if abs(auc - 0.5) > LEAK - 0.5:
            notes.append(
                f"column {name!r} alone tells fails from passes (AUC {auc:.3f}): if it "
                f"is known only after the verdict, leave it out with {dropping([name])}"
            )
    return notes


def _auc(score: np.ndarray, failed: np.ndarray) -> float:
    """P(a fail's score is above a pass's), ties counted half."""
    n1, n0 = int(failed.sum()), int((~failed).sum())
    return (rankdata(score)[failed].sum() - n1 * (n1 + 1) / 2) / (n1 * n0)


def dropping(names: list[str]) -> str:
    """`DROP=...` that leaves columns out, to be pasted behind `make report`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(names)
    return f"DROP={shlex.quote(text.getvalue().replace('$', '$$'))}"


def locate(path: str) -> Path:
    """The file at `path`, relative to the working folder or else to the project."""
    given = Path(path).expanduser()
    file = given if given.exists() else paths.ROOT / given
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise TableError(f"{path} {what}: expected a CSV file")
    return file


def cells(
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

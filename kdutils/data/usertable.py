"""usertable: the user's own pass/fail table, read whole, or each of its faults named.

A line number is the file's, whose header is line 1; `Part.row` is that number less 2.
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import functools
import hashlib
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from kdutils import paths
from kdutils.data import Rows, Split, cells
from kdutils.data.cells import Finding
from kdutils.data.divide import TableError, divide

LEAK = 0.99  # AUC of one column alone
FEW = 3_000  # rows; below it every row is tested once, in folds
ONEHOT = 10  # values of a column of categories, fewer than
FAIL_WORDS = {"fail", "failed", "fails", "f", "bad", "nok", "ng", "reject", "rejected"}
FAIL_WORDS |= {"scrap", "defect", "defective", "faulty"}
PASS_WORDS = {"pass", "passed", "passes", "p", "good", "ok", "accept", "accepted"}
YES, NO = {"1", "true", "yes", "y", "t"}, {"0", "-1", "false", "no", "n", "f"}
VERDICT = FAIL_WORDS | PASS_WORDS | {"verdict", "result", "label", "target", "class"}
TOKENS = 20  # different texts among a column's numbers, at most, that NA may name
# Numbers that stand for no reading wherever they lie outside of a column's others.
SENTINEL = re.compile(r"-?9+(\.9+)?|-1|32767|-32768|65535|2147483647|-2147483648")


def splits(*which: str, seed: int, folds: int = 5, **options: str) -> Iterator[Split]:
    """The splits of a table: by time if a time column is named; else `folds` stratified
    ones below 3,000 rows, and one of 60, 20 and 20 % from there on.

    which, options: those of `read`.
    """
    table = read(*which, **options)
    yield from divide(table, seed=seed, folds=folds if len(table.y) < FEW else 1)


def digest(path: str, **options) -> str:
    """Hex sha256 over the file's bytes and the options, whatever the file's name."""
    form = json.dumps(options, sort_keys=True).encode()
    with locate(path).open("rb") as file:
        whole = hashlib.file_digest(file, "sha256")
    whole.update(form)
    return whole.hexdigest()


def read(path: str, target: str, group: str = "", time: str = "", **options) -> Rows:
    """Read a table whose path is relative to the working folder, or to the project.

    What is read, and the options: see `examine`. Read once in a process, as long as the
    file stays as it is: change no array of it. Raises TableError, one sentence of the
    first fault.
    """
    seen = locate(path).stat()
    stamp = seen.st_ino, seen.st_size, seen.st_mtime_ns
    rows, found = _kept(stamp, path, target, group, time, **options)
    stops = [finding for finding in found if finding.stops]
    if stops:
        more = f" ({len(stops) - 1} more: make check)" if len(stops) > 1 else ""
        raise TableError(stops[0].sentence(Path(path).name) + more)
    return rows


@functools.lru_cache(maxsize=1)
def _kept(stamp: tuple[int, ...], *which: str, **options: str):
    """What `examine` finds in a file of this stamp."""
    return examine(*which, **options)


def examine(
    path: str,
    target: str,
    group: str = "",
    time: str = "",
    *,
    drop: str = "",
    fail: str = "",
    na: str = "",
    decimal: str = "",
    sep: str = "",
    encoding: str = "",
    onehot: str = "",
) -> tuple[Rows | None, list[Finding]]:
    """A user's table, None if a fault stops it; and every fault and warning.

    target: the column of verdicts, two classes in any spelling. Which one is the fail
    says `fail`; or the words (pass, fail and the like; 1 in a column named fail, 0 in
    one named pass); or else it is the rarer class, and a warning says so.
    group: rows of one group never cross parts; time: rows are divided by time;
    drop: columns to leave out, na: texts and numbers that stand for no reading, beside
    `cells.MISSING`; onehot: columns of fewer than ten values, each read as one column
    of 0 and 1 per value, named `column=value`, NaN where none stands: one CSV record
    each. decimal, sep, encoding: of the text; found out where empty.
    Identical rows share a group. Columns that are constant, empty or identifiers (whole
    numbers that only rise or only fall; text that never repeats) are left out with a
    warning. A column that alone tells fails from passes is kept, with a warning.
    Raises TableError if there is no file.
    """
    file = locate(path)
    table = cells.Table(file, sep=sep, decimal=decimal, encoding=encoding)
    with contextlib.closing(table):
        return _examine(table, (target, group, time), fail, (drop, na, onehot))


def _examine(
    table: cells.Table,
    roles: tuple[str, str, str],
    fail: str,
    lists: tuple[str, str, str],
) -> tuple[Rows | None, list[Finding]]:
    found, file = table.found, table.file
    drops, nas, onehots = (
        record(key, text, found)
        for key, text in zip(("DROP", "NA", "ONEHOT"), lists, strict=True)
    )
    if not table.names:
        return None, found
    keys = ("TARGET", "GROUP", "TIME")
    roles = _roles(table, dict(zip(keys, roles, strict=True)), found)
    taken = [name for name in roles.values() if name]
    drops = _listed("DROP", drops, table.names, taken, found)
    onehots = _listed("ONEHOT", onehots, table.names, [*taken, *drops], found)
    table.load([*taken, *onehots], drops, nas)
    if not len(table.line):
        if not any(finding.lines for finding in found):
            found.append(Finding("the file has a header but no rows"))
        return None, found
    text = {key: _text(table, name) for key, name in roles.items() if name}
    y = when = None
    own = np.arange(len(table.line))
    if "TARGET" in text:
        y, fail = _verdicts(text["TARGET"], fail, found)
    if "GROUP" in text:
        own = _groups(text["GROUP"], found)
    if "TIME" in text:
        when = _times(text["TIME"], found)
    X, features = _features(table, onehots, found)
    line = table.line
    del table
    if not features and not any(one.stops and one.columns for one in found):
        found.append(Finding("no column is left to learn from"))
    if features and y is not None:
        clear = ~np.isnan(y)
        clear = slice(None) if clear.all() else clear
        shared, notes = joined(X[clear], y[clear], own[clear], line[clear])
        found += [*notes, *leaks(X[clear], y[clear], features)]
    if y is None or not features or any(finding.stops for finding in found):
        return None, found
    its = {"source": file.name, "kind": "yours", "fail": fail}
    its["warnings"] = tuple(finding.sentence(file.name) for finding in found)
    return Rows(X, y, shared, line - 2, features, time=when, **its), found


def check(table: Rows) -> list[str]:
    """The warnings of dividing a table; TableError, one sentence, if a part is too
    small to train or to measure.

    Where there is one split, its test rows need two fails and two passes: no AUC has an
    interval below that.
    """
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        folds = 5 if len(table.y) < FEW else 1
        tests = [split.test.y for split in divide(table, seed=0, folds=folds)]
    for name, value in (("fails", 1), ("passes", 0)):
        if len(tests) == 1 and (found := int((tests[0] == value).sum())) < 2:
            raise TableError(
                f"{table.source}: too few {name} in the test part of split 1: {found}, "
                "expected 2 at least, for an interval"
            )
    return list(dict.fromkeys(str(note.message) for note in notes))


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z]+", name.casefold()))


def record(key: str, text: str, found: list[Finding]) -> list[str]:
    """The texts of an option that is one CSV record; none of them if it is not."""
    try:
        (values,) = csv.reader([text], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as problem:
        what = f"{key}={text} is not one CSV record ({problem}): expected names, "
        what += f"quoted where they hold commas, such as {key}='a,\"b, MHz\"'"
        found.append(Finding(what, mend=(("set", key, ""),)))
        return []
    return [value.strip() for value in values if value.strip()]


def _near(name: str, names: list[str]) -> str:
    """The one of the names that is spelled most like a name, or ''."""
    lower = {other.casefold(): other for other in names}
    close = difflib.get_close_matches(name.casefold(), lower, n=1, cutoff=0.5)
    return lower[close[0]] if close else ""


def _roles(
    table: cells.Table, wanted: dict[str, str], found: list[Finding]
) -> dict[str, str]:
    """Each role's column, or the one that is likely meant; '' if there is none."""
    roles: dict[str, str] = {}
    for key, name in wanted.items():
        taken, roles[key] = [role for role in roles.values() if role], name
        if not name and key != "TARGET":
            continue
        if name in taken:
            what = f"the column is given two roles, {key} is one"
            mend = (("set", key, ""),)
            found.append(Finding(what, columns=(name,), mend=mend))
            roles[key] = ""
        elif name not in table.names:
            free = [other for other in table.names if other not in taken]
            near = _near(name, free)
            if not near and key == "TARGET":
                words = [n for n in free if _words(n) & VERDICT]
                near = words[0] if len(words) == 1 else ""
            what = f"no column {name!r}" if name else f"{key} is not given"
            what += f": {_meant(near, free)}"
            mend = (("set", key, near),) if near else ()
            found.append(Finding(what, mend=mend))
            roles[key] = near
    return roles


def _meant(near: str, names: list[str]) -> str:
    return f"did you mean {near!r}?" if near else f"it has {cells.quoted(names)}"


def _listed(
    key: str,
    wanted: list[str],
    names: list[str],
    taken: list[str],
    found: list[Finding],
) -> list[str]:
    """The columns of an option that lists them, or those that are likely meant."""
    kept = []
    for name in wanted:
        cut = ("cut", key, name)
        if name in taken:
            what = f"the column is given two roles, {key} is one"
            found.append(Finding(what, columns=(name,), mend=(cut,)))
        elif name in names:
            kept.append(name)
        else:
            near = _near(name, [n for n in names if n not in {*taken, *wanted}])
            mend = (cut, ("add", key, near)) if near else (cut,)
            what = f"no column {name!r}, which {key} names: {_meant(near, names)}"
            found.append(Finding(what, mend=mend))
            kept += [near] if near else []
    return kept


def _text(table: cells.Table, name: str) -> pd.Series:
    """A column's cells as they stand, by line; None where no value stands."""
    values = [cell.strip() for cell in table.texts[name]]
    column = pd.Series(values, index=table.line, dtype=object, name=name)
    return column.mask(column.str.casefold().isin(table.na), None)


def _at(
    what: str, column: pd.Series, wrong: pd.Series, found: list[Finding], **more
) -> None:
    """Add what is wrong with some cells of a column, if there is one."""
    if wrong.any():
        lines = tuple(column.index[wrong][: cells.SHOWN].tolist())
        count, names = int(wrong.sum()), (column.name,)
        found.append(Finding(what, lines, names, count, **more))


def _verdicts(
    column: pd.Series, fail: str, found: list[Finding]
) -> tuple[np.ndarray | None, str]:
    """float32 (n,), 1 for a fail and NaN if it is not clear; how a fail is spelled."""
    _at("empty, but every row needs a verdict", column, column.isna(), found)
    classes = column.map({raw: _class(raw) for raw in column.dropna().unique()})
    counts = classes.value_counts()
    shown = ", ".join(f"{c!r}: {n}" for c, n in counts[:4].items())
    shown += ", ..." if len(counts) > 4 else ""
    its = {"columns": (column.name,)}
    if len(counts) < 2:
        found.append(Finding(f"one class ({shown}), expected two", **its))
        return None, fail
    if len(counts) > 2:
        odd = classes == counts.index[-1]
        what = f"{column[odd.idxmax()]!r} is one of {len(counts)} classes ({shown}): "
        _at(what + "expected two, such as pass and fail", column, odd, found)
        if counts[:2].sum() < 0.9 * counts.sum():
            return None, fail
    known, counts = {*counts.index}, counts[:2]
    chosen = _fail_by_words({*counts.index}, column.name)
    rarer = min(sorted(counts.index, reverse=True), key=counts.get)
    if fail and _class(fail) not in known:
        best = chosen or rarer
        what = f"no verdict is {fail!r} ({shown}): is a fail {best!r}?"
        found.append(Finding(what, mend=(("set", "FAIL", best),), **its))
        fail = best
    chosen = _class(fail) if fail else chosen
    if not chosen:
        chosen = rarer
        what = f"{chosen!r} ({shown}) is taken for the fail because it is the rarer "
        what += "class: option fail says otherwise"
        found.append(Finding(what, stops=False, **its))
    failed = classes == chosen
    y = np.where(classes.isin(counts.index), failed, np.nan)
    return y.astype(np.float32), column[failed.idxmax()]


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
        name = _words(column)
        bad, good = bool(name & FAIL_WORDS), bool(name & PASS_WORDS)
        return "" if bad == good else (yes if bad else no).pop()
    bad, good = classes & FAIL_WORDS, classes & PASS_WORDS
    if len(bad) == 1:
        return bad.pop()
    return (classes - good).pop() if len(good) == 1 else ""


def _groups(column: pd.Series, found: list[Finding]) -> np.ndarray:
    """int64 (n,), the group of each row."""
    _at("empty, but every row needs a group", column, column.isna(), found)
    codes, names = pd.factorize(column)
    if len(names) == 1:
        what = f"a single group, {names[0]!r}"
        mend = (("set", "GROUP", ""),)
        found.append(Finding(what, columns=(column.name,), mend=mend))
    return codes


def _times(column: pd.Series, found: list[Finding]) -> np.ndarray | None:
    """Numbers as they are, dates as seconds since 1970: float64 (n,)."""
    _at("empty, but every row needs a time", column, column.isna(), found)
    there = column.dropna()
    numbers = pd.to_numeric(there, errors="coerce")
    if there.empty or numbers.notna().all():
        return numbers.to_numpy(np.float64)
    if there.str.match(r"\d{4}-").mean() > 0.5:
        readings = [pd.to_datetime(there, format="ISO8601", errors="coerce", utc=True)]
    else:
        day_first = (True, False) if "." in there.iloc[0] else (False, True)
        with warnings.catch_warnings():
            # pandas' word on a format that it did not guess
            warnings.filterwarnings("ignore", "Could not infer|Parsing dates")
            readings = [
                pd.to_datetime(there, dayfirst=first, errors="coerce", utc=True)
                for first in day_first
            ]
    best = min(readings, key=lambda times: times.isna().sum())
    if best.isna().any():
        bad = there[best.isna()].iloc[0]
        what = f"{bad!r} is not a time: expected numbers, or dates such as 2008-07-19 "
        _at(what + "11:55:00", there, best.isna(), found)
        return None
    if any(times.notna().all() and not times.equals(best) for times in readings):
        what = (
            f"{there.iloc[0]!r} is taken for {best.iloc[0]:%Y-%m-%d}: write dates so "
        )
        what += "to be sure of day and month"
        found.append(Finding(what, columns=(column.name,), stops=False))
    return (best - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy()


def _features(
    table: cells.Table, onehots: list[str], found: list[Finding]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """float32 (n, d) and its names: the columns that say something."""
    kept: dict[str, np.ndarray] = {}
    left_out = {"empty": [], "constant": [], "an identifier": []}
    odd: dict[str, list] = {}  # what stands among numbers -> (column, its lines)
    decimal = None
    commas = not (table.comma or any(one.dots for one in table.columns.values()))
    for name in table.names:
        if name in onehots:
            new = _onehot(_text(table, name), found)
            for same in new.keys() & {*table.names}:
                what = f"the column has the name that a value of {name!r} would get"
                found.append(Finding(what, columns=(same,)))
            kept |= new
        column = table.columns.pop(name, None)
        if column is None:
            continue
        if column.comma:
            decimal = decimal or column.comma[0][1]
            if column.points:
                what = f"{column.comma[0][1]!r} is not a number beside those with a "
                what += f"point ({column.points} in this column)"
                lines = tuple(table.line[[i for i, _ in column.comma]].tolist())
                best = "," if column.commas > column.points else "."
                mend = (("set", "DECIMAL", best),)
                found.append(Finding(what, lines, (name,), column.commas, mend))
        if commas and (example := _decimal_comma(column)):
            what = f"{example!r} is not a number, unless the comma is a decimal one"
            mend, count = (("set", "DECIMAL", ","),), len(column.places)
            lines = tuple(table.line[column.places[: cells.SHOWN]].tolist())
            found.append(Finding(what, lines, (name,), count, mend))
            continue
        said = _says(column)
        if said in left_out:
            left_out[said].append(name)
        elif said == "text":
            _refuse_text(name, column, table, found)
        elif len(column.texts) > TOKENS:
            what = f"{len(column.texts)} different texts among numbers, such as "
            what += repr(next(iter(column.texts)))
            lines = tuple(table.line[column.places[: cells.SHOWN]].tolist())
            mend = (("add", "DROP", name),)
            found.append(Finding(what, lines, (name,), len(column.places), mend))
        else:
            for text, code in column.texts.items():
                lines = table.line[column.places[column.codes == code]]
                odd.setdefault(text, []).append((name, lines))
            kept[name] = column.numbers
    if decimal and not table.decimal:
        what = f"numbers such as {decimal} have a decimal comma"
        mend = (("set", "DECIMAL", ","),)
        found.append(Finding(what, mend=mend, stops=False))
    for reason, names in left_out.items():
        if names:
            what = f"left out as {reason}"
            found.append(
                Finding(what, columns=tuple(names), count=len(names), stops=False)
            )
    found += _odd(odd)
    found += _endless(kept, table.line)
    found += _sentinels(kept)
    X = np.empty((len(table.line), len(kept)), np.float32)
    features = tuple(kept)
    with np.errstate(over="ignore"):
        for j, name in enumerate(features):
            X[:, j] = kept.pop(name)
    return X, features


_LARGEST = float(np.finfo(np.float32).max)


def _decimal_comma(column: cells.Column) -> str:
    """A number with a decimal comma, if all texts of a column are such; else ''.

    1,500 alone may as well be one thousand five hundred.
    """
    texts = [text for text in column.texts if not re.fullmatch(r"[+-]?\d+,\d{3}", text)]
    alike = texts and all(map(cells.COMMA.fullmatch, column.texts))
    return texts[0] if alike else ""


def _says(column: cells.Column) -> str:
    """What a column is: empty, constant, an identifier, text or numbers.

    true and false alone are read as 1 and 0.
    """
    numbers, places = column.numbers, column.places
    truth = {text.casefold() for text in column.texts} <= {"true", "false"}
    if len(places) and truth and np.isnan(numbers).all():
        true = np.array([text.casefold() == "true" for text in column.texts])
        numbers[places] = true[column.codes]
        places = column.places = column.codes = places[:0]
        column.texts = {}
    read = numbers[~np.isnan(numbers)]
    words = np.array([any(map(str.isalnum, text)) for text in column.texts], bool)
    texts = int(words[column.codes].sum()) if len(places) else 0
    if not len(read) + len(places):
        return "empty"
    if len(read) and not len(places) and read.min() == read.max():
        return "constant"
    if not len(read) and len(column.texts) == 1:
        return "constant"
    if texts > len(read) or not len(read):
        unique = len(column.texts) == len(places)
        unique = unique and len(np.unique(read)) == len(read)
        return "an identifier" if unique else "text"
    whole = len(read) == len(numbers) and bool((read == np.floor(read)).all())
    steps = np.diff(read) if whole else np.zeros(1)
    return "an identifier" if (steps > 0).all() or (steps < 0).all() else "numbers"


def _refuse_text(
    name: str, column: cells.Column, table: cells.Table, found: list[Finding]
) -> None:
    read = column.numbers[~np.isnan(column.numbers)]
    values = len(column.texts) + len(np.unique(read))
    first = next(iter(column.texts))
    what = (
        f"{first!r} is text, as is most of the column: write numbers, or leave it out"
    )
    if values < ONEHOT:
        what += f" (or {cells.word('ONEHOT', name)} for its {values} values)"
    mend = (("add", "DROP", name),)
    lines = tuple(table.line[column.places[:1]].tolist())
    found.append(Finding(what, lines, (name,), len(column.places), mend))


def _onehot(column: pd.Series, found: list[Finding]) -> dict[str, np.ndarray]:
    """A column per value: 1 where it stands, 0 where another does, NaN where none."""
    values = sorted(column.dropna().unique())
    if not 1 < len(values) < ONEHOT:
        what = f"ONEHOT takes 2 to {ONEHOT - 1} values, here are {len(values)}"
        mend = ("cut", "ONEHOT", column.name), ("add", "DROP", column.name)
        found.append(Finding(what, columns=(column.name,), mend=mend))
        return {}
    missing = column.isna().to_numpy()
    return {
        f"{column.name}={value}": np.where(missing, np.nan, column == value)
        for value in values
    }


def _odd(odd: dict[str, list]) -> Iterator[Finding]:
    """A finding for each text that stands among numbers, in all columns together."""
    for text, places in odd.items():
        lines = np.sort(np.concatenate([lines for _, lines in places]))
        names = tuple(name for name, _ in places)
        what = f"{text!r} is not a number: expected a number, or nothing where no "
        what += "reading was taken"
        first = tuple(np.unique(lines)[: cells.SHOWN].tolist())
        mend = (("add", "NA", text),) if text.isprintable() else ()
        yield Finding(what, first, names, len(lines), mend)


def _endless(kept: dict[str, np.ndarray], line: np.ndarray) -> Iterator[Finding]:
    """A finding for each number that float32 cannot hold."""
    for name, numbers in kept.items():
        large = np.abs(numbers) > _LARGEST
        for value in np.unique(numbers[large])[: cells.SHOWN].tolist():
            lines = line[numbers == value]
            what = f"{value!r} is not a finite reading: expected a number, or nothing "
            what += "where no reading was taken"
            first = tuple(lines[: cells.SHOWN].tolist())
            mend = (("add", "NA", repr(value)),)
            yield Finding(what, first, (name,), len(lines), mend)


def _sentinels(kept: dict[str, np.ndarray]) -> Iterator[Finding]:
    """A warning for each number that likely stands for no reading.

    It is met three times at least and lies outside of the column's other numbers: by
    their whole range if it is one of `SENTINEL`, else by ten times that.
    """
    found: dict[float, list[tuple[str, int]]] = {}
    for name, numbers in kept.items():
        core, edges = numbers[np.isfinite(numbers)], []
        for _ in range(2):
            for edge in (core.min(), core.max()) if len(core) else ():
                inside = core[core != edge]
                if (count := len(core) - len(inside)) >= 3:
                    edges.append((edge, count))
                    core = inside
        if len(np.unique(core[:10_000])) < 5:
            continue
        low, high = core.min(), core.max()
        for edge, count in edges:
            gap = max(low - edge, edge - high)
            usual = SENTINEL.fullmatch(f"{edge:.10g}")
            if gap >= (high - low) * (1 if usual else 10):
                found.setdefault(float(edge), []).append((name, count))
    for value, places in found.items():
        names, counts = zip(*places, strict=True)
        others = [n for n, x in kept.items() if n not in names and (x == value).any()]
        what = f"{value:.10g} lies far outside of the other numbers: is it no reading?"
        mend = (("add", "NA", f"{value:.10g}"),)
        if others:
            what += f" As NA it would be none in {cells.quoted(others, 3)} either."
            mend = ()
        yield Finding(what, (), names, sum(counts), mend, stops=False)


def joined(
    X: np.ndarray, y: np.ndarray, group: np.ndarray, line: np.ndarray
) -> tuple[np.ndarray, list[Finding]]:
    """Groups such that identical rows of X share one, int64 (n,) from 0; and warnings.

    line: what to call each row by. Rows are compared by a 64-bit hash.
    """
    same, _ = pd.factorize(pd.util.hash_pandas_object(pd.DataFrame(X), index=False))
    own = np.unique(group, return_inverse=True)[1]
    copies, fails = np.bincount(same), np.bincount(same, y)
    if copies.max() == 1:
        return own, []
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first = line[same == (copies > 1).argmax()][:2]
    what = "rows that repeat the readings of another: they stay in one part"
    repeated = int(copies[copies > 1].sum())
    notes = [Finding(what, tuple(first.tolist()), count=repeated, stops=False)]
    if (mixed := (fails > 0) & (fails < copies)).any():
        one = same == mixed.argmax()
        pair = int(line[one & (y == 0)][0]), int(line[one & (y == 1)][0])
        what = "the same readings, but one passes and one fails"
        what += f" ({mixed.sum()} such sets)"
        notes.append(Finding(what, pair, count=int(copies[mixed].sum()), stops=False))
    size = len(copies) + own.max() + 1
    edges = coo_array((np.ones(len(y)), (same, len(copies) + own)), shape=(size, size))
    component = connected_components(edges, directed=False)[1][same]
    return np.unique(component, return_inverse=True)[1], notes


def leaks(X: np.ndarray, y: np.ndarray, features: tuple[str, ...]) -> list[Finding]:
    """A warning for each column that alone has an AUC above .99 or below .01.

    Either among the rows where it was read (five fails and five passes at least), or
    among all with a missing reading as the lowest: that it was read may be the leak.
    """
    notes, failed = [], y == 1
    for column, name in zip(X.T, features, strict=True):
        read = ~np.isnan(column)
        aucs = [_auc(np.where(read, column, -np.inf), failed)]
        if not read.all() and np.bincount(failed[read], minlength=2).min() >= 5:
            aucs.append(_auc(column[read], failed[read]))
        auc = max(aucs, key=lambda a: abs(a - 0.5))
        if abs(auc - 0.5) > LEAK - 0.5:
            what = (
                f"the column alone tells fails from passes (AUC {auc:.3f}): if it is "
            )
            what += f"known only after the verdict, {cells.word('DROP', name)}"
            notes.append(Finding(what, columns=(name,), stops=False, leak=True))
    return notes


def _auc(score: np.ndarray, failed: np.ndarray) -> float:
    """P(a fail's score is above a pass's), ties counted half."""
    n1, n0 = int(failed.sum()), int((~failed).sum())
    ranks = pd.Series(score).rank().to_numpy()
    return (ranks[failed].sum() - n1 * (n1 + 1) / 2) / (n1 * n0)


def locate(path: str) -> Path:
    """The file at `path`, relative to the working folder or else to the project."""
    given = Path(path).expanduser()
    file = given if given.exists() else paths.ROOT / given
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise TableError(f"{path} {what}: expected a CSV, Parquet or Excel file")
    return file

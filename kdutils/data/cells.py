"""cells: a user's table as columns of numbers and texts, with every fault of its file.

CSV is read line by line, once and in pieces; Parquet and Excel by pandas. A line number
is the file's, whose header is line 1 if nothing stands above it.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pandas as pd
from pandas._libs.parsers import STR_NA_VALUES

SEPARATORS = ",;\t|"
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
MISSING = {word.casefold() for word in STR_NA_VALUES}
# How a file begins that is no text: its kind, and what reads it.
BINARY = {b"PAR1": ("Parquet", "pyarrow"), b"PK\x03\x04": ("Excel", "openpyxl")}
BINARY |= {b"\xd0\xcf\x11\xe0": ("Excel before 2007", "xlrd")}
MARKS = {codecs.BOM_UTF8: "utf-8-sig"}
MARKS |= dict.fromkeys((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "utf-16")
SHOWN = 5  # line numbers that a finding keeps
_PIECE = 20_000  # rows that are parsed at once
_LONGEST = 200  # lines of one quoted cell, at most
COMMA = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class Finding:
    """One thing that a table or an option has wrong.

    what: what stands there, and what was expected; lines: the first of the file's line
    numbers, none where it is no line's; count: how many cells, rows or columns;
    mend: steps ("set" | "add" | "cut", option of make, value) that mend it; none: by
    hand. stops: whether the table cannot be read so; else it is a warning; leak:
    whether it is a column that alone tells the verdict.
    """

    what: str
    lines: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()
    count: int = 1
    mend: tuple[tuple[str, str, str], ...] = ()
    stops: bool = True
    leak: bool = False

    def option(self) -> str:
        """The mend as words for make; '' if it is by hand."""
        kept = {key: [] for step, key, _ in self.mend if step != "cut"}
        for step, key, value in self.mend:
            if step != "cut":
                kept[key].append(value)
        words = [word(key, *values) for key, values in kept.items()]
        cut = [
            f"{key} without {value}" for step, key, value in self.mend if step == "cut"
        ]
        return " ".join(words or cut)

    def sentence(self, file: str) -> str:
        """The finding in one line that names the file."""
        where = [file]
        if self.lines:
            where.append(f"line{'s' * (self.count > 1)} {self.place()}")
        if self.columns:
            names = quoted(self.columns)
            where.append(f"column{'s' * (len(self.columns) > 1)} {names}")
        hint = f"; mended by {self.option()}" if self.mend else ""
        return f"{', '.join(where)}: {self.what}{hint}"

    def place(self) -> str:
        """The line numbers: '4, 17 and 30 more'."""
        more = self.count - len(self.lines)
        shown = ", ".join(map(str, self.lines))
        return f"{shown} and {more} more" if self.lines and more > 0 else shown


def quoted(names: Iterable[str], most: int = 8) -> str:
    """Some names for a sentence: 'a', 'b' and 3 more."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(str(name)) for name in names[:most]) + more


def word(key: str, *values: str) -> str:
    """`KEY=...` to be pasted behind `make report`.

    Of a key that takes a list, the values are one CSV record.
    """
    text = record(values) if key in ("DROP", "NA", "ONEHOT") else values[0]
    return f"{key}={shlex.quote(text.replace('$', '$$'))}" if text else f"{key}="


def sep_word(sep: str) -> str:
    """What make's SEP calls a separator."""
    return "tab" if sep == "\t" else sep


def record(values: Sequence[str]) -> str:
    """Some texts as one CSV record."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().removesuffix("\n")


@dataclass
class Column:
    """A column's numbers, NaN where none is read, and the texts that stand there.

    numbers: float64 (n,); texts: text -> its code; places, codes: where a text stands,
    int64 (k,), and which, int32 (k,); commas, points: how many numbers have a decimal
    comma or a point; comma: place and text of the first with a comma. Both are counted
    only where a comma may be one. dots: whether a cell has a point.
    """

    numbers: list | np.ndarray = field(default_factory=list)
    texts: dict[str, int] = field(default_factory=dict)
    places: list | np.ndarray = field(default_factory=list)
    codes: list | np.ndarray = field(default_factory=list)
    comma: list[tuple[int, str]] = field(default_factory=list)
    commas: int = 0
    points: int = 0
    dots: bool = False

    def close(self) -> None:
        """Join the pieces."""
        empty = {"numbers": float, "places": np.int64, "codes": np.int32}
        for name, kind in empty.items():
            pieces = getattr(self, name)
            whole = np.concatenate(pieces) if pieces else np.empty(0, kind)
            setattr(self, name, whole)


class Table:
    """A user's table: its names, known when it is made, and its cells after `load`.

    sep, decimal: one character, or `tab`; '' to find it out; encoding: a name that
    Python knows, '' for UTF-8 or UTF-16 by their marks, and latin-1 where the bytes are
    not UTF-8.
    found: what is wrong with the file. line: int64 (n,), the line of each row;
    columns: name -> Column; texts: name -> the cells of a column as they stand.
    """

    def __init__(self, file: Path, *, sep: str = "", decimal: str = "", encoding=""):
        self.file, self.found, self.names = file, [], []
        self.columns, self.texts, self.line = {}, {}, np.empty(0, np.int64)
        self.sep = "\t" if sep in ("tab", "\\t") else sep
        self.decimal, self.encoding = decimal, ""
        self.frame, self.rows, self._text = None, iter(()), None
        if len(self.sep) > 1 or self.sep in ('"', "\r", "\n"):
            what = f"SEP={sep} does not separate cells: expected one character, or tab"
            self._refuse(what, mend=(("set", "SEP", ""),))
            self.sep = ""
        if decimal not in ("", ",", "."):
            what = f"DECIMAL={decimal} is neither a comma nor a point"
            self._refuse(what, mend=(("set", "DECIMAL", ""),))
            self.decimal = ""
        with file.open("rb") as start:
            kind = BINARY.get(start.read(4))
        if kind:
            self.encoding, self.sep = kind[0], ""
            self._read_binary(*kind)
        else:
            self._open_text(encoding)

    def _refuse(self, what: str, *lines: int, **more) -> None:
        self.found.append(Finding(what, lines, **more))

    def close(self) -> None:
        """Close the file."""
        if self._text:
            self._text.close()

    # -- the header

    def _read_binary(self, kind: str, needs: str) -> None:
        try:
            read = pd.read_parquet if kind == "Parquet" else pd.read_excel
            frame = read(self.file).reset_index(drop=True)
        except ImportError:
            self._refuse(
                f"this is a file of {kind}, and reading it needs {needs}: "
                f"python -m pip install {needs}"
            )
            return
        except Exception as problem:  # each of these readers has errors of its own
            first = (str(problem).strip() or type(problem).__name__).splitlines()[0]
            self._refuse(f"this is no file of {kind} that can be read: {first}")
            return
        self._name([str(name) for name in frame.columns], 1)
        self.frame = frame.set_axis(self.names, axis=1).dropna(how="all")

    def _open_text(self, encoding: str) -> None:
        self.encoding = self._encoding(encoding)
        if not self.encoding:
            return
        self._text = text = self.file.open(encoding=self.encoding, newline="")
        first = 1
        for line in text:
            if line.strip() and not (given := re.match(r'"?sep=(.)"?\s*$', line)):
                break
            self.sep = self.sep or (given[1] if line.strip() else "")
            first += 1
        else:
            self._refuse("the file is empty: expected a header and rows")
            return
        cells = {s: len(_cells(line, s)) for s in SEPARATORS}
        best = max(SEPARATORS, key=cells.get)
        free = not self.sep
        if self.sep and len(_cells(line, self.sep)) == 1 < cells[best]:
            what = f"only one column with SEP={sep_word(self.sep)}, {cells[best]} with "
            what += NAMES[best]
            self._refuse(what, first, mend=(("set", "SEP", sep_word(best)),))
            self.sep = best
        self.sep = self.sep or best
        if free and self.sep != "," and cells.get(self.sep, 2) > 1:
            what = f"cells are separated by {NAMES.get(self.sep, repr(self.sep))}"
            mend = (("set", "SEP", sep_word(self.sep)),)
            self._refuse(what, mend=mend, stops=False)
        self.rows = _records(chain([line], text), self.sep, first, self.found)
        number, header = next(self.rows, (first, [line.strip()]))
        if len(header) == 1:
            self._refuse(
                f"only one column, {header[0].strip()!r}: expected columns separated "
                "by commas, semicolons, tabs or bars",
                number,
            )
        self._name(header, number)

    def _name(self, header: list[str], line: int) -> None:
        """Keep the names, each once."""
        for i, cell in enumerate(header, 1):
            name = re.sub(r"\s*[\r\n]\s*", " ", cell.strip()) or f"column {i}"
            if name in self.names:
                where = f"{self.names.index(name) + 1} and {i}"
                self._refuse(f"columns {where} are both {name!r}: rename one", line)
                name = f"{name} ({i})"
            self.names.append(name)

    def _encoding(self, given: str) -> str:
        """The encoding of the text; '' if it is none."""
        with self.file.open("rb") as file:
            start = file.read(1 << 16)
        mark = next(
            (name for mark, name in MARKS.items() if start.startswith(mark)), ""
        )
        sure = mark or "utf-8-sig"
        if mark != "utf-16" and b"\0" in start:
            self._refuse("this is no text: expected CSV, Parquet or Excel")
            return ""
        if given:
            try:
                b"".decode(given)  # an encoding of texts, not hex or zlib
                name = codecs.lookup(given).name
            except LookupError:
                what, lines = f"ENCODING={given} is no encoding that Python knows", ()
            else:
                wanted = "utf-8-sig" if name == "utf-8" else name
                wrong = self._undecodable(wanted)
                if not wrong and mark in ("", wanted):
                    return wanted
                what, lines = f"the file is marked as {mark}, not {given}", ()
                if wrong:
                    what, lines = f"byte 0x{wrong[1]:02x} is not {given}", wrong[:1]
            found = "latin-1" if self._undecodable(sure) else sure
            mend = (("set", "ENCODING", "" if found == sure else found),)
            self._refuse(what, *lines, mend=mend)
            return found
        if wrong := self._undecodable(sure):
            self._refuse(
                f"byte 0x{wrong[1]:02x} is not UTF-8: the file is read as latin-1",
                wrong[0],
                mend=(("set", "ENCODING", "latin-1"),),
                stops=False,
            )
            return "latin-1"
        return sure

    def _undecodable(self, encoding: str) -> tuple[int, int] | None:
        """The line and the value of the first byte that is not of an encoding."""
        decoder, line = codecs.getincrementaldecoder(encoding)(), 1
        with self.file.open("rb") as file:
            while True:
                block = file.read(1 << 20)
                try:
                    decoder.decode(block, final=not block)
                except UnicodeDecodeError as error:
                    whole = error.object
                    return line + whole.count(b"\n", 0, error.start), whole[error.start]
                line += block.count(b"\n")
                if not block:
                    return None

    # -- the cells

    def load(
        self, texts: Iterable[str], skip: Iterable[str], na: Iterable[str]
    ) -> None:
        """Read the cells; texts: columns kept as they stand; skip: columns not read.

        na: what else than MISSING says that no reading was taken; a number in any form.
        """
        self.na = MISSING | {text.strip().casefold() for text in na}
        self.comma = self.decimal == "," or (self.decimal == "" and self.sep != ",")
        plain = [text.replace(",", ".") if self.comma else text for text in na]
        self.na_numbers = [n for text in plain if (n := _number(text)) is not None]
        self.odd: set[str] = set()
        texts, skip = set(texts), set(skip)
        self.texts = {name: [] for name in self.names if name in texts}
        learnt = [name for name in self.names if name not in texts | skip]
        self.columns = {name: Column() for name in learnt}
        if self.frame is not None:
            self._load_frame()
        else:
            self._load_rows()
        for column in self.columns.values():
            column.close()

    def _load_frame(self) -> None:
        self.line = self.frame.index.to_numpy() + 2
        for name in [*self.texts, *self.columns]:
            column = self.frame.pop(name)
            numeric = pd.api.types.is_numeric_dtype(column.dtype)
            if name in self.columns and numeric:
                numbers = column.to_numpy(float, na_value=np.nan, copy=True)
                numbers[np.isin(numbers, self.na_numbers)] = np.nan
                self.columns[name].numbers.append(numbers)
                continue
            cells = column.astype(object).where(column.notna(), "").map(str).tolist()
            if name in self.columns:
                self._add(self.columns[name], cells, 0)
            else:
                self.texts[name] = cells

    def _load_rows(self) -> None:
        width, lines, rows, done = len(self.names), [], [], 0
        place = {name: i for i, name in enumerate(self.names)}
        uneven: dict[int, list[int]] = {}
        while piece := list(islice(self.rows, _PIECE)):
            kept = []
            for line, cells in piece:
                if len(cells) != width:
                    if len(cells) > 1 or cells[0].strip():
                        uneven.setdefault(len(cells), []).append(line)
                elif any(map(str.strip, cells)):
                    kept.append((line, cells))
            if not kept:
                continue
            lines, rows = zip(*kept, strict=True)
            self.line = np.concatenate((self.line, lines))
            cells = list(zip(*rows, strict=True))
            for name, texts in self.texts.items():
                texts += cells[place[name]]
            for name, column in self.columns.items():
                self._add(column, cells[place[name]], done)
            done += len(kept)
        for n, lines in sorted(uneven.items()):
            what = f"{n} cell{'s' * (n > 1)} where the header has {width}"
            self._refuse(what, *lines[:SHOWN], count=len(lines))

    def _add(self, column: Column, cells: Sequence[str], done: int) -> None:
        """Append cells to a column; done: how many rows it has so far."""
        whole = "".join(cells)
        column.dots |= "." in whole
        pointed = self.comma and "." in whole
        changed = self.comma and "," in whole and not pointed
        plain = [cell.replace(",", ".") for cell in cells] if changed else cells
        numbers = _numbers(plain, whole.isascii() and "_" not in whole, self.odd)
        numbers[np.isin(numbers, self.na_numbers)] = np.nan
        if pointed:
            dots = [i for i in np.flatnonzero(numbers == numbers) if "." in cells[i]]
            if self.decimal == ",":
                numbers[dots] = np.nan
            else:
                column.points += len(dots)
        places, codes = [], []
        for i in np.flatnonzero(np.isnan(numbers)):
            text = cells[i].strip()
            if text.casefold() in self.na:
                continue
            if pointed and COMMA.fullmatch(text):
                number = float(text.replace(",", "."))
                numbers[i] = np.nan if number in self.na_numbers else number
            elif not _in(plain[i], self.na_numbers):
                places.append(done + i)
                codes.append(column.texts.setdefault(text, len(column.texts)))
        if self.comma and "," in whole:
            read = [i for i in np.flatnonzero(numbers == numbers) if "," in cells[i]]
            column.commas += len(read)
            free = SHOWN - len(column.comma)
            column.comma += [(done + i, cells[i].strip()) for i in read[:free]]
        column.numbers.append(numbers)
        if places:
            column.places.append(np.array(places))
            column.codes.append(np.array(codes, np.int32))


def _in(text: str, numbers: list[float]) -> bool:
    return bool(numbers) and _number(text) in numbers


def _number(text: str) -> float | None:
    """What float() makes of a text, but 1_000 and digits of other scripts are none."""
    try:
        return float(text) if text.isascii() and "_" not in text else None
    except ValueError:
        return None


def _numbers(cells: Sequence[str], simple: bool, odd: set[str]) -> np.ndarray:
    """float64 (n,), NaN where a cell is no number.

    simple: the cells are ASCII without an underscore; odd: cells that were no numbers
    before, of which this adds more, for speed.
    """
    if simple:
        with contextlib.suppress(ValueError):
            return np.fromiter(map(float, cells), float, len(cells))
        with contextlib.suppress(ValueError):
            known = (np.nan if cell in odd else float(cell) for cell in cells)
            return np.fromiter(known, float, len(cells))
    numbers = np.array([_number(cell) for cell in cells], float)
    if len(odd) < _PIECE:
        odd |= {cells[i] for i in np.flatnonzero(np.isnan(numbers))}
    return numbers


def _cells(line: str, sep: str) -> list[str]:
    return next(csv.reader([line], delimiter=sep)) if '"' in line else line.split(sep)


def _records(
    lines: Iterator[str], sep: str, first: int, found: list[Finding]
) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each record; the first one is the header.

    A quoted cell may hold line breaks. Where a quote is not closed, or only so that the
    record has another number of cells than the header, that line is left out, `found`
    names it, and reading goes on with the next line.
    """
    ahead: list[str] = []  # lines read too far, the next one last
    opened, width, number = [], 0, first - 1

    def following() -> str:
        return ahead.pop() if ahead else next(lines, "")

    while line := following():
        number += 1
        if '"' not in line:
            cells = line.rstrip("\r\n").split(sep)
        else:
            taken = [line]
            cells = _closed(taken, sep)
            while cells is None and len(taken) < _LONGEST and (more := following()):
                taken.append(more)
                if '"' in more:
                    cells = _closed(taken, sep)
            if not cells or (len(taken) > 1 and width and len(cells) != width):
                opened.append(number)
                ahead += reversed(taken[1:])
                if width:
                    continue
                cells = line.strip().split(sep)
                taken = [line]
            yield number, cells
            number += len(taken) - 1
            width = width or len(cells)
            continue
        yield number, cells
        width = width or len(cells)
    if opened:
        what = "a quote is opened and not closed"
        found.append(Finding(what, tuple(opened[:SHOWN]), count=len(opened)))


def _closed(lines: list[str], sep: str) -> list[str] | None:
    """The cells of a record; None if a quote is still open, [] if it cannot be one."""
    try:
        records = list(csv.reader(lines, delimiter=sep, strict=True))
    except csv.Error as problem:
        if "unexpected end" in str(problem):
            return None
        return next(csv.reader(lines, delimiter=sep)) if len(lines) == 1 else []
    return records[0] if len(records) == 1 else []

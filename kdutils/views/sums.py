"""sums: a report's checksums, what differs in a second run, README's tables."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from itertools import zip_longest
from pathlib import Path

from kdutils import paths

NAME = "SHA256SUMS"
KINDS = {"tables": "table", "figures": "figure", "notebooks": "notebook"}
KINDS |= {"ship": "shipped file"}
SHOWN = 10


def listed(report: Path) -> list[Path]:
    """The files a report answers for; never measured times, runs or half a notebook."""
    inside = (path for folder in KINDS for path in (report / folder).rglob("*.*"))
    files = (path for path in inside if path.is_file() and len(path.suffixes) == 1)
    return sorted([*files, *report.glob("*.html")])


def digests(report: Path) -> dict[str, str]:
    """The sha256 of each listed file by its path inside the report."""
    found = {}
    for path in listed(report):
        sha = hashlib.sha256(path.read_bytes()).hexdigest()
        found[path.relative_to(report).as_posix()] = sha
    return found


def write(report: Path) -> str:
    """Write SHA256SUMS in the form of `sha256sum`; a sentence with the counts."""
    now = digests(report)
    text = "".join(f"{sha}  {name}\n" for name, sha in now.items())
    paths.write(report / NAME, text.encode())
    size = sum(path.stat().st_size for path in report.glob("*.html"))
    return f"{report}: {counts(now)}; pages {size / 1e6:.1f} MB"


def read(report: Path) -> dict[str, str]:
    """The sums as written, by path."""
    lines = (line.split("  ", 1) for line in (report / NAME).read_text().splitlines())
    return {name: sha for sha, name in lines}


def counts(names) -> str:
    """How many of each kind: `3 tables, 1 figure, ...`."""
    kinds = Counter(KINDS.get(Path(name).parts[0], "page") for name in names)
    return ", ".join(f"{n} {kind}{'s' * (n > 1)}" for kind, n in kinds.items())


def compare(first: Path, again: Path) -> tuple[bool, list[str]]:
    """Whether a second run equals what the first's SHA256SUMS promises; what to say."""
    promised, found, kept = read(first), digests(again), digests(first)
    lines = []
    for name in sorted(promised | found):
        if promised.get(name) == found.get(name):
            continue
        if name not in found:
            lines.append(f"{name}: the second run did not write it")
        elif name not in promised:
            lines.append(f"{name}: only the second run wrote it")
        elif kept.get(name) != promised[name]:
            lines.append(f"{name}: {first / name} is not the file that {NAME} names")
        else:
            lines += [f"{name} differs", *differences(first / name, again / name)]
    if lines:
        return False, [*lines, f"The second run is kept: {again}"]
    return True, [f"{first}: a second run gives the same bytes: {counts(promised)}"]


def differences(one: Path, two: Path) -> list[str]:
    """Up to ten differing rows of two CSVs, or cells of two notebooks; else nothing."""
    if one.suffix == ".csv":
        first, second = rows(one), rows(two)
        pairs = enumerate(zip_longest(first, second))
        lines = [
            f"  {sign} row {place}: {','.join(row)}"
            for place, pair in pairs
            for sign, row in zip("-+", pair, strict=True)
            if row and pair[0] != pair[1]
        ]
        return [*_cut(lines, 2 * SHOWN, "lines"), *largest(first, second)]
    if one.suffix == ".ipynb":
        first, second = cells(one), cells(two)
        found = [id for id in {**first, **second} if first.get(id) != second.get(id)]
        return _cut([f"  cell {id}" for id in found], SHOWN, "cells")
    return []


def _cut(lines: list[str], most: int, what: str) -> list[str]:
    more = len(lines) - most
    return [*lines[:most], f"  and {more} more {what}"] if more > 0 else lines


def rows(path: Path) -> list[list[str]]:
    """A CSV's rows; row 0 is its header."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def cells(path: Path) -> dict[str, dict]:
    """A notebook's cells by id."""
    found = json.loads(path.read_text("utf-8"))["cells"]
    return {cell.get("id", str(place)): cell for place, cell in enumerate(found)}


def largest(one: list[list[str]], two: list[list[str]]) -> list[str]:
    """The largest relative difference of two tables' numbers, and its column."""
    gaps = []
    for a, b in zip(one[1:], two[1:], strict=False):
        for column, x, y in zip(one[0], map(number, a), map(number, b), strict=False):
            if x is not None and y is not None and x != y:
                gaps.append((abs(x - y) / max(abs(x), abs(y)), column))
    gap, column = max(gaps, default=(0, ""))
    return [f"  largest relative difference {gap:.1g}, in {column}"] if gaps else []


def number(text: str) -> float | None:
    """The number a CSV's cell holds, if it holds one."""
    try:
        return float(text)
    except ValueError:
        return None


TABLE = re.compile(
    r"(<!-- table: (?P<name>[\w-]+)(?P<columns>(?: +[\w-]+)*)"
    r"(?: : (?P<keys>[\w/ -]+?))? -->\n).*?(<!-- end -->)",
    re.S,
)


def fill(text: str, reports: Path) -> str:
    """README's text with each `<!-- table: name column ... -->` filled from its CSV.

    The table is that of reports/paper, or of reports/default where paper has none; one
    that neither has is left as it is. Without columns, all are shown. After a colon
    stand the rows to show, in this order, each by its first column.
    """

    def table(match: re.Match) -> str:
        for profile in ("paper", "default"):
            path = reports / profile / "tables" / f"{match['name']}.csv"
            if path.exists():
                keys = (match["keys"] or "").split()
                shown = markdown(path, match["columns"].split(), keys)
                return f"{match[1]}{shown}<!-- end -->"
        return match[0]

    return TABLE.sub(table, text)


def markdown(path: Path, columns: list[str], keys: list[str] | None = None) -> str:
    """A CSV as a Markdown table: fractions to four digits; keys: the rows to show."""
    header, *body = rows(path)
    if unknown := [name for name in columns if name not in header]:
        raise ValueError(f"README.md asks for {', '.join(unknown)}, which {path} lacks")
    places = [header.index(name) for name in columns or header]
    if keys:
        if missing := {*keys} - {row[places[0]] for row in body}:
            raise ValueError(f"README.md asks for {min(missing)}, not a row of {path}")
        body = [row for key in keys for row in body if row[places[0]] == key]
    right = [all(number(row[at] or "0") is not None for row in body) for at in places]
    lines = [[header[at] for at in places], ["---:" if to else "---" for to in right]]
    lines += [[short(row[at]) for at in places] for row in body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def short(text: str) -> str:
    """A cell for reading: a long fraction to four digits, `|` escaped."""
    value = number(text)
    if value is None or len(text.partition(".")[2]) <= 4:
        return text.replace("|", "\\|")
    return f"{value:.4g}"

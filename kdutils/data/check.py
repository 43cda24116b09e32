"""check: every fault of a user's table at once, and the command that reads it.

python -m kdutils.data.check DATA=my.csv TARGET=fail    the words are those of make
"""

from __future__ import annotations

import shlex
import sys
import time

from kdutils.data import Rows, cells, usertable
from kdutils.data.cells import Finding
from kdutils.data.divide import TableError

# make's words in the order of a command, and what `usertable.examine` calls them.
WORDS = {"DATA": "path", "TARGET": "target", "GROUP": "group", "TIME": "time"}
WORDS |= {"DROP": "drop", "FAIL": "fail", "ONEHOT": "onehot", "NA": "na"}
WORDS |= {"DECIMAL": "decimal", "SEP": "sep", "ENCODING": "encoding"}
FOUND_OUT = ("DECIMAL", "SEP", "ENCODING")
LISTS = ("DROP", "ONEHOT", "NA")
ROUNDS = 4  # times that a table is read, each with what mends the faults before
HEAD = ("", "line", "column", "what", "how many", "option")


def options(words: list[str]) -> dict[str, str]:
    """KEY=value words as a dict. ValueError for a key that is not one of make's."""
    given = dict.fromkeys(WORDS, "")
    for text in words:
        key, equals, value = text.partition("=")
        if key not in WORDS or not equals:
            raise ValueError(f"{text!r} is not one of {'=, '.join(WORDS)}=")
        given[key] = value
    return given


def mended(given: dict[str, str], found: list[Finding]) -> dict[str, str]:
    """The options with every step that the findings name."""
    new = dict(given)
    lists = {key: usertable.record(key, given[key], []) for key in LISTS}
    for step, key, value in dict.fromkeys(s for one in found for s in one.mend):
        if step == "set" and key not in LISTS:
            new[key] = value
        elif step == "set":
            lists[key] = []
        elif step == "add" and value not in lists[key]:
            lists[key].append(value)
        elif step == "cut" and value in lists[key]:
            lists[key].remove(value)
    return new | {key: cells.record(values) for key, values in lists.items()}


def command(given: dict[str, str]) -> str:
    """The command for a shell that makes the report with these options."""
    words = [f"{k}={shlex.quote(v.replace('$', '$$'))}" for k, v in given.items() if v]
    return " ".join(["make", "report", *words])


def look(given: dict[str, str]) -> tuple[Rows | None, list[Finding]]:
    """The rows, None if a fault stops them; and every fault, the divisions' too."""
    try:
        rows, found = usertable.examine(**{WORDS[key]: given[key] for key in WORDS})
    except TableError as problem:
        return None, [Finding(str(problem))]
    if rows is None:
        return None, found
    own = f"{rows.source}: "
    try:
        notes = usertable.check(rows)
    except TableError as problem:
        return None, [*found, Finding(str(problem).removeprefix(own))]
    return rows, [*found, *(Finding(n.removeprefix(own), stops=False) for n in notes)]


def findings(
    given: dict[str, str],
) -> tuple[Rows | None, list[Finding], dict[str, str]]:
    """The rows that the mended options give, every fault on the way, these options.

    The table is read again with what mends its faults, until nothing new is found: what
    is named in the end has been tried. What the reader found out needs no second try.
    """
    rows, found = look(given)
    new = mended(given, found)
    last = [*found]
    for _ in range(ROUNDS - 1):
        told = {key: new[key] for key in FOUND_OUT}
        if new == given or (new == given | told and not any(one.stops for one in last)):
            break
        given = new
        rows, last = look(given)
        known = {(one.what, one.columns) for one in found}
        found += [one for one in last if (one.what, one.columns) not in known]
        new = mended(given, last)
    return rows, found, new


def table(found: list[Finding]) -> str:
    """The findings as plain text: leaks first, then what stops, then the warnings."""
    order = sorted(found, key=lambda one: (not one.leak, not one.stops))
    lines = [HEAD]
    for one in order:
        by_hand = "edit the file" if one.stops and one.lines and not one.mend else ""
        names = ", ".join(one.columns[:3])
        names += f" and {len(one.columns) - 3} more" if len(one.columns) > 3 else ""
        told = "stops" if one.stops else "warns", one.place(), names, one.what
        lines.append((*told, f"{one.count:,}", one.option() or by_hand))
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def main(words: list[str]) -> int:
    """Print what is wrong with a table and the command; 1 if anything stops it."""
    start = time.perf_counter()
    given = options(words)
    rows, found, new = findings(given)
    stops = [one for one in found if one.stops]
    if found:
        print(table(found), end="\n\n")
    if rows is not None:
        size = f"{len(rows.y):,} rows, {int(rows.y.sum()):,} fails "
        size += f"({rows.fail!r}), {len(rows.features)} columns to learn from"
        size += " after the command below" * bool(stops)
        print(f"{rows.source}: {size} ({time.perf_counter() - start:.1f} s)")
    if stops and rows is None:
        print("After editing what has no option, this command reads the table:")
    if stops or new != given:
        print(command(new))
    elif not found:
        print("Nothing stands in the way.")
    return int(bool(stops))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ValueError as error:
        sys.exit(str(error))

"""A broken table: one report names every fault, and its command reads the table."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kdutils.data import cells, check, usertable
from kdutils.data.divide import TableError
from kdutils.deploy import readings

N = 60


@dataclass
class Broken:
    """A table of 60 rows whose line 2 is the first, with faults put into it.

    said: what the report must say, each once; by_hand: what no option mends.
    """

    columns: dict[str, list] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=lambda: {"TARGET": "fail"})
    form: dict = field(default_factory=lambda: {"sep": ",", "encoding": "utf-8"})
    said: list[str] = field(default_factory=list)
    by_hand: list = field(default_factory=list)
    header: dict[str, str] = field(default_factory=dict)

    def put(self, name, line, value, step=1):
        for i in range(line - 2, line - 2 + step * 4, step)[: 4 if step > 1 else 1]:
            self.columns[name][i] = value

    def write(self, path, *, repaired=False):
        """Write the table; repaired: without what is to be mended by hand."""
        names = [name for name in self.columns if name != "fail"] + ["fail"]
        rows = [[str(self.columns[name][i]) for name in names] for i in range(N)]
        if self.form.get("decimal"):
            rows = [[comma(cell) for cell in row] for row in rows]
        head = [self.header.get(name, name) for name in names]
        with path.open("w", newline="", encoding=self.form["encoding"]) as file:
            csv.writer(file, delimiter=self.form["sep"], lineterminator="\n").writerows(
                [head, *rows]
            )
        lines = path.read_text(self.form["encoding"]).splitlines()
        if not repaired:
            for change in self.by_hand:
                change(lines)
        path.write_text("\n".join(lines) + "\n", self.form["encoding"])


def comma(cell):
    try:
        float(cell)
    except ValueError:
        return cell
    return cell.replace(".", ",")


def whole(seed=0):
    """A table without a fault."""
    rng = np.random.default_rng(seed)
    failed = rng.permutation(np.arange(N) < 15).astype(int)
    columns = {"vth": (rng.normal(450, 15, N) + 9 * failed).round(3).tolist()}
    columns |= {"ileak": rng.uniform(10, 20, N).round(3).tolist()}
    columns |= {"Freq, MHz": rng.normal(2, 0.1, N).round(3).tolist()}
    columns |= {"lot": [i // 6 for i in rng.permutation(N)], "fail": failed.tolist()}
    return Broken(columns)


# -- the faults: each is put into a table and says what the report must have


def fault(name, *said, header=None, by_hand=None, form=None, column=None, **given):
    """A fault of an option, of the file's form, of a column, or made by hand."""

    def put(t):
        t.given |= given
        t.form |= form or {}
        t.header |= header or {}
        t.columns |= {key: make(t) for key, make in (column or {}).items()}
        t.by_hand += [by_hand] if by_hand else []
        t.said += said

    put.__name__ = name
    return put


def cells_of(name, column, line, value, *said, step=1):
    """A fault of one cell, or of four that are `step` lines apart."""

    def put(t):
        t.put(column, line, value, step)
        t.said += said

    put.__name__ = name
    return put


def mess(t):
    t.columns["mess"] = [f"<{i / 7:.2f}" if i % 5 < 2 else i / 3 for i in range(N)]
    t.put("mess", 58, 5.5)
    t.said += ["different texts among numbers, such as '<0.00'"]


def column(name, values, *said, **given):
    """A fault of a column of its own, whose values are made from the verdicts."""
    made = {name: lambda t: [values(i, y) for i, y in enumerate(t.columns["fail"])]}
    return fault(name.replace(", ", " "), *said, column=made, **given)


def separator(lines):
    return next(s for s in "\t;," if s in lines[0])


def short(lines):
    lines[34] = lines[34][: len(lines[34]) // 2].replace("\t", ",")[:3]


def longer(lines):
    for line in (37, 44):
        lines[line] += f"{separator(lines)}7"


def line_break(lines):
    lines[59] = '"a\nb"' + lines[59][len(lines[59].split(separator(lines))[0]) :]


def opened(lines):
    lines[49] = '"' + lines[49]


def no_verdict(lines):
    for line in (4, 51):
        lines[line] = lines[line][:-1]


def third_class(lines):
    lines[20] = lines[20][:-1] + "maybe"


def twice(lines):
    lines[0] = lines[0].replace("lot", "vth")


def hand(change, *said):
    return fault(change.__name__, *said, by_hand=change)


HAND = [hand(short, "1 cell where the header has")]
HAND += [hand(longer, "where the header has", "38, 45  ")]
HAND += [hand(line_break, r"'a\nb' is not a number", "60  ")]
HAND += [hand(opened, "a quote is opened and not closed", "50  ")]
HAND += [hand(no_verdict, "empty, but every row needs a verdict", "5, 52  ")]
HAND += [hand(third_class, "'maybe' is one of 3 classes")]
HAND += [hand(twice, "columns 1 and 4 are both 'vth'")]
ALONE = "the column alone tells fails from passes (AUC 1.000)"
leak = column("code", lambda i, y: y * 5 + i % 4 / 10, ALONE)
WHO = ["'Ann' is text", "or ONEHOT=who for its 2 values"]
CELLS = [
    cells_of("dash", "ileak", 9, "-", "'-' is not", "9, 14, 19, 24  ", step=5),
    cells_of("overload", "Freq, MHz", 30, "OVL", "'OVL' is not a number", step=2),
    cells_of("unit", "vth", 23, "3.3 V", "'3.3 V' is not a number"),
    cells_of("sentinel", "ileak", 40, 9999, "9999 lies far outside", "NA=", step=3),
    cells_of("minus_one", "ileak", 41, -1, "-1 lies far outside", step=3),
    cells_of("endless", "vth", 12, "1e60", "1e+60 is not a finite reading"),
    column("who", lambda i, y: ["Ann", "Bob"][i % 2], *WHO),
    column("remark, free", lambda i, y: f"text {i % 29}", "'text 0' is text"),
    mess,
    leak,
    column(
        "machine",
        lambda i, y: f"M{i % 12}",
        "ONEHOT takes 2 to 9 values, here are 12",
        ONEHOT="machine",
    ),
]
NEAR = "did you mean 'fail'?"
near_target = fault("near", f"no column 'Fial': {NEAR}", "TARGET=fail", TARGET="Fial")
no_target = fault("no_target", f"TARGET is not given: {NEAR}", TARGET="")
UNKNOWN = "which DROP names"
drop_unknown = fault("drop_unknown", f"no column 'qqzz', {UNKNOWN}", DROP="qqzz")
drop_near = column(
    "operator",
    lambda i, y: i * i % 37,
    f"no column 'operatr', {UNKNOWN}: did you mean 'operator'?",
    DROP="operatr",
)
drop_open = fault("drop_open", 'DROP="lot is not one CSV record', DROP='"lot')
one_group = column("batch", lambda i, y: "B1", "a single group, 'B1'", GROUP="batch")
ROLES = "the column is given two roles, GROUP is one"
two_roles = fault("two_roles", ROLES, GROUP="fail")
WORDS = [near_target, no_target]
WORDS += [fault("other_fail", "no verdict is 'NOK'", "FAIL=1", FAIL="NOK")]
WORDS += [drop_unknown, drop_near, drop_open, one_group, two_roles]
WORDS += [fault("decimal", "DECIMAL=x is neither a comma nor a point", DECIMAL="x")]
LATIN = {"form": {"encoding": "latin-1"}, "header": {"ileak": "µA"}}
READ = "byte 0xb5 is not UTF-8: the file is read as latin-1"
COMMA = "have a decimal comma", "cells are separated by semicolons"
FORM = [
    fault("latin", READ, **LATIN),
    fault(
        "no_encoding",
        "ENCODING=utf-9 is no encoding that Python knows",
        ENCODING="utf-9",
    ),
    fault("encoding_wrong", "byte 0xb5 is not utf-8", ENCODING="utf-8", **LATIN),
    fault("semicolons", *COMMA, form={"sep": ";", "decimal": ","}),
    fault("tabs", "cells are separated by tabs", form={"sep": "\t"}),
    fault("sep_wrong", "only one column with SEP=;", SEP=";"),
    fault("sep_long", "SEP=;; does not separate cells", SEP=";;"),
]


def some(seed):
    """Some faults: of cells, of options, of the text, and one by hand or none."""
    rng = np.random.default_rng(seed)
    chosen = [*rng.choice(CELLS, 2, replace=False), WORDS[seed % len(WORDS)]]
    chosen += [rng.choice(WORDS), FORM[seed % len(FORM)]]
    chosen += [HAND[seed // 2 % len(HAND)]] * (seed % 2)
    clash = [{near_target, no_target}, {one_group, two_roles}]
    clash += [{drop_unknown, drop_near}, {drop_near, drop_open}]
    clash += [{drop_open, drop_unknown}]
    kept = []
    for one in dict.fromkeys(chosen):
        if not any({one, other} in clash for other in kept):
            kept.append(one)
    return kept


TABLES = [some(seed) for seed in range(42)]


def pasted(ready):
    """The words that make would hand over where the command is pasted into a shell."""
    names = [*check.WORDS]
    script = ready.replace("make report", "make -s -f -", 1) + " <<'end'\n"
    script += f"export {' '.join(names)}\n"
    script += "all:; @printf '%s\\0' " + " ".join(f'"$${n}"' for n in names) + "\nend"
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return dict(zip(names, run.stdout.split("\0")[:-1], strict=True))


def asked(path, **words):
    return dict.fromkeys(check.WORDS, "") | {"DATA": str(path)} | words


def arguments(given):
    return {check.WORDS[key]: value for key, value in given.items()}


@pytest.mark.parametrize(
    "faults", TABLES, ids=lambda faults: "+".join(f.__name__ for f in faults)
)
def test_one_report_names_all_faults_and_its_command_works(tmp_path, capsys, faults):
    assert len(faults) >= 3
    table = whole(len(faults))
    for put in faults:
        put(table)
    path = tmp_path / "my $ table.csv"
    table.write(path)
    words = [f"{key}={value}" for key, value in asked(path, **table.given).items()]
    status = check.main(words)
    *report, ready = capsys.readouterr().out.splitlines()
    text = "\n".join(report)
    for said in table.said:
        assert sum(said in line for line in report) >= 1, (said, text)
    assert "Traceback" not in text and "Warning" not in text
    assert status == int(any(line.startswith("stops") for line in report)), text
    if leak in faults:
        assert "tells fails from passes" in report[1]

    given = pasted(ready)
    if table.by_hand:
        assert "edit the file" in text and "After editing" in text
        with pytest.raises(TableError):
            usertable.read(**arguments(given))
        table.write(path, repaired=True)
    read = usertable.read(**arguments(given))
    assert read.X.shape[0] == N and read.y.sum() == 15
    kept = {"vth", "Freq, MHz", table.header.get("ileak", "ileak")}
    assert kept <= set(read.features)
    assert not {"who", "remark, free", "mess", "machine"} & set(read.features)
    ileak = read.X[:, read.features.index(table.header.get("ileak", "ileak"))]
    assert np.nanmin(ileak) >= 10 and np.nanmax(ileak) <= 20, "no sentinel is left"


def test_there_are_thirty_tables_and_each_fault_is_in_one():
    assert len({tuple(f.__name__ for f in faults) for faults in TABLES}) >= 30
    met = {fault for faults in TABLES for fault in faults}
    assert met >= {*CELLS, *WORDS, *FORM, *HAND}


def test_a_table_without_a_fault(tmp_path, capsys):
    path = tmp_path / "my.csv"
    whole().write(path)
    assert check.main([f"DATA={path}", "TARGET=fail"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("my.csv: 60 rows, 15 fails ('1'), 4 columns to learn from")
    assert last == "Nothing stands in the way."
    with pytest.raises(ValueError, match="'COLOUR=red' is not one of DATA="):
        check.main(["COLOUR=red"])


def test_it_starts_without_torch(tmp_path):
    path = tmp_path / "my.csv"
    whole().write(path)
    program = "import sys; from kdutils.data import check; check.main(sys.argv[1:]); "
    program += "print(sorted({'torch', 'xgboost', 'matplotlib'} & {*sys.modules}))"
    run = subprocess.run(
        [sys.executable, "-c", program, f"DATA={path}", "TARGET=fail"],
        capture_output=True,
        text=True,
    )
    assert run.stdout.splitlines()[-1] == "[]", run.stderr


# -- what is read, and how


def lines(path, *text, encoding="utf-8"):
    path.write_text("\n".join(text) + "\n", encoding, newline="")
    return str(path)


def numbered(*cells_of_line_4):
    """Sixty rows of x, y and fail; line 4 as given."""
    rows = [f"{i * 7 % 61 / 2},{i * i % 53 / 4},{i % 4 == 0:d}" for i in range(N)]
    rows[2:3] = cells_of_line_4 or rows[2:3]
    return ["x,y,fail", *rows]


def found(path, **options):
    return usertable.examine(path, **{"target": "fail", **options})[1]


def test_a_quoted_cell_may_hold_line_breaks_and_lines_stay_the_files(tmp_path):
    """Line 5 is inside the quotes, so what follows stands one line further down."""
    text = [line + ",remark" for line in numbered()]
    text[1:] = [
        f"{line.removesuffix(',remark')},r{i}" for i, line in enumerate(text[1:])
    ]
    text[3] = text[3].rsplit(",", 1)[0] + ',"two\r\nlines, ""quoted"""'
    text[9] = "?" + text[9][text[9].index(",") :]
    path = lines(tmp_path / "my.csv", *text)
    (only,) = [one for one in found(path) if one.stops]
    assert only.sentence("my.csv").startswith("my.csv, line 11, column 'x': '?'")
    read = usertable.read(path, "fail", na="?")
    assert read.row.tolist() == [0, 1, 2, *range(4, 61)]
    assert read.features == ("x", "y")


def test_each_open_quote_is_named_and_reading_goes_on(tmp_path):
    text = numbered()
    for line in (10, 11, 40):
        text[line - 1] = '"' + text[line - 1]
    text[20] = "1,2"
    path = lines(tmp_path / "my.csv", *text)
    said = {one.what: one.lines for one in found(path) if one.stops}
    assert said["a quote is opened and not closed"] == (10, 11, 40)
    assert said["2 cells where the header has 3"] == (21,)


def test_quotes_are_followed_across_the_pieces_that_are_read_at_once(
    tmp_path, monkeypatch
):
    text = [line + ",r" for line in numbered()]
    text[0] = '"x\nof the head",y,fail,remark'
    for i in (6, 7, 20):
        text[i] = text[i][:-1] + '"two\n\nlines"'
    for i in (30, 31, 33):
        text[i] = '"' + text[i]
    path = lines(tmp_path / "my.csv", *text)
    said = []
    for piece in (1, 2, 3, 7, 1000):
        monkeypatch.setattr(cells, "_PIECE", piece)
        said.append([one.sentence("my.csv") for one in found(path)])
        assert "my.csv, lines 38, 39, 41: a quote is opened" in said[-1][0]
    assert all(one == said[0] for one in said)
    closed = [text[0], *(line.removeprefix('"') for line in text[1:])]
    path = lines(tmp_path / "my.csv", *closed)
    read = usertable.read(path, "fail", drop="remark")
    assert read.features == ("x of the head", "y") and len(read.y) == N
    assert read.row[[0, 5, 6, 7, 59]].tolist() == [1, 6, 9, 12, 66]


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", None),
        ("latin-1", "byte 0xb5 is not UTF-8: the file is read as latin-1"),
    ],
)
def test_the_encoding_is_found_out_and_said(tmp_path, encoding, said):
    text = numbered()
    text[0] = "µA,y,fail"
    path = lines(tmp_path / "my.csv", *text, encoding=encoding)
    assert usertable.read(path, "fail").features == ("µA", "y")
    assert [one.what for one in found(path)] == ([said] if said else [])
    options = {"encoding": "latin-1" if encoding == "latin-1" else encoding}
    assert not found(path, **options)


def test_a_marked_file_is_not_read_as_something_else(tmp_path):
    path = lines(tmp_path / "my.csv", *numbered(), encoding="utf-16")
    (only,) = found(path, encoding="latin-1")
    assert only.what == "the file is marked as utf-16, not latin-1" and only.stops


@pytest.mark.parametrize("sep", ["tab", "|", ":", ";"])
def test_any_one_character_separates_cells_if_it_is_given(tmp_path, sep):
    own = "\t" if sep == "tab" else sep
    path = lines(tmp_path / "my.csv", *(line.replace(",", own) for line in numbered()))
    assert not found(path, sep=sep)
    assert usertable.read(path, "fail", sep=sep).features == ("x", "y")


def test_excel_says_its_separator_in_a_line_of_its_own(tmp_path):
    text = ["sep=;", *(line.replace(",", ";") for line in numbered())]
    read = usertable.read(lines(tmp_path / "my.csv", *text), "fail")
    assert read.row.tolist() == list(range(1, 61))


def test_a_decimal_comma_in_quotes_needs_its_option(tmp_path):
    text = [line.replace(",", '","').join('""') for line in numbered()]
    text = [line.replace(".", ",") for line in text]
    path = lines(tmp_path / "my.csv", *text)
    stops = [one for one in found(path) if one.stops]
    assert [one.columns for one in stops] == [("x",), ("y",)]
    assert {one.mend for one in stops} == {(("set", "DECIMAL", ","),)}
    read = usertable.read(path, "fail", decimal=",")
    assert read.X[1].tolist() == [3.5, 0.25]


def test_points_where_commas_are_decimal_are_refused(tmp_path):
    text = [line.replace(",", ";").replace(".", ",") for line in numbered("1.25;2;0")]
    text[3] = "1.25;2;0"
    path = lines(tmp_path / "my.csv", *text)
    (only,) = [one for one in found(path) if one.stops]
    assert only.mend == (("set", "DECIMAL", ","),) and only.columns == ("x",)
    (only,) = [one for one in found(path, decimal=",") if one.stops]
    assert only.lines == (4,) and "'1.25' is not a number" in only.what


def test_what_stands_for_no_reading_is_none(tmp_path):
    path = lines(tmp_path / "my.csv", *numbered("-,9999.0,0"))
    read = usertable.read(path, "fail", na=" - ,9999")
    assert np.isnan(read.X[2]).all() and np.isnan(read.X).sum() == 2
    digests = {usertable.digest(path, target="fail", na=na) for na in ("", "-")}
    assert len(digests) == 2


def test_a_sentinel_that_another_column_needs_is_named_and_not_proposed(tmp_path):
    text = numbered()
    text[1:] = [
        f"{-1 if i % 20 == 4 else 10 + i * 7 % 61 / 9},{i % 5 - 2},{line[-1]}"
        for i, line in enumerate(text[1:])
    ]
    (only,) = [
        one for one in found(lines(tmp_path / "a", *text)) if "-1 lies" in one.what
    ]
    assert only.columns == ("x",) and only.count == 3 and not only.mend
    assert only.what.endswith("As NA it would be none in 'y' either.")


@pytest.mark.parametrize("values", [[0, 1, 5], [0.0] * 20 + [*range(1, 31)], [1, 2, 3]])
def test_ordinary_numbers_are_no_sentinels(tmp_path, values):
    text = [
        f"{line},{values[i % len(values)]}" for i, line in enumerate(numbered()[1:])
    ]
    path = lines(tmp_path / "my.csv", "x,y,fail,z", *text)
    assert not [one for one in found(path) if "far outside" in one.what]


def test_categories_become_columns_of_0_and_1_on_request_only(tmp_path):
    sites = ["B", "A", "", "C, d"] * 15
    text = [
        f'{line},"{site}"' for line, site in zip(numbered()[1:], sites, strict=True)
    ]
    path = lines(tmp_path / "my.csv", "x,y,fail,site", *text)
    assert [one.mend for one in found(path) if one.stops] == [
        (("add", "DROP", "site"),)
    ]
    read = usertable.read(path, "fail", onehot="site")
    assert read.features == ("x", "y", "site=A", "site=B", "site=C, d")
    X = read.X[:, 2:]
    assert np.isnan(X[2::4]).all() and not np.isnan(np.delete(X, np.s_[2::4], 0)).any()
    assert X[:2].tolist() == [[0, 1, 0], [1, 0, 0]] and X[3].tolist() == [0, 0, 1]
    path = lines(tmp_path / "my.csv", "x,site=A,fail,site", *text)
    (only,) = [one for one in found(path, onehot="site") if one.stops]
    assert only.columns == ("site=A",)


def test_the_student_finds_the_columns_of_0_and_1_by_their_names(tmp_path):
    text = [f"{row},{'AB'[i % 2]}" for i, row in enumerate(numbered()[1:])]
    path = lines(tmp_path / "my.csv", "x,y,fail,site", *text)
    read = usertable.read(path, "fail", onehot="site")
    assert read.features[2:] == ("site=A", "site=B")
    text = [f"{i % 2},{row},{1 - i % 2}" for i, row in enumerate(numbered()[1:])]
    path = lines(tmp_path / "readings.csv", "site=B,x,y,fail,site=A", *text)
    np.testing.assert_array_equal(readings.read_table(path, read.features), read.X)


def test_what_only_a_division_shows_is_said_too(tmp_path, capsys):
    text = [f"{row},L{i // 7},{i}" for i, row in enumerate(numbered()[1:])]
    path = lines(tmp_path / "my.csv", "x,y,fail,lot,when", *text)
    words = [f"DATA={path}", "TARGET=fail", "GROUP=lot", "TIME=when"]
    assert check.main(words) == 0
    assert "rows are left out because their group" in capsys.readouterr().out
    path = lines(
        tmp_path / "few.csv", "x,fail", *(f"{i * 7 % 61},0" for i in range(56))
    )
    with Path(path).open("a") as file:
        file.write("70,1\n71,1\n")
    assert check.main([f"DATA={path}", "TARGET=fail"]) == 1
    assert "2 fails are fewer than the 5 folds" in capsys.readouterr().out


@pytest.mark.parametrize("n", [40, 350, 45_000])
def test_tables_of_any_length_are_read_as_they_are(tmp_path, n):
    rng = np.random.default_rng(n)
    data = pd.DataFrame(rng.normal(size=(n, 3)).round(4), columns=["a", "b", "c"])
    data["fail"] = rng.permutation(np.arange(n) % 4 == 0).astype(int)
    data.to_csv(tmp_path / "my.csv", index=False)
    status = check.main([f"DATA={tmp_path / 'my.csv'}", "TARGET=fail"])
    read = usertable.read(str(tmp_path / "my.csv"), "fail")
    assert status == 0 and read.row.tolist() == list(range(n))
    np.testing.assert_array_equal(read.X, data[["a", "b", "c"]].to_numpy("f4"))


# -- Parquet and Excel

STARTS = {kind: start for start, (kind, _) in cells.BINARY.items()}


@pytest.mark.parametrize(
    ("kind", "needs"), [("Parquet", "pyarrow"), ("Excel", "openpyxl")]
)
def test_what_reads_it_is_named_where_it_is_absent(tmp_path, monkeypatch, kind, needs):
    path = tmp_path / "my.data"
    path.write_bytes(STARTS[kind] + bytes(100))
    monkeypatch.setitem(sys.modules, needs, None)
    if kind == "Parquet":
        monkeypatch.setitem(sys.modules, "fastparquet", None)
    else:  # which kind of Excel it is stands inside of the archive

        def absent(file):
            import openpyxl  # noqa: F401

        monkeypatch.setattr(pd, "read_excel", absent)
    with pytest.raises(TableError) as refused:
        usertable.read(str(path), "fail")
    assert str(refused.value) == (
        f"my.data: this is a file of {kind}, and reading it needs {needs}: python -m "
        f"pip install {needs}"
    )


@pytest.mark.parametrize("kind", ["Parquet", "Excel"])
def test_a_frame_is_read_as_its_csv_would_be(tmp_path, monkeypatch, kind):
    rng = np.random.default_rng(0)
    when = pd.date_range("2024-01-30", periods=N, freq="7h")
    data = pd.DataFrame({"x": rng.normal(size=N), "y": rng.integers(0, 9, N)})
    data["hot"], data["when"] = rng.random(N) < 0.5, when
    data["site"] = ["A", None, "B"] * 20
    data["odd"] = ["-", 9999, *rng.normal(size=N - 2)]
    data["fail"] = np.where(np.arange(N) % 4, "pass", "fail")
    data.loc[7, "x"] = np.nan
    options = {"time": "when", "na": "-,9999", "onehot": "site"}
    data.to_csv(tmp_path / "my.csv", index=False)
    csv_rows = usertable.read(str(tmp_path / "my.csv"), "fail", **options)
    path = tmp_path / "my.table"
    path.write_bytes(STARTS[kind])
    reader = {"Parquet": "read_parquet", "Excel": "read_excel"}[kind]
    monkeypatch.setattr(pd, reader, lambda file: data.copy())
    rows = usertable.read(str(path), "fail", **options)
    assert rows.features == csv_rows.features
    assert np.isnan(rows.X).sum() == 20 * 2 + 3
    for name in ("X", "y", "row", "time", "group"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(csv_rows, name))
    monkeypatch.setattr(pd, reader, lambda file: 1 / 0)
    path.write_bytes(2 * STARTS[kind])
    with pytest.raises(TableError, match=f"no file of {kind} that can be read"):
        usertable.read(str(path), "fail", **options)


def test_real_files_of_parquet_and_excel(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: extra tables")
    pytest.importorskip("openpyxl", reason="openpyxl is not installed: extra tables")
    data = pd.DataFrame({"x": np.arange(N) * 7 % 61, "fail": np.arange(N) % 4 == 0})
    data.to_parquet(tmp_path / "my.parquet")
    data.to_excel(tmp_path / "my.xlsx", index=False)
    for name in ("my.parquet", "my.xlsx"):
        rows = usertable.read(str(tmp_path / name), "fail")
        assert rows.X[:, 0].tolist() == data["x"].tolist()

"""The watcher's reader: what is refused, with its row, column and reason."""

import csv
import hashlib
import os

import numpy as np
import pytest
from toy_edge import FEATURES, HEADER, QUOTED, save

from kdutils.edge import claim, model, reader, simulate, verdicts
from kdutils.edge.reader import Limits, Malformed


@pytest.fixture(scope="module")
def student(path):
    return model.load(path)


@pytest.fixture(autouse=True)
def _a_clock_that_stands(monkeypatch):
    monkeypatch.setattr(verdicts, "utc", lambda: "2026-01-02T03:04:05.678Z")


GOOD = HEADER + b"a,400,5,.1\nb,401.5,-4.75e0,+1E-1\nc,1.,2,3\n"


def judge(tmp_path, student, data, **how):
    path = tmp_path / "lot"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        return reader.judge(fd, student, how.pop("limits", Limits()), **how)
    finally:
        os.close(fd)


def test_a_lot_is_judged_as_the_bundle_judges(tmp_path, student):
    lot = judge(tmp_path, student, GOOD)
    scores = student.bundle.score([[400, 5, 0.1], [401.5, -4.75, 0.1], [1, 2, 3]])
    rows = [line.split(",") for line in lot.content.decode().splitlines()]
    assert rows[0][:3] == ["id", "score", "verdict"]
    assert [row[0] for row in rows[1:]] == ["a", "b", "c"]
    assert np.array_equal(np.float32([row[1] for row in rows[1:]]), scores)
    said = ["fail" if score > np.float32(0.05) else "pass" for score in scores]
    assert [row[2] for row in rows[1:]] == said and lot.fails == said.count("fail")
    assert lot.digest == hashlib.sha256(GOOD).hexdigest() and lot.rows == 3


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("lot7.csv", "lot7.csv"),
        ('a,"b".csv', 'a,"b".csv'),
        ("two\nlines", r"two\nlines"),
        ("\x1b[2J.csv", r"\u001b[2J.csv"),
        ("é.csv", "é.csv"),
        (os.fsdecode(b"\xff.csv"), r"\xff.csv"),
    ],
)
def test_each_row_of_a_verdict_says_where_it_is_from(tmp_path, student, name, cell):
    lot = judge(tmp_path, student, GOOD, name=name)
    names, *rows = csv.reader(lot.content.decode().splitlines())
    found = [dict(zip(names, row, strict=True)) for row in rows]
    for one in found:
        assert one["lot"] == cell and one["time"] == "2026-01-02T03:04:05.678Z"
        assert one["model"] == student.digest[:12]
        fails = np.float32(one["score"]) > np.float32(one["threshold"])
        assert one["verdict"] == ("fail" if fails else "pass")
    assert len(lot.content.splitlines()) == 4, "a line of each unit, for grep"


@pytest.mark.parametrize(
    "data", [reader.BOM + GOOD, GOOD.replace(b"\n", b"\r\n")], ids=["BOM", "CRLF"]
)
def test_a_byte_order_mark_and_crlf_say_the_same(tmp_path, student, data):
    lot = judge(tmp_path, student, data)
    assert lot.wrong is None
    assert lot.content == judge(tmp_path, student, GOOD).content


def row(text):
    return HEADER + b"a,1,2,3\n" + text + b"\nz,1,2,3\n"


NINE = HEADER + b"".join(b"%d,1,2,3\n" % i for i in range(9))
WRONG = {"one_thousand": (row(b"b,1_0,2,3"), "number", 2, "vdd_mV")}
WRONG |= {"nan": (row(b"b,1,nan,3"), "number", 2, "idd_uA")}
WRONG |= {"NaN": (row(b"b,1,2,NaN"), "number", 2, "leak_nA")}
WRONG |= {"inf": (row(b"b,1,2,-inf"), "number", 2, "leak_nA")}
WRONG |= {"empty": (row(b"b,1,,3"), "number", 2, "idd_uA")}
WRONG |= {"all empty": (row(b"b,,,"), "number", 2, "vdd_mV")}
WRONG |= {"space": (row(b"b, 1,2,3"), "number", 2, "vdd_mV")}
WRONG |= {"hexadecimal": (row(b"b,0x1F,2,3"), "number", 2, "vdd_mV")}
WRONG |= {"exponent alone": (row(b"b,1,2,e5"), "number", 2, "leak_nA")}
WRONG |= {"two signs": (row(b"b,--1,2,3"), "number", 2, "vdd_mV")}
WRONG |= {"arabic digits": (row("b,١,2,3".encode()), "number", 2, "vdd_mV")}
WRONG |= {"1e400": (row(b"b,1e400,2,3"), "range", 2, "vdd_mV")}
WRONG |= {"-1e400": (row(b"b,1,-1e400,3"), "range", 2, "idd_uA")}
WRONG |= {"above float32": (row(b"b,1,2,3.5e38"), "range", 2, "leak_nA")}
WRONG |= {"short row": (row(b"b,1,2"), "cells", 2, None)}
WRONG |= {"long row": (row(b"b,1,2,3,4"), "cells", 2, None)}
WRONG |= {"blank line": (row(b""), "cells", 2, None)}
WRONG |= {"semicolons": (row(b"b;1;2;3"), "cells", 2, None)}
WRONG |= {"quotes": (row(b'"b",1,2,3'), "id", 2, "id")}
WRONG |= {"no id": (row(b",1,2,3"), "id", 2, "id")}
WRONG |= {"escape": (row(b"\x1b[2J,1,2,3"), "id", 2, "id")}
WRONG |= {"NUL": (row(b"b\x00,1,2,3"), "id", 2, "id")}
WRONG |= {"long id": (row(b"b" * 65 + b",1,2,3"), "id", 2, "id")}
WRONG |= {"twice": (row(b"a,1,2,3"), "duplicate", 2, "id")}
WRONG |= {"not UTF-8": (row(b"\xff,1,2,3"), "encoding", 2, None)}
WRONG |= {"junk": (bytes(range(256)) * 50, "header", 0, "id")}
WRONG |= {"random junk": (b"\x7fELF\x00\x01" * 99, "short", 0, None)}
WRONG |= {"no such column": (GOOD.replace(b"vdd", b"VDD"), "header", 0, "vdd_mV")}
WRONG |= {"missing column": (b"id,vdd_mV,leak_nA\na,1,2\n", "header", 0, "idd_uA")}
WRONG |= {"column twice": (b"id,vdd_mV,vdd_mV,leak_nA\n", "header", 0, "vdd_mV")}
WRONG |= {"unknown column": (b"id,vdd_mV,idd_uA,leak_nA,bin\n", "header", 0, "bin")}
WRONG |= {"extra in all rows": (GOOD.replace(b"\n", b",0\n"), "header", 0, "0")}
WRONG |= {"extra below": (HEADER + b"a,1,2,3,0\nb,1,2,3,0\n", "cells", 1, None)}
WRONG |= {"quote in the header": (GOOD.replace(b"leak", b'"leak'), "header", 0, None)}
WRONG |= {"no header": (b"a,1,2,3\nb,1,2,3\n", "header", 0, "id")}
WRONG |= {"mixed ends": (row(b"b,1,2,3\r"), "cells", 2, None)}
WRONG |= {"carriage returns": (GOOD.replace(b"\n", b"\r"), "short", 0, None)}
WRONG |= {"cut": (GOOD[:-3], "short", 3, None), "nothing": (b"", "short", None, None)}
WRONG |= {"header alone": (HEADER, "short", None, None)}
WRONG |= {"too many rows": (NINE, "size", None, None)}
WRONG |= {"too large": (HEADER + b"a,1,2,3\n" * 999, "size", None, None)}


@pytest.mark.parametrize("name", WRONG)
def test_malformed_is_refused_with_its_place(tmp_path, student, name):
    data, kind, row, column = WRONG[name]
    rows = 5 if name == "too many rows" else 100
    lot = judge(tmp_path, student, data, limits=Limits(bytes=20_000, rows=rows))
    if name == "too large":
        lot = judge(tmp_path, student, data, limits=Limits(bytes=2000))
    wrong = lot.wrong
    assert (wrong.kind, wrong.row, wrong.column) == (kind, row, column), str(wrong)
    assert "expected" in str(wrong) and "\n" not in str(wrong)
    assert lot.content == b"" and set(wrong.record()) >= {"row", "column", "reason"}
    if name != "too large":
        assert lot.digest == hashlib.sha256(data).hexdigest()


def test_an_empty_cell_is_a_test_not_run_only_where_it_is_allowed(tmp_path, student):
    data = row(b"b,,2,3")
    lot = judge(tmp_path, student, data, empty=True)
    wanted = student.bundle.score([[np.nan, 2, 3]])[0]
    assert np.float32(lot.content.splitlines()[2].split(b",")[1]) == wanted
    assert judge(tmp_path, student, data).wrong.kind == "number"
    assert judge(tmp_path, student, row(b"b,nan,2,"), empty=True).wrong.column
    for cells, count in ((b"b,,2,", 2), (b"b,,,", 3)):
        wrong = judge(tmp_path, student, row(cells), empty=True).wrong
        assert str(wrong) == (
            f"row 2: found {count} of 3 readings empty, expected at most 50 %"
        )


WIDE = '''leak_nA,"Site, ""X""",id, vdd_mV,serial,idd_uA,bin
.1,"east, ""2""",1,400,a,5,
+1E-1,,1,401.5,b,-4.75e0,"x"
3,"ä",1,1.,c,2,1_0
'''.encode()


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_columns_are_found_by_name_in_any_order(tmp_path, path, end):
    """The table that the student came from has an order and columns of its own."""
    wide = model.load(path, id="serial", extra="ignore")
    lot = judge(tmp_path, wide, WIDE.replace(b"\n", end))
    assert lot.wrong is None and lot.rows == 3
    plain = model.load(path, id="serial")
    good = judge(tmp_path, plain, GOOD.replace(b"id,", b'"serial",'))
    assert lot.content == good.content != b""
    rows = [line.split(b",")[::-1] for line in GOOD.splitlines()]
    turned = b"".join(b",".join(row) + end for row in rows)
    assert judge(tmp_path, model.load(path), turned).content == good.content
    assert plain.key == wide.key != model.load(path).key == wide.digest


def test_other_columns_are_refused_by_name_unless_they_are_ignored(tmp_path, path):
    wrong = judge(tmp_path, model.load(path, id="serial"), WIDE).wrong
    assert (wrong.kind, wrong.row, wrong.column) == ("header", 0, 'Site, "X"')
    for said in ("leave out 'Site, \"X\"', 'id', 'bin',", "--extra ignore"):
        assert said in str(wrong)
    one = GOOD.replace(b"\n", b",0\n").replace(b"nA,0", b"nA,bin")
    assert "leave out 'bin', or" in str(judge(tmp_path, model.load(path), one).wrong)
    wide = model.load(path, extra="ignore")
    assert judge(tmp_path, wide, one).rows == 3
    wrong = judge(tmp_path, wide, one.replace(b"vdd_mV", b"vdd_V")).wrong
    assert (wrong.kind, wrong.column) == ("header", "vdd_mV")
    wrong = judge(tmp_path, wide, one.replace(b"bin", b"vdd_mV")).wrong
    assert (wrong.kind, wrong.column) == ("header", "vdd_mV")
    assert "it 2 times" in str(wrong)


BESIDE = {"short": (b"1,x,2,z", "cells", None), "long": (b"1,x,2,z,3,4", "cells", None)}
BESIDE |= {"more commas": (b"1,x, y,2,z,3", "cells", None)}
BESIDE |= {"quote not closed": (b'1,"x,2,z,3', "cells", None)}
BESIDE |= {"last quote not closed": (b'1,x,2,z,3"', "cells", None)}
BESIDE |= {"quote within": (b'1,x"y,y"x,2,z,3', "cells", None)}
BESIDE |= {"quoted number": (b'1,x,"2",z,3', "number", "vdd_mV")}
BESIDE |= {"quoted numbers": (b'1,x,"2,3",z,3', "number", "vdd_mV")}
BESIDE |= {"quoted id": (b'1,x,2,"z",3', "id", "id")}
BESIDE |= {"quoted comma in an id": (b'1,x,2,"z,z",3', "id", "id")}
BESIDE |= {"no number": (b"1,x,2,z,1_0", "number", "idd_uA")}
BESIDE |= {"id twice": (b"1,x,2,a,3", "duplicate", "id")}
BESIDE |= {"carriage return": (b"1,x,2,z,3\r", "cells", None)}


@pytest.mark.parametrize("name", BESIDE)
def test_beside_ignored_columns_a_row_is_as_strict(tmp_path, path, name):
    text, kind, column = BESIDE[name]
    wide, head = model.load(path, extra="ignore"), b"leak_nA,note,vdd_mV,id,idd_uA\n"
    good = head + b'1,",",2,a,3\n1,,2,b,3\n'
    wrong = judge(tmp_path, wide, good + text + b"\n1,x,2,c\n").wrong
    assert (wrong.kind, wrong.row, wrong.column) == (kind, 3, column), str(wrong)
    wrong = judge(tmp_path, wide, good + b"1,x,NaN,c,3\n" + text + b"\n").wrong
    assert (wrong.kind, wrong.row, wrong.column) == ("number", 3, "vdd_mV")
    lot = judge(tmp_path, wide, good.replace(b"2,b", b",b"), empty=True)
    wanted = wide.bundle.score([[2, 3, 1], [np.nan, 3, 1]])
    scores = [line.split(b",")[1] for line in lot.content.splitlines()[1:]]
    assert np.array_equal(np.float32(scores), wanted)


def test_legal_ranges_of_a_bundle_are_kept(tmp_path):
    ranges = np.float32([(0, 500), (np.nan, 10), (np.nan, np.nan)])
    strict = model.load(save(tmp_path, ranges))
    assert strict.low.tolist() == [0, -model.LARGEST, -model.LARGEST]
    assert strict.high.tolist() == [500, 10, model.LARGEST]
    assert judge(tmp_path, strict, row(b"b,500,10,1")).wrong is None
    wrong = judge(tmp_path, strict, row(b"b,500.1,10,1")).wrong
    assert (wrong.kind, wrong.row, wrong.column) == ("range", 2, "vdd_mV")
    assert "from 0 to 500" in str(wrong)


def test_the_fast_and_the_exact_way_agree(student):
    """Mutated rows: what the bulk parser takes is what the grammar takes."""
    rng = np.random.default_rng(3)
    line, taken = b"b7,401.5,-4.75e0,+1E-1", 0
    letters = np.frombuffer(b'0123456789+-.eE,_ nifax"\r\t#;', np.uint8)
    for _ in range(1500):
        data = bytearray(line)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.choice(letters)
        for empty in (False, True):
            text = data.decode()
            how, wrong = {"empty": empty, "crlf": False}, None
            try:
                reader.explain([text], 1, student, set(), **how)
            except Malformed as problem:
                wrong = problem
            try:
                ids, X = reader.rows(
                    bytes(data) + b"\n", 1, student, set(), empty=empty
                )
            except Malformed as problem:
                assert wrong is not None and str(wrong) == str(problem), data
            else:
                assert wrong is None, data
                taken += 1
                cells = text.split(",")
                numbers = [float(cell) if cell else np.nan for cell in cells[1:]]
                assert ids == cells[:1]
                assert np.array_equal(X[0], numbers, equal_nan=True)
    assert 200 < taken < 2800


def test_blocks_change_nothing(tmp_path, student, monkeypatch):
    rng = np.random.default_rng(1)
    data = simulate.joined(simulate.content(student, rng, 200))
    whole = judge(tmp_path, student, data)
    monkeypatch.setattr(reader, "BLOCK", 1000)
    assert judge(tmp_path, student, data).content == whole.content
    broken = data.replace(b"d0150,", b"d0001,")
    wrong = judge(tmp_path, student, broken).wrong
    assert (wrong.kind, wrong.row) == ("duplicate", 150)
    wrong = judge(tmp_path, student, HEADER + b"x" * 5000).wrong
    assert wrong.kind == "cells" and "line" in str(wrong)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("names", [FEATURES, QUOTED], ids=["plain", "quoted"])
def test_the_simulated_tester_knows_what_is_wrong(tmp_path, names, seed):
    student = model.load(save(tmp_path, names=names))
    options = {"garbage": 0.5, "crash": 0.2, "files": 12, "rate": 0, "seed": seed}
    for made in simulate.lots(student, rows=4, **options):
        wrong = judge(tmp_path, student, made.content).wrong
        if made.kind == "good":
            assert wrong is None
        else:
            place = (made.kind, made.row, made.column)
            assert (wrong.kind, wrong.row, wrong.column) == place, str(wrong)


def test_the_same_seed_writes_the_same_lots(student):
    options = {"garbage": 0.3, "files": 20, "rate": 0, "rows": 3}
    first, again, other = (
        list(simulate.lots(student, seed=seed, **options)) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len({lot.content for lot in first}) > 15


def test_who_writes_is_asked_of_the_kernel(tmp_path):
    path = tmp_path / "lot"
    with open(path, "wb") as writer:
        writer.write(b"x\n")
        writer.flush()
        fd = claim.opened(path)
        assert not claim.unwritten(fd, settle=60.0)
    if not claim.unwritten(fd, settle=60.0):
        pytest.skip("this file system grants no leases")
    assert claim.ended(fd)
    os.close(fd)

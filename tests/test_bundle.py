"""A student as one file: its bytes, its scores, its errors, its command line."""

import csv
import json
import os
import re
import subprocess
import sys
import warnings
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kdutils.compress import prune as compress
from kdutils.compress import quantize
from kdutils.data import usertable
from kdutils.data.divide import TableError
from kdutils.data.simulate import physics
from kdutils.deploy import __main__ as deploy
from kdutils.deploy import bundle, container, readings, runtime
from kdutils.deploy.prepare import Prepare, squash
from kdutils.deploy.runtime import SCALES, Int8

FEATURES = tuple(f"reading_{i:02d}_mV" for i in range(28))
STUDENTS = ["fp32", "pruned", "weight-only", "static", "pruned static", "each layer"]
STUDENTS += ["small", "six bits", "four bits", "few, four bits"]
UNITS = ("mV",) * 27 + ('µA, "rms"',)
ROOT = Path(__file__).parents[1]
DEVICE = """
import sys
for name in ("torch", "sklearn", "pandas", "scipy", "xgboost"):
    sys.modules[name] = None
import runpy
runpy.run_module("kdutils.deploy", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    X = rng.normal(400, 30, (200, 28)) * 10.0 ** rng.integers(-3, 4, 28)
    X[rng.random(X.shape) < 0.03] = np.nan
    X[3, 4], X[5, 6], X[7, 8] = np.inf, -np.inf, 1e30
    return X.astype(np.float32)


@pytest.fixture(scope="module")
def prepare(X):
    calm = np.where(np.isfinite(X) & (X < 1e20), X, np.nan)
    return Prepare.fit(calm, (np.arange(len(X)) % 3 == 0) * 1.0, FEATURES)


@pytest.fixture(scope="module")
def students(X, prepare):
    rng = np.random.default_rng(1)
    arrays = {"W1": rng.normal(0, 0.3, (64, 28)).astype(np.float32)}
    arrays |= {"b1": rng.normal(0, 0.2, 64).astype(np.float32)}
    arrays |= {"w2": rng.normal(0, 0.3, 64).astype(np.float32), "b2": np.float32(0.3)}
    Z = prepare.transform(X)
    pruned = compress.pruned(arrays, 0.5, scope="first")
    each = compress.pruned(arrays, 0.5, scope="layer")
    return {
        "fp32": arrays,
        "pruned": pruned,
        "weight-only": quantize.weight_only(arrays),
        "static": quantize.static(arrays, Z),
        "pruned static": quantize.static(pruned, Z),
        "each layer": quantize.static(each, Z),
        "small": quantize.static(compress.fewer_units(arrays, 5), Z),
        "six bits": quantize.static(arrays, Z, bits=6),
        "four bits": quantize.weight_only(arrays, bits=4),
        "few, four bits": quantize.static(
            compress.pruned(arrays, 0.9, scope="first"), Z, bits=4
        ),
    }


@pytest.fixture(scope="module")
def schema(prepare):
    ends = np.column_stack((prepare.center - 1e3, prepare.center + 1e3))
    ends[2], ends[3, 1] = np.nan, np.nan
    return bundle.Schema(
        UNITS, np.float32(ends), ("good", "bad"), "tester-0123456789ab"
    )


@pytest.fixture
def saved(tmp_path, students, prepare, schema):
    path = tmp_path / "student.kdb"
    path.write_bytes(bundle.packed(students["pruned static"], prepare, 0.25, schema))
    return path


def rounded(prepare, student):
    """The scaler as the file keeps it."""
    scale = prepare.scale
    if isinstance(student, dict):
        return prepare
    if (np.abs(scale) < 65504).all() and (np.abs(scale) > 2**-14).all():
        scale = scale.astype(np.float16).astype(np.float32)
    return replace(prepare, scale=scale)


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("large", [1, 1e6])
def test_round_trip(tmp_path, students, prepare, schema, X, name, large):
    path = tmp_path / "student.kdb"
    prepare = replace(prepare, scale=prepare.scale * np.float32(large))
    path.write_bytes(bundle.packed(students[name], prepare, -0.125, schema))
    back = bundle.load(path)
    assert (back.features, back.threshold, back.id) == (FEATURES, -0.125, schema.id)
    assert (back.units, back.classes) == (UNITS, ("good", "bad"))
    np.testing.assert_array_equal(back.ranges, schema.ranges)
    scores = back.score(X)
    assert scores.dtype == np.float32 and np.isfinite(scores).all()
    kept = rounded(prepare, students[name])
    expected = compress.logits(students[name], kept.transform(X))
    if name in ("fp32", "pruned"):
        np.testing.assert_allclose(scores, expected, atol=1e-4)
    else:
        np.testing.assert_array_equal(scores, expected)
    alone = [back.score(X[i : i + 1])[0] for i in range(20)]
    fixed = getattr(students[name], "s_in", None) is not None
    assert not fixed or alone == scores[:20].tolist()
    again = tmp_path / "again.kdb"
    again.write_bytes(
        bundle.packed(back.student, back.prepare, back.threshold, back.schema)
    )
    assert again.read_bytes() == path.read_bytes()


def test_any_name_comes_back(students, prepare):
    odd = ("new\nline", "carriage\rreturn", 'a, "b"', " ", "\0", "µ")
    named = replace(prepare, names=(*odd, *FEATURES[6:]))
    schema = bundle.Schema(units=("",) * 28, classes=("o\nk", ""))
    back = bundle.loads(bundle.packed(students["static"], named, 0.0, schema), "a file")
    assert (back.features, back.units) == (named.names, schema.units)
    assert back.classes == schema.classes


def test_bytes_and_what_need_not_be_said(students, prepare, schema):
    back = bundle.loads(bundle.packed(students["static"], prepare, 0.0), "a file")
    assert back.units == ("",) * 28 and np.isnan(back.ranges).all()
    assert back.classes == ("pass", "fail") and back.id == ""
    calm = replace(prepare, scale=np.full(28, 0.1, np.float32))

    def model(name):
        return bundle.model_bytes(students[name], calm)

    rest = 28 * 4 + 28 * 2 + 5 * 4 + 64 + 64 * 2 + 64 // 8
    assert model("static") == 64 * 28 + rest <= 2200
    assert model("weight-only") == model("static") - 8
    assert model("pruned static") == 64 * 28 // 2 + 64 * 28 // 8 + rest <= 1550
    assert model("six bits") == 64 * 28 * 6 // 8 + rest
    assert model("four bits") == 64 * 28 // 2 + rest - 8
    assert model("few, four bits") == -(-179 // 2) + 64 * 28 // 8 + rest
    fp32 = 28 * 8 + 8 + 4 * (64 * 28 + 64 + 64)
    assert model("fp32") == fp32
    assert model("pruned") == fp32 - 2 * 64 * 28 + 64 * 28 // 8
    names, known = physics.NAMES, replace(schema, units=physics.UNITS)
    for name, most in (("static", 3600), ("pruned static", 2900)):
        own = replace(calm, names=names), 0.1, replace(known, classes=("pass", "fail"))
        assert len(bundle.packed(students[name], *own)) <= most


def test_the_safetensors_library_opens_it(saved, students):
    safetensors = pytest.importorskip("safetensors.numpy", reason="not installed")
    found = safetensors.load(saved.read_bytes())
    W1 = students["pruned static"].W1.ravel()
    np.testing.assert_array_equal(found["W1"], W1[W1 != 0])
    assert found["b1"].dtype == np.float16 and set(found) > {"readings", "crc32"}


def test_the_layout_is_what_the_docstring_says(saved, students, prepare):
    data, student = saved.read_bytes(), students["pruned static"]
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    assert zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little")
    about = header.pop("__metadata__")
    assert about["format"] == "kdb 2" and about["names"].split(",") == list(FEATURES)

    def bits(name):
        start, end = header[name]["data_offsets"]
        held = data[8 + size + start : 8 + size + end]
        return [held[i // 8] >> i % 8 & 1 for i in range(8 * len(held))]

    assert np.flatnonzero(bits("alive")).tolist() == list(
        np.flatnonzero(student.W1.ravel())
    )
    assert bits("w2") == (student.w2 < 0).astype(int).tolist()
    tensors, _ = container.read(data, "a file")
    np.testing.assert_array_equal(tensors["readings"][:, 1], prepare.center)
    assert tensors["W1"][0] == student.W1.ravel()[np.flatnonzero(student.W1)[0]]
    scales = np.exp2(-tensors["s1"].astype(float) / 16)
    np.testing.assert_allclose(scales, student.s1.astype(float), rtol=2e-3)


def test_golden_readings_are_legal_and_some_are_missing(saved, schema):
    X, logits = bundle.load(saved).golden
    low, high = schema.ranges.T
    assert X.shape == (4, 28) and np.isnan(X[-1, ::3]).all() and len(set(logits)) == 4
    assert not ((low > X) | (high < X)).any()
    assert not np.isnan(X[:-1]).any()


def test_a_machine_that_computes_otherwise_is_refused(saved, monkeypatch):
    right = runtime.Int8.from_readings

    def next_to_it(*given):
        return lambda X: np.nextafter(right(*given)(X), np.float32(np.inf))

    monkeypatch.setattr(runtime.Int8, "from_readings", next_to_it)
    with pytest.raises(bundle.BundleError, match="does not repeat its golden vectors"):
        bundle.load(saved)


def test_inspect_says_what_is_inside(saved, capsys):
    assert deploy.main(["inspect", str(saved)]) == 0
    text = capsys.readouterr().out
    assert text == deploy.inspect(saved) + "\n"
    assert f"columns  of a lot for the watcher: {readings.RULE}\n" in text
    for what in ("tester-0123456789ab", "bad where the logit exceeds 0.25", "896 of"):
        assert what in text
    row = next(line for line in text.split("\n") if line.startswith("reading_02_mV"))
    assert re.split(" +", row)[1:4] == ["mV", "nan", "nan"]
    saved.write_bytes(saved.read_bytes()[:-1])
    assert deploy.main(["inspect", str(saved)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_reader_that_has_seen_enough_is_no_error(saved):
    shown = subprocess.Popen(
        [sys.executable, "-c", DEVICE, "inspect", str(saved)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    shown.stdout.close()
    assert (shown.communicate()[1], shown.returncode) == (b"", 0)


def test_every_flipped_bit_is_noticed(saved):
    data = bytearray(saved.read_bytes())
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(bundle.BundleError):
            bundle.loads(bytes(data), "student.kdb")
        data[bit // 8] ^= 1 << bit % 8


def test_an_edit_with_a_new_checksum_hardly_changes_a_verdict_unnoticed(saved, X):
    """Of 600 bits, spread over the file: with 4 golden rows alone, 56 did."""
    good, data = bundle.load(saved), saved.read_bytes()
    rng = np.random.default_rng(0)
    X = X[-1:] + rng.normal(0, 1, (2000, 28)) / good.prepare.scale
    wanted, unnoticed = good.score(X) > good.threshold, 0
    for bit in rng.choice(8 * (len(data) - 4), 600, replace=False):
        edited = bytearray(data)
        edited[bit // 8] ^= 1 << bit % 8
        with suppress(bundle.BundleError):
            found = bundle.loads(sealed(bytes(edited)), "an edited file")
            changed = (found.score(X) > found.threshold) != wanted
            unnoticed += changed.any()
    assert unnoticed <= 3


def sealed(b: bytes) -> bytes:
    """Bytes with the checksum that they should have."""
    return b[:-4] + zlib.crc32(b[:-4]).to_bytes(4, "little")


def told(old: bytes, new: bytes):
    """A change of as many bytes, and the checksum renewed: damage on purpose."""
    assert len(old) == len(new)
    return lambda b: sealed(b.replace(old, new, 1))


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda b: b[:-9], "student.kdb is damaged"),
        (lambda b: b[:11], "student.kdb is not a student bundle"),
        (lambda b: b"", "student.kdb is not a student bundle"),
        (lambda b: b"PK\3\4" * 9, "student.kdb is not a student bundle"),
        (lambda b: b[:99] + b"\xff" + b[100:], "damaged: its checksum does not match"),
        (told(b"kdb 2", b"kdb 3"), "'kdb 3', this program reads 'kdb 2'"),
        (told(b'"shape":[64]', b'"shape":[65]'), "is not where it should be"),
        (told(b'"shape":[64]', b'"shape":[-1]'), "has the shape"),
        (told(b'"dtype":"F16"', b'"dtype":"F99"'), "not a student bundle .'F99'"),
        (told(b'"golden"', b'"silver"'), "holds no whole student"),
        (told(b"reading_01", b"reading_00"), "'reading_00_mV' must be unique"),
        (told(b"good,bad", b"good_bad"), "1 classes"),
        (lambda b: sealed(b"\xff" * 8 + b[8:]), "not a student bundle"),
        (lambda b: sealed(b[:-4] + b"1234" + b[-4:]), "checksum is not at its end"),
    ],
)
def test_a_file_that_is_no_bundle_gets_one_sentence(saved, change, sentence):
    saved.write_bytes(change(saved.read_bytes()))
    with pytest.raises(bundle.BundleError, match=sentence) as caught:
        bundle.load(saved)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_refused(saved, students, prepare):
    def refused(names, sentence):
        other = Prepare(prepare.columns, names, prepare.center, prepare.scale)
        with pytest.raises(bundle.BundleError, match=sentence):
            bundle.packed(students["static"], other, 0.0)

    refused(FEATURES[:27], "reads 28 features, the scaler has 27 names")
    refused((*FEATURES[:27], FEATURES[0]), "'reading_00_mV' must be unique")
    refused((*FEATURES[:27], "x" * 256), "1 to 255 bytes")
    for other, sentence in (
        (bundle.Schema(units=("mV",)), "28 names and 1 units"),
        (bundle.Schema(ranges=np.zeros((27, 2))), r"have the shape \(27, 2\)"),
        (bundle.Schema(classes=("one",)), "1 classes"),
    ):
        with pytest.raises(bundle.BundleError, match=sentence):
            bundle.packed(students["static"], prepare, 0.0, other)
    for field, value, sentence in (
        ("w2", students["static"].w2 * 2, "must be -1 or 1"),
        ("s1", students["static"].s1 * np.float16(1.01), "must be of runtime.SCALES"),
    ):
        with pytest.raises(bundle.BundleError, match=sentence):
            bundle.model_bytes(replace(students["static"], **{field: value}), prepare)
    with pytest.raises(bundle.BundleError, match=r"\(n, 28\), got \(4, 27\)"):
        bundle.load(saved).score(np.zeros((4, 27)))


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-c", DEVICE, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def write(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_the_command_line_needs_neither_torch_nor_pandas(tmp_path, saved, X):
    cells = [["" if np.isnan(v) else repr(float(v)) for v in row] for row in X]
    cells[0][0], cells[1][1] = " NA ", "1e39"
    rows = [[f"die {i}", *row[::-1]] for i, row in enumerate(cells)]
    table = write(tmp_path / "table.csv", ["die", *FEATURES[::-1]], rows)
    table.write_text(table.read_text(encoding="utf-8-sig") + "\n")
    done = run(saved, table)
    assert (done.returncode, done.stderr) == (0, "")
    lines = list(csv.DictReader(done.stdout.splitlines()))
    assert [int(line["row"]) for line in lines] == list(range(1, 201))
    same = X.copy()
    same[0, 0], same[1, 1] = np.nan, np.inf
    scores = bundle.load(saved).score(same)
    np.testing.assert_array_equal(np.float32([x["score"] for x in lines]), scores)
    verdicts = [line["verdict"] for line in lines]
    assert verdicts == ["bad" if z > 0.25 else "good" for z in scores]
    assert {"bad", "good"} == set(verdicts)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda h, r: h.__setitem__(2, "x"), "0 columns named 'reading_02_mV'"),
        (lambda h, r: h.__setitem__(2, h[3]), "0 columns named 'reading_02_mV'"),
        (
            lambda h, r: r[1].__setitem__(4, "high"),
            "row 2, column 'reading_04_mV': 'high'",
        ),
        (lambda h, r: r[2].pop(), "row 3 has 27 cells instead of 28"),
        (lambda h, r: (h.clear(), r.clear()), "0 columns named 'reading_00_mV'"),
    ],
)
def test_a_table_that_does_not_fit_gets_one_sentence(
    tmp_path, saved, capsys, change, sentence
):
    header, rows = list(FEATURES), [["1"] * 28 for _ in range(3)]
    change(header, rows)
    table = write(tmp_path / "table.csv", header, rows)
    assert deploy.main([str(saved), str(table)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert sentence in err and "table.csv" in err


def test_a_header_is_resolved_by_name():
    header = readings.names('b,"a, ""x"""\t,,b , c')
    assert header == ["b", 'a, "x"', "column 3", "b", "c"]
    assert readings.columns(header, ["c", 'a, "x"']) == [4, 1]
    for name, count in (("b", 2), ("d", 0)):
        with pytest.raises(readings.ColumnError, match=f"{count} columns") as wrong:
            readings.columns(header, ["c", name])
        assert (wrong.value.name, wrong.value.count) == (name, count)


def test_files_that_are_not_there_or_no_text(tmp_path, saved, capsys):
    assert deploy.main([str(saved), str(tmp_path / "none.csv")]) == 2
    assert "none.csv" in capsys.readouterr().err
    (tmp_path / "photo.csv").write_bytes(b"\xff\xd8\xff")
    assert deploy.main([str(saved), str(tmp_path / "photo.csv")]) == 2
    assert "not a CSV file in UTF-8" in capsys.readouterr().err
    empty = write(tmp_path / "empty.csv", FEATURES, [])
    assert deploy.main([str(saved), str(empty)]) == 0
    assert capsys.readouterr().out == "row,score,verdict\n"


def both(path, lines, *, sep=",", end="\n", mark="", drop=""):
    """A table whose cells `|` parts, as the study reads it and as the device does."""
    text = end.join(line.replace("|", sep) for line in lines) + end
    path.write_bytes((mark + text).encode())
    with warnings.catch_warnings(action="ignore"):
        study = usertable.read(str(path), "verdict", drop=drop)
    return study, readings.read_table(path, study.features)


@pytest.mark.parametrize("mark, end", [("", "\n"), ("\ufeff", "\r\n"), ("", "\r")])
@pytest.mark.parametrize("sep", [",", ";", "\t"])
def test_both_readers_read_the_same_table(tmp_path, sep, mark, end):
    lines = [
        f'|"a{sep}b "|"c ""x"""| |wet|note|100 %|verdict',
        "0.5|-7|1e3|-8|True||2|pass",
        '1.25| 4|#N/A|9|FALSE|"low"|3.5|fail',
        "-3||nan|.5|NA|high|+7|pass",
        "",
        f'"4"| |<NA>|6.|true|"x{sep}y"|1|pass',
        "11|5|2E-2|-1.#IND||low|NULL|fail",
    ]
    file = {"sep": sep, "end": end, "mark": mark}
    study, X = both(tmp_path / "table.csv", lines, **file, drop="note")
    names = ("column 1", f"a{sep}b", 'c "x"', "column 4", "wet", "100 %")
    assert study.features == names
    np.testing.assert_array_equal(X.astype(np.float32), study.X)
    assert X[1, 0] == 1.25 and X[:, 4].tolist()[:2] == [1, 0]
    assert np.isnan(X).sum(axis=0).tolist() == [0, 2, 3, 1, 2, 1]


@pytest.mark.parametrize("sep", [";", "\t"])
def test_both_readers_read_a_decimal_comma(tmp_path, sep):
    lines = [
        "comma|dot|both|verdict",
        "1,5|0.25|-0,5e2|pass",
        "2|1.#QNAN|#NA|fail",
        "-1.#IND|3|,75|pass",
        "7,25|1.5|4,|fail",
    ]
    study, X = both(tmp_path / "table.csv", lines, sep=sep)
    np.testing.assert_array_equal(X.astype(np.float32), study.X)
    np.testing.assert_array_equal(X[:, 0], [1.5, 2, np.nan, 7.25])
    np.testing.assert_array_equal(X[:, 1], [0.25, np.nan, 3, 1.5])
    np.testing.assert_array_equal(X[:, 2], [-50, np.nan, 0.75, 4])


def test_both_readers_know_the_same_missing_cells(tmp_path):
    words = ["NA", "N/A", "n/a", "nan", "NaN", "-nan", "-NaN", "null", "NULL", "None"]
    words += ["<NA>", "#NA", "#N/A", "#N/A N/A", "1.#IND", "-1.#IND", "1.#QNAN"]
    words += ["-1.#QNAN", "", " "]
    rows = [f"{word}|{i * i % 7}|pass" for i, word in enumerate(words)]
    lines = ["a|b|verdict", "5|9|pass", "||", "3|8|fail", "", *rows]
    study, X = both(tmp_path / "table.csv", lines)
    np.testing.assert_array_equal(np.delete(X, 1, 0).astype(np.float32), study.X)
    assert np.isnan(X[1]).all(), "a line of separators keeps its place on the device"
    assert np.isnan(X[3:, 0]).all() and len(X) == 23


@pytest.mark.parametrize(
    "cell, sep",
    [
        ("high", ","),
        ("1_000", ","),
        ("0x1A", ","),
        ("True", ","),
        ('"1,5"', ","),
        ("1,5", ";"),
        ("1.234,5", ";"),
        ('"1', ","),
        ("1|2", ";"),
    ],
)
def test_both_readers_refuse_the_same_cell(tmp_path, cell, sep):
    path = tmp_path / "table.csv"
    lines = ["a|b %d|verdict", "1|9|pass", "4|7.5|fail", f"2|{cell}|pass", "2|.5|fail"]
    path.write_text("\n".join(lines).replace("|", sep))
    with pytest.raises(TableError, match="line 4") as study:
        usertable.read(str(path), "verdict")
    with pytest.raises(bundle.BundleError, match="row 3") as device:
        readings.read_table(path, ("a", "b %d"))
    structure = cell in ('"1', "1|2")
    for sentence in (str(study.value), str(device.value)):
        assert "table.csv" in sentence and "\n" not in sentence
        assert structure != ("column 'b %d'" in sentence)
        assert structure or f"{cell.strip(chr(34))!r} is not a number" in sentence


@pytest.mark.parametrize("name", ["static", "pruned static", "six bits", "coarse"])
def test_raw_readings_give_the_same_logits_one_by_one_and_all_at_once(
    students, prepare, X, name
):
    coarse = replace(students["static"], s_in=np.float32(0.01))
    student = {**students, "coarse": coarse}[name]
    X = np.float32(X)
    X[::7, 0], X[::11, 1], X[5, 2], X[6, 2] = np.nan, np.inf, 1e30, -3e38
    logits = student.from_readings(prepare.center, prepare.scale)
    with np.errstate(over="ignore"):
        wanted = student.logits(prepare.transform(X)).tolist()
        assert logits(X).tolist() == wanted
        assert [logits(x[None]).item() for x in X] == wanted
    with pytest.raises(ValueError, match="fixed activation scales"):
        students["weight-only"].from_readings(prepare.center, prepare.scale)


def test_a_row_is_answered_at_once_and_not_step_by_step(saved, X, monkeypatch):
    student = bundle.load(saved)
    monkeypatch.setattr(runtime, "run", lambda *_: pytest.fail("step by step"))
    assert np.isfinite(student.score(X[-1:])).all()


def test_many_readings_are_summed_without_a_loss():
    rng, d, hidden = np.random.default_rng(0), 3000, 8
    W1 = rng.integers(100, 128, (hidden, d)).astype(np.int8)
    s1, b1 = np.full(hidden, SCALES[200]), np.zeros(hidden, np.float16)
    signs, s_in = rng.choice([-1, 1], hidden).astype(np.int8), np.float32(3 / 127)
    rest = np.float32(0.5), np.float32(0), s_in, np.float32(0.01)
    student = Int8(W1, s1, b1, signs, *rest)
    X = rng.normal(2, 1, (50, d)).astype(np.float32)
    logits = student.from_readings(np.zeros(d), np.ones(d))
    assert logits(X).tolist() == student.logits(squash(X)).tolist()


@pytest.mark.parametrize("key", ["scalars", "b1", "scale"])
def test_a_number_that_is_none_is_refused_although_the_checksum_is_right(saved, key):
    held, about = container.read(saved.read_bytes(), "f")
    held = {name: array.copy() for name, array in held.items()}
    held[key].flat[0] = np.nan
    with pytest.raises(bundle.BundleError, match="is not finite"):
        bundle.loads(container.write(held, about), "f")


def test_only_a_plain_file_of_some_size_is_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", "/dev/zero"):
        with pytest.raises(bundle.BundleError, match="is not a plain file"):
            bundle.load(path)
    monkeypatch.setattr(bundle, "LARGEST", 10)
    (tmp_path / "large").write_bytes(b"x" * 11)
    with pytest.raises(bundle.BundleError, match="has 11 bytes, expected at most 10"):
        bundle.load(tmp_path / "large")


def test_a_header_of_a_thousand_brackets_is_one_sentence():
    text = b'{"a":' + b"[" * 100_000
    data = len(text).to_bytes(8, "little") + text
    data += zlib.crc32(data).to_bytes(4, "little")
    with pytest.raises(bundle.BundleError, match="is not a student bundle"):
        container.read(data, "f")

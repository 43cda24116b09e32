"""A student as one file: its bytes, its scores, its errors, its command line."""

import csv
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from kdutils import bundle, compress, kdb, quantize
from kdutils.data import table
from kdutils.data.tabular import TableError
from kdutils.prepare import Prepare

FEATURES = tuple(f"reading_{i:02d}_mV" for i in range(28))
ROOT = Path(__file__).parents[1]
DEVICE = """
import sys
for name in ("torch", "sklearn", "pandas", "scipy", "xgboost"):
    sys.modules[name] = None
import runpy
sys.argv = ["kdutils.bundle", *sys.argv[1:]]
runpy.run_module("kdutils.bundle", run_name="__main__")
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
    arrays = {
        "W1": rng.normal(0, 0.3, (64, 28)).astype(np.float32),
        "b1": rng.normal(0, 0.2, 64).astype(np.float32),
        "w2": rng.normal(0, 0.3, 64).astype(np.float32),
        "b2": np.float32(0.3),
    }
    Z = prepare.transform(X)
    pruned = compress.l1_first(arrays, 0.5).arrays
    each = compress.l1_each_layer(arrays, 0.5).arrays
    return {
        "fp32": arrays,
        "pruned": pruned,
        "weight-only": quantize.weight_only(arrays),
        "static": quantize.static(arrays, Z),
        "pruned static": quantize.static(pruned, Z),
        "each layer": quantize.static(each, Z),
        "small": quantize.static(compress.units(arrays, 5).arrays, Z),
    }


@pytest.fixture
def saved(tmp_path, students, prepare):
    path = tmp_path / "student.kdb"
    bundle.save(path, students["pruned static"], prepare, 0.25, "seed 1, Δ")
    return path


@pytest.mark.parametrize(
    "name",
    ["fp32", "pruned", "weight-only", "static", "pruned static", "each layer", "small"],
)
def test_round_trip(tmp_path, students, prepare, X, name):
    path = tmp_path / "student.kdb"
    written = bundle.save(path, students[name], prepare, -0.125, "a note")
    back = bundle.load(path)
    assert written == path.stat().st_size
    assert [p.name for p in tmp_path.iterdir()] == ["student.kdb"]
    assert (back.features, back.threshold, back.note) == (FEATURES, -0.125, "a note")
    scores = back.score(X)
    assert scores.dtype == np.float32 and np.isfinite(scores).all()
    expected = compress.logits(students[name], prepare.transform(X))
    if name in ("fp32", "pruned"):
        np.testing.assert_allclose(scores, expected, atol=1e-4)
    else:
        np.testing.assert_array_equal(scores, expected)
    np.testing.assert_array_equal(back.predict(X), scores > -0.125)
    again = tmp_path / "again.kdb"
    bundle.save(again, back.student, back.prepare, back.threshold, back.note)
    assert again.read_bytes() == path.read_bytes()


def test_bytes(students, prepare):
    def parts(name):
        found = kdb.sections(students[name], prepare, 0.0)
        return {k: len(v) for k, v in found.items()}

    dense, pruned = parts("static"), parts("pruned static")
    assert dense["weights"] == 64 * 28 + 64 * 2 + 64 + 4 + 64 * 2 + 4 + 8
    assert dense["weights"] + dense["scaler"] <= 2600
    assert dense["weights"] - pruned["weights"] == 64 * 28 // 2 - 64 * 28 // 8
    assert pruned["scaler"] == 28 * 8
    assert sum(pruned.values()) <= 2600
    assert parts("each layer")["weights"] == pruned["weights"] - 32 + 8
    assert parts("pruned")["weights"] == 64 * 28 * 2 + 64 * 28 // 8 + 64 * 8 + 4


def test_the_layout_is_what_the_docstring_says(saved, students):
    data, student = saved.read_bytes(), students["pruned static"]
    assert data[:6] == b"KDB\0" + bytes([1, 1 | 2 | 4])
    assert int.from_bytes(data[6:8], "little") == 28
    assert int.from_bytes(data[8:10], "little") == 64
    assert int.from_bytes(data[12:16], "little") == len(data)
    assert data[20:34] == bytes([13]) + b"reading_00_mV"
    at = 20 + 28 * 14 + len("seed 1, Δ".encode()) + 28 * 8
    alive = np.flatnonzero(student.W1.ravel())
    assert [i for i in range(1792) if data[at + i // 8] >> i % 8 & 1] == list(alive)
    first = np.int8(data[at + 224] if data[at + 224] < 128 else data[at + 224] - 256)
    assert first == student.W1.ravel()[alive[0]]


def test_a_row_s_score_does_not_depend_on_its_batch(saved, X):
    student = bundle.load(saved)
    alone = [student.score(X[i : i + 1])[0] for i in range(20)]
    np.testing.assert_array_equal(student.score(X)[:20], alone)


def test_every_damaged_byte_is_noticed(saved):
    data = saved.read_bytes()
    for i in range(0, len(data), 7):
        saved.write_bytes(data[:i] + bytes([data[i] ^ 16]) + data[i + 1 :])
        with pytest.raises(bundle.BundleError):
            bundle.load(saved)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda b: b[:-9], "student.kdb has .* bytes instead of"),
        (lambda b: b[:11], "student.kdb is not a student bundle"),
        (lambda b: b"", "student.kdb is not a student bundle"),
        (lambda b: b"PK\3\4" + b[4:], "student.kdb is not a student bundle"),
        (lambda b: b[:4] + b"\2" + b[5:], "version 2, this program reads version 1"),
        (lambda b: b[:99] + b"\xff" + b[100:], "damaged: its checksum does not match"),
    ],
)
def test_a_file_that_is_no_bundle_gets_one_sentence(saved, change, sentence):
    saved.write_bytes(change(saved.read_bytes()))
    with pytest.raises(bundle.BundleError, match=sentence) as caught:
        bundle.load(saved)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_refused(tmp_path, saved, students, prepare):
    def refused(names, sentence):
        other = Prepare(prepare.columns, names, prepare.center, prepare.scale)
        with pytest.raises(bundle.BundleError, match=sentence):
            bundle.save(tmp_path / "bad.kdb", students["static"], other, 0.0)

    refused(FEATURES[:27], "reads 28 features, the scaler has 27 names")
    refused((*FEATURES[:27], FEATURES[0]), "'reading_00_mV' must be unique")
    refused((*FEATURES[:27], "x" * 256), "1 to 255 bytes")
    assert not (tmp_path / "bad.kdb").exists()
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
    assert verdicts == ["fail" if z > 0.25 else "pass" for z in scores]
    assert {"fail", "pass"} == set(verdicts)


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
    assert bundle.main([str(saved), str(table)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert sentence in err and "table.csv" in err


def test_files_that_are_not_there_or_no_text(tmp_path, saved, capsys):
    assert bundle.main([str(saved), str(tmp_path / "none.csv")]) == 2
    assert "none.csv" in capsys.readouterr().err
    (tmp_path / "photo.csv").write_bytes(b"\xff\xd8\xff")
    assert bundle.main([str(saved), str(tmp_path / "photo.csv")]) == 2
    assert "not a CSV file in UTF-8" in capsys.readouterr().err
    empty = write(tmp_path / "empty.csv", FEATURES, [])
    assert bundle.main([str(saved), str(empty)]) == 0
    assert capsys.readouterr().out == "row,score,verdict\n"


def both(path, lines, *, sep=",", end="\n", mark="", drop=""):
    """A table whose cells `|` parts, as the study reads it and as the device does."""
    text = end.join(line.replace("|", sep) for line in lines) + end
    path.write_bytes((mark + text).encode())
    with warnings.catch_warnings(action="ignore"):
        study = table.read(str(path), "verdict", drop=drop)
    return study, bundle.read_table(path, study.features)


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


def test_both_readers_know_the_same_words_for_a_missing_cell(tmp_path):
    words = ["NA", "N/A", "n/a", "nan", "NaN", "-nan", "-NaN", "null", "NULL", "None"]
    words += ["<NA>", "#NA", "#N/A", "#N/A N/A", "1.#IND", "-1.#IND", "1.#QNAN"]
    words += ["-1.#QNAN", "", " "]
    rows = [f"{word}|{i * i % 7}|pass" for i, word in enumerate(words)]
    lines = ["a|b|verdict", "5|9|pass", "3|8|fail", *rows]
    study, X = both(tmp_path / "table.csv", lines)
    np.testing.assert_array_equal(X.astype(np.float32), study.X)
    assert np.isnan(X[2:, 0]).all() and len(X) == 22


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
        table.read(str(path), "verdict")
    with pytest.raises(bundle.BundleError, match="row 3") as device:
        bundle.read_table(path, ("a", "b %d"))
    structure = cell in ('"1', "1|2")
    for sentence in (str(study.value), str(device.value)):
        assert "table.csv" in sentence and "\n" not in sentence
        assert structure != ("column 'b %d'" in sentence)
        assert structure or f"{cell.strip(chr(34))!r} is not a number" in sentence


def test_a_line_of_separators_keeps_its_place_on_the_device(tmp_path):
    lines = ["a|b|verdict", "1|2.5|pass", "||", "5|4|fail", "", "3|8|pass"]
    study, X = both(tmp_path / "table.csv", lines)
    np.testing.assert_array_equal(X[[0, 2, 3]].astype(np.float32), study.X)
    assert np.isnan(X[1]).all()

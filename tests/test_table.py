"""Tables: a user's own and SECOM, read whole, divided honestly, refused clearly."""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from toy_data import parts

from kdutils.data import Rows, readers, registry, tables, usertable
from kdutils.data.divide import TableError
from kdutils.data.simulate import miniatures
from kdutils.recipes import columns

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def frame(n=60, fails=12, seed=0):
    """Readings vth, ileak and tr; a verdict; a lot of six rows; a time."""
    rng = np.random.default_rng(seed)
    verdict = rng.permutation(np.arange(n) < fails).astype(int)
    return pd.DataFrame(
        {
            "vth": rng.normal(450, 15, n).round(4) + 20 * verdict,
            "ileak": rng.lognormal(0, 1, n).round(4),
            "tr": rng.normal(2, 0.1, n).round(4),
            "lot": [f"L{i // 6:02d}" for i in range(n)],
            "when": pd.date_range("2024-01-30", periods=n, freq="7h").astype(str),
            "fail": verdict,
        }
    )


@pytest.fixture
def write(tmp_path):
    def write(data, name="my.csv", **options):
        path = tmp_path / name
        if isinstance(data, pd.DataFrame):
            data.to_csv(path, index=False, **options)
        elif isinstance(data, bytes):
            path.write_bytes(data)
        else:
            path.write_text(data)
        return str(path)

    return write


def plain(**columns):
    return frame().drop(columns=["lot", "when"]).assign(**columns)


def cell(line, column, value, data=None):
    data = (plain() if data is None else data).astype(object)
    data.loc[line - 2, column] = value
    return data


def lines(*text):
    return "\n".join(text) + "\n"


def case(data, sentence, **options):
    """A table, what its reading says, and the options of the reading."""
    return data, sentence, options


# -- what a good table becomes


def test_a_plain_table_is_read_as_it_is(write):
    data = plain()
    read = usertable.read(write(data), "fail")
    assert read.features == ("vth", "ileak", "tr")
    assert read.X.dtype == read.y.dtype == np.float32
    np.testing.assert_array_equal(read.X, data[["vth", "ileak", "tr"]].to_numpy("f4"))
    np.testing.assert_array_equal(read.y, data["fail"])
    np.testing.assert_array_equal(read.row, range(60))
    assert (read.source, read.kind, read.fail) == ("my.csv", "yours", "1")
    assert read.warnings == () and read.time is None
    assert len(np.unique(read.group)) == 60


def test_breast_cancer_has_no_surprise_but_its_rarer_class(write):
    data = load_breast_cancer(as_frame=True).frame
    read = usertable.read(write(data), "target")
    assert read.X.shape == (569, 30) and read.fail == "0"
    assert read.y.sum() == 212
    (warning,) = read.warnings
    assert warning == (
        "my.csv, column 'target': '0' ('1': 357, '0': 212) is taken for the fail "
        "because it is the rarer class: option fail says otherwise"
    )


@pytest.mark.parametrize(
    ("sep", "decimal", "encoding"),
    [
        (",", ".", "utf-8"),
        (",", ".", "utf-8-sig"),
        ("\t", ".", "utf-8"),
        (";", ".", "utf-8"),
        (";", ",", "utf-8-sig"),
        ("\t", ",", "utf-8"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_formatting_gives_the_same_table(write, sep, decimal, encoding, newline):
    data = frame().rename(columns={"vth": "Schwelle µV"})
    form = {"sep": sep, "decimal": decimal, "encoding": encoding}
    path = write(data, **form, lineterminator=newline)
    read = usertable.read(path, "fail", "lot", "when")
    assert read.features == ("Schwelle µV", "ileak", "tr")
    np.testing.assert_array_equal(read.X, data[list(read.features)].to_numpy("f4"))
    said = ["cells are separated"] * (sep != ",") + ["decimal comma"] * (decimal == ",")
    assert len(read.warnings) == len(said)
    assert all(word in note for word, note in zip(said, read.warnings, strict=True))


def test_quotes_blanks_and_booleans_are_read(write):
    text = [f'{i}.5 ,"{i * i % 11}",{i % 3 == 0},{i % 4 == 1:d}' for i in range(40)]
    text[3:3] = ["", ",,,"]
    text[10] = f"  ,{text[10].split(',', 1)[1]}"
    read = usertable.read(write(lines('"a, b",x,hot,fail', *text, "", "")), "fail")
    assert read.features == ("a, b", "x", "hot")
    assert np.isnan(read.X[8, 0]) and np.isnan(read.X).sum() == 1
    np.testing.assert_array_equal(read.row, [0, 1, 2, *range(5, 42)])
    np.testing.assert_array_equal(read.X[:, 2], [i % 3 == 0 for i in range(40)])
    np.testing.assert_array_equal(read.X[:, 1], [i * i % 11 for i in range(40)])


@pytest.mark.parametrize(
    ("passed", "failed", "column", "guessed"),
    [
        ("0", "1", "fail", False),
        ("1", "0", "pass", False),
        ("1.0", "0.0", "is_passed", False),
        ("-1", "1", "Defect code", False),
        ("pass", "FAIL", "verdict", False),
        ("P", "F", "bin", False),
        ("ok", "nok", "bin", False),
        ("good", "cracked", "bin", False),
        ("intact", "scrap", "bin", False),
        ("false", "true", "failed", False),
        ("True", "False", "ok", False),
        ("t", "f", "good", False),
        ("no", "yes", "rejected", False),
        ("0", "1", "target", True),
        ("1", "0", "target", True),
        ("1", "2", "bin", True),
        ("blue", "red", "colour", True),
    ],
)
def test_which_class_is_the_fail(write, passed, failed, column, guessed):
    data = plain().rename(columns={"fail": column})
    truth = data[column].to_numpy()
    data[column] = np.where(truth == 1, failed, passed)
    read = usertable.read(write(data), column)
    np.testing.assert_array_equal(read.y, truth)
    assert read.fail == failed
    assert any("rarer class" in w for w in read.warnings) == guessed
    other = usertable.read(write(data), column, fail=passed)
    np.testing.assert_array_equal(other.y, 1 - truth)
    assert other.fail == passed and other.warnings == ()


def test_words_win_over_counts(write):
    data = plain()
    data["fail"] = 1 - data["fail"]
    assert usertable.read(write(data), "fail").y.mean() == 0.8


def test_spellings_of_one_class_are_one_class(write):
    data = plain().astype({"fail": object})
    data["fail"] = np.where(data["fail"] == 1, "Fail", "pass")
    data.loc[data.index[data["fail"] == "pass"][:3], "fail"] = [
        " PASS",
        "Pass ",
        "pass",
    ]
    assert usertable.read(write(data), "fail").y.sum() == 12


def test_columns_can_be_left_out(write):
    read = usertable.read(write(frame()), "fail", drop="lot, when,tr")
    assert read.features == ("vth", "ileak")


def test_a_relative_path_is_the_working_folders_or_the_projects(
    write, monkeypatch, tmp_path
):
    write(plain())
    monkeypatch.chdir(tmp_path)
    assert usertable.read("my.csv", "fail").source == "my.csv"
    monkeypatch.chdir("/")
    with pytest.raises(TableError, match=r"my\.csv does not exist"):
        usertable.read("my.csv", "fail")
    monkeypatch.setattr("kdutils.paths.ROOT", tmp_path)
    assert usertable.read("my.csv", "fail").source == "my.csv"


# -- what is refused, in one sentence


REFUSED = [
    case("", "my.csv: the file is empty: expected a header and rows"),
    case("\n \n", "my.csv: the file is empty"),
    case("a,b,fail\n", "my.csv: the file has a header but no rows"),
    case("a,b,fail\n\n,,\n", "my.csv: the file has a header but no rows"),
    case(
        b"a,fail\n1,0\n\xb5,1\n",
        "my.csv, line 3: byte 0xb5 is not utf-8; mended by ENCODING=latin-1",
        encoding="utf-8",
    ),
    case(b"a,fail\n\0,0\n", "my.csv: this is no text: expected CSV, Parquet or Excel"),
    case(
        "a:fail\n1:0\n",
        "line 1: only one column, 'a:fail': expected columns separated by commas",
    ),
    case(plain(), "my.csv: no column 'Fial': did you mean 'fail'?", target="Fial"),
    case(frame(), "no column 'zzz': it has 'vth', 'ileak', 'tr', 'lot'", group="zzz"),
    case(frame(), "no column 'lots': did you mean 'lot'?", group="lots"),
    case(frame(), "no column 'hwen': did you mean 'when'?", time="hwen"),
    case(frame(), "no column 'vht', which DROP names: did you mean 'vth'?", drop="vht"),
    case(frame(), "column 'fail': the column is given two roles", group="fail"),
    case(frame(), "column 'fail': the column is given two roles", drop="fail"),
    case("a,b,a,fail\n1,2,3,0\n", "my.csv, line 1: columns 1 and 3 are both 'a'"),
    case(plain(fail=0), "my.csv, column 'fail': one class ('0': 60), expected"),
    case(
        cell(17, "fail", "maybe"),
        "my.csv, line 17, column 'fail': 'maybe' is one of 3 classes ('0': 47, '1': "
        "12, 'maybe': 1): expected two, such as pass and fail",
    ),
    case(plain(), "classes (", target="tr"),
    case(
        cell(9, "fail", None),
        "my.csv, line 9, column 'fail': empty, but every row needs a verdict",
    ),
    case(
        cell(9, "fail", None, cell(33, "fail", " ")),
        "my.csv, lines 9, 33, column 'fail': empty",
    ),
    case(
        plain(),
        "column 'fail': no verdict is 'bad' ('0': 48, '1': 12): is a fail '1'?",
        fail="bad",
    ),
    case(
        cell(23, "ileak", "3.3 V"),
        "my.csv, line 23, column 'ileak': '3.3 V' is not a number: expected a number, "
        "or nothing where no reading was taken",
    ),
    case(
        cell(23, "ileak", "-", cell(40, "ileak", "?")),
        "my.csv, line 23, column 'ileak': '-' is not a number: expected a number, or "
        "nothing where no reading was taken; mended by NA=- (1 more: make check)",
    ),
    case(cell(5, "tr", "2,1"), "my.csv, line 5, column 'tr': '2,1' is not a number"),
    case(
        plain(who=["Ann", "Bob"] * 30),
        "my.csv, lines 2 and 59 more, column 'who': 'Ann' is text, as is most of the "
        "column: write numbers, or leave it out (or ONEHOT=who for its 2 values); "
        "mended by DROP=who",
    ),
    case(
        frame(),
        "'L00' is text, as is most of the column: write numbers, or leave it out; "
        "mended by DROP=lot",
        drop="when",
        target="fail",
    ),
    case(
        plain(who=["Ann", "Bob"] * 30, at=["x", "y", "z"] * 20),
        "mended by DROP=who (1 more: make check)",
    ),
    case(
        plain(),
        'DROP=tr,"vth is not one CSV record (unexpected end of data): expected names',
        drop='tr,"vth',
    ),
    case(
        cell(12, "vth", "-inf"),
        "my.csv, line 12, column 'vth': -inf is not a finite reading",
    ),
    case(
        cell(12, "vth", "1e60"),
        "my.csv, line 12, column 'vth': 1e+60 is not a finite reading",
    ),
    case(
        lines("a,b,fail", "1,2,0", "1,2,3,0"),
        "my.csv, line 3: 4 cells where the header has 3",
    ),
    case(
        lines("a,b,fail", "1,2,0", "", "1,0"),
        "my.csv, line 4: 2 cells where the header has 3",
    ),
    case(
        lines("a,b,fail", '"1,5",0'), "my.csv, line 2: 2 cells where the header has 3"
    ),
    case(
        lines("a,b,fail", '1,"2,0', '1,2",0'),
        "my.csv, column 'fail': one class ('0': 1)",
    ),
    case(
        lines("a,b,fail", '1,"2,0', "1,2,0"),
        "my.csv, line 2: a quote is opened and not closed",
    ),
    case(
        plain()[["fail"]].assign(a=1, b=range(60)),
        "my.csv: no column is left to learn from",
    ),
    case(
        cell(8, "lot", None, frame()),
        "my.csv, line 8, column 'lot': empty, but every row needs a group",
        group="lot",
        time="when",
    ),
    case(
        frame().assign(lot="L1"),
        "my.csv, column 'lot': a single group, 'L1'",
        group="lot",
        time="when",
    ),
    case(
        cell(8, "when", "", frame()),
        "my.csv, line 8, column 'when': empty, but every row needs a time",
        group="lot",
        time="when",
    ),
    case(
        cell(31, "when", "Tuesday-ish", frame()),
        "my.csv, line 31, column 'when': 'Tuesday-ish' is not a time: expected "
        "numbers, or dates such as 2008-07-19 11:55:00",
        group="lot",
        time="when",
    ),
    case(plain(fail=[1] * 4 + [0] * 56), "my.csv: 4 fails are fewer than the 5 folds"),
    case(plain(fail=[0] * 3 + [1] * 57), "my.csv: 3 passes are fewer than the 5 folds"),
    case(
        frame().assign(fail=[1] * 24 + [0] * 36, when=1),
        "my.csv: all 24 fails stand in 4 groups, fewer than the 5 folds, and a group "
        "is never divided",
        group="lot",
    ),
    case(
        frame().assign(lot=["A", "B"] * 30, when=1),
        "fails stand in 2 groups",
        group="lot",
    ),
    case(
        frame().assign(fail=[0, 1] * 20 + [0] * 20, lot=1),
        "my.csv: the test part of split 1 has no fail among its 12 rows",
        time="when",
    ),
    case(
        frame().assign(when="2024-01-01", lot=1),
        "my.csv: the training part of split 1 has no fail among its 0 rows",
        time="when",
    ),
]


@pytest.mark.parametrize(("data", "sentence", "options"), REFUSED)
def test_a_table_is_refused_in_one_sentence(write, data, sentence, options):
    options = {"target": "fail", **options}
    with pytest.raises(TableError) as refused:
        list(tables.splits("csv", path=write(data), seed=0, **options))
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


SMALL = [
    case(
        frame().assign(fail=np.isin(np.arange(60), [1, 9, 20, 40, 55])),
        "too few fails in the test part of split 1: 1, expected 2 at least, for an "
        "interval",
        time="when",
        drop="lot",
    ),
    case(frame(fails=4), "4 fails are fewer than the 5", drop="lot,when"),
]


@pytest.mark.parametrize(("data", "sentence", "options"), SMALL)
def test_a_small_table_is_refused_before_training(write, data, sentence, options):
    small = usertable.read(write(data), "fail", **options)
    with pytest.raises(TableError) as refused:
        usertable.check(small)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def test_sixty_rows_with_six_fails_are_enough(write):
    data = frame(fails=6)
    assert usertable.check(usertable.read(write(data), "fail", drop="lot,when")) == []


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(
        TableError, match=r"no\.csv does not exist: expected a CSV, Parquet"
    ):
        usertable.read(str(tmp_path / "no.csv"), "fail")
    with pytest.raises(TableError, match="is a folder: expected a CSV, Parquet"):
        usertable.read(str(tmp_path), "fail")


# -- what is done with a warning

NUMBER = np.arange(60)
BAD = frame()["fail"].to_numpy() == 1
WARNED = [
    case(plain(k=5), "column 'k': left out as constant", gone="k"),
    case(
        plain(k=5, site="HQ"),
        "columns 'k', 'site': left out as constant",
        gone="k site",
    ),
    case(plain(e=None), "column 'e': left out as empty", gone="e"),
    case(plain(no=NUMBER + 7), "column 'no': left out as an identifier", gone="no"),
    case(
        plain(no=900 - 3 * NUMBER), "column 'no': left out as an identifier", gone="no"
    ),
    case(
        plain(sn=[f"SN{7 * i % 61:03d}" for i in NUMBER]),
        "column 'sn': left out as an identifier",
        gone="sn",
    ),
    case(
        plain().reset_index().rename(columns={"index": ""}),
        "column 'column 1': left out as an identifier",
        gone="column 1",
    ),
    case(
        plain(code=np.where(BAD, 3, 9) + NUMBER % 5),
        "my.csv, column 'code': the column alone tells fails from passes (AUC 0.000): "
        "if it is known only after the verdict, DROP=code",
    ),
    case(
        plain(code=np.where(NUMBER % 3 == 0, np.nan, BAD + NUMBER % 7 / 10)),
        "column 'code': the column alone tells fails from passes (AUC 1.000)",
    ),
    case(
        plain(repair=np.where(BAD, NUMBER % 4, np.nan)),
        "column 'repair': the column alone tells fails from passes (AUC 1.000)",
    ),
    case(
        pd.concat([plain(), plain().iloc[[3]]]),
        "my.csv, lines 5, 62: rows that repeat the readings of another: they stay in "
        "one part",
    ),
    case(
        pd.concat([plain(), plain(fail=1 - plain()["fail"]).iloc[[3, 9]]]),
        "the same readings, but one passes and one fails (2 such sets)",
    ),
]


@pytest.mark.parametrize(("data", "sentence", "options"), WARNED)
def test_a_table_is_read_with_a_warning(write, data, sentence, options):
    gone = options.get("gone", "")
    read = usertable.read(write(data), "fail")
    (warning,) = [w for w in read.warnings if sentence in w]
    assert warning.startswith("my.csv, ") and "\n" not in warning
    kept = (
        {"vth", "ileak", "tr", *data.columns} - {"fail", "", *gone.split(" ")} - {gone}
    )
    assert set(read.features) == kept


def test_a_reading_that_merely_orders_the_rows_is_no_identifier(write):
    data = plain(ramp=NUMBER / 7, count=NUMBER // 2)
    assert {"ramp", "count"} < set(usertable.read(write(data), "fail").features)


# -- how the rows are divided


def shared(split, key):
    held = [set(np.unique(key[part.row])) for part in parts(split)]
    return (held[0] & held[1]) | (held[0] & held[2]) | (held[1] & held[2])


@pytest.mark.parametrize("seed", range(3))
def test_folds_partition_the_rows_exactly(write, seed):
    splits = list(tables.splits("csv", path=write(plain()), target="fail", seed=seed))
    assert len(splits) == 5
    assert sorted(np.concatenate([s.test.row for s in splits])) == list(range(60))
    for split in splits:
        assert sorted(np.concatenate([p.row for p in parts(split)])) == list(range(60))
        assert [len(p) for p in parts(split)][1:] in ([9, 12], [10, 12])
        assert all(p.fails >= 1 for p in parts(split))
        assert split.test.fails in (2, 3)
        assert (split.kind, split.source) == ("yours", "my.csv")


def test_the_seed_moves_the_splits_and_repeats_them(write):
    path = write(frame())
    for group in ("", "lot"):
        drop = "when" if group else "when,lot"
        first, again, other = (
            [
                p.row.tolist()
                for s in usertable.splits(path, "fail", group, seed=seed, drop=drop)
                for p in parts(s)
            ]
            for seed in (1, 1, 2)
        )
        assert first == again
        assert first != other


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [240, 3600])
def test_groups_are_never_shared(write, seed, n):
    data = frame(n, n // 5, seed).drop(columns="when")
    data["lot"] = np.random.default_rng(seed).integers(0, n // 12, n)
    splits = list(usertable.splits(write(data), "fail", "lot", seed=seed))
    assert len(splits) == (5 if n < 3000 else 1)
    for split in splits:
        assert not shared(split, data["lot"].to_numpy())
        assert not set(split.train.group) & set(split.test.group)
        shares = [len(p) / n for p in parts(split)]
        usual = [0.64, 0.16, 0.2] if n < 3000 else [0.6, 0.2, 0.2]
        assert np.allclose(shares, usual, atol=0.08)
        assert all(0.1 < p.fails / len(p) < 0.3 for p in parts(split))


@pytest.mark.parametrize("n", [240, 3600, 12000])
def test_duplicates_are_never_shared(write, n):
    data = frame(n // 2, n // 10).drop(columns=["lot", "when"])
    data = pd.concat([data, data]).sample(frac=1, random_state=0)
    key = pd.factorize(data["vth"].astype(str) + data["ileak"].astype(str))[0]
    for split in usertable.splits(write(data), "fail", seed=0):
        assert not shared(split, key)
        assert sum(len(p) for p in parts(split)) == n
        assert all(0.15 < p.fails / len(p) < 0.25 for p in parts(split))


def test_gaps_and_signed_zeros_do_not_hide_a_duplicate(write):
    data = plain()
    data.loc[[7, 50], ["vth", "ileak", "tr"]] = [[1, np.nan, 0.0], [1, np.nan, -0.0]]
    group = usertable.read(write(data), "fail").group
    assert group[7] == group[50] and len(np.unique(group)) == 59


def test_the_fewest_fails_still_reach_every_part(write):
    path = write(plain(fail=[1] * 5 + [0] * 55))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for split in usertable.splits(path, "fail", seed=0):
            assert [p.fails for p in parts(split)] == [3, 1, 1]


def test_a_row_met_in_two_lots_joins_them(write):
    data = frame(240, 60).drop(columns="when")
    data = pd.concat([data, data.iloc[[0]].assign(lot="L30")], ignore_index=True)
    read = usertable.read(write(data), "fail", "lot")
    lots = data["lot"].to_numpy()
    assert len(np.unique(read.group)) == 39
    assert len(np.unique(read.group[(lots == "L00") | (lots == "L30")])) == 1
    for split in usertable.splits(write(data), "fail", "lot", seed=0):
        assert not shared(split, np.where(lots == "L30", "L00", lots))


def test_a_large_table_is_divided_once_and_exactly(write):
    data = frame(3000, 300).drop(columns=["lot", "when"])
    (split,) = usertable.splits(write(data), "fail", seed=0)
    assert [len(p) for p in parts(split)] == [1800, 600, 600]
    assert [p.fails for p in parts(split)] == [180, 60, 60]
    assert len(set(np.concatenate([p.row for p in parts(split)]))) == 3000
    (other,) = usertable.splits(write(data), "fail", seed=1)
    assert set(other.test.row) != set(split.test.row)


TIMES = {"iso": lambda t: t.strftime("%Y-%m-%d %H:%M:%S")}
TIMES |= {"iso with zone": lambda t: t.strftime("%Y-%m-%dT%H:%M:%S+02:00")}
TIMES |= {"day.month": lambda t: t.strftime("%d.%m.%Y %H:%M")}
TIMES |= {"day/month": lambda t: t.strftime("%d/%m/%Y %H:%M:%S")}
TIMES |= {"month/day": lambda t: t.strftime("%m/%d/%Y %H:%M:%S")}
TIMES |= {"seconds": lambda t: t.timestamp()}
TIMES |= {"number": lambda t: int(t.strftime("%Y%m%d%H"))}


@pytest.mark.parametrize("form", TIMES)
def test_time_order_is_respected(write, form):
    data = frame(120, 40).drop(columns="lot")
    true = pd.to_datetime(data["when"])
    data["when"] = true.map(TIMES[form])
    order = np.random.default_rng(0).permutation(120)
    data, true = data.iloc[order], true.iloc[order].to_numpy()
    (split,) = usertable.splits(write(data), "fail", time="when", seed=0)
    train, val, test = (true[p.row] for p in parts(split))
    assert train.max() < val.min() and val.max() < test.min()
    assert (np.diff(train) > np.timedelta64(0)).all()
    assert [len(p) for p in parts(split)] == [72, 24, 24]
    assert split.features == ("vth", "ileak", "tr")


def test_equal_times_stay_together(write):
    data = frame(120, 40).drop(columns="lot")
    data["when"] = np.arange(120) // 25
    (split,) = usertable.splits(write(data), "fail", time="when", seed=0)
    assert [len(p) for p in parts(split)] == [50, 25, 45]
    assert not shared(split, data["when"].to_numpy())


def test_a_day_that_could_be_a_month_is_said_unless_dots_part_it(write):
    data = frame(60, 20).drop(columns="lot")
    data["when"] = [f"{1 + i % 12:02d}/{1 + i // 12:02d}/2024" for i in range(60)]
    read = usertable.read(write(data), "fail", time="when")
    assert read.warnings == (
        "my.csv, column 'when': '01/01/2024' is taken for 2024-01-01: write dates so "
        "to be sure of day and month",
    )
    data["when"] = data["when"].str.replace("/", ".")
    time = usertable.read(write(data), "fail", time="when").time
    assert (np.diff(time) > 0).all()


def test_a_group_that_goes_on_in_a_later_part_is_used_there_only(write):
    data = frame(120, 40)
    data["lot"] = np.arange(120) // 10  # 72 rows train, 96 begin the test: two lots cut
    with pytest.warns(UserWarning, match="8 rows are left out because their group"):
        (split,) = usertable.splits(write(data), "fail", "lot", "when", seed=0)
    assert not shared(split, data["lot"].to_numpy())
    assert [len(p) for p in parts(split)] == [70, 18, 24]


def test_the_digest_is_of_the_bytes_and_the_options(write):
    path, same = write(plain()), write(plain(), "other.csv")
    digests = [
        tables.digest("csv", path=path, target="fail"),
        tables.digest("csv", path=same, target="fail"),
        tables.digest("csv", path=path, target="fail", drop="tr"),
        tables.digest("csv", path=write(plain(tr=1), "third.csv"), target="fail"),
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert all(len(d) == 64 for d in digests)
    assert tables.kind("csv", path=path) == "yours"


def test_every_source_answers_the_same_questions():
    assert [tables.kind(s) for s in ("tester", "csv")] == ["simulated", "yours"]
    split = next(tables.splits("tester", seed=0, train_lots=9, devices=99))
    assert split.kind == "simulated" and split.train.fails > 0
    assert len(tables.digest("tester")) == 64
    with pytest.raises(ValueError, match="'csvs' is unknown: expected tester, secom, "):
        next(tables.splits("csvs", seed=0))


# -- SECOM: the same 1,537 rows from every copy

REAL = registry.folder("secom")
real = pytest.mark.skipif(
    not (REAL / "secom.data").is_file() or registry.generated("secom"),
    reason="the official SECOM files are not under KD_DATA",
)


@pytest.fixture
def mini(tmp_path):
    miniatures.write(str(tmp_path), "secom", seed=5)
    return str(tmp_path)


def rows(split):
    return [part.row for part in parts(split)]


@real
def test_the_confirmed_rows_are_1537_with_89_fails():
    table = registry.read("secom")
    assert table.X.shape == (1537, 590) and table.X.dtype == np.float32
    assert table.y.sum() == 89 and table.kind == "real"
    assert len(readers.UNCONFIRMED) == 30
    assert not np.isin(table.row + 1, readers.UNCONFIRMED).any()
    assert table.row[-1] == 1566
    start, end = (datetime.fromtimestamp(t, UTC) for t in table.time[[0, -1]])
    assert (start.month, end.strftime("%d/%m/%Y %H:%M:%S")) == (
        7,
        "17/10/2008 06:07:00",
    )


@real
def test_the_real_content_has_its_checksum():
    assert readers.secom(REAL).sha256 == registry.DATASETS["secom"].sha256[0]
    assert tables.digest("secom") == registry.DATASETS["secom"].sha256[0]
    assert tables.kind("secom") == "real"


@real
def test_real_folds_and_real_time_order():
    folds = list(tables.splits("secom", seed=0))
    assert [(len(s.test), s.test.fails) for s in folds] == [
        (308, 18),
        (308, 18),
        (307, 17),
        (307, 18),
        (307, 18),
    ]
    assert all(430 < len(s.features) < 460 for s in folds)
    (split,) = tables.splits("secom", seed=0, order="time")
    assert [(len(p), p.fails) for p in parts(split)] == [
        (922, 61),
        (306, 12),
        (309, 16),
    ]


def test_the_digest_needs_no_files(tmp_path):
    absent = str(tmp_path / "absent")
    assert tables.digest("secom", root=absent, folds=3) == (
        "bb9862016d27ddaba14efd274c6e506e2272d5d414855397a7286f5b8b248bb9"
    )
    assert tables.kind("secom", root=absent) == "real"


def rewrite(folder, change):
    """Write another copy of a folder's readings, in another formatting."""
    data, labels = (folder / name for name in readers.SECOM)
    X = change(np.loadtxt(data))
    data.write_text("".join("\t".join(f"{x:.6e}" for x in row) + "\r\n" for row in X))
    lines = [line for line in labels.read_text().splitlines() if line]
    labels.write_text("\n".join(line.replace('"', "") for line in lines))
    return readers.secom(folder).sha256


def test_the_content_is_that_of_the_confirmed_rows_whatever_the_formatting(mini):
    folder = registry.folder("secom", mini)
    (folder / "GENERATED").unlink()
    X = np.loadtxt(folder / "secom.data").round(1)
    np.savetxt(folder / "secom.data", X, fmt="%.1f")
    before = readers.secom(folder).sha256

    def cell(row, value):
        def change(X):
            X[row - 1, 2] = value
            return X

        return change

    assert rewrite(folder, lambda X: X) == before
    assert rewrite(folder, cell(19, 1.5)) == before  # an unconfirmed row
    assert rewrite(folder, cell(20, 1.5)) != before
    changed = rewrite(folder, cell(20, 2.5))
    assert rewrite(folder, cell(20, np.nan)) != changed != before
    assert rewrite(folder, cell(20, 0.0)) == rewrite(folder, cell(20, -0.0))


def test_files_with_other_content_are_refused(mini):
    folder = registry.folder("secom", mini)
    (folder / "GENERATED").unlink()
    with pytest.raises(
        registry.SourceError, match=r"not hold the official .* where bb98"
    ):
        registry.read("secom", mini)


def test_the_time_order_is_one_split_whatever_the_seed(mini):
    (split,) = tables.splits("secom", seed=1, root=mini, order="time")
    (again,) = tables.splits("secom", seed=2, root=mini, order="time")
    assert all(
        np.array_equal(a, b) for a, b in zip(rows(split), rows(again), strict=True)
    )
    time = registry.read("secom", mini).time
    train, val, test = (time[r] for r in rows(split))
    assert train.max() < val.min() and val.max() < test.min()
    assert (np.diff(np.concatenate([train, val, test])) >= 0).all()
    assert [round(len(part) / 400, 2) for part in (train, val, test)] == [0.6, 0.2, 0.2]


def test_columns_are_judged_on_training_rows_alone(mini, monkeypatch):
    table = registry.read("secom", mini)
    X = np.random.default_rng(0).standard_normal((400, 5)).astype(np.float32)
    X[:240, 1] = 7  # constant among the oldest rows only
    X[:130, 2] = np.nan  # missing in most of the oldest rows only
    X[240:, 3] = np.nan  # read in the oldest rows only
    X[:240, 4] = np.nan
    crafted = replace(table, X=X, features=("a", "b", "c", "d", "e"))
    monkeypatch.setattr(registry, "read", lambda *_: crafted)
    (split,) = tables.splits("secom", seed=0, order="time")
    assert split.features == ("a", "d")
    assert np.isnan(split.test.X[:, 1]).all()
    assert np.array_equal(split.test.X[:, 0], X[split.test.row, 0])
    random = next(tables.splits("secom", seed=0))
    assert random.features == ("a", "b", "c", "d")


def test_an_unknown_order_is_named():
    with pytest.raises(
        ValueError, match="order is 'oldest': expected 'random' or 'time'"
    ):
        next(tables.splits("secom", seed=0, order="oldest"))


@pytest.mark.parametrize(
    ("file", "line", "text", "sentence"),
    [
        (1, 7, "-1 2008-07-19", r"secom_labels.data, row 8: '-1 2008-07-19' is not a"),
        (1, 0, '0 "19/07/2008 11:55:00"', "secom_labels.data, row 1: "),
        (1, 5, "", "secom_labels.data has 399 rows but .*secom.data 400"),
        (
            0,
            5,
            "1 2 3",
            "secom.data: .*number of columns changed from 60 to 3 at row 6",
        ),
        (0, 5, "x " * 60, "secom.data: could not convert string 'x'"),
    ],
)
def test_a_spoilt_file_is_named_with_its_row(mini, file, line, text, sentence):
    path = registry.folder("secom", mini) / readers.SECOM[file]
    lines = path.read_text().splitlines()
    lines[line] = text
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=sentence):
        registry.read("secom", mini)


def put_higgs(folder, train="1,", test="0,", more="0.5"):
    folder.mkdir(parents=True)
    head = ",".join(["response", *(f"x{j}" for j in range(1, 29))])
    for name, label in (("train_10k", train), ("test_5k", test)):
        rows = [f"{label}{','.join([more] * 28)}"] * 10
        (folder / f"higgs_{name}.csv").write_text("\n".join([head, *rows]) + "\n")
    return folder / "higgs_train_10k.csv"


def test_both_samples_of_higgs_are_one_table(tmp_path):
    put_higgs(tmp_path / "higgs")
    rows = registry.read("higgs", str(tmp_path))
    assert rows.X.shape == (20, 28) and rows.y.tolist() == [1] * 10 + [0] * 10
    assert rows.kind == "yours" and rows.X.dtype == rows.y.dtype == np.float32
    (split,) = tables.splits("higgs", seed=0, folds=1, rows=16, root=str(tmp_path))
    assert max(split.train.row.max(), split.val.row.max(), split.test.row.max()) == 15
    assert {len(split.val), len(split.test)} <= {3, 4}


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [({"train": "2,"}, "a label 0 or 1 first"), ({"more": "a"}, "expected numbers")],
)
def test_a_sample_of_higgs_that_is_none(tmp_path, spoilt, words):
    place = put_higgs(tmp_path / "higgs", **spoilt)
    with pytest.raises(ValueError, match=words) as error:
        readers.higgs(place)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    place = put_higgs(tmp_path / "other")
    (tmp_path / "other" / "higgs_test_5k.csv").unlink()
    with pytest.raises(ValueError, match="higgs_test_5k"):
        readers.higgs(place)


def test_columns_are_found_by_their_moments(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal([0, 3, 0], [1, 1, 2], (400, 3)).astype(np.float32)
    rows = Rows(X, X[:, 0], np.arange(400), np.arange(400), ("a", "b", "c"))
    monkeypatch.setattr(columns.registry, "read", lambda *_: rows)
    config = {"source": "higgs", "root": "", "mean": [3.1, 0.05, 0], "sd": [1, 2.1, 1]}
    found = columns.compute(config, None)["rows"]
    assert [row["known"] for row in found] == ["b", "c", "a"]
    se = X[:, 1].std(dtype=float) / 20
    assert found[0]["z"] == pytest.approx((3.1 - X[:, 1].mean(dtype=float)) / se)


def test_a_table_is_read_once_until_its_file_changes(write, monkeypatch):
    seen, whole = [], usertable.examine
    monkeypatch.setattr(
        usertable, "examine", lambda *a, **k: seen.append(a) or whole(*a, **k)
    )
    path, options = write(frame()), {"drop": "lot,when"}
    first = usertable.read(path, "fail", **options)
    assert usertable.read(path, "fail", **options) is first and len(seen) == 1
    assert usertable.read(path, "fail", drop="lot,when,vth").features != first.features
    write(frame(fails=7))
    assert usertable.read(path, "fail", **options).y.sum() == 7 and len(seen) == 3

"""SECOM: the same 1,537 rows from every copy, divided honestly."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from kdutils.data import divide, readers, registry, tables
from kdutils.data.simulate import miniatures

REAL = registry.folder("secom")
real = pytest.mark.skipif(
    not (REAL / "secom.data").is_file() or registry.generated("secom"),
    reason="the official SECOM files are not under KD_DATA",
)
PARTS = ("train", "val", "test")


@pytest.fixture
def mini(tmp_path):
    miniatures.write(str(tmp_path), "secom", seed=5)
    return str(tmp_path)


def rows(split):
    return [getattr(split, part).row for part in PARTS]


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
    parts = [getattr(split, name) for name in PARTS]
    assert [(len(p), p.fails) for p in parts] == [(922, 61), (306, 12), (309, 16)]


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


def test_folds_partition_the_rows_and_keep_the_share_of_fails(mini):
    splits = list(tables.splits("secom", seed=1, root=mini))
    tested = np.concatenate([s.test.row for s in splits])
    assert sorted(tested) == list(range(400))
    for split in splits:
        assert sorted(np.concatenate(rows(split))) == list(range(400))
        assert [len(r) for r in rows(split)] == [256, 64, 80]
        assert [getattr(split, p).fails for p in PARTS] == [64, 16, 20]
        assert split.units == ("",) * len(split.features)
        assert (split.source, split.kind) == ("secom", "generated")
        assert split.train.X.shape == (256, len(split.features))


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


def test_a_part_without_a_fail_is_named(mini, monkeypatch):
    table = registry.read("secom", mini)
    y = np.where(table.row < 300, table.y, 0).astype(np.float32)
    monkeypatch.setattr(registry, "read", lambda *_: replace(table, y=y))
    sentence = "secom: the test part of split 1 has no fail among its 80 rows"
    with pytest.raises(divide.TableError, match=sentence):
        list(tables.splits("secom", seed=0, order="time"))


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

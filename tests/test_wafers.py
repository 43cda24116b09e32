"""Wafer maps are read, divided and counted, or refused in one sentence."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_data import parts, put, rewrite, sentence

from kdutils.data import PARTS, readers, registry, symmetry, wafers
from kdutils.data.registry import SourceError
from kdutils.data.simulate import wafersim

NAMES = {"mixedwm38": "MixedWM38.npz", "wm811k": "wm811k_subset.npz"}


def path(root, source):
    return root / source / NAMES[source]


# --- what is read -----------------------------------------------------------------


def test_the_maps_of_the_file_are_read_as_they_are(written):
    arrays = np.load(path(written, "mixedwm38"))
    maps = readers.mixedwm38(path(written, "mixedwm38"))
    assert np.array_equal(maps.X, arrays["arr_0"]) and maps.X.dtype == np.uint8
    assert np.array_equal(maps.y, arrays["arr_1"]) and maps.y.dtype == np.uint8
    assert np.array_equal(maps.part, arrays["split"])
    assert np.array_equal(maps.row, np.arange(420)) and maps.row.dtype == np.int64


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_the_official_file_has_two_arrays_of_any_integers(root, dtype):
    file = root / "mixedwm38" / "Wafer_Map_Datasets.npz"
    arrays = np.load(path(root, "mixedwm38"))
    held = {key: arrays[key].astype(dtype) for key in ("arr_0", "arr_1")}
    np.savez(file, **held)
    maps = readers.mixedwm38(file)
    assert maps.part is None and np.array_equal(maps.X, held["arr_0"])
    path(root, "mixedwm38").unlink()
    assert registry.find("mixedwm38", str(root)) == file


def test_a_3_is_a_fail_in_a_map_that_is_near_full_and_wrong_elsewhere(root):
    file = path(root, "mixedwm38")
    y = np.load(file)["arr_1"]
    full, other = np.flatnonzero(y[:, 5])[0], np.flatnonzero(y[:, 5] == 0)[0]
    rewrite(file, "arr_0", put((full, 26, 26), 3))
    assert readers.mixedwm38(file).X[full, 26, 26] == 2
    rewrite(file, "arr_0", put((other, 26, 26), 3))
    with pytest.raises(
        ValueError, match=f"arr_0, row {other + 1}: value 3 where 0 to 2"
    ):
        readers.mixedwm38(file)


def test_ragged_maps_come_to_one_size_and_keep_their_label(written):
    held = np.load(path(written, "wm811k"))
    maps = readers.wm811k(path(written, "wm811k"))
    assert maps.X.shape == (200, 52, 52) and maps.y.sum(axis=1).max() == 1
    ends = held["shape"].astype(int).prod(axis=1).cumsum()
    same = 0
    for i, (end, shape) in enumerate(zip(ends, held["shape"], strict=True)):
        die = held["flat"][end - np.prod(shape, dtype=int) : end].reshape(shape)
        assert np.array_equal(maps.X[i], readers.resized(die[None])[0])
        same += tuple(shape) == (52, 52) and np.array_equal(maps.X[i], die)
        word = held["failure_type"][i]
        named = [wafers.classes()[k].lower() for k in np.flatnonzero(maps.y[i])]
        assert named == ([] if word == "None" else [word.lower()])
    assert same == (held["shape"] == 52).all(axis=1).sum() > 10


@pytest.mark.parametrize("shape", [(52, 53), (104, 130), (70, 212), (53, 52)])
def test_no_failing_die_is_lost_in_a_smaller_map(shape):
    height, width = shape
    dies = np.ones((height * width, height, width), np.uint8)[::97]
    place = np.arange(height * width)[::97]
    dies.reshape(len(dies), -1)[np.arange(len(dies)), place] = 2
    counts = (readers.resized(dies) == 2).sum(axis=(1, 2))
    i, j = np.divmod(place, width)
    border = [(2 * k + 1) * 52 % (2 * n) == 0 for k, n in ((i, height), (j, width))]
    assert np.array_equal(counts, 2 ** (border[0] * 1 + border[1]))


def test_a_larger_map_repeats_its_dies():
    die = np.random.default_rng(0).integers(0, 3, (4, 26, 26), dtype=np.uint8)
    assert np.array_equal(readers.resized(die), die.repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize("side", [15, 24, 27, 51, 53, 64, 77, 104])
def test_a_turned_map_becomes_the_turned_result(side):
    die = np.random.default_rng(side).integers(0, 3, (3, side, side), dtype=np.uint8)
    result = symmetry.copies(readers.resized(die))
    for copy, expected in zip(symmetry.copies(die), result, strict=True):
        assert np.array_equal(readers.resized(copy), expected)


# --- what is divided --------------------------------------------------------------


def test_the_parts_of_the_file_stay_and_planted_copies_go(written):
    arrays = np.load(path(written, "mixedwm38"))
    split = wafers.split("mixedwm38", seed=0, root=str(written))
    before = [int((arrays["split"] == part).sum()) for part in PARTS]
    assert [len(part) for part in parts(split)] == [
        before[0] - 16,  # 8 as they are and 8 turned
        before[1] - 2,
        before[2] - 2,
    ]
    for name, part in zip(PARTS, parts(split), strict=True):
        assert np.array_equal(part.X, arrays["arr_0"][part.row])
        assert np.array_equal(part.y, arrays["arr_1"][part.row])
        assert (arrays["split"][part.row] == name).all()
        assert (np.diff(part.row) > 0).all() and part.group.dtype == np.int64
    other = wafers.split("mixedwm38", seed=7, root=str(written))
    assert np.array_equal(split.train.row, other.train.row)
    split.train.X[0] = 9  # the caller's own copy
    again = wafers.split("mixedwm38", seed=0, root=str(written))
    assert np.array_equal(again.train.X, other.train.X)


def test_no_map_is_in_two_parts_turned_or_not(written):
    split = wafers.split("mixedwm38", seed=0, root=str(written))
    names = [symmetry.canonical(part.X) for part in parts(split)]
    groups = [part.group for part in parts(split)]
    for held in (names, groups):
        train, val, test = map(set, held)
        assert not train & val and not (train | val) & test
    assert len(set(names[1])) == len(names[1]) and len(set(names[2])) == len(names[2])


def test_copies_within_train_stay_with_one_group(root):
    file = path(root, "mixedwm38")
    rows = np.flatnonzero(np.load(file)["split"] == "train")
    first = wafers.split("mixedwm38", seed=0, root=str(root)).train
    row, to = first.row[3], next(r for r in rows if r not in first.row)
    X = np.load(file)["arr_0"][row]
    rewrite(file, "arr_0", put(to, np.rot90(X)))
    train = wafers.split("mixedwm38", seed=0, root=str(root)).train
    assert len(train) == len(first) + 1
    assert train.group[train.row == to] == train.group[train.row == row]


def test_what_is_repeated_is_counted(written):
    found = wafers.duplicates("mixedwm38", str(written))
    assert found["exact_across"] == 8 and found["symmetric_across"] == 18
    assert found["within"] == {"train": 0, "val": 0, "test": 2}
    assert found["dropped"] == {"train": 16, "val": 2, "test": 2}
    split = wafers.split("mixedwm38", seed=0, root=str(written))
    kept = sum(len(part) for part in parts(split))
    assert kept + sum(found["dropped"].values()) == 420 and not found["labels_differ"]


def test_equal_maps_of_two_labels_are_counted(root):
    file = path(root, "mixedwm38")
    X, y = (np.load(file)[key] for key in ("arr_0", "arr_1"))
    groups, counts = np.unique(symmetry.canonical(X), return_counts=True)
    twin = symmetry.canonical(X).index(groups[counts == 2][0])
    y[twin, 0] ^= 1
    rewrite(file, "arr_1", lambda _: y)
    assert wafers.duplicates("mixedwm38", str(root))["labels_differ"] == 1


def test_a_file_without_parts_is_drawn_by_seed_in_whole_groups(root):
    rewrite(path(root, "mixedwm38"), "split", lambda _: None)
    one, same, other = (
        wafers.split("mixedwm38", seed=seed, root=str(root)) for seed in (1, 1, 2)
    )
    found = wafers.duplicates("mixedwm38", str(root), seed=1)
    assert found["symmetric_across"] == 0 and found["dropped"]["train"] == 0
    sizes = np.array([len(part) for part in parts(one)]) / 420
    assert np.abs(sizes - (0.6, 0.15, 0.25)).max() < 0.03
    assert np.array_equal(one.test.row, same.test.row)
    assert not np.array_equal(one.test.row, other.test.row)
    for part in parts(one):
        counts = np.bincount(wafers.combination(part.y), minlength=256)
        legal = counts[wafers.combination(wafers.COMBINATIONS)]
        assert legal.sum() == len(part) and np.ptp(legal) <= 2
        assert legal.min() >= 1


def test_simulated_maps_are_drawn_by_seed():
    one, same, other = (
        wafers.split("simulated", seed=seed, rows=[76, 38, 38]) for seed in (1, 1, 2)
    )
    assert [len(part) for part in parts(one)] == [76, 38, 38]
    assert one.kind == "simulated" and one.source == "simulated"
    assert np.array_equal(one.train.X, same.train.X)
    assert not np.array_equal(one.train.X, other.train.X)
    assert not np.array_equal(one.val.X, one.test.X)
    assert np.array_equal(one.test.row, np.arange(114, 152))
    quiet = wafers.split("simulated", seed=1, rows=(76, 38, 38), background=(0, 0.01))
    assert (quiet.train.X == 2).sum() < 0.9 * (one.train.X == 2).sum()


def test_the_names_and_the_combinations():
    y = wafers.COMBINATIONS
    assert wafers.classes() == wafersim.PATTERNS and len(wafers.classes()) == 8
    assert len(set(wafers.combination(y))) == 38
    assert wafers.combination(np.eye(8)).tolist() == [1, 2, 4, 8, 16, 32, 64, 128]
    assert wafers.combination(y[:1]).dtype == np.int64


def test_a_digest_names_the_content(root, tmp_path):
    before = wafers.digest("mixedwm38", str(root))
    file = path(root, "mixedwm38")
    rewrite(file, "orig_index", lambda _: None)
    assert wafers.digest("mixedwm38", str(root)) == before
    rewrite(file, "split", lambda split: np.where(split == "val", "train", split))
    rewrite(file, "split", put(0, "val"))
    other = wafers.digest("mixedwm38", str(root))
    rewrite(file, "arr_1", put((0, 0), 1 - np.load(file)["arr_1"][0, 0]))
    assert len({before, other, wafers.digest("mixedwm38", str(root))}) == 3
    digests = [wafers.digest("simulated", rows=n) for n in ((1, 2, 3), [1, 2, 4])]
    assert len(set(digests)) == 2 and all(len(digest) == 64 for digest in digests)
    assert digests[0] == wafers.digest("simulated", rows=[1, 2, 3])


def test_the_kind_is_real_only_where_the_content_is_known(root, monkeypatch):
    assert wafers.kind("wm811k", str(root)) == "generated"
    (root / "wm811k" / "GENERATED").unlink()
    assert wafers.kind("wm811k", str(root)) == "yours"
    sha256 = (wafers.digest("wm811k", str(root)),)
    known = replace(registry.DATASETS["wm811k"], sha256=sha256)
    monkeypatch.setitem(registry.DATASETS, "wm811k", known)
    assert wafers.split("wm811k", seed=0, root=str(root)).kind == "real"


# --- the real files ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "sizes", "across", "differ"),
    [
        ("mixedwm38", [13_514, 5_664, 2_844], (193, 193), 0),
        ("wm811k", [37_237, 12_424, 12_444], (118, 128), 12),
    ],
)
def test_the_real_files_where_they_are_here(source, sizes, across, differ):
    if not (registry.folder(source) / NAMES[source]).is_file():
        pytest.skip(f"{source} is not here")
    if registry.generated(source):
        pytest.skip(f"{source} is a miniature here")
    split, found = wafers.split(source, seed=0), wafers.duplicates(source)
    assert [len(part) for part in parts(split)] == sizes and split.kind == "real"
    assert (found["exact_across"], found["symmetric_across"]) == across
    assert found["labels_differ"] == differ
    every = np.concatenate([part.y for part in parts(split)])
    legal = set(wafers.combination(wafers.COMBINATIONS))
    seen = set(wafers.combination(every))
    assert seen == legal if source == "mixedwm38" else seen < legal and len(seen) == 9


# --- what is refused --------------------------------------------------------------


def refused(source, root):
    return sentence(wafers.split, source, seed=0, root=str(root))


WRONG = [
    ("mixedwm38", "arr_0", lambda a: a[:, :51], "arr_0 is uint8 (420, 51, 52) where"),
    ("mixedwm38", "arr_0", lambda a: a / 2, "arr_0 is float64 (420, 52, 52) where who"),
    ("mixedwm38", "arr_0", put((41, 3, 3), 7), "arr_0, row 42: value 7 where 0 to 2 "),
    ("mixedwm38", "arr_0", lambda a: a - a.astype(int) - 1, "arr_0, row 1: value -1 "),
    ("mixedwm38", "arr_0", lambda a: a[:0], "arr_0 is uint8 (0, 52, 52) where whole "),
    ("mixedwm38", "arr_0", lambda a: a[0, 0, 0], "arr_0 is uint8 () where whole num"),
    ("mixedwm38", "arr_0", lambda a: None, "has no arr_0"),
    ("mixedwm38", "arr_0", lambda a: a[1:], "arr_0 has 419 rows but arr_1 420"),
    ("mixedwm38", "arr_1", lambda a: a[:, :7], "arr_1 is uint8 (420, 7) where whole n"),
    ("mixedwm38", "arr_1", put((6, 2), 2), "arr_1, row 7: value 2 where 0 to 1 was ex"),
    (
        "mixedwm38",
        "split",
        put(9, "tests"),
        "split, row 10: 'tests' where one of train",
    ),
    ("mixedwm38", "split", lambda a: a[1:], "arr_0 has 420 rows but split 419"),
    ("mixedwm38", "split", lambda a: np.repeat("train", 420), "split has no row of v"),
    ("mixedwm38", "split", lambda a: np.ones(420), "split is float64 (420,) where wor"),
    ("mixedwm38", "orig_index", lambda a: a[:5], "arr_0 has 420 rows but orig_index 5"),
    ("wm811k", "flat", lambda a: a[:-1], "flat has "),
    ("wm811k", "flat", put(-1, 4), "flat, row 200: value 4 where 0 to 2 was expec"),
    ("wm811k", "flat", put(0, 3), "flat, row 1: value 3 where 0 to 2 was expected"),
    ("wm811k", "shape", lambda a: a[:, 0], "shape is int16 (200,) where whole numbers"),
    ("wm811k", "shape", put((4, 1), 0), "shape, row 5: ["),
    ("wm811k", "shape", lambda a: None, "has no shape"),
    ("wm811k", "failure_type", put(2, "Blob"), "failure_type, row 3: 'Blob' where on"),
    ("wm811k", "failure_type", lambda a: a[3:], "shape has 200 rows but failure_type "),
    ("wm811k", "failure_type", lambda a: np.ones(200), "failure_type is float64 (200,"),
]


@pytest.mark.parametrize(
    ("source", "key", "change", "reason"), WRONG, ids=[w[3][:24] for w in WRONG]
)
def test_a_wrong_array_is_named(root, source, key, change, reason):
    file = path(root, source)
    rewrite(file, key, change)
    assert refused(source, root).removeprefix(str(file)).lstrip(": ").startswith(reason)


def test_objects_are_never_loaded(root):
    file = path(root, "wm811k")
    rewrite(file, "failure_type", lambda a: a.astype(object))
    said = refused("wm811k", root)
    assert said.startswith(f"{file} holds no plain arrays (Object arrays cannot be")
    pickle = Path("LSWMD.pkl")
    with pytest.raises(ValueError, match=r"LSWMD.pkl is a pickle, which is never load"):
        readers.wm811k(pickle)


def test_a_spoilt_archive_is_named(root):
    file = path(root, "mixedwm38")
    whole = file.read_bytes()
    file.write_bytes(whole[:-500])
    assert refused("mixedwm38", root) == f"{file} is not a whole npz archive"
    file.write_bytes(whole[:5000] + b"spoilt" + whole[5006:])
    assert refused("mixedwm38", root).startswith(f"{file} holds no plain arrays (")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("arr_0.npy", b"\x93NUMPY\x01\x00\xff\xff{}")
    assert refused("mixedwm38", root).startswith(f"{file} holds no plain arrays (")


def test_a_missing_file_says_where_to_get_it(tmp_path):
    said = refused("mixedwm38", tmp_path)
    assert said.startswith(f"mixedwm38 is not in {tmp_path / 'mixedwm38'}: get Wafer_M")
    assert "kaggle.com" in said and "github.com" in said
    assert "LSWMD.pkl, a pickle and so never loaded" in refused("wm811k", tmp_path)


def test_two_files_of_one_source_are_not_chosen_between(root):
    shutil.copy(path(root, "mixedwm38"), root / "mixedwm38" / "Wafer_Map_Datasets.npz")
    said = refused("mixedwm38", root)
    assert said.endswith(
        "MixedWM38.npz and Wafer_Map_Datasets.npz: keep the one you mean"
    )


def test_unknown_sources_and_options_are_refused(root):
    with pytest.raises(SourceError, match="no files: it is simulated"):
        wafers.duplicates("simulated")
    with pytest.raises(ValueError, match="mixedwm38 is read as it is"):
        wafers.split("mixedwm38", seed=0, root=str(root), rows=(1, 1, 1))
    for rows in (None, (1, 2), (1, 0, 1), ("1", 1, 1), 5):
        with pytest.raises(ValueError, match="expected three numbers above 0"):
            wafers.split("simulated", seed=0, rows=rows)


# --- the eight symmetries of a square map -----------------------------------------


@pytest.fixture
def X():
    return np.random.default_rng(0).integers(0, 3, (5, 6, 6), dtype=np.uint8)


def test_the_eight_copies_come_in_their_fixed_order():
    (first, *_), second, *_ = copies = symmetry.copies(np.array([[[1, 2], [3, 4]]]))
    assert np.array_equal(first, [[1, 2], [3, 4]])
    assert np.array_equal(second[0], [[2, 4], [1, 3]])
    assert np.array_equal(copies[2][0], [[4, 3], [2, 1]])
    assert np.array_equal(copies[4][0], [[2, 1], [4, 3]])
    assert np.array_equal(copies[5][0], [[1, 3], [2, 4]])  # mirrored, then turned
    assert len({copy.tobytes() for copy in copies}) == 8
    assert copies.shape == (8, 1, 2, 2)


@pytest.mark.parametrize("k", range(8))
def test_every_copy_has_the_same_name(X, k):
    assert symmetry.canonical(symmetry.copies(X)[k]) == symmetry.canonical(X)


def test_another_map_has_another_name(X):
    other = X.copy()
    other[:, 2, 3] = (other[:, 2, 3] + 1) % 3
    names = symmetry.canonical(X) + symmetry.canonical(other)
    assert len(set(names)) == 10 and {len(name) for name in names} == {16}


def test_blocks_change_nothing(X, monkeypatch):
    whole = symmetry.canonical(X)
    monkeypatch.setattr(symmetry, "BLOCK", 2)
    assert symmetry.canonical(X) == whole
    assert symmetry.canonical(X[:0]) == []


@pytest.mark.parametrize("shape", [(2, 3, 4), (4, 4)])
def test_maps_that_are_not_square_are_refused(shape):
    with pytest.raises(ValueError, match=r"maps are \(.*\) where \(n, H, H\) was"):
        symmetry.copies(np.zeros(shape, np.uint8))

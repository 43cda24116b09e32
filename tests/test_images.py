"""Images are read, divided and checked, or refused in one sentence."""

from __future__ import annotations

import gzip
from dataclasses import replace

import numpy as np
import pytest
from toy_data import parts, put, rewrite, sentence

from kdutils.data import images, readers, registry
from kdutils.data.registry import DATASETS

TRAIN = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
TEST = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
NAMES = "mnist", "pneumoniamnist"
CLOSED = "http://127.0.0.1:9/{}"


@pytest.fixture
def official(root, monkeypatch):
    """The same files without their marker, known by their checksums."""
    monkeypatch.setenv("no_proxy", "*")
    for name in ("mnist", "pneumoniamnist"):
        place, known = root / name, DATASETS[name]
        (place / "GENERATED").unlink()
        files = {file: registry.md5_of(place / file) for file in known.files}
        sha256 = (known.read(place).sha256,)
        known = replace(known, files=files, sha256=sha256, urls=(CLOSED,))
        monkeypatch.setitem(DATASETS, name, known)
    return root


def equal(a, b):
    return all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("X", "y", "row")
    )


def refused(source, root, val=100):
    return sentence(images.split, source, seed=0, val=val, root=str(root))


# --- what is read -----------------------------------------------------------------


def test_mnist_keeps_its_test_set_and_file_order(official):
    X, y = (readers.idx(official / "mnist" / f, n) for f, n in zip(TRAIN, (3, 1)))  # noqa: B905
    split = images.split("mnist", seed=0, val=0, root=str(official))
    assert split.kind == "real" and split.source == "mnist" and split.features == ()
    assert split.train.X.dtype == np.uint8 and split.train.y.dtype == np.int64
    assert np.array_equal(split.train.X, X) and np.array_equal(split.train.y, y)
    assert np.array_equal(split.train.row, np.arange(1200)) and len(split.val) == 0
    assert np.array_equal(split.test.X, readers.idx(official / "mnist" / TEST[0], 3))
    split.train.X[0] = 7  # the caller's own copy
    again = images.split("mnist", seed=0, val=0, root=str(official))
    assert np.array_equal(again.train.X, X)


def test_the_seed_draws_the_validation_images(official):
    one, same, other = (
        images.split("mnist", seed=seed, val=200, root=str(official))
        for seed in (1, 1, 2)
    )
    assert equal(one.val, same.val) and not equal(one.val, other.val)
    assert equal(one.test, other.test)
    rows = np.concatenate((one.train.row, one.val.row))
    assert len(one.val) == 200 and np.array_equal(np.sort(rows), np.arange(1200))
    whole = images.split("mnist", seed=1, val=0, root=str(official)).train
    assert equal(one.val, whole.take(one.val.row))
    assert equal(one.train, whole.take(one.train.row))


def test_digits_come_with_scikit_learn_and_each_seed_has_its_own_test_rows():
    one, other = (images.split("digits", seed=seed, val=200) for seed in (0, 1))
    assert [len(part) for part in parts(one)] == [1058, 200, 539]
    rows = np.concatenate([part.row for part in parts(one)])
    assert np.array_equal(np.sort(rows), np.arange(1797)) and one.kind == "real"
    assert not np.array_equal(one.test.row, other.test.row)
    assert one.test.X.shape == (539, 8, 8) and one.test.X.dtype == np.uint8
    assert one.train.X.max() == 255 and one.train.X.min() == 0
    for part in parts(one):
        share = np.bincount(part.y) / len(part)
        assert share.min() > 0.09 and share.max() < 0.11
    assert images.digest("digits") == readers.digits(None).sha256


def test_pneumonia_reads_the_same_whatever_the_files_order(official):
    path = official / "pneumoniamnist" / "pneumoniamnist.npz"
    before = images.split("pneumoniamnist", seed=0, val=0, root=str(official))
    arrays = dict(np.load(path))
    order = np.random.default_rng(0).permutation(300)
    for key in ("train_images", "train_labels"):
        arrays[key] = arrays[key][order]
    np.savez(path, **arrays)
    after = images.split("pneumoniamnist", seed=3, val=50, root=str(official))
    for a, b in zip(parts(before), parts(after), strict=True):
        assert np.array_equal(a.X, b.X) and np.array_equal(a.y, b.y)
    assert not np.array_equal(before.train.row, after.train.row)
    assert np.array_equal(after.train.X, arrays["train_images"][after.train.row])
    assert np.array_equal(after.train.y, arrays["train_labels"][after.train.row, 0])
    assert [len(part) for part in parts(after)] == [300, 60, 120]


def test_equal_images_never_cross_parts(root):
    path = root / "pneumoniamnist" / "pneumoniamnist.npz"
    arrays = dict(np.load(path))
    arrays["train_images"][:3] = arrays["val_images"][5]
    arrays["train_images"][10] = arrays["test_images"][0]
    arrays["train_images"][20] = arrays["train_images"][21]
    arrays["val_images"][7] = arrays["test_images"][1]
    np.savez(path, **arrays)
    split = images.split("pneumoniamnist", seed=0, val=0, root=str(root))
    assert [len(part) for part in parts(split)] == [296, 59, 120]
    assert not {0, 1, 2, 10} & set(split.train.row) and 7 not in split.val.row
    groups = [set(part.group) for part in parts(split)]
    assert not groups[0] & groups[1] and not (groups[0] | groups[1]) & groups[2]
    one, two = (split.train.group[split.train.row == row] for row in (20, 21))
    assert one == two and len(groups[0]) == 295


def test_the_classes_and_the_kind():
    found = [images.classes(name) for name in ("mnist", "pneumoniamnist", "digits")]
    assert found == [10, 2, 10]
    assert images.kind("digits") == "real"


def test_what_is_official_has_a_digest_without_its_files(tmp_path):
    digests = {images.digest(name, str(tmp_path)) for name in (*NAMES, "digits")}
    assert len(digests) == 3 and all(len(digest) == 64 for digest in digests)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("mnist", [55_000, 5_000, 10_000]),
        ("cifar10", [45_000, 5_000, 10_000]),
        ("pneumoniamnist", [4_698, 524, 624]),  # 10 of 4,708 are in test as well
    ],
)
def test_the_real_files_where_they_are_here(name, sizes):
    known = DATASETS[name]
    if not all((registry.folder(name) / file).is_file() for file in known.files):
        pytest.skip(f"{name} is not here")
    split = images.split(name, seed=0, val=5_000)
    assert [len(part) for part in parts(split)] == sizes and split.kind == "real"


# --- what is refused --------------------------------------------------------------


def spoil(path, how):
    data = gzip.decompress(path.read_bytes())
    if how == "gzip":
        path.write_bytes(path.read_bytes()[:-100])
    elif how == "page":
        path.write_bytes(b"<html>moved</html>")
    elif how == "truncated":
        path.write_bytes(gzip.compress(data[:-1000]))
    elif how == "longer":
        path.write_bytes(gzip.compress(data + b"1"))
    elif how == "header":
        path.write_bytes(gzip.compress(data[:9]))
    elif how == "magic":
        path.write_bytes(gzip.compress(b"\0\0\x0b\x03" + data[4:]))


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("gzip", "is not a whole gzip file (Compressed file ended"),
        ("page", "is not a whole gzip file (Not a gzipped file"),
        ("truncated", "holds 939800 bytes where its header says 1200 x 28 x 28 = 940"),
        ("longer", "holds 940801 bytes where its header says 1200 x 28 x 28 = 940800"),
        ("header", "ends in its header: 9 of 16 bytes"),
        ("magic", "begins with the magic number 2819 where 2051 (bytes in 3 dim"),
    ],
)
def test_a_spoilt_idx_file_is_named(official, how, reason):
    path = official / "mnist" / TRAIN[0]
    spoil(path, how)
    assert refused("mnist", official).startswith(f"{path} {reason}")


def test_another_file_is_known_by_its_md5(official):
    path = official / "mnist" / TRAIN[1]
    labels = readers.idx(path, 1).copy()
    labels[5] = (labels[5] + 1) % 10
    path.write_bytes(readers.packed(labels))
    md5 = DATASETS["mnist"].files[TRAIN[1]]
    said = refused("mnist", official)
    assert f"({TRAIN[1]} has md5 {registry.md5_of(path)} where {md5} was exp" in said
    assert said.startswith(f"{path.parent} does not hold the official content of http")
    assert TRAIN[0] not in said


def test_the_same_content_in_another_gzip_is_official(official):
    path = official / "mnist" / TRAIN[0]
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1))
    assert images.split("mnist", seed=0, val=1, root=str(official)).kind == "real"


def test_a_label_outside_0_to_9_names_its_row(root):
    path = root / "mnist" / TEST[1]
    labels = readers.idx(path, 1).copy()
    labels[41] = 10
    path.write_bytes(readers.packed(labels))
    assert (
        refused("mnist", root) == f"{path}, row 42: value 10 where 0 to 9 was expected"
    )


def test_counts_that_differ_name_both_files(root):
    images_path, path = (root / "mnist" / name for name in TRAIN)
    path.write_bytes(readers.packed(readers.idx(path, 1)[:-1]))
    said = refused("mnist", root)
    assert said == f"{images_path} has 1200 rows but {path} 1199"


def test_a_miniature_is_never_completed_with_real_files(root):
    (root / "mnist" / TEST[0]).unlink()
    assert f"is a generated miniature without {TEST[0]}" in refused("mnist", root)


@pytest.mark.parametrize(
    ("source", "val", "most"),
    [("mnist", 1200, 1199), ("mnist", -1, 1199), ("digits", 1258, 1257)],
)
def test_val_leaves_an_image_to_train(root, source, val, most):
    said = refused(source, root, val)
    assert said.startswith(f"val is {val}: expected 0 to {most}, as {source} has ")
    assert len(images.split(source, seed=0, val=most, root=str(root)).train) == 1


SPOILT = [
    ("val_labels", lambda y: None, " has no val_labels"),
    ("test_images", lambda X: X.astype(object), " holds no plain arrays (Object arr"),
    (
        "test_images",
        lambda X: X / 255,
        ": test_images is float64 (120, 28, 28) where uint8 (n, 28, 28) were",
    ),
    ("val_labels", lambda y: y[:-1], ": val_images has 60 rows but val_labels 59"),
    (
        "val_labels",
        lambda y: np.hstack((y, y)),
        ": val_labels is uint8 (60, 2) where whole numbers",
    ),
    ("train_labels", put((6, 0), 2), ": train_labels, row 7: value 2"),
]


@pytest.mark.parametrize(("key", "change", "said"), SPOILT)
def test_a_spoilt_archive_is_named(root, key, change, said):
    path = root / "pneumoniamnist" / "pneumoniamnist.npz"
    rewrite(path, key, change)
    assert refused("pneumoniamnist", root).startswith(f"{path}{said}")


def test_an_archive_of_other_images_is_not_official(official):
    path = official / "pneumoniamnist" / "pneumoniamnist.npz"
    rewrite(path, "test_labels", lambda y: 1 - y)
    said = refused("pneumoniamnist", official)
    assert "does not hold the official content of https://zenodo.org" in said

"""pictures: Tiny ImageNet and MHIST as they are handed out, decoded once."""

from __future__ import annotations

import dataclasses
import io
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from kdutils.data import images, pictures, registry
from kdutils.data.registry import SourceError
from kdutils.data.simulate import miniatures

NAMES = ("tiny-imagenet", "mhist")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    miniatures.write(str(folder), *NAMES)
    return folder


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """A copy of the miniatures, Tiny ImageNet unpacked, and a cache of its own."""
    shutil.copytree(made, tmp_path / "data")
    monkeypatch.setattr(pictures.paths, "ROOT", tmp_path)
    folder = tmp_path / "data" / "tiny-imagenet"
    with zipfile.ZipFile(folder / "tiny-imagenet-200.zip") as archive:
        archive.extractall(folder)
    (folder / "tiny-imagenet-200.zip").unlink()
    return tmp_path / "data"


def split(place, name):
    return images.split(name, seed=0, val=10, root=str(place))


def test_they_are_read_in_their_own_parts(place):
    tiny, histology = (split(place, name) for name in NAMES)
    assert tiny.train.X.shape == (390, 3, 64, 64) and len(tiny.test) == 100
    assert histology.train.X.shape == (50, 3, 224, 224) and len(histology.test) == 40
    assert {*tiny.train.y} == {*range(10)} and {*histology.test.y} == {0, 1}
    assert tiny.kind == histology.kind == "generated"


def test_the_zip_file_and_the_folder_are_the_same(place, made):
    folder = registry.read("tiny-imagenet", str(place))
    zipped = registry.read("tiny-imagenet", str(made))
    assert folder.sha256 == zipped.sha256 and np.array_equal(folder.X, zipped.X)


def cache(place):
    return sorted((place.parent / ".data" / "cache").iterdir())


def test_images_are_decoded_once_and_a_damaged_cache_is_made_again(place, monkeypatch):
    first = split(place, "mhist")
    (folder,) = cache(place)
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "_decode", None)
        registry._read.cache_clear()
        assert np.array_equal(split(place, "mhist").train.X, first.train.X)
    (folder / "X.npy").write_bytes(b"damaged")
    registry._read.cache_clear()
    assert np.array_equal(split(place, "mhist").train.X, first.train.X)
    assert cache(place) == [folder]


TINY = "tiny-imagenet/tiny-imagenet-200/"
NOTES = f"{TINY}val/val_annotations.txt"


def first(place, pattern):
    return min((place / TINY).glob(pattern))


SPOILT = {
    "half an image": (
        lambda place: spoil(
            first(place, "train/*/images/*"), lambda b: b[: len(b) // 2]
        ),
        r"train/n00000000/images/\S+JPEG is no whole image .*: get it again",
    ),
    "no image": (
        lambda place: spoil(first(place, "train/*/images/*"), lambda b: b"<html>"),
        "is no whole image",
    ),
    "no annotations": (
        lambda place: (place / NOTES).unlink(),
        "has no val/val_annotations.txt: it is not whole",
    ),
    "an unknown class": (
        lambda place: spoil(place / NOTES, lambda b: b.replace(b"n0", b"x0", 1)),
        "val_annotations.txt, line 1: .* one of wnids.txt were expected",
    ),
    "no images of a class": (
        lambda place: shutil.rmtree(place / TINY / "train" / "n00000003"),
        "has no training image of n00000003",
    ),
    "a class too many": (
        lambda place: (place / "tiny-imagenet" / "GENERATED").unlink(),
        "wnids.txt names 10 classes where 200 were expected",
    ),
}


def spoil(path, how):
    path.write_bytes(how(path.read_bytes()))


@pytest.mark.parametrize("how", SPOILT)
def test_what_is_wrong_is_one_sentence_and_leaves_nothing(place, how):
    change, sentence = SPOILT[how]
    change(place)
    with pytest.raises(ValueError, match=sentence) as refused:
        split(place, "tiny-imagenet")
    assert "\n" not in str(refused.value)
    folder = place.parent / ".data" / "cache"
    assert not folder.exists() or not [*folder.iterdir()]


WRONG = {
    "column": (lambda b: b.replace(b"Majority", b"Minority"), "no column 'Majority"),
    "label": (lambda b: b.replace(b",HP,", b",XX,", 1), "'XX' where an image of"),
    "partition": (lambda b: b.replace(b"train", b"tr", 1), "partition 'tr'"),
    "rows": (lambda b: b.partition(b"\n")[0], "has a header and no rows"),
}


@pytest.mark.parametrize("how", WRONG)
def test_annotations_that_do_not_fit_are_refused(place, how):
    change, sentence = WRONG[how]
    spoil(place / "mhist" / "annotations.csv", change)
    with pytest.raises(ValueError, match=sentence):
        split(place, "mhist")


def test_who_has_no_mhist_is_told_whom_to_ask(tmp_path):
    for of in (split, registry.digest, registry.kind):
        with pytest.raises(SourceError, match="ask for it at https://bmirds"):
            of(*((tmp_path, "mhist") if of is split else ("mhist", str(tmp_path))))


def test_annotations_that_are_no_text_are_refused(place):
    spoil(place / "mhist" / "annotations.csv", lambda b: b"\xff\xfe" + b)
    with pytest.raises(ValueError, match=r"annotations.csv, line 1: no column"):
        split(place, "mhist")


def test_a_repaired_image_of_the_same_size_is_decoded_again(place):
    path = min((place / "mhist" / "images").iterdir())
    good, black = path.read_bytes(), io.BytesIO()
    Image.new("RGB", (224, 224)).save(black, "PNG")
    path.write_bytes(black.getvalue().ljust(len(good), b"\0"))
    spoilt = registry.read("mhist", str(place))
    path.write_bytes(good)
    registry._read.cache_clear()
    repaired = registry.read("mhist", str(place))
    assert repaired.sha256 != spoilt.sha256 and repaired.X[0].any()


def test_the_zip_file_is_fetched_as_it_is(made, tmp_path, monkeypatch):
    its, path = registry.known("tiny-imagenet"), made / "tiny-imagenet"
    (name,) = its.files
    here = dataclasses.replace(
        its, files={name: registry.md5_of(path / name)}, urls=(f"{path.as_uri()}/{{}}",)
    )
    monkeypatch.setitem(registry.DATASETS, "tiny-imagenet", here)
    found = registry.find("tiny-imagenet", str(tmp_path))
    assert (found / name).read_bytes() == (path / name).read_bytes()


def test_a_zip_file_with_a_wrong_byte_names_the_image(made, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures.paths, "ROOT", tmp_path)
    shutil.copytree(made, tmp_path / "data")
    path = tmp_path / "data" / "tiny-imagenet" / "tiny-imagenet-200.zip"
    spoil(path, lambda b: b.replace(b"JFIF", b"JFIX", 1))
    with pytest.raises(ValueError, match=r"JPEG is no whole image \(Bad CRC-32"):
        split(tmp_path / "data", "tiny-imagenet")


def test_no_room_on_the_disk_is_one_sentence(place, monkeypatch):
    free = shutil._ntuple_diskusage(10, 9, 1)
    monkeypatch.setattr(pictures.shutil, "disk_usage", lambda _: free)
    with pytest.raises(ValueError, match=r"has 0 MB free where .* take 15 MB"):
        split(place, "mhist")

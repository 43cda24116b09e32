"""pictures: data sets of many image files, decoded once into arrays that are mapped.

The decoded images of a data set are kept in `.data/cache`, under a name of the files'
names, sizes and changes: uint8 (n, 3, side, side), read as memory maps, so that two
processes share them. They are written whole or not at all, and made again where
damaged.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from kdutils import paths
from kdutils.data import Rows, readers

TINY, CLASSES = "tiny-imagenet-200", 200
MHIST = {"HP": 0, "SSA": 1}  # what most of seven pathologists said
ARRAYS = "X", "y", "part", "group"


class Tree(NamedTuple):
    """Files of a folder or a zip archive: name -> stamp, and name -> bytes.

    A stamp changes with the file: its size, and its time or checksum.
    """

    where: Path
    stamps: dict[str, tuple[int, int]]
    read: Callable[[str], bytes]

    def text(self, name: str) -> list[str]:
        """A file's lines; ValueError where it is missing or no text."""
        if name not in self.stamps:
            raise ValueError(f"{self.where} has no {name}: it is not whole")
        try:
            return self.read(name).decode("utf-8").splitlines()
        except readers.BROKEN as error:
            raise ValueError(f"{self.where}: {name} is no text ({error})") from None


class Picture(NamedTuple):
    """An image file, its class and the part that it is in."""

    name: str
    label: int
    part: str


def tiny_imagenet(place: Path) -> Rows:
    """Tiny ImageNet (Le and Yang 2015): 64 x 64 photographs, 500 of each class.

    The folder tiny-imagenet-200 or the zip file with it. Its own test images have no
    labels: its validation images are the test part.
    """
    tree = files(place / TINY)
    wnids = tree.text("wnids.txt")
    if len(wnids) != CLASSES and not readers.generated(place):
        raise ValueError(
            f"{tree.where}: wnids.txt names {len(wnids)} classes where {CLASSES} were "
            "expected"
        )
    label, found = {wnid: k for k, wnid in enumerate(wnids)}, []
    for name in sorted(tree.stamps):
        parts = name.split("/")
        if parts[0] == "train" and parts[-1].endswith(".JPEG"):
            if parts[1] not in label:
                raise ValueError(f"{tree.where}: {name} is of none of wnids.txt")
            found.append(Picture(name, label[parts[1]], "train"))
    annotations = "val/val_annotations.txt"
    for number, line in enumerate(tree.text(annotations), 1):
        image, wnid, *_ = [*line.split("\t"), ""]
        name = f"val/images/{image}"
        if wnid not in label or name not in tree.stamps:
            raise ValueError(
                f"{tree.where}: {annotations}, line {number}: {line[:40]!r} where an "
                "image of val/images and one of wnids.txt were expected"
            )
        found.append(Picture(name, label[wnid], "test"))
    seen = {one.label for one in found if one.part == "train"}
    if missing := [wnid for wnid in wnids if label[wnid] not in seen]:
        raise ValueError(f"{tree.where} has no training image of {missing[0]}")
    return decoded(tree, found, 64)


def mhist(path: Path) -> Rows:
    """MHIST (Wei et al. 2021): 224 x 224 histology images of colon polyps, HP or SSA.

    path: annotations.csv; its images are in images.zip or the folder images beside it.
    """
    tree, found = files(path.parent / "images"), []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        lines = csv.DictReader(file)
        wanted = "Image Name", "Majority Vote Label", "Partition"
        if missing := [name for name in wanted if name not in (lines.fieldnames or ())]:
            raise ValueError(f"{path}, line 1: no column {missing[0]!r}")
        for number, line in enumerate(lines, 2):
            name, label, part = (line[key] for key in wanted)
            if name not in tree.stamps or label not in MHIST:
                raise ValueError(
                    f"{path}, line {number}: {name!r}, {label!r} where an image of "
                    f"{tree.where} and {' or '.join(MHIST)} were expected"
                )
            if part not in ("train", "test"):
                raise ValueError(
                    f"{path}, line {number}: partition {part!r} where train or test "
                    "was expected"
                )
            found.append(Picture(name, MHIST[label], part))
    if not found:
        raise ValueError(f"{path} has a header and no rows")
    return decoded(tree, found, 224)


def files(place: Path) -> Tree:
    """What a folder holds, or the zip archive of its name; ValueError where neither is.

    Names are relative to the folder, with slashes.
    """
    if place.is_dir():
        stamps = {}
        for folder, _, names in os.walk(place):
            start = Path(folder).relative_to(place).as_posix()
            for name in names:
                inner = name if start == "." else f"{start}/{name}"
                about = os.stat(os.path.join(folder, name))
                stamps[inner] = about.st_size, about.st_mtime_ns
        return Tree(place, stamps, lambda name: (place / name).read_bytes())
    packed = place.with_name(f"{place.name}.zip")
    if not packed.is_file():
        raise ValueError(f"there is neither {place} nor {packed.name} beside it")
    try:
        archive = zipfile.ZipFile(packed)
    except zipfile.BadZipFile:
        raise ValueError(f"{packed} is not a whole zip archive") from None
    start = f"{place.name}/"
    inside = [one for one in archive.infolist() if not one.is_dir()]
    inner = {one.filename.removeprefix(start): one for one in inside}
    stamps = {name: (one.file_size, one.CRC) for name, one in inner.items()}
    return Tree(packed, stamps, lambda name: archive.read(inner[name]))


def decoded(tree: Tree, found: list[Picture], side: int) -> Rows:
    """The images, X uint8 (n, 3, side, side), from the cache or into it.

    sha256: of the files' bytes, for decoders differ; group: equal pixels.
    """
    total = hashlib.sha256(str(side).encode())
    for one in found:
        total.update(f"{one} {tree.stamps[one.name]}\n".encode())
    name = f"{tree.where.stem}-{total.hexdigest()[:12]}"
    folder = paths.ROOT / ".data" / "cache" / name
    if (rows := _cached(folder, len(found), side)) is not None:
        return rows
    need = 3 * side * side * len(found)
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if free < 1.1 * need:
        raise ValueError(
            f"{folder.parent} has {free / 1e6:,.0f} MB free where the decoded images "
            f"of {tree.where} take {need / 1e6:,.0f} MB: make room for them"
        )
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    try:
        _decode(tree, found, side, part)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return _cached(folder, len(found), side)


def _decode(tree: Tree, found: list[Picture], side: int, part: Path) -> None:
    """Write every array of the cache into a folder."""
    shape, names, total = (len(found), 3, side, side), [], hashlib.sha256()
    X = np.lib.format.open_memmap(part / "X.npy", "w+", np.uint8, shape)
    for row, one in enumerate(found):
        try:
            content = tree.read(one.name)
            image = Image.open(io.BytesIO(content)).convert("RGB")
        except (*readers.BROKEN, SyntaxError) as error:
            reason = str(error).partition(" <")[0]
            raise ValueError(
                f"{tree.where}: {one.name} is no whole image ({reason}): get it again"
            ) from None
        total.update(f"{one.name} {one.label} {one.part} {len(content)}\n".encode())
        total.update(content)
        if image.size != (side, side):
            size = " x ".join(map(str, image.size))
            raise ValueError(
                f"{tree.where}: {one.name} has {size} pixels where {side} x {side} "
                "were expected"
            )
        X[row] = np.asarray(image).transpose(2, 0, 1)
        names.append(hashlib.blake2b(X[row].tobytes(), digest_size=16).digest())
    X.flush()
    np.save(part / "y.npy", np.array([one.label for one in found], np.int64))
    np.save(part / "part.npy", np.array([one.part for one in found]))
    np.save(part / "group.npy", readers.numbered(names))
    (part / "about.json").write_text(json.dumps({"sha256": total.hexdigest()}))


def _cached(folder: Path, n: int, side: int) -> Rows | None:
    """The rows that a whole cache holds, else None."""
    with suppress(OSError, ValueError, KeyError):
        held = {k: np.load(folder / f"{k}.npy", mmap_mode="r") for k in ARRAYS}
        sha256 = json.loads((folder / "about.json").read_text())["sha256"]
        if held["X"].shape == (n, 3, side, side) and len(held["group"]) == n:
            y, part, group = (np.array(held[k]) for k in ARRAYS[1:])
            return Rows(held["X"], y, group, np.arange(n), part=part, sha256=sha256)
    return None

"""images: the one loader of images: a source's name in, its split out."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from kdutils.data import Part, Split, imagefiles
from kdutils.data.imagesources import SOURCES, find, generated, known, verify

TEST_SHARE = 0.3  # of a source that has no test set of its own


def split(source: str, *, seed: int, val: int, root: str = "") -> Split:
    """A source's images: X uint8 (n, H, W), y int64 (n,), each part in its own order.

    mnist: the official test set; the seed draws `val` of the training images.
    digits: the seed draws a test set of 30 % and `val` images, class by class.
    pneumoniamnist: the official parts, so `val` and the seed change nothing.
    group numbers equal images. No image is in two parts: of equal ones, only the last
    part's stay (see `repeated`).
    Raises ValueError if `val` leaves no training image or a file is not as it should.
    """
    train, held, test = _parts(source, root)
    rng, n = np.random.default_rng(seed), len(train)
    if not len(held):
        order = rng.permutation(n)
        drawn = 0 if len(test) else round(TEST_SHARE * n)
        if not 0 <= val < n - drawn:
            raise ValueError(
                f"val is {val}: expected 0 to {n - drawn - 1}, as {source} has "
                f"{n - drawn} images to train and validate"
            )
        if drawn:
            order = _evenly(order, train.y)
            test = train.take(np.sort(order[:drawn]))
        held = train.take(np.sort(order[drawn : drawn + val]))
        train = train.take(np.sort(order[drawn + val :]))
    held = _without(held, test.group)
    train = _without(train, np.concatenate((held.group, test.group)))
    return Split(train, held, test, (), (), source, kind(source, root))


def repeated(source: str, root: str = "") -> int:
    """How many training images `split` leaves out: they are in val or test as well."""
    train, held, test = _parts(source, root)
    return int(np.isin(train.group, np.concatenate((held.group, test.group))).sum())


def classes(source: str) -> int:
    """How many classes a source has; labels run from 0."""
    return known(source).classes


def digest(source: str, root: str = "") -> str:
    """The content's sha256; the official one is known without the files."""
    if not generated(source, root):
        return known(source).sha256
    return imagefiles.content([(p.X, p.y, p.row) for p in _parts(source, root)])


def kind(source: str, root: str = "") -> str:
    """'generated' where the folder holds a miniature, else 'real'."""
    return "generated" if generated(source, root) else "real"


def _parts(source: str, root: str) -> tuple[Part, Part, Part]:
    place = find(source, root)
    stats = [(place / file).stat() for file in SOURCES[source].files]
    stamp = tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)
    return _read(source, place, not generated(source, root), stamp)


@functools.lru_cache(maxsize=3)
def _read(source: str, place: Path, official: bool, stamp: tuple) -> tuple:
    """The parts as they are in the files, checked unless they are a miniature's."""
    parts = SOURCES[source].read(place)
    if official:
        verify(source, place, imagefiles.content(parts))
    number: dict[bytes, int] = {}
    found = []
    for X, y, row in parts:
        group = [number.setdefault(image.tobytes(), len(number)) for image in X]
        found.append(Part(X, y, np.array(group, np.int64), row))
    return tuple(found)


def _evenly(order: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The same rows, so that each stretch of them has each class's share."""
    rank = np.empty(len(y))
    for label in np.unique(y):
        rows = order[y[order] == label]
        rank[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return order[np.argsort(rank[order], kind="stable")]


def _without(part: Part, groups: np.ndarray) -> Part:
    return part.take(np.flatnonzero(~np.isin(part.group, groups)))

"""images: the loader of images: a source's name in, its split out."""

from __future__ import annotations

import numpy as np

from kdutils.data import PARTS, Rows, Split, registry
from kdutils.data.registry import digest, kind, known

__all__ = ["classes", "digest", "kind", "split"]
TEST_SHARE = 0.3  # of a source that has no test set of its own


def split(source: str, *, seed: int, val: int, root: str = "") -> Split:
    """A source's images: X uint8 (n, H, W), y int64 (n,), each part in its own order.

    mnist: the official test set; the seed draws `val` of the training images.
    digits: the seed draws a test set of 30 % and `val` images, class by class.
    pneumoniamnist: the official parts, so `val` and the seed change nothing.
    group numbers equal images. No image is in two parts: of equal ones, only the last
    part's stay.
    Raises ValueError if `val` leaves no training image or a file is not as it should.
    """
    known(source, "image")
    return divided(registry.read(source, root), seed=seed, val=val)


def divided(rows: Rows, *, seed: int, val: int) -> Split:
    """The rows in the source's own parts; what it lacks, the seed draws."""
    train, held, test = (np.flatnonzero(rows.part == part) for part in PARTS)
    if not len(held):
        n, drawn = len(train), 0 if len(test) else round(TEST_SHARE * len(train))
        if not 0 <= val < n - drawn:
            raise ValueError(
                f"val is {val}: expected 0 to {n - drawn - 1}, as {rows.source} has "
                f"{n - drawn} images to train and validate"
            )
        order = np.random.default_rng(seed).permutation(n)
        if drawn:
            order = _evenly(order, rows.y[train])
            test = train[np.sort(order[:drawn])]
        held = train[np.sort(order[drawn : drawn + val])]
        train = train[np.sort(order[drawn + val :])]
    return rows.split([train, held, test])


def classes(source: str) -> int:
    """How many classes a source has; labels run from 0."""
    return known(source, "image").classes


def _evenly(order: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The same rows, so that each stretch of them has each class's share."""
    rank = np.empty(len(y))
    for label in np.unique(y):
        rows = order[y[order] == label]
        rank[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return order[np.argsort(rank[order], kind="stable")]

"""miniatures: generated images in the files of MNIST and PneumoniaMNIST, for smoke.

Each class is a glyph of a few blurred strokes. An image is its class's glyph, moved,
with some of the next class's glyph and noise in it, so that no classifier is perfect.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from kdutils.data import idx, imagesources, sources
from kdutils.data.sources import SourceError

SIDE = 28
SHIFT = 2  # pixels, at most, each way
MIXED = 0.54  # share of the next class's glyph, at most: above .5 it is the wrong class
NOISE = 0.2  # standard deviation, in units of the brightest stroke


def write(root: str, seed: int = 0) -> tuple[Path, ...]:
    """Write mnist/ and pneumoniamnist/ in the official layout, marked as generated.

    1,200 + 400 and 300 + 60 + 120 images of 28 x 28; the same seed gives the same
    bytes. Returns the folders; refuses one with files that are not a miniature's.
    """
    made = {"mnist": _mnist(seed), "pneumoniamnist": _pneumoniamnist(seed)}
    places = tuple(imagesources.folder(name, root) for name in made)
    for place, files in zip(places, made.values(), strict=True):
        real = [file for file in files if (place / file).exists()]
        if real and not sources.generated(place):
            raise SourceError(
                f"{place} holds real files: no miniature is written there"
            )
    for place, (name, files) in zip(places, made.items(), strict=True):
        place.mkdir(parents=True, exist_ok=True)
        said = f"A miniature generated with seed {seed}; not {name}.\n"
        for file, held in {sources.MARKER: said.encode(), **files}.items():
            part = place / f".{file}.{os.getpid()}"
            part.write_bytes(held)
            os.replace(part, place / file)
    return places


def _mnist(seed: int) -> dict[str, bytes]:
    X, y = _images(np.random.default_rng([seed, 10]), classes=10, n=1600)
    files = {}
    for name, rows in (("train", slice(1200)), ("t10k", slice(1200, None))):
        files[f"{name}-images-idx3-ubyte.gz"] = idx.pack(X[rows])
        files[f"{name}-labels-idx1-ubyte.gz"] = idx.pack(y[rows])
    return files


def _pneumoniamnist(seed: int) -> dict[str, bytes]:
    X, y = _images(np.random.default_rng([seed, 2]), classes=2, n=480)
    arrays = {}
    for name, rows in zip(
        ("train", "val", "test"), np.split(np.arange(480), (300, 360)), strict=True
    ):
        arrays[f"{name}_images"] = X[rows]
        arrays[f"{name}_labels"] = y[rows, None]
    held = io.BytesIO()
    np.savez_compressed(held, **arrays)
    return {"pneumoniamnist.npz": held.getvalue()}


def _images(rng: np.random.Generator, classes: int, n: int) -> tuple:
    """Images uint8 (n, 28, 28) and labels uint8 (n,), every class equally often."""
    glyphs = np.array([_glyph(rng) for _ in range(classes)])
    y = rng.permutation(np.arange(n) % classes)
    mixed = rng.uniform(0, MIXED, (n, 1, 1))
    X = (1 - mixed) * glyphs[y] + mixed * glyphs[(y + 1) % classes]
    shifts = rng.integers(-SHIFT, SHIFT + 1, (n, 2))
    X = np.array(
        [np.roll(x, shift, (0, 1)) for x, shift in zip(X, shifts, strict=True)]
    )
    X += NOISE * rng.standard_normal(X.shape)
    return np.clip(np.round(255 * X), 0, 255).astype(np.uint8), y.astype(np.uint8)


def _glyph(rng: np.random.Generator) -> np.ndarray:
    """Three curved strokes, blurred; float64 (28, 28), the brightest pixel 1."""
    t = np.linspace(0, 1, 60)[:, None]
    canvas = np.zeros((SIDE, SIDE))
    for _ in range(3):
        a, b, c = rng.uniform(5, SIDE - 5, (3, 2))
        curve = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c  # quadratic Bezier
        canvas[tuple(np.round(curve).astype(int).T)] = 1
    canvas = gaussian_filter(canvas, 1.0)
    return canvas / canvas.max()

"""waferminiatures: simulated maps in the files of MixedWM38 and WM-811K, for smoke."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np

from kdutils.data import sources, symmetry, wafersim, wafersources
from kdutils.data.sources import SourceError
from kdutils.data.waferfiles import PATTERNS, SIDE

MIXED, SINGLE = 400, 200  # maps of each miniature, before the planted copies
ORDER = np.array(["train", "test", "train", "val", "train"])  # of like maps, in turn
# Planted copies: how many, of which part's maps, in which part, turned how.
COPIES = (
    (8, "test", "train", 0),
    (4, "test", "train", 1),
    (4, "val", "train", 6),
    (2, "test", "val", 4),
    (2, "test", "test", 2),
)
# Rows and columns of the maps of WM-811K, among them the commonest and the largest.
SHAPES = ((25, 27), (26, 26), (38, 36), (33, 37), (52, 52), (64, 71), (212, 204))


def write(root: str, seed: int = 0) -> tuple[Path, ...]:
    """Write mixedwm38/ and wm811k/ in the real files' layout, marked as generated.

    420 maps of 52 x 52, 20 of them copies (some turned) of others, and 200 of many
    sizes; the same seed gives the same bytes. Returns the folders; refuses one with a
    file that is not a miniature's.
    """
    places = {name: wafersources.folder(name, root) for name in wafersources.SOURCES}
    for name, place in places.items():
        real = [f for f in wafersources.SOURCES[name].files if (place / f).exists()]
        if real and not sources.generated(place):
            raise SourceError(
                f"{place} holds real files: no miniature is written there"
            )
    made = {"mixedwm38": _mixedwm38(seed), "wm811k": _wm811k(seed)}
    for name, place in places.items():
        place.mkdir(parents=True, exist_ok=True)
        held = io.BytesIO()
        np.savez_compressed(held, **made[name])
        said = f"A miniature generated with seed {seed}; not {name}.\n".encode()
        file = wafersources.SOURCES[name].files[0]
        for kept, data in ((sources.MARKER, said), (file, held.getvalue())):
            part = place / f".{kept}.{os.getpid()}"
            part.write_bytes(data)
            os.replace(part, place / kept)
    return tuple(places.values())


def _mixedwm38(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([seed, 38])
    X, y = wafersim.draw(MIXED, seed=seed)
    split = _split(y)
    for count, of, into, k in COPIES:
        rows = rng.choice(np.flatnonzero(split[:MIXED] == of), count, replace=False)
        X = np.concatenate((X, symmetry.turned(X[rows])[k]))
        y = np.concatenate((y, y[rows]))
        split = np.concatenate((split, np.repeat(into, count)))
    order = rng.permutation(len(X))
    arrays = {"arr_0": X, "arr_1": y, "split": split, "orig_index": np.arange(len(X))}
    return {key: array[order] for key, array in arrays.items()}


def _wm811k(seed: int) -> dict[str, np.ndarray]:
    """Maps with at most one pattern, each die the simulated one nearest to it."""
    rng = np.random.default_rng([seed, 811])
    single = wafersim.COMBINATIONS[wafersim.COMBINATIONS.sum(axis=1) < 2]
    X, y = wafersim.draw(SINGLE, seed=seed + 1, combinations=single)
    shape = np.array(SHAPES, np.int16)[rng.integers(0, len(SHAPES), SINGLE)]
    names = np.array([p.replace("Full", "full") for p in PATTERNS])
    flat = []
    for x, (height, width) in zip(X, shape, strict=True):
        i, j = ((np.arange(n) * 2 + 1) * SIDE // (2 * n) for n in (height, width))
        flat.append(x[np.ix_(i, j)].ravel())
    return {
        "flat": np.concatenate(flat),
        "shape": shape,
        "failure_type": np.where(y.any(axis=1), names[y.argmax(axis=1)], "None"),
        "split": _split(y),
        "orig_index": np.arange(SINGLE),
    }


def _split(y: np.ndarray) -> np.ndarray:
    """A part for each map, so that each part has its share of each set of patterns."""
    order = np.lexsort(y.T)
    split = np.empty(len(y), ORDER.dtype)
    split[order] = np.resize(ORDER, len(y))
    return split

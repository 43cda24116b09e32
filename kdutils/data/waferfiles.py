"""waferfiles: the wafer maps of MixedWM38 and WM-811K as their files hold them.

Nothing pickled is ever loaded. Each reader raises ValueError, one sentence that names
the file, the array and the row, counted from 1.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdutils.data.waferpatterns import SIDE
from kdutils.data.wafersim import PATTERNS

PARTS = ("train", "val", "test")
NAMED = ("split", "orig_index")  # a file may have them; the official one does not
BROKEN = (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, zlib.error)


@dataclass(frozen=True)
class Maps:
    """The maps of one file, in its order.

    X: uint8 (n, 52, 52), 0 off the wafer, 1 a die that passed, 2 one that failed;
    y: uint8 (n, 8), 1 where the pattern of that column is on the map;
    split: (n,) the words train, val and test, or None where the file does not say;
    row: int64 (n,), the place in the file from 0.
    """

    X: np.ndarray
    y: np.ndarray
    split: np.ndarray | None
    row: np.ndarray


def mixedwm38(path: Path) -> Maps:
    """MixedWM38 (Wang et al. 2020): arr_0 (n, 52, 52) and arr_1 (n, 8), any integers.

    Some maps that are Near-Full have a 3 in the official file: it is read as a fail.
    The set holds maps made by a generative network, which nothing tells from real ones.
    """
    held = _npz(path, ("arr_0", "arr_1"))
    X = _array(path, held, "arr_0", "iu", (SIDE, SIDE))
    y = _array(path, held, "arr_1", "iub", (len(PATTERNS),)).astype(np.int64)
    _equally_long(path, held, "arr_0")
    _values(path, "arr_1", y, np.arange(len(y)), 1, "0 or 1")
    if X.max() == 3:
        full = y[:, PATTERNS.index("Near-Full")] == 1
        X = np.where((X == 3) & full[:, None, None], 2, X)
    _values(path, "arr_0", X, np.arange(len(X)), 2, "0, 1 or 2")
    return _maps(path, held, X, y)


def wm811k(path: Path) -> Maps:
    """Labelled maps of WM-811K (Wu, Jang and Chen 2015), of many sizes, brought to one.

    flat: the dies of one map after another; shape (n, 2): its rows and columns;
    failure_type (n,): one of the eight patterns or None, in any case.
    """
    held = _npz(path, ("flat", "shape", "failure_type"))
    flat = _array(path, held, "flat", "iu", ())
    shape = _array(path, held, "shape", "iu", (2,)).astype(np.int64)
    words = np.char.lower(_array(path, held, "failure_type", "U", ()))
    _equally_long(path, held, "shape", but="flat")
    if (bad := np.flatnonzero((shape < 1).any(axis=1))).size:
        raise ValueError(
            f"{path}: shape, row {bad[0] + 1}: {shape[bad[0]].tolist()} where two "
            "numbers above 0 were expected"
        )
    ends = shape.prod(axis=1).cumsum()
    if ends[-1] != len(flat):
        raise ValueError(
            f"{path}: flat has {len(flat)} dies where the shapes add up to {ends[-1]}"
        )
    _values(path, "flat", flat, ends, 2, "0, 1 or 2")
    known = [pattern.lower() for pattern in PATTERNS]
    _words(path, held, "failure_type", words, [*known, "none"])
    y = words[:, None] == np.array(known)
    X = np.empty((len(shape), SIDE, SIDE), np.uint8)
    distinct, which = np.unique(shape, axis=0, return_inverse=True)
    for k, (height, width) in enumerate(distinct):
        rows = np.flatnonzero(which.ravel() == k)
        dies = (ends[rows] - height * width)[:, None] + np.arange(height * width)
        X[rows] = resized(flat[dies].reshape(-1, height, width))
    return _maps(path, held, X, y)


def resized(X: np.ndarray) -> np.ndarray:
    """Maps (n, H, W) as (n, 52, 52), in which no failing die is lost.

    Along each axis, a cell shows the worst (fail, pass, off the wafer) of the dies
    whose centres are in it; a cell without one shows the die that its own centre is in.
    A centre on a border counts on both sides, so that a turned or mirrored map becomes
    the turned or mirrored result. Where cells hold many dies, the share that fails
    grows: of the real maps with 80 dies or more along a side, from .05 to .13.
    """
    for axis in (1, 2):
        low, high = _covered(X.shape[axis])
        worst = np.take(X, low, axis)
        for k in range(1, (high - low).max() + 1):
            np.maximum(worst, np.take(X, np.minimum(low + k, high), axis), out=worst)
        X = worst
    return X


def _covered(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last of `size` dies that each of the 52 cells shows."""
    cell = np.arange(SIDE)
    if size >= SIDE:
        low = -((SIDE - 2 * cell * size) // (2 * SIDE))
        high = (2 * (cell + 1) * size - SIDE) // (2 * SIDE)
    else:
        low = -((2 * SIDE - (2 * cell + 1) * size) // (2 * SIDE))
        high = (2 * cell + 1) * size // (2 * SIDE)
    return low, high


def _npz(path: Path, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays of an archive by name, with those of NAMED that it has."""
    if path.suffix == ".pkl":
        raise ValueError(f"{path} is a pickle, which is never loaded: expected an npz")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a whole npz archive")
    try:
        with np.load(path, allow_pickle=False) as archive:
            held = {key: archive[key] for key in (*keys, *NAMED) if key in archive}
    except BROKEN as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} holds no plain arrays ({said})") from None
    if missing := [key for key in keys if key not in held]:
        raise ValueError(f"{path} has no {' and no '.join(missing)}")
    return held


def _array(path: Path, held: dict, key: str, kinds: str, shape: tuple) -> np.ndarray:
    """An array that has rows of this shape, and words or whole numbers by its kind."""
    a = held[key]
    if a.dtype.kind not in kinds or a.shape[1:] != shape or a.ndim == 0 or not len(a):
        what = "words" if kinds == "U" else "whole numbers"
        sizes = ", ".join(map(str, ("n", *shape)))
        raise ValueError(
            f"{path}: {key} is {a.dtype} {a.shape} where {what} ({sizes}) were expected"
        )
    return a


def _equally_long(path: Path, held: dict, first: str, but: str = "") -> None:
    for key, array in held.items():
        if key != but and (array.ndim == 0 or len(array) != len(held[first])):
            raise ValueError(
                f"{path}: {first} has {len(held[first])} rows but {key} "
                f"{array.size if array.ndim < 2 else len(array)}"
            )


def _values(path, key: str, a: np.ndarray, ends, most: int, expected: str) -> None:
    """Refuse a value outside 0 to `most`; ends: where in `a` each map ends."""
    if a.min() >= 0 and a.max() <= most:
        return
    place = np.argwhere((a < 0) | (a > most))[0]
    row = place[0] if a.ndim > 1 else np.searchsorted(ends, place[0], side="right")
    raise ValueError(
        f"{path}: {key}, row {row + 1}: value {a[tuple(place)]} where {expected} was "
        "expected"
    )


def _words(path: Path, held: dict, key: str, words: np.ndarray, known) -> None:
    if (bad := np.flatnonzero(~np.isin(words, known))).size:
        raise ValueError(
            f"{path}: {key}, row {bad[0] + 1}: {str(held[key][bad[0]])!r} where one of "
            f"{', '.join(known)} was expected"
        )


def _maps(path: Path, held: dict, X: np.ndarray, y: np.ndarray) -> Maps:
    split = held.get("split")
    if split is not None:
        split = _array(path, held, "split", "U", ())
        _words(path, held, "split", split, PARTS)
        if missing := [part for part in PARTS if part not in split]:
            raise ValueError(f"{path}: split has no row of {' or '.join(missing)}")
    return Maps(X.astype(np.uint8), y.astype(np.uint8), split, np.arange(len(X)))

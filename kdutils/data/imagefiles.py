"""imagefiles: the images of MNIST, PneumoniaMNIST and scikit-learn's digits as read.

Each reader returns the train, val and test images of its source as (X, y, row): uint8
(n, H, W), int64 (n,) and int64 (n,), the place in the file from 0. A part that the
source does not have is empty. Each raises ValueError, one sentence naming the file.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kdutils.data import idx

Images = tuple[np.ndarray, np.ndarray, np.ndarray]


def mnist(place: Path) -> tuple[Images, Images, Images]:
    """MNIST's four idx files (LeCun, Cortes and Burges 1998), in file order."""
    parts = []
    for name in ("train", "t10k"):
        images = place / f"{name}-images-idx3-ubyte.gz"
        labels = place / f"{name}-labels-idx1-ubyte.gz"
        X, y = idx.read(images, 3), idx.read(labels, 1)
        parts.append(_pair(X, y, images, labels, classes=10))
    train, test = parts
    return train, _none(train), test


def pneumoniamnist(place: Path) -> tuple[Images, Images, Images]:
    """MedMNIST's archive of chest X-rays (Yang et al. 2023); 1 is pneumonia.

    Copies differ in the order of their images, so each part is read in the order of
    its images' sha256: every copy gives the same arrays, only `row` differs.
    """
    path = place / "pneumoniamnist.npz"
    keys = [f"{p}_{a}" for p in ("train", "val", "test") for a in ("images", "labels")]
    arrays = _npz(path, keys)
    parts = []
    for name in ("train", "val", "test"):
        X, y = arrays[f"{name}_images"], arrays[f"{name}_labels"]
        if X.dtype != np.uint8 or X.ndim != 3 or X.shape[1:] != (28, 28):
            raise ValueError(
                f"{path}: {name}_images is {X.dtype} {X.shape} where uint8 "
                "(n, 28, 28) was expected"
            )
        if y.dtype.kind not in "iu" or y.ndim not in (1, 2) or y.size != len(y):
            raise ValueError(
                f"{path}: {name}_labels is {y.dtype} {y.shape} where whole numbers "
                "(n, 1) were expected"
            )
        where = f"{path}: {name}_images", f"{path}: {name}_labels"
        X, y, row = _pair(X, y.ravel(), *where, classes=2)
        order = sorted(row, key=lambda i: (hashlib.sha256(X[i]).digest(), y[i]))
        parts.append((X[order], y[order], row[order]))
    return tuple(parts)


def digits(place: Path) -> tuple[Images, Images, Images]:
    """The 1,797 8 x 8 digits (Alpaydin and Kaynak 1998) that scikit-learn brings.

    Their values 0 to 16 become 0 to 255; the source has no division of its own.
    """
    from sklearn.datasets import load_digits

    held = load_digits()
    X = np.round(held.images * (255 / 16)).astype(np.uint8)
    every = _pair(X, held.target, place, place, classes=10)
    return every, _none(every), _none(every)


def content(parts: Iterable[Images]) -> str:
    """Hex sha256 over the images and labels (as bytes) of each part, in its order."""
    total = hashlib.sha256()
    for X, y, _ in parts:
        total.update(str(X.shape).encode())
        total.update(np.ascontiguousarray(X))
        total.update(y.astype(np.uint8))
    return total.hexdigest()


def _npz(path: Path, keys: list[str]) -> dict[str, np.ndarray]:
    """The arrays of an archive; nothing pickled is ever loaded."""
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a whole npz archive")
    try:
        with np.load(path, allow_pickle=False) as archive:
            held = {key: archive[key] for key in keys if key in archive}
    except (zipfile.BadZipFile, EOFError, zlib.error, ValueError) as error:
        raise ValueError(f"{path} holds no plain arrays ({error})") from None
    if missing := [key for key in keys if key not in held]:
        raise ValueError(f"{path} has no {' and no '.join(missing)}")
    return held


def _pair(X: np.ndarray, y: np.ndarray, images, labels, classes: int) -> Images:
    """Images with their labels and rows, if they belong together."""
    if len(X) != len(y):
        raise ValueError(f"{images} has {len(X)} images but {labels} {len(y)} labels")
    outside = np.flatnonzero((y < 0) | (y >= classes))
    if outside.size:
        raise ValueError(
            f"{labels}, row {outside[0] + 1}: label {y[outside[0]]} is outside "
            f"0 to {classes - 1}"
        )
    return X, y.astype(np.int64), np.arange(len(X))


def _none(images: Images) -> Images:
    return tuple(array[:0] for array in images)

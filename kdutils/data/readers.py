"""readers: the official files of each data set as `Rows`.

Each reader is given a data set's folder, or its one file, and raises ValueError, one
sentence that names the file, the array and the row, counted from 1. Nothing pickled is
ever loaded.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import re
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from kdutils.data import PARTS, Rows, symmetry

MARKER = "GENERATED"  # a file of this name: a generated miniature
SECOM = "secom.data", "secom_labels.data"
# Row numbers in secom.data, counted from 1, of values that a second copy contradicts.
UNCONFIRMED = (*range(1, 20), 24, 39, 41, 46, 49, 50, 51, 58, 59, 63, 65)
_LABEL = re.compile(r'(-?1)\s+"?(\d\d/\d\d/\d{4} \d\d:\d\d:\d\d)"?')
CIFAR10 = [f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)]
CIFAR10 += ["cifar-10-batches-bin/test_batch.bin"]
HIGGS = "HIGGS.csv.gz", "higgs_train_10k.csv"
SST2 = "train.tsv", "dev.tsv", "test.tsv"
MINILM = "model.safetensors", "vocab.txt"
LITE0, LITE2 = "efficientnet-lite0-57934424.pth", "efficientnet-lite2-9656183e.pth"
MOST_WORDS = 500  # of a sentence
RECORD = 1 + 3 * 32 * 32  # bytes of an image and its label in them
IDX = 0x800  # idx: the type code of unsigned bytes
SIDE = 52  # of a wafer map
PATTERNS = "Center", "Donut", "Edge-Loc", "Edge-Ring", "Loc", "Near-Full"
PATTERNS += "Scratch", "Random"
KNOWN = ("sentence", "content"), ("label",)  # columns of a file of sentences
NAMED = ("split", "orig_index")  # a file may have them; the official one does not
BROKEN = (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, zlib.error)
CODES = {"uint8": "B", "whole numbers": "iu?", "words": "U"}  # numpy's kinds and chars


def generated(place: Path) -> bool:
    """Whether a folder holds a generated miniature instead of the data set itself."""
    return (place / MARKER).is_file()


def secom(place: Path) -> Rows:
    """SECOM: sensor readings without names, a verdict (fail 1) and a time (UTC) each.

    McCann and Johnston, UCI Machine Learning Repository, 2008: 1,567 wafers with 590
    readings. Rows whose values could not be confirmed against a second copy are left
    out, so that every copy gives the same 1,537 rows (89 fails), whatever the text's
    formatting. A miniature keeps all its rows and is known by its files' bytes.
    """
    data, labels = (place / name for name in SECOM)
    try:
        X = np.loadtxt(data, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{data}: {error}") from None
    lines = [line for line in labels.read_text("ascii").splitlines() if line.strip()]
    _equally_long({str(labels): lines, str(data): X})
    failed, time = np.empty(len(X), int), np.empty(len(X), int)
    for i, line in enumerate(lines):
        if not (found := _LABEL.fullmatch(line.strip())):
            raise ValueError(
                f"{labels}, row {i + 1}: {line!r} is not a verdict and a time such as "
                '-1 "19/07/2008 11:55:00"'
            )
        when = datetime.strptime(found[2], "%d/%m/%Y %H:%M:%S").replace(tzinfo=UTC)
        failed[i], time[i] = found[1] == "1", when.timestamp()
    row = np.arange(len(X))
    if generated(place):
        content = [data.read_bytes(), labels.read_bytes()]
    else:
        row = row[~np.isin(row + 1, UNCONFIRMED)]
        readings = np.where(np.isnan(X), np.nan, X + 0.0)  # one NaN, one zero
        arrays = (readings, "<f8"), (failed, "<i1"), (time, "<i8")
        content = [array[row].astype(kind).tobytes() for array, kind in arrays]
    return Rows(
        X[row].astype(np.float32),
        failed[row].astype(np.float32),
        np.arange(len(row)),
        row,
        tuple(f"x{j:03d}" for j in range(1, X.shape[1] + 1)),
        time=time[row].astype(np.float64),
        sha256=hashlib.sha256(b"".join(content)).hexdigest(),
    )


def higgs(place: Path) -> Rows:
    """HIGGS (Baldi et al. 2014, arXiv 1402.4735): collisions, 1 for a Higgs boson.

    21 measured and 7 derived quantities; UCI's file of 11,000,000 rows, or H2O's
    samples of 10,000 and 5,000 of them, three digits each, as one table.
    """
    if place.name == HIGGS[0]:
        table = pd.read_csv(place, header=None, dtype=np.float32)
        with place.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    else:
        files = place, place.with_name(HIGGS[1].replace("train_10k", "test_5k"))
        try:
            tables = [pd.read_csv(file, dtype=np.float32) for file in files]
        except (OSError, ValueError) as error:
            raise ValueError(f"{place.parent}: {error}: expected numbers") from None
        table, content = pd.concat(tables), [file.read_bytes() for file in files]
        sha256 = hashlib.sha256(b"".join(content)).hexdigest()
    X = table.to_numpy(np.float32)
    if X.shape[1] != 29 or not np.isin(X[:, 0], (0, 1)).all():
        raise ValueError(
            f"{place} has {X.shape[1]} columns: expected 29, a label 0 or 1 first"
        )
    row = np.arange(len(X))
    names = tuple(f"x{j:02d}" for j in range(1, 29))
    return Rows(X[:, 1:], X[:, 0], row, row, names, sha256=sha256)


def mnist(place: Path) -> Rows:
    """MNIST's four idx files (LeCun, Cortes and Burges 1998), in file order."""
    held = []
    for part, name in (("train", "train"), ("test", "t10k")):
        images = place / f"{name}-images-idx3-ubyte.gz"
        labels = place / f"{name}-labels-idx1-ubyte.gz"
        X, y = idx(images, 3), idx(labels, 1)
        _equally_long({str(images): X, str(labels): y})
        _values(str(labels), y, 9)
        held.append((X, y, np.repeat(part, len(y)), np.arange(len(y))))
    return rows(*map(np.concatenate, zip(*held, strict=True)))


def pneumoniamnist(place: Path) -> Rows:
    """MedMNIST's archive of chest X-rays (Yang et al. 2023); 1 is pneumonia.

    Copies differ in the order of their images, so each part is read in the order of
    its images' sha256: every copy gives the same arrays, only `row` differs.
    """
    path = place / "pneumoniamnist.npz"
    keys = [f"{part}_{a}" for part in PARTS for a in ("images", "labels")]
    arrays, held = _npz(path, keys), []
    for part in PARTS:
        X = _array(path, arrays, f"{part}_images", "uint8", (28, 28))
        y = _array(path, arrays, f"{part}_labels", "whole numbers", (1,)).ravel()
        _equally_long({f"{part}_images": X, f"{part}_labels": y}, f"{path}: ")
        _values(f"{path}: {part}_labels", y, 1)
        row = np.arange(len(y))
        order = sorted(row, key=lambda i: (hashlib.sha256(X[i]).digest(), y[i]))
        held.append((X[order], y[order], np.repeat(part, len(y)), row[order]))
    return rows(*map(np.concatenate, zip(*held, strict=True)))


def cifar10(place: Path) -> Rows:
    """CIFAR-10's binary version (Krizhevsky 2009): colour images of 32 x 32.

    A record is a label and 1,024 bytes each of red, green and blue, row by row.
    """
    held = []
    for name in CIFAR10:
        path = place / name
        data = np.frombuffer(path.read_bytes(), np.uint8)
        if not data.size or data.size % RECORD:
            raise ValueError(
                f"{path} holds {data.size:,} bytes where whole records of {RECORD:,} "
                "were expected: remove it to download it again"
            )
        records = data.reshape(-1, RECORD)
        _values(str(path), records[:, 0], 9)
        part = "test" if name == CIFAR10[-1] else "train"
        X = records[:, 1:].reshape(-1, 3, 32, 32)
        held.append((X, records[:, 0], np.repeat(part, len(X)), np.arange(len(X))))
    return rows(*map(np.concatenate, zip(*held, strict=True)))


def sst2(place: Path) -> Rows:
    """SST-2 (Socher et al. 2013; GLUE, Wang et al. 2019): sentences, 1 for praise.

    Tab-separated, a header, the sentence under `sentence` or `content`. GLUE's own test
    file has no labels: without a labelled one, its dev sentences are the test set.
    features: all words in lower case, sorted; X int32 (n, length): places in them, -1
    after a sentence's last word.
    """
    held = [(part, *_sentences(place / f)) for part, f in zip(PARTS, SST2, strict=True)]
    if held[2][2] is None:
        held = [held[0], ("test", *held[1][1:])]
    texts = [text.lower().split() for _, some, _ in held for text in some]
    words = sorted({word for text in texts for word in text})
    at = {word: i for i, word in enumerate(words)}
    X = np.full((len(texts), max(map(len, texts))), -1, np.int32)
    for row, text in zip(X, texts, strict=True):
        row[: len(text)] = [at[word] for word in text]
    y = np.concatenate([labels for *_, labels in held])
    part = np.repeat([part for part, *_ in held], [len(some) for _, some, _ in held])
    found = rows(X, y, part)
    names = "\n".join(words).encode() + found.sha256.encode()
    sha256 = hashlib.sha256(names).hexdigest()
    return replace(found, features=tuple(words), sha256=sha256)


def _sentences(path: Path) -> tuple[list[str], np.ndarray | None]:
    """A file's sentences and labels int64 (n,), None where it has none."""
    try:
        head, *lines = path.read_bytes().decode("utf-8").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: expected text in UTF-8") from None
    names = head.rstrip("\r").split("\t")
    texts, labels = ([i for i, n in enumerate(names) if n in known] for known in KNOWN)
    bare = names == ["index", "sentence"] and path.name == SST2[2]
    if not bare and (len(names) != 2 or not texts or not labels):
        raise ValueError(
            f"{path}, line 1: {head[:40]!r} where sentence (or content) and label, a "
            "tab between them, were expected"
        )
    if not lines:
        raise ValueError(f"{path} has a header and no sentence")
    found = []
    for number, line in enumerate(lines, 2):
        cells = line.rstrip("\r").split("\t")
        label = "0" if bare else cells[labels[0]] if len(cells) == 2 else ""
        count = len(cells[texts[0]].split()) if len(cells) == 2 else 0
        if label not in ("0", "1") or not 1 <= count <= MOST_WORDS:
            raise ValueError(
                f"{path}, line {number}: {line[:40]!r} of {count} words where one "
                f"sentence of 1 to {MOST_WORDS} and a label 0 or 1 were expected"
            )
        found.append((cells[texts[0]], int(label)))
    sentences, y = zip(*found, strict=True)
    return list(sentences), None if bare else np.array(y, np.int64)


def weights(place: Path, names: Iterable[str]) -> Rows:
    """A network's weights and what belongs to them, known by their bytes alone."""
    total = hashlib.sha256()
    for name in names:
        total.update((place / name).read_bytes())
    empty = np.zeros(0, np.int64)
    return Rows(empty, empty, empty, empty, sha256=total.hexdigest())


def digits(place: Path) -> Rows:
    """The 1,797 8 x 8 digits (Alpaydin and Kaynak 1998) that scikit-learn brings.

    Their values 0 to 16 become 0 to 255; the source has no division of its own.
    """
    from sklearn.datasets import load_digits

    held = load_digits()
    X = np.round(held.images * (255 / 16)).astype(np.uint8)
    return rows(X, held.target, np.repeat("train", len(X)))


def mixedwm38(path: Path) -> Rows:
    """MixedWM38 (Wang et al. 2020): arr_0 (n, 52, 52) and arr_1 (n, 8), any integers.

    Some maps that are Near-Full have a 3 in the official file: it is read as a fail.
    The set holds maps made by a generative network, which nothing tells from real ones.
    """
    held = _npz(path, ("arr_0", "arr_1"), NAMED)
    X = _array(path, held, "arr_0", "whole numbers", (SIDE, SIDE))
    y = _array(path, held, "arr_1", "whole numbers", (len(PATTERNS),)).astype(np.int64)
    _equally_long(held, f"{path}: ")
    _values(f"{path}: arr_1", y, 1)
    if X.max() == 3:
        full = y[:, PATTERNS.index("Near-Full")] == 1
        X = np.where((X == 3) & full[:, None, None], 2, X)
    _values(f"{path}: arr_0", X, 2)
    return maps(X, y, _split(path, held))


def wm811k(path: Path) -> Rows:
    """Labelled maps of WM-811K (Wu, Jang and Chen 2015), of many sizes, brought to one.

    flat: the dies of one map after another; shape (n, 2): its rows and columns;
    failure_type (n,): one of the eight patterns or None, in any case.
    """
    held = _npz(path, ("shape", "flat", "failure_type"), NAMED)
    flat = _array(path, held, "flat", "whole numbers", ())
    shape = _array(path, held, "shape", "whole numbers", (2,)).astype(np.int64)
    words = np.char.lower(_array(path, held, "failure_type", "words", ()))
    _equally_long({k: a for k, a in held.items() if k != "flat"}, f"{path}: ")
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
    _values(f"{path}: flat", flat, 2, ends)
    known = [pattern.lower() for pattern in PATTERNS]
    _words(path, held, "failure_type", words, [*known, "none"])
    X = np.empty((len(shape), SIDE, SIDE), np.uint8)
    distinct, which = np.unique(shape, axis=0, return_inverse=True)
    for k, (height, width) in enumerate(distinct):
        chosen = np.flatnonzero(which.ravel() == k)
        dies = (ends[chosen] - height * width)[:, None] + np.arange(height * width)
        X[chosen] = resized(flat[dies].reshape(-1, height, width))
    return maps(X, words[:, None] == np.array(known), _split(path, held))


def rows(X: np.ndarray, y: np.ndarray, part: np.ndarray, row=None) -> Rows:
    """Images with their content's sha256; group numbers equal images."""
    group, y = numbered([x.tobytes() for x in X]), y.astype(np.int64)
    row = np.arange(len(X)) if row is None else row
    return Rows(X, y, group, row, part=part, sha256=content(X, y, part))


def maps(X: np.ndarray, y: np.ndarray, part: np.ndarray | None) -> Rows:
    """Wafer maps likewise; group numbers the maps that are equal turned or mirrored."""
    X, y = X.astype(np.uint8), y.astype(np.uint8)
    group = numbered(symmetry.canonical(X))
    return Rows(X, y, group, np.arange(len(X)), part=part, sha256=content(X, y, part))


def numbered(names: list[bytes]) -> np.ndarray:
    """Equal names as one number, int64 (n,), from 0 in the order of first places."""
    number: dict[bytes, int] = {}
    return np.array([number.setdefault(name, len(number)) for name in names], np.int64)


def content(X: np.ndarray, y: np.ndarray, part: np.ndarray | None) -> str:
    """Hex sha256 over shape, X and y (as bytes) of each part, or of all rows."""
    total = hashlib.sha256()
    for i in [slice(None)] if part is None else [part == name for name in PARTS]:
        total.update(str(X[i].shape).encode())
        total.update(np.ascontiguousarray(X[i]))
        total.update(y[i].astype(np.uint8))
    return total.hexdigest()


def idx(path: Path, ndim: int) -> np.ndarray:
    """The uint8 array of `ndim` dimensions in a gzipped idx file, read-only.

    The format of MNIST: big-endian int32 numbers, a magic number 0x800 + dimensions
    and the size of each dimension, then unsigned bytes.
    """
    try:
        data = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file ({error})") from None
    head = 4 * (1 + ndim)
    if len(data) < head:
        raise ValueError(f"{path} ends in its header: {len(data)} of {head} bytes")
    magic, *shape = np.frombuffer(data, ">u4", 1 + ndim).tolist()
    if magic != IDX + ndim:
        raise ValueError(
            f"{path} begins with the magic number {magic} where {IDX + ndim} "
            f"(bytes in {ndim} dimensions) was expected"
        )
    if len(data) != head + math.prod(shape):
        sizes = " x ".join(map(str, shape))
        raise ValueError(
            f"{path} holds {len(data) - head} bytes where its header says {sizes} = "
            f"{math.prod(shape)}"
        )
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


def packed(array: np.ndarray) -> bytes:
    """A uint8 array as a gzipped idx file, the same bytes for the same array."""
    header = np.array([IDX + array.ndim, *array.shape], ">u4").tobytes()
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


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


def _npz(path: Path, keys, more=()) -> dict[str, np.ndarray]:
    """The arrays of an archive by name, with those of `more` that it has."""
    if path.suffix == ".pkl":
        raise ValueError(f"{path} is a pickle, which is never loaded: expected an npz")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a whole npz archive")
    try:
        with np.load(path, allow_pickle=False) as archive:
            held = {key: archive[key] for key in (*keys, *more) if key in archive}
    except BROKEN as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} holds no plain arrays ({reason})") from None
    if missing := [key for key in keys if key not in held]:
        raise ValueError(f"{path} has no {' and no '.join(missing)}")
    return held


def _array(path: Path, held: dict, key: str, what: str, shape: tuple) -> np.ndarray:
    """An array that has one row or more of this shape, and values of this kind."""
    a = held[key]
    codes = {a.dtype.kind, a.dtype.char} & {*CODES[what]}
    if not codes or a.shape[1:] != shape or a.ndim == 0 or not len(a):
        sizes = ", ".join(map(str, ("n", *shape)))
        raise ValueError(
            f"{path}: {key} is {a.dtype} {a.shape} where {what} ({sizes}) were expected"
        )
    return a


def _equally_long(named: dict, where: str = "") -> None:
    (first, a), *others = named.items()
    for name, b in others:
        n = np.size(b) if np.ndim(b) < 2 else len(b)
        if n != len(a):
            raise ValueError(f"{where}{first} has {len(a)} rows but {name} {n}")


def _values(where: str, a: np.ndarray, most: int, ends=None) -> None:
    """Refuse a value outside 0 to `most`; ends: where in a flat `a` each map ends."""
    if a.min() >= 0 and a.max() <= most:
        return
    place = np.argwhere((a < 0) | (a > most))[0]
    row = place[0] if ends is None else np.searchsorted(ends, place[0], side="right")
    raise ValueError(
        f"{where}, row {row + 1}: value {a[tuple(place)]} where 0 to {most} was "
        "expected"
    )


def _words(path: Path, held: dict, key: str, words: np.ndarray, known) -> None:
    if (bad := np.flatnonzero(~np.isin(words, known))).size:
        raise ValueError(
            f"{path}: {key}, row {bad[0] + 1}: {str(held[key][bad[0]])!r} where one of "
            f"{', '.join(known)} was expected"
        )


def _split(path: Path, held: dict) -> np.ndarray | None:
    """The part of each map as the file names it, (n,) words, or None."""
    if "split" not in held:
        return None
    split = _array(path, held, "split", "words", ())
    _words(path, held, "split", split, PARTS)
    if missing := [part for part in PARTS if part not in split]:
        raise ValueError(f"{path}: split has no row of {' or '.join(missing)}")
    return split

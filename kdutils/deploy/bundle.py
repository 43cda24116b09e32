"""bundle: a student of any kind as one file, and back.

The arrays and notes of a `container`. Notes: format; id; classes, as a line of CSV;
of a table's static student also check, see `check`.

A table's student of d readings and h hidden units; dense, or sparse if smaller. Its
notes are names, units (lines of CSV) and, below 8, the bits of a weight:

| name     | type         | what                                                      |
| -------- | ------------ | --------------------------------------------------------- |
| readings | F32 (d, 3)   | legal low, center, legal high; a NaN bound is open        |
| scale    | F16, F32 d   | squash((x - center) * scale); int8: F16 if it holds all   |
| scalars  | F32 2, 3, 5  | threshold, b2; int8: s2; static: s_in, s_hidden           |
| s1       | U8 h         | int8: k for the scale 2^(-k/16) of a row of W1            |
| b1       | F16, F32 h   | F32 in a float32 student                                  |
| w2       | U8, F32      | int8: h bits, 1 for -1, 0 for +1; else h numbers          |
| W1       | see below    | (h, d) weights, or those that are not zero, row by row    |
| alive    | U8           | sparse: h d bits, which weights those are                 |
| shares   | U8 (d, 3)    | optional: `shares` of the training rows, of 255           |
| lots     | U8           | optional, instead: `drift.Lots` of the training rows      |
| golden   | F32 k        | the logits of `golden(...)`, which the reader must repeat |

W1 is I8, or F32 in a float32 student. Weights of fewer bits are U8: value +
2^(bits-1), most significant bit first. Bits fill a byte from its low end. The net is
squash, then `Int8.steps`, or in float32 max(0, Z W1' + b1) w2 + b2.

A student of maps or colour images, H = W = the note side. The note net has the steps
of `runtime`, each its word and numbers, a comma between two:

| name     | type         | what                                                      |
| -------- | ------------ | --------------------------------------------------------- |
| weights  | U8           | whole numbers, int8 in C order of (out, in, k, k), layer  |
|          |              | by layer, deflated: 8 bits take 7.5, fewer take fewer     |
| halves   | F16          | by layer: a scale for each output, then its biases if any |
| golden   | F32 (k, out) | the logits of `golden_maps` or `golden_images`            |

A student of sentences has a side of 0, whole numbers in the order of its steps, those
of the table (rows, out) with a scale for each column, and one array more:

| name     | type         | what                                                      |
| -------- | ------------ | --------------------------------------------------------- |
| rows     | U8           | a bit for each bucket, which of them have a row           |
"""

from __future__ import annotations

import csv
import io
import math
import os
import stat
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from kdutils.deploy import container, runtime, words
from kdutils.deploy.container import BundleError
from kdutils.deploy.prepare import Prepare
from kdutils.deploy.runtime import SCALES, Int8, Step

TABLES = "words", "grams"  # the first step of a net of sentences
MOST_WORDS = 500  # of a sentence
GOLDEN = "one", "not a good film .", "it 's a good , warm film", "bad and dull !"
FORMAT, ROWS, CHECKED = "kdb 2", 4, 1024
LARGEST = 1 << 26  # bytes of a file, and numbers that a step of a net may need at once
FINITE = "scalars", "scale", "b1", "w2", "W1"
NARROW = 2.0**-14, 65504.0  # the numbers that float16 holds to 11 bits
CLOSE = 1e-4  # of 1 + |logit|: what float sums may differ by between machines
WRONG = (ValueError, TypeError, KeyError, IndexError, ArithmeticError, zlib.error)
WRONG += (MemoryError, RecursionError, StopIteration, csv.Error)


@dataclass(frozen=True, eq=False)
class Schema:
    """What the inputs and the answers are called.

    units: d strings, or () if unknown; ranges: float32 (d, 2), legal low and high,
    NaN = open, or None; classes: of a logit up to the threshold, and above, or one for
    each logit of a map; id: which student this is.
    """

    units: tuple[str, ...] = ()
    ranges: np.ndarray | None = None
    classes: tuple[str, ...] = ("pass", "fail")
    id: str = ""


@dataclass(frozen=True, eq=False)
class Maps:
    """A net of maps, or of colour images, of side x side: steps, and arrays as filed.

    Its first step, of `runtime`, says which.
    """

    side: int
    steps: tuple[Step, ...]
    arrays: dict[str, np.ndarray] = field(repr=False)

    @property
    def colours(self) -> bool:
        """Whether it reads colour images, each of one class."""
        return self.steps[0].word == "colours"

    @property
    def sentences(self) -> bool:
        """Whether it reads sentences, each of one class."""
        return self.steps[0].word in TABLES


@dataclass(frozen=True, eq=False)
class Bundle:
    """A student with everything between a raw input and a verdict.

    prepare: None for maps. golden: inputs (readings float32 (k, d), maps uint8 (k,
    side, side)) and their logits float32, repeated at loading. shares: (d, 4)
    of the training rows, see `shares`, or None.
    """

    prepare: Prepare | None
    student: Int8 | dict[str, np.ndarray] | Maps
    threshold: float
    schema: Schema
    golden: tuple[np.ndarray, np.ndarray] | None = None
    shares: np.ndarray | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """The columns it reads, in the order `score` wants them; none of a map."""
        return self.prepare.names if self.prepare else ()

    @property
    def units(self) -> tuple[str, ...]:
        """The unit of each feature, '' where none is known."""
        return self.schema.units or ("",) * len(self.features)

    @property
    def ranges(self) -> np.ndarray:
        """Legal low and high of each feature, float32 (d, 2), NaN = open."""
        if self.schema.ranges is None:
            return np.full((len(self.features), 2), np.nan, np.float32)
        return self.schema.ranges

    @property
    def classes(self) -> tuple[str, ...]:
        """A table's answer up to the threshold, and above it; patterns, classes."""
        return self.schema.classes

    @property
    def id(self) -> str:
        """Which student this is."""
        return self.schema.id

    @cached_property
    def steps(self) -> list[Step]:
        """The whole net, from raw input to logits, as `runtime.run` takes it."""
        student = self.student
        if isinstance(student, Maps):
            return list(student.steps)
        first = Step("squash", W=self.prepare.center, scale=self.prepare.scale)
        if isinstance(student, Int8):
            return [first, *student.steps()]
        W1, b1, w2, b2 = (student[k] for k in ("W1", "b1", "w2", "b2"))
        hidden = Step("linear", (len(b1), 1, 1), W1, b=b1)
        return [first, hidden, Step("linear", (1, 1, 0), w2, b=b2)]

    @cached_property
    def _readings(self) -> Callable[[np.ndarray], np.ndarray]:
        """A table's logits float32 (n,), of readings float32 (n, d)."""
        if getattr(self.student, "s_in", None) is None:
            run = np.errstate(over="ignore")(runtime.run)
            return partial(run, self.steps)
        return self.student.from_readings(self.prepare.center, self.prepare.scale)

    def score(self, X: np.ndarray) -> np.ndarray:
        """Raw inputs -> float32 logits: (n,) of readings, else (n, classes).

        X: (n, d), columns as in `features`, NaN = missing; maps (n, side, side) of 0, 1
        and 2; colour images uint8 (n, 3, side, side); or n texts; logits depend on that
        input alone. BundleError for another shape, or a map with another value.
        """
        if isinstance(self.student, Maps):
            if self.student.sentences:
                first = self.student.steps[0]
                maps = checked_sentences(X, (first.word, first.numbers))
            else:
                check = checked_images if self.student.colours else checked
                maps = check(X, self.student.side)
            logits = np.empty((len(maps), len(self.classes)), np.float32)
            for row, one in enumerate(maps):
                logits[row] = runtime.run(self.steps, one)
            return logits
        if getattr(X, "dtype", None) != np.float32:
            with np.errstate(over="ignore"):  # too large for float32 is infinite
                X = np.asarray(X, np.float32)
        if X.shape[1:] != self.prepare.center.shape:
            wanted = f"(n, {len(self.features)})"
            raise BundleError(f"expected readings of shape {wanted}, got {X.shape}")
        return self._readings(X)


def packed(
    student, prepare, threshold: float, schema: Schema | None = None, X=None
) -> bytes:
    """A table's student as a file's bytes; BundleError for what does not fit together.

    Its golden logits are those of the scaler as the file keeps it. X: training readings
    (n, d), whose `shares` are kept for the watcher, which compares.
    """
    schema, held = schema or Schema(), arrays(student, prepare, threshold)
    center, scale = held.pop("center"), held["scale"].astype(np.float32)
    _check(prepare.names, schema, len(center))
    kept = Prepare(np.arange(len(center)), prepare.names, center, scale)
    loaded = Bundle(kept, student, threshold, schema)
    low, high = loaded.ranges.astype(np.float32).T
    bits = _bits(student.W1) if "s1" in held else 32
    held["readings"] = np.column_stack((low, center, high))
    if X is not None:
        known = shares((np.asarray(X, np.float32) - center) * scale)
        held["shares"] = np.rint(255 * known[:, :3]).astype(np.uint8)
    X = golden(low, center, high, scale)
    held["golden"] = np.asarray(loaded.score(X), np.float32)
    about = {"format": FORMAT, "id": schema.id, "names": _line(prepare.names)}
    about |= {"units": _line(schema.units), "classes": _line(schema.classes)}
    about |= {"bits": str(bits)} if bits < 8 else {}
    about |= {"check": check(loaded)} if _exact(student) else {}
    return container.write(held, {k: v for k, v in about.items() if v})


def packed_maps(
    net: list[list],
    weights: list[np.ndarray],
    halves: list[np.ndarray],
    side: int,
    schema: Schema,
    predict: Callable[[np.ndarray], np.ndarray],
    rows: np.ndarray | None = None,
) -> bytes:
    """A student of maps or images as a file's bytes: see `compress.convert.packed`.

    net: steps; weights, halves: arrays in their order; predict: golden inputs -> the
    logits that must be repeated; rows: of sentences, which buckets have a row. The file
    is read again here, so numpy has repeated them: BundleError if it does not.
    """
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    flat = b"".join(np.ascontiguousarray(W, np.int8).tobytes() for W in weights)
    held = {
        "weights": np.frombuffer(deflate.compress(flat) + deflate.flush(), np.uint8),
        "halves": np.concatenate([np.ravel(a).astype(np.float16) for a in halves]),
        "golden": np.asarray(predict(_golden(net, side)), np.float32),
    }
    if rows is not None:
        held["rows"] = _packed(rows)
    about = {"format": FORMAT, "id": schema.id, "classes": _line(schema.classes)}
    about |= {"side": str(side), "net": ",".join(" ".join(map(str, s)) for s in net)}
    data = container.write(held, about)
    loads(data, f"the file of {schema.id or 'a student'}")
    return data


def load(path: str | Path) -> Bundle:
    """Read a bundle; BundleError if the file is none, newer, cut short or damaged."""
    return loads(content(path), str(path))


def content(path: str | Path) -> bytes:
    """The bytes of a plain file of at most LARGEST; BundleError for anything else.

    OSError where it cannot be read. A FIFO or a device is not waited for.
    """
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(fd, "rb") as file:
        seen = os.fstat(fd)
        if not stat.S_ISREG(seen.st_mode):
            raise BundleError(f"{path} is not a plain file")
        if seen.st_size > LARGEST:
            raise BundleError(
                f"{path} has {seen.st_size:,} bytes, expected at most {LARGEST:,}"
            )
        return file.read()


def loads(data: bytes, name: str) -> Bundle:
    """The bundle of a file's bytes: checksum first, golden inputs last.

    BundleError, which names the file, also if this machine does not repeat the golden
    logits: bit for bit where all is in integers, else within CLOSE.
    """
    held, about = container.read(data, name)
    if about.get("format") != FORMAT:
        raise BundleError(
            f"{name} holds {about.get('format', 'no student')!r}, this program reads "
            f"{FORMAT!r}"
        )
    try:
        loaded = (_maps if "net" in about else _table)(held, about)
        X, logits = loaded.golden
        gap = np.abs(loaded.score(X) - logits)
        close = gap <= (0 if _exact(loaded.student) else CLOSE) * (1 + np.abs(logits))
        same = "check" not in about or about["check"] == check(loaded)
    except WRONG as error:
        raise BundleError(f"{name} holds no whole student ({error!r})") from None
    if not close.all() or not same:
        raise BundleError(
            f"{name} does not repeat its golden vectors on this machine: do not use it"
        )
    return loaded


def model_bytes(student, prepare: Prepare | None = None) -> int:
    """Bytes of the model part: weights, scales, biases; a table's scaler, threshold."""
    held = student.arrays if isinstance(student, Maps) else None
    return sum(a.nbytes for a in (held or arrays(student, prepare, 0.0)).values())


def golden(low, center, high, scale, rows: int = ROWS) -> np.ndarray:
    """Readings float32 (rows, d) that every bundle repeats: nothing to store.

    Up to 2.5 spreads around the centres, the same for all students, inside of the legal
    ranges; in the last row every third reading is missing.
    """
    share = _shares(rows, len(center))
    with np.errstate(over="ignore"):
        X = (center + (5 * share - 2.5) / scale.astype(np.float64)).astype(np.float32)
    X = np.fmin(np.fmax(X, low), high)
    X[-1, ::3] = np.nan
    return X


def shares(z: np.ndarray) -> np.ndarray:
    """Of readings (n, d) in spreads from their centres -> (d, 4), NaN if all missing.

    The shares below -1, from there to 0, to 1, and above, of those that are not NaN.
    """
    count = (~np.isnan(z)).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        below = [(z <= edge).sum(0) / count for edge in (-1, 0, 1, np.inf)]
    return np.diff(below, axis=0, prepend=0).T


def check(loaded: Bundle) -> str:
    """CRC-32 of what a table's student does, 8 hex digits, equal on every machine.

    Of the logits and words of 1,024 rows of `golden`, some of which are next to the
    threshold, and of the ranges, centres and scales, with which those rows move.
    """
    (low, high), prepare = loaded.ranges.T, loaded.prepare
    own = low, prepare.center, high, prepare.scale
    logits = loaded.score(golden(*own, CHECKED))
    words = [loaded.classes[fail] for fail in (logits > loaded.threshold).tolist()]
    numbers = [np.asarray(a, "<f4").tobytes() for a in (*own, logits)]
    return f"{zlib.crc32(b''.join([*numbers, _line(words).encode()])):08x}"


def _exact(student) -> bool:
    """Whether a student's logits are the same on every machine."""
    return isinstance(student, Int8) and student.s_in is not None


def golden_maps(side: int, rows: int = ROWS) -> np.ndarray:
    """Maps uint8 (rows, side, side) that every bundle repeats.

    Round wafers on which each die fails by chance: rarely, more often in the middle, at
    the edge, and from left to right.
    """
    y, x = np.indices((side, side)) * 2.0 + 1 - side
    radius = np.hypot(x, y) / side
    chance = [0.05 + 0 * x, radius < 0.4, radius > 0.8, 0.5 + x / side / 2]
    chances = 0.05 + 0.7 * np.stack([chance[i % 4] for i in range(rows)])
    failed = _shares(rows, side**2).reshape(rows, side, side) < chances
    return ((1 + failed) * (radius <= 1)).astype(np.uint8)


def golden_images(side: int, rows: int = ROWS) -> np.ndarray:
    """Colour images uint8 (rows, 3, side, side) that every bundle repeats."""
    return (256 * _shares(rows, 3 * side**2)).reshape(rows, 3, side, side).astype("u1")


def checked_sentences(texts, first) -> list[np.ndarray]:
    """The hashes of each text's words; BundleError for one of none or too many.

    first: the net's first step and its numbers, which say what else is hashed.
    """
    letters = first[1][:2] if first[0] == "words" else ()
    found = [words.hashed(words.divided(text), *letters) for text in texts]
    for row, some in enumerate(found, 1):
        if not 1 <= len(some) <= MOST_WORDS:
            raise BundleError(
                f"sentence {row} has {len(some):,} words, expected 1 to {MOST_WORDS}"
            )
    return found


def _golden(net: list, side: int, rows: int = ROWS):
    """The golden inputs of a net that begins with its first step."""
    if net[0][0] in TABLES:
        return np.array(GOLDEN[:rows])
    return (golden_images if net[0][0] == "colours" else golden_maps)(side, rows)


def checked_images(images: np.ndarray, side: int) -> np.ndarray:
    """Colour images uint8 (n, 3, side, side); BundleError for another type or shape."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1:] != (3, side, side):
        raise BundleError(
            f"expected images of shape (n, 3, {side}, {side}), got {images.shape}"
        )
    if images.dtype != np.uint8:
        raise BundleError(f"expected images of bytes (uint8), got {images.dtype}")
    return images


def checked(maps: np.ndarray, side: int) -> np.ndarray:
    """Maps as uint8 (n, side, side); BundleError for another shape or value."""
    maps = np.asarray(maps)
    if maps.ndim != 3 or maps.shape[1:] != (side, side):
        raise BundleError(
            f"expected wafer maps of shape (n, {side}, {side}), got {maps.shape}"
        )
    wrong = (maps != 0) & (maps != 1) & (maps != 2)
    if wrong.any():
        n, row, column = np.argwhere(wrong)[0]
        raise BundleError(
            f"map {n + 1} has {maps[n, row, column]} in row {row + 1}, column "
            f"{column + 1}, expected 0 (off the wafer), 1 (pass) or 2 (fail)"
        )
    return maps.astype(np.uint8)


def arrays(student, prepare: Prepare, threshold: float) -> dict[str, np.ndarray]:
    """A table's model part: all but the legal ranges and golden logits.

    student: an `Int8` or a dict of float32 arrays. BundleError if they do not fit.
    """
    d = (student["W1"] if isinstance(student, dict) else student.W1).shape[1]
    found = {len(prepare.names), len(prepare.center), len(prepare.scale)}
    if found != {d}:
        raise BundleError(
            f"the student reads {d} features, the scaler has {len(prepare.names)} names"
            f" and {len(prepare.center)} centers"
        )
    scale = np.asarray(prepare.scale, np.float32)
    held = {"center": np.asarray(prepare.center, np.float32), "scale": scale}
    if isinstance(student, dict):
        W1, b1, w2 = (np.asarray(student[k], np.float32) for k in ("W1", "b1", "w2"))
        scalars = [threshold, student["b2"]]
    else:
        if not np.isin(student.w2, (-1, 1)).all():
            raise BundleError("the output weights of an int8 student must be -1 or 1")
        if ((np.abs(scale) >= NARROW[0]) & (np.abs(scale) <= NARROW[1])).all():
            held["scale"] = scale.astype(np.float16)
        W1, b1, w2 = student.W1, student.b1, _packed(student.w2 < 0)
        held["s1"] = np.searchsorted(-SCALES, -student.s1).astype(np.uint8)
        if not np.array_equal(SCALES[held["s1"]], student.s1):
            raise BundleError("the scales of an int8 student must be of runtime.SCALES")
        scalars = [threshold, student.b2, student.s2]
        if student.s_in is not None:
            scalars += [student.s_in, student.s_hidden]
    held |= {"scalars": np.array(scalars, np.float32), "b1": b1, "w2": w2}
    return held | _layer(W1)


def _table(held: dict, about: dict) -> Bundle:
    low, center, high = held["readings"].T
    scale, d, h = held["scale"].astype(np.float32), len(center), len(held["b1"])
    if not all(np.isfinite(held[k]).all() for k in FINITE):
        raise ValueError("a threshold, scale, bias or weight is not finite")
    threshold, b2, *rest = held["scalars"]
    W1 = _whole(held, h * d, int(about.get("bits", "8"))).reshape(h, d)
    student = {"W1": W1, "b1": held["b1"], "w2": held["w2"], "b2": b2}
    if "s1" in held:
        signs = np.unpackbits(held["w2"], count=h, bitorder="little").astype(np.int8)
        student |= {"w2": 1 - 2 * signs, "s1": SCALES[held["s1"]]}
        names = ("s2", "s_in", "s_hidden")[: len(rest)]
        student = Int8(**student, **dict(zip(names, rest, strict=True)))
    names, ranges = _cells(about["names"]), np.column_stack((low, high))
    units, classes = _cells(about.get("units", "")), _cells(about["classes"])
    schema = Schema(units, ranges, classes, about.get("id", ""))
    _check(names, schema, d)
    prepare = Prepare(np.arange(d), names, center, scale)
    X = golden(low, center, high, scale, len(held["golden"]))
    known = X, held["golden"]
    if not np.isfinite(held["golden"]).all():
        raise ValueError("a golden logit is not finite")
    shares = held["shares"] / 255 if "shares" in held else None
    if shares is not None:
        shares = np.column_stack((shares, 1 - shares.sum(1))).reshape(d, 4)
    return Bundle(prepare, student, float(threshold), schema, known, shares)


def _maps(held: dict, about: dict) -> Bundle:
    """The student of maps, its steps found by doing them on a map.

    ValueError names a step that is none, and arrays that are too long or too short; a
    step that does not fit what it is given fails with an error of numpy or Python.
    """
    found = {key: array.dtype.str[1:] for key, array in held.items()}
    alive = None
    if found.pop("rows", "u1") == "u1" and "rows" in held:
        alive = np.unpackbits(held["rows"], bitorder="little").astype(bool)
    if found != {"weights": "u1", "halves": "f2", "golden": "f4"}:
        raise ValueError(f"its arrays are {found}")
    side, classes, logits = int(about["side"]), _cells(about["classes"]), held["golden"]
    if (side == 0) != (alive is not None) or side > 4096 or not len(logits):
        raise ValueError(f"its maps are {len(logits)} of {side} x {side}")
    net = [_words(text) for text in about["net"].split(",")]
    X = _golden(net, side, len(logits))
    first = X[0] if alive is None else checked_sentences(X[:1], net[0])[0]
    steps = _steps(net, first, _Numbers(held["weights"], held["halves"]), alive)
    if not steps[-1].shape == (len(classes),) == logits.shape[1:]:
        raise ValueError(f"its net does not end in {len(classes)} logits")
    parts = {key: array for key, array in held.items() if key != "golden"}
    schema = Schema((), None, classes, about.get("id", ""))
    return Bundle(None, Maps(side, steps, parts), 0.0, schema, (X, logits))


def _words(text: str) -> tuple[str, tuple[int, ...]]:
    word, *numbers = text.split(" ")
    known = word in runtime.STEPS and word not in ("squash", "round")
    whole = all(n.isascii() and n.isdigit() for n in numbers)
    if not known or not whole or runtime.STEPS[word][0] != len(numbers):
        raise ValueError(f"no step of maps: {text}")
    return word, tuple(map(int, numbers))


class _Numbers:
    """The numbers of a net of maps, which its layers use up in their order."""

    def __init__(self, weights: np.ndarray, halves: np.ndarray):
        inflate, most = zlib.decompressobj(-15), 8 * len(weights) + 64
        flat = inflate.decompress(weights.tobytes(), most)
        if not inflate.eof or inflate.unused_data:
            raise ValueError("its weights are not deflated as they should be")
        self.left = {"weights": np.frombuffer(flat, np.int8), "halves": halves}

    def take(self, key: str, *shape: int) -> np.ndarray:
        """The next of them, float32 of this shape."""
        count, there = math.prod(shape), self.left[key]
        if count > there.size:
            raise ValueError(f"it has too few {key}: {there.size} left for {shape}")
        self.left[key] = there[count:]
        return there[:count].astype(np.float32).reshape(shape)


def _table_of(given: tuple, numbers: _Numbers, alive) -> tuple:
    """The rows that are there, behind one of zeros, and each bucket's place in them."""
    *_, buckets, out = given
    if alive is None or not buckets <= len(alive) < buckets + 8:
        raise ValueError(f"its {buckets} buckets have no rows")
    alive = alive[:buckets]
    scale = numbers.take("halves", out)
    W = np.zeros((alive.sum() + 1, out), np.float32)
    W[1:] = numbers.take("weights", len(W) - 1, out) * scale
    place = np.zeros(buckets + 1, np.int32)
    place[1:][alive] = np.arange(1, len(W))
    return W, place


def _recurrent(given: tuple, d: int, numbers: _Numbers) -> tuple:
    """W (2, 4 out, d + out) and b (2, 4 out) of a recurrent step."""
    (out,), sides = given, []
    for _ in range(2):
        parts = []
        for columns in (d, out):
            scale = numbers.take("halves", 4 * out)[:, None]
            parts.append(numbers.take("weights", 4 * out, columns) * scale)
        b = numbers.take("halves", 4 * out) + numbers.take("halves", 4 * out)
        sides.append((np.hstack(parts), b))
    return tuple(np.stack(part) for part in zip(*sides, strict=True))


def _steps(
    net: list[tuple], x: np.ndarray, numbers: _Numbers, alive: np.ndarray | None
) -> tuple[Step, ...]:
    found, kept = [], []
    for word, given in net:
        W = b = None
        if word in TABLES:
            W, b = _table_of(given, numbers, alive)
        if word == "lstm":
            W, b = _recurrent(given, x.shape[1], numbers)
        if word == "threes":
            scale = numbers.take("halves", given[0])[:, None]
            W = numbers.take("weights", given[0], 3 * x.shape[1]) * scale
            b = numbers.take("halves", given[0]) if given[1] else None
        if word in ("conv", "each", "linear"):
            out, k = (x.shape[2], given[0]) if word == "each" else given[:2]
            shape = {"conv": (x.shape[-1], k, k), "each": (1, k, k), "linear": x.shape}
            scale = numbers.take("halves", out)
            W = numbers.take("weights", out, *shape[word]).T * scale
            if word == "linear":
                W = W.T
            else:  # (k, k, in, out) with rows first
                W = (W if word == "conv" else W[:, :, 0]).swapaxes(0, 1)
            W = np.ascontiguousarray(W)
            b = numbers.take("halves", out) if given[-2] else None
        if word in ("conv", "each") and _patches(x, out, *given[-5:-2]) > LARGEST:
            raise ValueError(
                f"{word} of {given[-5]} x {given[-5]} needs too much memory"
            )
        step = Step(word, given, W, None, b)
        x = runtime.run([step], x, kept)
        found.append(step._replace(shape=x.shape))
    if kept:
        raise ValueError("it keeps what it never adds")
    for key, left in numbers.left.items():
        if left.size:
            raise ValueError(f"it has {left.size} {key} too many")
    return tuple(found)


def _patches(x: np.ndarray, out: int, k: int, stride: int, padding: int) -> int:
    """How many numbers a convolution of x makes of it, at most."""
    rows, columns = ((n + 2 * padding) // max(stride, 1) + 1 for n in x.shape[:2])
    return rows * columns * max(out, k * k * x.shape[2])


def _shares(rows: int, columns: int) -> np.ndarray:
    """Numbers float64 (rows, columns) in [0, 1), without order and always the same."""
    numbers = np.arange(rows * columns, dtype=np.uint64).reshape(rows, columns)
    return (numbers * 2654435761 % 2**32).astype(np.float64) / 2**32


def _check(names: tuple[str, ...], schema: Schema, d: int) -> None:
    for name in names:
        if not 1 <= len(name.encode()) <= 255 or names.count(name) > 1:
            raise BundleError(
                f"feature name {name!r} must be unique and 1 to 255 bytes long"
            )
    if len(names) != d or len(schema.units) not in (0, d):
        raise BundleError(
            f"{d} readings have {len(names)} names and {len(schema.units)} units"
        )
    if schema.ranges is not None and np.shape(schema.ranges) != (d, 2):
        raise BundleError(f"legal ranges have the shape {np.shape(schema.ranges)}")
    if len(schema.classes) != 2:
        raise BundleError(f"{len(schema.classes)} classes, expected pass and fail")


def _layer(W: np.ndarray) -> dict[str, np.ndarray]:
    """W1 dense, or its nonzero weights and `alive`: whatever has fewer bytes."""
    flat, bits = np.ravel(W), _bits(W) if W.dtype == np.int8 else 32
    some, alive = flat[flat != 0], _packed(flat != 0)
    if bits < 8:
        W, some = _squeezed(flat, bits), _squeezed(some, bits)
    sparse = some.nbytes + alive.nbytes < W.nbytes
    return {"W1": some, "alive": alive} if sparse else {"W1": W}


def _whole(held: dict, count: int, bits: int) -> np.ndarray:
    alive = np.ones(count, bool)
    if "alive" in held:
        alive = np.unpackbits(held["alive"], count=count, bitorder="little") > 0
    there = held["W1"].ravel()
    if bits < 8:
        there = _stretched(there, int(alive.sum()), bits)
    values = np.zeros(count, there.dtype)
    values[alive] = there
    return values


def _bits(W: np.ndarray) -> int:
    """The fewest of 8, 6 and 4 bits that hold every weight."""
    most = np.abs(W.astype(np.int16)).max(initial=0)
    return min(bits for bits in (8, 6, 4) if most < 2 ** (bits - 1) or bits == 8)


def _squeezed(W: np.ndarray, bits: int) -> np.ndarray:
    codes = (W.astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8)
    return _packed(np.unpackbits(codes[:, None], axis=1)[:, 8 - bits :])


def _stretched(data: np.ndarray, count: int, bits: int) -> np.ndarray:
    flags = np.unpackbits(data, count=count * bits, bitorder="little")
    codes = np.zeros((count, 8), np.uint8)
    codes[:, 8 - bits :] = flags.reshape(count, bits)
    whole = np.packbits(codes, axis=1).ravel().astype(np.int16)
    return (whole - 2 ** (bits - 1)).astype(np.int8)


def _packed(flags: np.ndarray) -> np.ndarray:
    return np.packbits(np.ravel(flags), bitorder="little")


def _line(cells: tuple[str, ...]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)  # quotes a cell that holds its line end, CRLF
    return text.getvalue().removesuffix("\r\n")


def _cells(line: str) -> tuple[str, ...]:
    return tuple(next(csv.reader(io.StringIO(line, newline="")))) if line else ()

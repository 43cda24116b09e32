"""kdb: a pass/fail student as the arrays and notes of a file, and back.

The arrays of a `container` for d readings, h hidden units; dense, or sparse if smaller:

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
| golden   | F32 k        | the logits of `golden(...)`, which the reader must repeat |

W1 is I8, or F32 in a float32 student. Weights of fewer bits, `bits` in the notes, are
U8: value + 2^(bits-1), most significant bit first. Bits fill a byte from its low end.
The notes: format, id, and as lines of CSV names, units and classes. What is computed:
`prepare.squash`, then `int8.Int8.logits`, or in float32 max(0, Z W1' + b1) w2 + b2.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import numpy as np

from kdutils.deploy import container
from kdutils.deploy.container import BundleError
from kdutils.deploy.int8 import SCALES, Int8
from kdutils.deploy.prepare import Prepare

FORMAT, ROWS = "kdb 2", 4
NARROW = 2.0**-14, 65504.0  # the numbers that float16 holds to 11 bits


@dataclass(frozen=True, eq=False)
class Schema:
    """What the readings and the answers are called.

    units: d strings, or () if nobody said; ranges: float32 (d, 2), legal low and high,
    NaN = open, or None; classes: of a logit up to the threshold, and above; id: which
    student this is.
    """

    units: tuple[str, ...] = ()
    ranges: np.ndarray | None = None
    classes: tuple[str, str] = ("pass", "fail")
    id: str = ""


def golden(low, center, high, scale, rows: int = ROWS) -> np.ndarray:
    """Readings float32 (rows, d) that every bundle is asked about: nothing to store.

    Up to 2.5 spreads around the centres, the same for all students, inside of the legal
    ranges; in the last row every third reading is missing.
    """
    d = len(center)
    numbers = np.arange(rows * d, dtype=np.uint64).reshape(rows, d)
    share = (numbers * 2654435761 % 2**32).astype(np.float64) / 2**32
    with np.errstate(over="ignore"):
        X = (center + (5 * share - 2.5) / scale.astype(np.float64)).astype(np.float32)
    X = np.fmin(np.fmax(X, low), high)
    X[-1, ::3] = np.nan
    return X


def arrays(student, prepare: Prepare, threshold: float) -> dict[str, np.ndarray]:
    """The model part: all but the legal ranges and golden logits.

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
            raise BundleError("the scales of an int8 student must be of int8.SCALES")
        scalars = [threshold, student.b2, student.s2]
        if student.s_in is not None:
            scalars += [student.s_in, student.s_hidden]
    held |= {"scalars": np.array(scalars, np.float32), "b1": b1, "w2": w2}
    return held | _layer(W1)


def model_bytes(student, prepare: Prepare) -> int:
    """Bytes of the model part: weights, scales, biases, scaler and threshold."""
    return sum(array.nbytes for array in arrays(student, prepare, 0.0).values())


def pack(student, prepare: Prepare, threshold: float, schema: Schema, asked) -> bytes:
    """The file's bytes. asked: readings (k, d) -> the logits that must be repeated."""
    held = arrays(student, prepare, threshold)
    center, scale = held.pop("center"), held["scale"]
    _check(prepare.names, schema, len(center))
    open_ = np.full((len(center), 2), np.nan, np.float32)
    low, high = (open_ if schema.ranges is None else np.float32(schema.ranges)).T
    bits = _bits(student.W1) if "s1" in held else 32
    X = golden(low, center, high, scale.astype(np.float32))
    held["readings"] = np.column_stack((low, center, high))
    held["golden"] = np.asarray(asked(X), np.float32)
    about = {"format": FORMAT, "id": schema.id, "names": _line(prepare.names)}
    about |= {"units": _line(schema.units), "classes": _line(schema.classes)}
    about |= {"bits": str(bits)} if bits < 8 else {}
    return container.write(held, {k: v for k, v in about.items() if v})


def unpack(data: bytes, name: str) -> tuple:
    """File `name` -> (Prepare, student, threshold, Schema, golden readings, logits)."""
    held, about = container.read(data, name)
    if about.get("format") != FORMAT:
        raise BundleError(
            f"{name} holds {about.get('format', 'no student')!r}, this program reads "
            f"{FORMAT!r}"
        )
    try:
        return _student(held, about)
    except (ValueError, KeyError, IndexError, StopIteration, csv.Error) as error:
        raise BundleError(f"{name} holds no whole student ({error!r})") from None


def _student(held: dict, about: dict) -> tuple:
    low, center, high = held["readings"].T
    scale, d, h = held["scale"].astype(np.float32), len(center), len(held["b1"])
    threshold, b2, *rest = held["scalars"]
    W1 = _whole(held, h * d, int(about.get("bits", "8"))).reshape(h, d)
    student = {"W1": W1, "b1": held["b1"], "w2": held["w2"], "b2": b2}
    if "s1" in held:
        signs = np.unpackbits(held["w2"], count=h, bitorder="little").astype(np.int8)
        student |= {"w2": 1 - 2 * signs, "s1": SCALES[held["s1"]]}
        names = ("s2", "s_in", "s_hidden")[: len(rest)]
        student = Int8(**student, **dict(zip(names, rest, strict=True)))
    names = _cells(about["names"])
    prepare = Prepare(np.arange(d), names, center, scale)
    ranges = np.column_stack((low, high))
    classes = _cells(about["classes"])
    schema = Schema(
        _cells(about.get("units", "")), ranges, classes, about.get("id", "")
    )
    _check(names, schema, d)
    X = golden(low, center, high, scale, len(held["golden"]))
    return prepare, student, float(threshold), schema, X, held["golden"]


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
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def _cells(line: str) -> tuple[str, ...]:
    return tuple(next(csv.reader(io.StringIO(line, newline="")))) if line else ()

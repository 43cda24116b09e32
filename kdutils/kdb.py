"""kdb: the bytes of a bundle, written and read.

Import rule: numpy and the standard library; from kdutils only `prepare` and `int8`.

Layout, little-endian, nothing aligned, d features and h hidden units:

| bytes       | type      | what                                                       |
| ----------- | --------- | ---------------------------------------------------------- |
| 4           | char      | magic "KDB" and a zero byte                                |
| 1           | u8        | version, 1                                                 |
| 1           | u8        | flags: 1 int8, 2 static, 4 W1 is sparse, 8 w2 is sparse    |
| 2, 2, 2     | u16       | d, h, n = bytes of the note                                |
| 4           | u32       | bytes of the whole file                                    |
| 4           | f32       | threshold: a logit above it is a fail                      |
| d times 1+L | u8, UTF-8 | feature names, each after its length L                     |
| n           | UTF-8     | note                                                       |
| 4d, 4d      | f32       | center, scale: squash((x - center) * scale)                |
| W1          | i8 or f32 | h rows of d weights, dense or sparse                       |
| h times 2/4 | f16 / f32 | b1                                                         |
| w2          | i8 or f32 | h weights, dense or sparse                                 |
| 4           | f32       | b2                                                         |
| 2h, 4       | f16, f32  | int8 only: s1, s2                                          |
| 4, 4        | f32       | static only: s_in, s_hidden                                |
| 4           | u32       | CRC-32 (zlib) of every byte before it                      |

Sparse: a bitmap of ceil(count / 8) bytes, weight i is bit i % 8 of byte i // 8, then
the nonzero weights in order; dense or sparse, whichever is smaller. What is computed:
`prepare.squash`, then `int8.Int8.logits`, or in float32 max(0, Z W1' + b1) w2 + b2.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from kdutils.int8 import Int8
from kdutils.prepare import Prepare

MAGIC, VERSION = b"KDB\0", 1
HEADER = struct.Struct("<4sBBHHHIf")
INT8, STATIC, SPARSE_FIRST, SPARSE_LAST = 1, 2, 4, 8


class BundleError(ValueError):
    """A file, a table or a student that does not fit: one sentence, which and why."""


def sections(student, prepare, threshold: float, note: str = "") -> dict[str, bytes]:
    """The file in parts: header, names (and note), scaler, weights, checksum.

    student: an `Int8` or a dict of float32 arrays; prepare: has names, center, scale.
    ValueError for names that repeat or do not fit, and for arrays of other shapes.
    """
    names = [name.encode() for name in prepare.names]
    for name in names:
        if not 1 <= len(name) <= 255 or names.count(name) > 1:
            raise BundleError(
                f"feature name {name.decode()!r} must be unique and 1 to 255 bytes long"
            )
    if len(note.encode()) >= 2**16:
        raise BundleError("the note must be shorter than 65,536 bytes")
    text = b"".join(bytes([len(name)]) + name for name in names) + note.encode()
    scaler = _bytes(prepare.center, "<f4") + _bytes(prepare.scale, "<f4")
    flags, weights = _weights(student)
    hidden, d = (student["W1"] if isinstance(student, dict) else student.W1).shape
    if len(names) != d or len(scaler) != 8 * d:
        raise BundleError(
            f"the student reads {d} features, the scaler has {len(names)} names and"
            f" {len(scaler) // 4} numbers instead of {2 * d}"
        )
    total = HEADER.size + len(text) + len(scaler) + len(weights) + 4
    sizes = (d, hidden, len(note.encode()), total)
    header = HEADER.pack(MAGIC, VERSION, flags, *sizes, threshold)
    checksum = struct.pack("<I", zlib.crc32(header + text + scaler + weights))
    parts = (header, text, scaler, weights, checksum)
    titles = ("header", "names", "scaler", "weights", "checksum")
    return dict(zip(titles, parts, strict=True))


def unpack(data: bytes, name: str) -> tuple:
    """Bytes of file `name` -> (Prepare, student, threshold, note), or BundleError."""
    if len(data) < HEADER.size or data[:4] != MAGIC:
        raise BundleError(f"{name} is not a student bundle")
    _, version, flags, d, hidden, n, total, threshold = HEADER.unpack_from(data)
    if version != VERSION:
        raise BundleError(
            f"{name} has bundle version {version}, this program reads version {VERSION}"
        )
    if len(data) != total:
        raise BundleError(f"{name} has {len(data)} bytes instead of {total}")
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise BundleError(f"{name} is damaged: its checksum does not match")
    read = _Reader(data, HEADER.size)
    names = tuple(read.text(read.one("<u1")) for _ in range(d))
    note = read.text(n)
    center, scale = read.many("<f4", d), read.many("<f4", d)
    wide, narrow = ("<i1", "<f2") if flags & INT8 else ("<f4", "<f4")
    student = {
        "W1": read.layer(wide, hidden * d, flags & SPARSE_FIRST).reshape(hidden, d),
        "b1": read.many(narrow, hidden),
        "w2": read.layer(wide, hidden, flags & SPARSE_LAST),
        "b2": read.one("<f4"),
    }
    if flags & INT8:
        student |= {"s1": read.many("<f2", hidden), "s2": read.one("<f4")}
        if flags & STATIC:
            student |= {"s_in": read.one("<f4"), "s_hidden": read.one("<f4")}
        student = Int8(**student)
    return Prepare(np.arange(d), names, center, scale), student, threshold, note


def _weights(student) -> tuple[int, bytes]:
    if isinstance(student, dict):
        flags, wide, narrow = 0, "<f4", "<f4"
        W1, b1, w2, b2 = (student[k] for k in ("W1", "b1", "w2", "b2"))
        rest = b""
    else:
        flags, wide, narrow = INT8, "<i1", "<f2"
        W1, b1, w2, b2 = student.W1, student.b1, student.w2, student.b2
        rest = _bytes(student.s1, "<f2") + _bytes(student.s2, "<f4")
        if student.s_in is not None:
            flags |= STATIC
            rest += _bytes([student.s_in, student.s_hidden], "<f4")
    first, last = _layer(W1, wide), _layer(w2, wide)
    flags |= SPARSE_FIRST * first[0] | SPARSE_LAST * last[0]
    middle = first[1] + _bytes(b1, narrow) + last[1] + _bytes(b2, "<f4")
    return flags, middle + rest


def _layer(W: np.ndarray, dtype: str) -> tuple[bool, bytes]:
    """Whether sparse is smaller, and the smaller of both."""
    flat, dense = np.ravel(W), _bytes(W, dtype)
    bitmap = np.packbits(flat != 0, bitorder="little").tobytes()
    sparse = bitmap + _bytes(flat[flat != 0], dtype)
    return len(sparse) < len(dense), min(dense, sparse, key=len)


def _bytes(values, dtype: str) -> bytes:
    return np.asarray(values).astype(dtype).tobytes()


class _Reader:
    def __init__(self, data: bytes, at: int):
        self.data, self.at = data, at

    def many(self, dtype: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += values.nbytes
        return values

    def one(self, dtype: str):
        return self.many(dtype, 1)[0]

    def text(self, count: int) -> str:
        return self.many("<u1", int(count)).tobytes().decode()

    def layer(self, dtype: str, count: int, sparse: int) -> np.ndarray:
        if not sparse:
            return self.many(dtype, count)
        bitmap = self.many("<u1", -(-count // 8))
        alive = np.unpackbits(bitmap, count=count, bitorder="little").astype(bool)
        values = np.zeros(count, dtype)
        values[alive] = self.many(dtype, int(alive.sum()))
        return values

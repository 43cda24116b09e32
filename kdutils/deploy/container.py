"""container: named arrays and notes as one file that is checked before it is read.

A file is a valid safetensors file (github.com/huggingface/safetensors): u64, bytes of
the header; the header, JSON; the arrays, little-endian. Its last array, `crc32`, is the
CRC-32 (zlib) of every byte before it, so that damage is found before anything is
parsed: CRC-32 misses no single flipped bit and no burst of up to 32. No pickle.
"""

from __future__ import annotations

import json
import math
import zlib

import numpy as np

CODES = {"I8": "<i1", "U8": "<u1", "F16": "<f2", "F32": "<f4", "U32": "<u4"}
DTYPES = {np.dtype(code): name for name, code in CODES.items()}
CHECK, SMALLEST = "crc32", 12
ENTRY = {"dtype", "shape", "data_offsets"}


class BundleError(ValueError):
    """A file, a table or a student that does not fit: one sentence."""


def write(tensors: dict[str, np.ndarray], about: dict[str, str]) -> bytes:
    """The file's bytes: arrays of one of CODES by name, and notes, strings by name.

    BundleError for an array of another type, and for a name that the file needs itself.
    """
    header, held = {"__metadata__": about}, b""
    for name, array in {**tensors, CHECK: np.zeros(1, "<u4")}.items():
        dtype = array.dtype.newbyteorder("<")
        if dtype not in DTYPES or (name == CHECK and name in tensors):
            known = ", ".join(CODES)
            raise BundleError(f"array '{name}' is {dtype}, expected one of {known}")
        data = np.ascontiguousarray(array, dtype).tobytes()
        place = [len(held), len(held) + len(data)]
        kind = {"dtype": DTYPES[dtype], "shape": list(array.shape)}
        header[name] = {**kind, "data_offsets": place}
        held += data
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    whole = len(text).to_bytes(8, "little") + text + held[:-4]
    return whole + zlib.crc32(whole).to_bytes(4, "little")


def read(data: bytes, name: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays, read-only, and the notes of file `name`.

    BundleError, which names the file, if it is none of ours, damaged or ill-formed.
    """
    if len(data) < SMALLEST or data[8:9] != b"{":
        raise BundleError(f"{name} is not a student bundle")
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise BundleError(f"{name} is damaged: its checksum does not match")
    try:
        return _parsed(data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{name} is not a student bundle ({error})") from None


def _parsed(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    about = header.pop("__metadata__")
    if not all(isinstance(text, str) for text in about.values()):
        raise ValueError("a note is no text")
    tensors, at = {}, 0
    for name, entry in header.items():
        if set(entry) != ENTRY:
            raise ValueError(f"array '{name}' needs {', '.join(sorted(ENTRY))}")
        dtype, shape = np.dtype(CODES[entry["dtype"]]), entry["shape"]
        if not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"array '{name}' has the shape {shape}")
        count = math.prod(shape)
        end = at + count * dtype.itemsize
        if entry["data_offsets"] != [at, end] or start + end > len(data):
            raise ValueError(f"array '{name}' is not where it should be")
        tensors[name] = np.frombuffer(data, dtype, count, start + at).reshape(shape)
        at = end
    if tensors.pop(CHECK).shape != (1,) or start + at != len(data):
        raise ValueError("its checksum is not at its end")
    return tensors, about

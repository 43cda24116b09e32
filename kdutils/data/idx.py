"""idx: the byte arrays of MNIST's file format, gzipped, read and written.

The format (LeCun, Cortes and Burges, The MNIST database): big-endian int32 numbers, a
magic number 0x800 + dimensions and the size of each dimension, then unsigned bytes.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

BYTES = 0x800  # the type code of unsigned bytes


def read(path: Path, ndim: int) -> np.ndarray:
    """The uint8 array of `ndim` dimensions in a gzipped idx file, read-only.

    Raises ValueError if the file is cut short, too long, or of another kind.
    """
    try:
        data = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file ({error})") from None
    head = 4 * (1 + ndim)
    if len(data) < head:
        raise ValueError(f"{path} ends in its header: {len(data)} of {head} bytes")
    magic, *shape = np.frombuffer(data, ">u4", 1 + ndim).tolist()
    if magic != BYTES + ndim:
        raise ValueError(
            f"{path} begins with the magic number {magic} where {BYTES + ndim} "
            f"(bytes in {ndim} dimensions) was expected"
        )
    if len(data) != head + math.prod(shape):
        sizes = " x ".join(map(str, shape))
        raise ValueError(
            f"{path} holds {len(data) - head} bytes where its header says {sizes} = "
            f"{math.prod(shape)}"
        )
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


def pack(array: np.ndarray) -> bytes:
    """A uint8 array as a gzipped idx file, the same bytes for the same array."""
    header = np.array([BYTES + array.ndim, *array.shape], ">u4").tobytes()
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)

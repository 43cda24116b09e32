"""words: a sentence as words, their hashes, and the rows of a table that these choose.

No list of words is needed, and numpy and torch compute the same: nets and files share
these lines.
"""

from __future__ import annotations

import re
import zlib

import numpy as np

MIX = 0x9E3779B1  # 2^32 / golden ratio: Knuth's multiplicative hash
LOW = 0xFFFFFFFF
# As the Penn Treebank divides them, which sentences of SST-2 already are.
PART = re.compile(
    r"-[lr]rb-|\b(?:mrs?|ms|dr|st|vs|no|u\.s|\w)\.(?=\s)|\w+(?=n't\b)|n't\b"
    r"|'(?:s|re|ve|ll|d|m)\b|'\d+s|\w+(?:(?:\\/|[-./,&])\w+)*|\.+|-+|`+|'+|[^\w\s]"
)
BRACKETS = str.maketrans({"(": " -lrb- ", ")": " -rrb- ", "’": "'"})


def divided(text: str) -> list[str]:
    """The words and signs of a text, in lower case."""
    return PART.findall(text.lower().translate(BRACKETS))


def hashed(words) -> np.ndarray:
    """The CRC-32 of each word's UTF-8 bytes, int64 (n,)."""
    return np.array([zlib.crc32(w.encode()) for w in words], np.int64)


def rows_of(h, buckets: int, order: int):
    """Rows 1 to `buckets` of a table, for the n-grams that begin at each word.

    h: hashes int64 (..., length), below 0 where no word is; numpy and torch alike. An
    n-gram's hash is ((h1 M + h2) M + h3) mod 2^32; one that leaves the sentence has row
    0. The upper bits of a product choose the row, which are the well mixed ones.
    """
    found, whole, end = h, h >= 0, h.shape[-1]
    for k in range(1, order):
        found, whole = found[..., : end - k], whole[..., : end - k]
        found = (found * MIX + h[..., k:]) & LOW
        whole = whole & (h[..., k:] >= 0)
    mixed = ((found & LOW) * MIX) & LOW
    return ((mixed * buckets >> 32) + 1) * whole

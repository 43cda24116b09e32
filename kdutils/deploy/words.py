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
MOST_PARTS = 40  # of a word
# As the Penn Treebank divides them, which sentences of SST-2 already are.
PART = re.compile(
    r"-[lr]rb-|\b(?:mrs?|ms|dr|st|vs|no|u\.s|\w)\.(?=\s)|\w+(?=n't\b)|n't\b"
    r"|'(?:s|re|ve|ll|d|m)\b|'\d+s|\w+(?:(?:\\/|[-./,&])\w+)*|\.+|-+|`+|'+|[^\w\s]"
)
BRACKETS = str.maketrans({"(": " -lrb- ", ")": " -rrb- ", "’": "'"})


def divided(text: str) -> list[str]:
    """The words and signs of a text, in lower case."""
    return PART.findall(text.lower().translate(BRACKETS))


def hashed(words, least: int = 0, most: int = 0) -> np.ndarray:
    """The CRC-32 of each word's UTF-8 bytes, int64 (n,).

    With `most` letters above 0, (n, 1 + m): those of its parts of `least` to `most`
    letters follow, at most `MOST_PARTS` of them, then -1 (fastText's subwords,
    Bojanowski et al. 2017). Its ends count as letters.
    """
    found = np.array([zlib.crc32(w.encode()) for w in words], np.int64)
    if not most:
        return found
    every = [[zlib.crc32(part) for part in parts(w, least, most)] for w in words]
    table = np.full((len(words), 1 + max(map(len, every), default=0)), -1, np.int64)
    table[:, 0] = found
    for row, some in zip(table, every, strict=True):
        row[1 : 1 + len(some)] = some
    return table


def parts(word: str, least: int, most: int) -> list[bytes]:
    """The first `MOST_PARTS` stretches of `least` to `most` letters of a word."""
    w = f"<{word}>"
    lengths = range(least, min(most, len(w)) + 1)
    found = [w[i : i + n] for n in lengths for i in range(len(w) - n + 1)]
    return [b"#" + part.encode() for part in found[:MOST_PARTS]]


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

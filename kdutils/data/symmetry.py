"""symmetry: the eight ways to turn and mirror a square map, and what they share.

A wafer has no up or down but for its notch, so a map and its turned or mirrored copy
tell the same story: a copy in another part of a split would be known beforehand.
"""

from __future__ import annotations

import hashlib

import numpy as np

BLOCK = 1024  # maps at a time: 8 copies of 52 x 52 bytes of each are 22 MB


def copies(X: np.ndarray) -> np.ndarray:
    """The eight copies of maps (n, H, H), as (8, n, H, H).

    Copy k < 4 is turned by k quarters anticlockwise, so copy 0 is the map itself; copy
    4 + k is mirrored left to right first, then turned by k quarters.
    Raises ValueError if the maps are not square.
    """
    if X.ndim != 3 or X.shape[1] != X.shape[2]:
        raise ValueError(f"maps are {X.shape} where (n, H, H) was expected")
    mirrored = X[:, :, ::-1]
    return np.stack([np.rot90(Y, k, (1, 2)) for Y in (X, mirrored) for k in range(4)])


def canonical(X: np.ndarray) -> list[bytes]:
    """A name of 16 bytes for each map uint8 (n, H, H), which its eight copies share.

    It is the blake2b digest of the least of the copies, compared byte by byte.
    """
    names = []
    for start in range(0, len(X), BLOCK):
        every = np.ascontiguousarray(copies(X[start : start + BLOCK]).swapaxes(0, 1))
        for eight in every:
            least = min(copy.tobytes() for copy in eight)
            names.append(hashlib.blake2b(least, digest_size=16).digest())
    return names

"""ranges: what a setting may be, by its name, wherever one is checked."""

from __future__ import annotations

import math

# What is expected of a number, in words, and which numbers fit.
SHARE = ("from 0 to 1", lambda x: 0 <= x <= 1)
POSITIVE = ("above 0", lambda x: 0 < x < math.inf)
NOT_NEGATIVE = ("of at least 0", lambda x: 0 <= x < math.inf)
PROBABILITY = ("between 0 and 1", lambda x: 0 < x < 1)
OF_LOSSES = {"alpha": SHARE, "T": POSITIVE, "smoothing": SHARE, "beta": NOT_NEGATIVE}
OF_LOSSES |= {"mse": SHARE, "threshold": PROBABILITY}
DEVICES = ("auto", "cpu", "cuda")


def device(name: str) -> str:
    """'cpu' or 'cuda' for one of DEVICES; ValueError where there is no such."""
    import torch

    if name not in DEVICES:
        raise ValueError(f"device is {name!r}: expected auto, cpu or cuda")
    gpu = torch.cuda.is_available()
    if name == "cuda" and not gpu:
        raise ValueError("device is 'cuda', but torch finds no GPU")
    return "cuda" if gpu and name != "cpu" else "cpu"

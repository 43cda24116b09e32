"""train: fit one net, or many small students at once; tree and TabNet teachers."""

from kdutils.train.batches import Batches, Sets, Shifts, Shortened, shifts
from kdutils.train.fit import (
    SCHEDULES,
    History,
    constant,
    cosine,
    descent,
    fit,
    triangle,
    warmup,
)

__all__ = [
    "SCHEDULES", "Batches", "History", "Sets", "Shifts", "Shortened", "constant",
    "cosine", "descent", "fit", "shifts", "triangle", "warmup",
]  # fmt: skip

"""train: fit one net, or many small students at once; tree and TabNet teachers."""

from kdutils.train.batches import Batches, Sets, Shifts, shifts
from kdutils.train.fit import (
    SCHEDULES,
    History,
    constant,
    cosine,
    descent,
    fit,
    triangle,
)

__all__ = [
    "SCHEDULES", "Batches", "History", "Sets", "Shifts", "constant", "cosine",
    "descent", "fit", "shifts", "triangle",
]  # fmt: skip

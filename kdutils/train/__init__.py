"""train: fit one net, or many small students at once; tree and TabNet teachers."""

from kdutils.train.batches import Batches, Shifts, shifts
from kdutils.train.fit import History, constant, cosine, fit

__all__ = [
    "Batches", "History", "Shifts", "constant", "cosine", "fit", "shifts",
]  # fmt: skip

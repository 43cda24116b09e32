"""train: fit one net, or many small students at once; tree and TabNet teachers."""

from kdutils.train.batches import Batches, Shifts, shifts
from kdutils.train.fit import History, constant, cosine, fit, torch_device

__all__ = [
    "Batches", "History", "Shifts", "constant", "cosine", "fit", "shifts",
    "torch_device",
]  # fmt: skip

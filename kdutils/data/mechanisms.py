"""mechanisms: the defect that the simulated tester drew for each of its devices.

The tester hands out readings, verdicts and lots, as a real one does. What it draws is
listened to here, so a teacher's subclasses can be held against the hidden truth.
"""

from __future__ import annotations

import numpy as np

from kdutils.data import physics, tester


def names() -> tuple[str, ...]:
    """The defects' names in the order of their numbers; 0 is 'none'."""
    return tuple(defect.name for defect in physics.DEFECTS)


def of(
    seed: int, *, train_lots: int, val_lots: int, test_lots: int, devices: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The number of each device's defect, int64 (n,), for train, validation and test.

    The rows are those of the parts of `tester.splits` with the same seed and options.
    """
    counts = (train_lots, val_lots, test_lots)
    rng = _Listening(np.random.default_rng([seed, 28]).bit_generator)
    _, _, lot = tester.produce(rng, lots=sum(counts), devices=devices)
    defect = rng.chosen[0]  # of a device's defect and severity, the defect comes first
    order = rng.permutation(sum(counts))
    return tuple(
        defect[np.isin(lot, lots)] for lots in np.split(order, np.cumsum(counts)[:-1])
    )


class _Listening(np.random.Generator):
    """A generator that draws the same numbers and keeps what it chose."""

    def __init__(self, bits: np.random.BitGenerator):
        super().__init__(bits)
        self.chosen: list[np.ndarray] = []

    def choice(self, *args, **options) -> np.ndarray:
        self.chosen.append(super().choice(*args, **options))
        return self.chosen[-1]

"""turns: wafer maps in memory in all eight symmetries, one drawn per map and batch."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from kdutils.data import symmetry


class TurnedBatches:
    """Batches (maps uint8 (B, H, W), *targets[rows]) in a new order every epoch.

    X: uint8 (n, H, W); targets: arrays of n rows, which no turn changes: labels, or a
    teacher's logits averaged over the eight copies, cached once for all of them.
    turned: each map is shown as one of its eight copies, drawn anew each time, else as
    it is. One generator, seeded, draws order and turns: a fresh object for each fit.
    The last batch may be short, it is never dropped.
    """

    def __init__(self, X, *targets, batch: int, seed: int, turned: bool = True):
        if any(len(a) != len(X) for a in targets):
            raise ValueError(
                f"batches: targets of {[len(a) for a in targets]} rows for {len(X)} "
                "maps, expected one length"
            )
        copies = symmetry.turned(X) if turned else X[None]
        self.copies = torch.from_numpy(np.ascontiguousarray(copies))
        self.targets = tuple(torch.as_tensor(a) for a in targets)
        self.batch = batch
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return math.ceil(self.copies.shape[1] / self.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        turns, n = self.copies.shape[:2]
        for rows in torch.randperm(n, generator=self.generator).split(self.batch):
            turn = torch.randint(turns, rows.shape, generator=self.generator)
            yield self.copies[turn, rows], *(a[rows] for a in self.targets)


def ask(net: nn.Module, X: np.ndarray, *, views: int = 1, rows: int = 500):
    """Mean logits float32 (n, K) over the first `views` copies of maps (n, H, W).

    1 asks of the map as it is, 8 of all its symmetries: a verdict that no turn changes.
    """
    if views not in range(1, 9):
        raise ValueError(f"views is {views}: expected 1 to 8 copies of a map")
    net.eval()
    with torch.no_grad():
        said = []
        for start in range(0, len(X), rows):
            part = symmetry.turned(X[start : start + rows])[:views]
            copies = torch.from_numpy(np.ascontiguousarray(part)).flatten(0, 1)
            logits = torch.cat([net(some).float() for some in copies.split(rows)])
            said.append(logits.unflatten(0, (views, -1)).mean(0))
        return torch.cat(said).numpy()

"""imagebatches: images in memory as uint8, one index a batch, one shift for all."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad


class ImageBatches:
    """Batches (x float32 (B, H, W) in 0..1, *targets[rows]) in a new order every epoch.

    X: uint8 (n, H, W); targets: arrays of n rows. With `reach`, every image is moved by
    up to that many pixels each way, anew each time, the border filled with zeros.
    views: float (V, n, K), a target for each of `each_view`; the batch then ends with
    the target of the view that it shows: teacher and student see the same crop
    (Beyer et al. 2022, "consistent teaching").
    One generator, seeded, draws order and moves: make a fresh object for each fit.
    The last batch may be short, it is never dropped.
    """

    def __init__(self, X, *targets, batch: int, seed: int, reach: int = 0, views=None):
        self.X, self.reach = torch.as_tensor(X), reach
        self.targets = tuple(torch.as_tensor(a) for a in targets)
        self.views = None if views is None else torch.as_tensor(views)
        self.batch = batch
        self.generator = torch.Generator().manual_seed(seed)
        if any(len(a) != len(self.X) for a in self.targets):
            raise ValueError(
                f"batches: targets of {[len(a) for a in self.targets]} rows for "
                f"{len(self.X)} images, expected one length"
            )
        seen = ((2 * reach + 1) ** 2, len(self.X))
        if self.views is not None and self.views.shape[:2] != seen:
            raise ValueError(
                f"batches: views of shape {tuple(self.views.shape)}, expected "
                f"{(*seen, 'K')} for a reach of {reach}"
            )
        self.windows = windows(self.X, reach)

    def __len__(self) -> int:
        return math.ceil(len(self.X) / self.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        order = torch.randperm(len(self.X), generator=self.generator)
        for rows in order.split(self.batch):
            if self.reach:
                side = 2 * self.reach + 1
                move = torch.randint(side * side, rows.shape, generator=self.generator)
                x = self.windows[rows, move // side, move % side]
            else:
                move, x = torch.zeros_like(rows), self.X[rows]
            seen = [] if self.views is None else [self.views[move, rows]]
            yield x.float().div_(255), *(a[rows] for a in self.targets), *seen


def each_view(X, reach: int) -> Iterator[Tensor]:
    """The (2 reach + 1)^2 shifted copies of uint8 images, in the order of `views`."""
    shown = windows(torch.as_tensor(X), reach)
    for i in range(2 * reach + 1):
        for j in range(2 * reach + 1):
            yield shown[:, i, j]


def windows(X: Tensor, reach: int) -> Tensor:
    """The shifted views of uint8 images (n, H, W) without a copy: (n, V', V', H, W).

    [:, i, j] is the image moved by (reach - i, reach - j) pixels down and right.
    """
    _, H, W = X.shape
    return pad(X, (reach,) * 4).unfold(1, H, 1).unfold(2, W, 1)

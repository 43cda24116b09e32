"""batches: rows in memory, indexed batch by batch, each shown as one of its views."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad


class Batches:
    """Batches (x, *targets[rows]) in a new order every epoch.

    X: (n, ...) of any type, such as uint8 images; targets: arrays of n rows.
    scale: x is float32, divided by it: 255 for images; None leaves X's type.
    augment: X -> its V views (V, n, ...), such as `shifts(2)` or the symmetries of a
    wafer map; each row is shown as one of them, drawn anew each time.
    view_targets: float (V, n, K), a target for each view; the batch then ends with the
    shown view's: teacher and student see the same crop (Beyer et al. 2022, "consistent
    teaching").
    One generator, seeded, draws order and views: make a fresh object for each fit.
    The last batch may be short, it is never dropped.
    """

    def __init__(
        self, X, *targets, batch, seed, scale=None, augment=None, view_targets=None
    ) -> None:
        self.X, self.scale, self.batch = torch.as_tensor(X), scale, batch
        self.targets = tuple(torch.as_tensor(a) for a in targets)
        if any(len(a) != len(self.X) for a in self.targets):
            raise ValueError(
                f"batches: targets of {[len(a) for a in self.targets]} rows for "
                f"{len(self.X)} inputs, expected one length"
            )
        self.views = None if augment is None else _tensor(augment(X))
        count = 1 if self.views is None else len(self.views)
        if view_targets is not None and view_targets.shape[:2] != (count, len(self.X)):
            raise ValueError(
                f"batches: view_targets of shape {tuple(view_targets.shape)}, expected "
                f"{(count, len(self.X), 'K')} for {count} views of each row"
            )
        self.view_targets = None if view_targets is None else _tensor(view_targets)
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return math.ceil(len(self.X) / self.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        order = torch.randperm(len(self.X), generator=self.generator)
        for rows in order.split(self.batch):
            if self.views is None:
                view, x = torch.zeros_like(rows), self.X[rows]
            else:
                some = len(self.views)
                view = torch.randint(some, rows.shape, generator=self.generator)
                x = self.views[view, rows]
            x = x if self.scale is None else x.float().div_(self.scale)
            more = [] if self.view_targets is None else [self.view_targets[view, rows]]
            yield x, *(a[rows] for a in self.targets), *more


class Shifts:
    """The (2 m + 1)^2 views of images (n, H, W) moved by up to m pixels, uncopied.

    View i (2 m + 1) + j is moved by (m - i, m - j) pixels down and right, the border
    filled with zeros. Indexed as an array (V, n, H, W) is, by view or view and row.
    """

    def __init__(self, X, max_shift: int) -> None:
        X, self.side = torch.as_tensor(X), 2 * max_shift + 1
        _, H, W = X.shape
        self.windows = pad(X, (max_shift,) * 4).unfold(1, H, 1).unfold(2, W, 1)

    def __len__(self) -> int:
        return self.side**2

    def __getitem__(self, at) -> Tensor:
        view, rows = at if isinstance(at, tuple) else (at, slice(None))
        if isinstance(view, int) and not 0 <= view < len(self):
            raise IndexError(f"view {view} of {len(self)}")
        return self.windows[rows, view // self.side, view % self.side]


def shifts(max_shift: int) -> Callable | None:
    """`augment` by moves of up to so many pixels each way; None if by none."""
    return (lambda X: Shifts(X, max_shift)) if max_shift else None


def _tensor(views):
    if not isinstance(views, np.ndarray):
        return views
    return torch.from_numpy(np.ascontiguousarray(views))

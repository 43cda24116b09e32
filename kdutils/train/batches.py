"""batches: rows in memory, indexed batch by batch, each shown as one of its views."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

STRETCH = 50  # batches that are sorted by length together


class Batches:
    """Batches (x, *targets[rows]) in a new order every epoch.

    X: (n, ...) of any type, such as uint8 images; targets: arrays of n rows.
    scale: x is float32, divided by it: 255 for images; None leaves X's type.
    augment: X -> its V views (V, n, ...), such as `shifts(2)` or the symmetries of a
    wafer map; each row is shown as one of them, drawn anew each time.
    view_targets: float (V, n, K), a target for each view; the batch then ends with the
    shown view's: teacher and student see the same crop (Beyer et al. 2022, "consistent
    teaching").
    sets: instead of `augment`, E ways to show all rows, such as `Sets`; epoch e shows
    set e modulo E, and view_targets are (E, n, K): a teacher is asked E times in all.
    lengths: (n,), of sentences: rows of about one length come in one batch.
    One generator, seeded, draws order and views: make a fresh object for each fit.
    The last batch may be short, it is never dropped.
    """

    def __init__(
        self,
        X,
        *targets,
        batch,
        seed,
        scale=None,
        augment=None,
        sets=None,
        view_targets=None,
        lengths=None,
    ) -> None:
        self.lengths = None if lengths is None else torch.as_tensor(lengths)
        self.X, self.scale, self.batch = torch.as_tensor(X), scale, batch
        self.targets = tuple(torch.as_tensor(a) for a in targets)
        if any(len(a) != len(self.X) for a in self.targets):
            raise ValueError(
                f"batches: targets of {[len(a) for a in self.targets]} rows for "
                f"{len(self.X)} inputs, expected one length"
            )
        self.views = None if augment is None else _tensor(augment(X))
        self.sets, self.epoch = sets, 0
        shown = self.views if sets is None else sets
        count = 1 if shown is None else len(shown)
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
        at = None if self.sets is None else self.epoch % len(self.sets)
        shown = None if at is None else self.sets[at]
        self.epoch += 1
        for rows in self._divided(order):
            if shown is not None:
                view, x = at, shown[rows]
            elif self.views is None:
                view, x = torch.zeros_like(rows), self.X[rows]
            else:
                some = len(self.views)
                view = torch.randint(some, rows.shape, generator=self.generator)
                x = self.views[view, rows]
            x = x if self.scale is None else x.float().div_(self.scale)
            more = [] if self.view_targets is None else [self.view_targets[view, rows]]
            yield x, *(a[rows] for a in self.targets), *more

    def _divided(self, order: Tensor) -> list[Tensor]:
        """An epoch's batches; sorted by length in stretches of `STRETCH` batches."""
        if self.lengths is None:
            return list(order.split(self.batch))
        stretches = order.split(STRETCH * self.batch)
        near = [rows[self.lengths[rows].argsort(stable=True)] for rows in stretches]
        found = [some for rows in near for some in rows.split(self.batch)]
        return [found[i] for i in torch.randperm(len(found), generator=self.generator)]


class Shifts:
    """The (2 m + 1)^2 views of images (n, H, W) moved by up to m pixels, uncopied.

    View i (2 m + 1) + j is moved by (m - i, m - j) pixels down and right, the border
    filled with zeros. Of images (n, C, H, W) it is filled by reflection, and as many
    views again are mirrored. Indexed as an array (V, n, ...) is, by view or view and
    row.
    """

    def __init__(self, X, max_shift: int) -> None:
        X, self.side, m = torch.as_tensor(X), 2 * max_shift + 1, max_shift
        self.mirrored, (H, W) = X.ndim == 4, X.shape[-2:]
        if self.mirrored:
            border = ((0, 0), (0, 0), (m, m), (m, m))
            X = torch.from_numpy(np.pad(X.numpy(), border, "reflect"))
            windows = X.unfold(2, H, 1).unfold(3, W, 1).movedim(1, 3)
        else:
            windows = pad(X, (m,) * 4).unfold(1, H, 1).unfold(2, W, 1)
        self.windows = windows

    def __len__(self) -> int:
        return self.side**2 * (1 + self.mirrored)

    def __getitem__(self, at) -> Tensor:
        view, rows = at if isinstance(at, tuple) else (at, slice(None))
        if isinstance(view, int) and not 0 <= view < len(self):
            raise IndexError(f"view {view} of {len(self)}")
        plain = view % self.side**2
        x = self.windows[rows, plain // self.side, plain % self.side]
        if self.mirrored:
            turned = torch.as_tensor(view >= self.side**2)
            x = torch.where(turned.view(-1, 1, 1, 1), x.flip(-1), x)
        return x


class Sets:
    """E ways to show n images: set e holds one view of each, drawn once.

    views: such as `Shifts`. Where half of them are mirrored, an image is mirrored in
    every second set (Jordan 2024, arXiv 2404.00498, "alternating flip").
    """

    def __init__(self, views, n: int, count: int, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        some = len(views) // (1 + views.mirrored)
        chosen = torch.randint(some, (count, n), generator=draw)
        if views.mirrored:
            first = torch.randint(2, (n,), generator=draw)
            chosen += some * ((first + torch.arange(count)[:, None]) % 2)
        self.views, self.chosen = views, chosen

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, e: int) -> Shown:
        return Shown(self.views, self.chosen[e])


class Shown:
    """n images, each in one view: indexed by rows, read as they are asked for."""

    def __init__(self, views, chosen: Tensor) -> None:
        self.views, self.chosen = views, chosen

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, rows) -> Tensor:
        at = torch.arange(len(self))[rows]
        return self.views[self.chosen[at], at]


class Shortened:
    """E ways to show n sentences (n, length) of words, -1 after the last one.

    Set 0 shows them whole. In the others, by the chance `join`, another one follows a
    sentence; then by the chance `window` only a stretch is there, of 1 word to all; and
    each word is left out by the chance `drop`, another word of the sentences by the
    chance `swap` (Tang et al. 2019, arXiv 1903.12136: n-gram sampling, masking,
    replacing). A sentence keeps a word at least.
    """

    def __init__(
        self, X, count: int, seed: int, *, drop=0.0, window=0.0, join=0.0, swap=0.0
    ) -> None:
        self.X, self.count, self.seed = torch.as_tensor(X), count, seed
        self.drop, self.window, self.join, self.swap = drop, window, join, swap

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, e: int) -> Tensor:
        X, (n, length) = self.X, self.X.shape
        if e >= self.count:
            raise IndexError(f"set {e} of {self.count}")
        if not e:
            return X
        draw = torch.Generator().manual_seed(self.seed * 1000 + e)
        every = X[X >= 0]
        if self.join:
            other = X[torch.randperm(n, generator=draw)]
            alone = torch.rand(n, generator=draw) >= self.join
            both = torch.cat((X, other.masked_fill(alone[:, None], -1)), 1)
            X = _closed(both, both >= 0)[:, :length]
        words = (X >= 0).sum(1)
        size = 1 + (torch.rand(n, generator=draw) * words).long()
        size = torch.where(torch.rand(n, generator=draw) < self.window, size, words)
        first = (torch.rand(n, generator=draw) * (words - size + 1)).long()
        place = torch.arange(length)
        kept = torch.rand(n, length, generator=draw) >= self.drop
        kept |= place == first[:, None]
        kept &= (place >= first[:, None]) & (place < (first + size)[:, None])
        if self.swap:
            other = every[torch.randint(len(every), (n, length), generator=draw)]
            X = torch.where(torch.rand(n, length, generator=draw) < self.swap, other, X)
        return _closed(X, kept)


def _closed(X: Tensor, kept: Tensor) -> Tensor:
    """The kept words of each sentence, side by side from its begin, then -1."""
    order = (~kept).to(torch.uint8).sort(dim=1, stable=True).indices
    return X.masked_fill(~kept, -1).gather(1, order)


def shifts(max_shift: int) -> Callable | None:
    """`augment` by moves of up to so many pixels each way; None if by none."""
    return (lambda X: Shifts(X, max_shift)) if max_shift else None


def _tensor(views):
    if not isinstance(views, np.ndarray):
        return views
    return torch.from_numpy(np.ascontiguousarray(views))

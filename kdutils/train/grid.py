"""grid: the same fit for a whole alpha x T x seed grid of small students at once.

Initial weights, batch order, loss, AdamW and schedule are those of one student trained
after another; only rounding differs. Where the speed comes from: `stack.Stack` needs
two matrix products a step for all students of a seed, `losses.gradient` no
autograd, and `auc` one sort.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from kdutils import losses, models
from kdutils.train import stack

UNITS = 2**20  # hidden units x rows at a time: hides overhead, stays in the cache
AXES = {"W1": 4, "b1": 3, "w2": 3, "b2": 2}  # of the stacked arrays
KNOBS = ("alpha", "T", "smoothing")


@dataclass(frozen=True)
class Cell:
    """One student: a binary loss of `losses`, the teacher's weight, a temperature.

    'hard' reads smoothing only, 'logit-mse' alpha only, the others alpha and T.
    """

    method: str
    alpha: float = 0.0
    T: float = 1.0
    smoothing: float = 0.0


@dataclass(frozen=True)
class Grid:
    """Trained students: S seeds x C cells, each at its epoch of best validation AUC.

    weights: float32 W1 (S, C, hidden, d), b1 and w2 (S, C, hidden), b2 (S, C);
    val_auc: float64 (S, C); best_epoch: int64 (S, C), epochs trained, counted from 1.
    """

    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    weights: dict[str, np.ndarray]
    val_auc: np.ndarray
    best_epoch: np.ndarray

    def logits(self, X: np.ndarray) -> np.ndarray:
        """X float32 (n, d) -> logits float32 (S, C, n)."""
        rows = _with_ones(X)
        seeds = range(len(self.seeds))
        return np.stack([_stack(self.weights, s).logits(rows) for s in seeds])

    def arrays(self, s: int, c: int) -> dict[str, np.ndarray]:
        """Copies of W1, b1, w2, b2 of seed number s and cell number c."""
        return {name: np.array(a[s, c]) for name, a in self.weights.items()}


@torch.no_grad()
def fit(
    X: np.ndarray,
    y: np.ndarray,
    teacher: np.ndarray,
    cells: Sequence[Cell],
    *,
    seeds: Sequence[int],
    X_val: np.ndarray,
    y_val: np.ndarray,
    hidden: int = 64,
    epochs: int,
    batch: int,
    lr: float,
    weight_decay: float = 0.0,
    eval_every: int = 1,
    init: dict[str, np.ndarray] | None = None,
    mask: dict[str, np.ndarray] | None = None,
) -> Grid:
    """Train each cell under each seed: AdamW, the learning rate a half cosine to 0.

    X: float32 (n, d); y: (n,), 0 or 1, NaN for no label; teacher: logits (n,); y_val:
    (n_val,), 0 or 1. A seed sets the batch order (torch.randperm of a generator of that
    seed, once per epoch) and, for all its cells, torch's default initial weights.
    Validation AUC is taken every `eval_every` epochs and after the last.
    init: start from these arrays W1, b1, w2, b2 instead; mask: 0/1 arrays by the same
    names, a 0 keeps a weight at zero. Both broadcast to the shapes of `Grid.weights`.
    Raises ValueError for rows that do not match or are not finite, for validation rows
    of one class, and for training that diverges.
    """
    _check(X, y, teacher, X_val, y_val)
    cells, seeds = tuple(cells), tuple(int(seed) for seed in seeds)
    start = init or _first_weights(X.shape[1], hidden, seeds)
    shape = (len(seeds), len(cells), *start["W1"].shape[-2:])
    gates = {k: np.broadcast_to((mask or {}).get(k, 1), shape[: AXES[k]]) for k in AXES}
    weights = {k: (start[k] * gates[k]).astype(np.float32, order="C") for k in AXES}
    val_auc, best_epoch = np.empty(shape[:2]), np.empty(shape[:2], np.int64)

    train = _with_ones(X), _float(y), _float(teacher)
    val = _with_ones(X_val), np.asarray(y_val)
    how = {"epochs": epochs, "batch": batch, "eval_every": eval_every}
    adam = {"lr": lr, "weight_decay": weight_decay, "fused": True}
    room = max(1, UNITS // (shape[2] * batch))  # students at a time
    by_method = sorted(range(len(cells)), key=lambda c: cells[c].method)
    for block in np.array_split(by_method, math.ceil(len(cells) / room)):
        gradient = _gradient([cells[c] for c in block])
        for s, seed in enumerate(seeds):
            at = (s, block)
            net = _stack(weights, at)
            gate = _stack(gates, at).parameters if mask else []
            optimizer = torch.optim.AdamW(net.parameters, **adam)
            val_auc[at], best_epoch[at] = _train(
                net, optimizer, gradient, gate, train, val, seed=seed, **how
            )
            for k, values in net.arrays().items():
                weights[k][at] = values
    return Grid(cells, seeds, weights, val_auc, best_epoch)


def auc(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Areas under the ROC curve of scores z (..., n) for labels y (n,); ties count 1/2.

    The label rides in the lowest bit of the score, a float32 written as float64, so one
    plain sort orders labels too. Within ties that bit decides; the mean over sorting
    with it and with its opposite is the area with ties halved.
    """
    fail = np.asarray(y) > 0.5
    n1, n0 = int(fail.sum()), int((~fail).sum())
    score = np.asarray(z, np.float32).astype(np.float64) + 0.0  # no -0
    place = np.arange(1, len(fail) + 1)

    def ranks(mark: np.ndarray) -> np.ndarray:
        keys = score.view(np.int64) | mark
        keys.view(np.float64).sort(axis=-1)
        keys &= 1
        return keys @ place

    twice = ranks(fail) + place.sum() - ranks(~fail)
    return (twice - n1 * (n1 + 1)) / (2 * n1 * n0)


def _gradient(cells: Sequence[Cell]):
    """(z (C, B), t (B,), y (B,)) -> dL/dz (C, B), for cells sorted by method."""
    parts, start = [], 0
    for method, group in groupby(cells, key=lambda cell: cell.method):
        group = list(group)
        knobs = {k: _float([getattr(cell, k) for cell in group]) for k in KNOBS}
        parts.append((method, slice(start, start + len(group)), knobs))
        start += len(group)

    def gradient(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
        own = [
            losses.gradient(method, z[at], t, y, **knobs) for method, at, knobs in parts
        ]
        return own[0] if len(own) == 1 else torch.cat(own)

    return gradient


def _train(
    net, optimizer, gradient, gate, train, val, *, seed, epochs, batch, eval_every
) -> tuple[np.ndarray, np.ndarray]:
    """Best validation AUC and its epoch, each (C,); `net` is left as it was then."""
    n, C = len(train[0]), net.shape[0]
    steps = epochs * math.ceil(n / batch)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    best, when = np.full(C, -1.0), np.zeros(C, np.int64)
    kept = [p.clone() for p in net.parameters]
    _keep_memory()
    for epoch in range(1, epochs + 1):
        order = torch.randperm(n, generator=generator)
        for x, y, t in zip(*(a[order].split(batch) for a in train), strict=True):
            H, z = net.forward(x)
            net.backward(H, x, gradient(z, t, y))
            del H  # else the next step could not use its memory
            for p, g in zip(net.parameters, gate, strict=False):
                p.grad *= g
            optimizer.step()
            rate.step()
        if epoch % eval_every and epoch != epochs:
            continue
        z = net.logits(val[0])
        if not np.isfinite(z).all():
            raise ValueError(f"grid: training diverged by epoch {epoch}, lower lr")
        score = auc(z, val[1])
        better = score > best
        best, when = np.maximum(best, score), np.where(better, epoch, when)
        rows = torch.from_numpy(better)
        for old, p in zip(kept, net.parameters, strict=True):
            old.view(C, -1)[rows] = p.view(C, -1)[rows]
    for p, old in zip(net.parameters, kept, strict=True):
        p.copy_(old)
    return best, when


def _keep_memory() -> None:
    """Have the C library keep what is freed, up to twice the block given back here.

    Else glibc returns each step's megabytes and pays for their pages again.
    """
    block = torch.empty(31 * 2**20, dtype=torch.uint8)
    del block


def _first_weights(d: int, hidden: int, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """Initial weights of a `models.Student` made under each seed, (S, 1, ...)."""
    found = []
    with torch.random.fork_rng(devices=[]):
        for seed in seeds:
            torch.manual_seed(seed)
            found.append(models.Student(d, hidden).arrays())
    return {k: np.stack([own[k] for own in found])[:, None] for k in AXES}


def _stack(arrays: dict[str, np.ndarray], at) -> stack.Stack:
    return stack.Stack({k: a[at] for k, a in arrays.items()})


def _float(values) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32, order="C"))


def _with_ones(X: np.ndarray) -> Tensor:
    return torch.cat([_float(X), torch.ones(len(X), 1)], -1)


def _check(X, y, teacher, X_val, y_val) -> None:
    if not len(X) == len(y) == len(teacher):
        raise ValueError(
            f"grid: X, y and teacher have {len(X)}, {len(y)} and {len(teacher)} rows, "
            "expected as many in each"
        )
    for name, a in {"X": X, "teacher": teacher, "X_val": X_val}.items():
        if not np.isfinite(a).all():
            raise ValueError(f"grid: {name} is not finite everywhere, expected numbers")
    if set(np.unique(y_val)) != {0, 1}:
        raise ValueError("grid: y_val holds one class, expected both 0 and 1")

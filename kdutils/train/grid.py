"""grid: the same fit for a whole alpha x T x seed grid of small students at once.

Initial weights, batch order, loss, AdamW and schedule are those of one student trained
after another; only rounding differs. Where the speed comes from: `Stack` needs two
matrix products a step for all students of a seed, `losses.gradient` no autograd,
and `auc` one sort. It is for a processor: its products are oneDNN's, and a student of
two thousand weights would leave a GPU idle.
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
from kdutils.train.students import Cell

UNITS = 2**20  # hidden units x rows at a time: hides overhead, stays in the cache
AXES = {"W1": 4, "b1": 3, "w2": 3, "b2": 2}  # of the stacked arrays


@dataclass(frozen=True)
class Grid:
    """Trained students: S seeds x C cells, each at its epoch of best validation AUC.

    weights: float32 W1 (S, C, hidden, d), b1 and w2 (S, C, hidden), b2 (S, C);
    val_auc: float64 (S, C); best_epoch: int64 (S, C), epochs trained, counted from 1.
    """

    weights: dict[str, np.ndarray]
    val_auc: np.ndarray
    best_epoch: np.ndarray

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
) -> Grid:
    """Train each cell under each seed: AdamW, the learning rate a half cosine to 0.

    X: float32 (n, d); y: (n,), 0 or 1, NaN for no label; teacher: logits (n,); y_val:
    (n_val,), 0 or 1. A seed sets the batch order (torch.randperm of a generator of that
    seed, once per epoch) and, for all its cells, torch's default initial weights.
    Validation AUC is taken every `eval_every` epochs and after the last.
    init: start from these arrays W1, b1, w2, b2 instead, which broadcast to the shapes
    of `Grid.weights`; those of W1 and w2 that are 0 stay 0.
    Raises ValueError for rows that do not match or are not finite, for validation rows
    of one class, and for training that diverges.
    """
    _check(X, y, teacher, X_val, y_val)
    cells, seeds = tuple(cells), tuple(int(seed) for seed in seeds)
    start = init or _first_weights(X.shape[1], hidden, seeds)
    shape = (len(seeds), len(cells), *start["W1"].shape[-2:])
    start = {k: np.broadcast_to(start[k], shape[: AXES[k]]) for k in AXES}
    weights = {k: start[k].astype(np.float32, order="C") for k in AXES}
    gates = {k: (start[k] != 0) | (k in ("b1", "b2")) for k in AXES}
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
            net = Stack({k: a[at] for k, a in weights.items()})
            gate = (
                Stack({k: a[at] for k, a in gates.items()}).parameters if init else []
            )
            optimizer = torch.optim.AdamW(net.parameters, **adam)
            given = net, optimizer, gradient, gate, train, val
            val_auc[at], best_epoch[at] = _train(*given, seed=seed, **how)
            for k, values in net.arrays().items():
                weights[k][at] = values
    return Grid(weights, val_auc, best_epoch)


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

    def ranks(bit: np.ndarray) -> np.ndarray:
        keys = score.view(np.int64) | bit
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
        given = [cell.settings("binary") for cell in group]
        own = {key: _float([one[key] for one in given]) for key in given[0]}
        parts.append((method, slice(start, start + len(group)), own))
        start += len(group)

    def gradient(z: Tensor, t: Tensor, y: Tensor) -> Tensor:
        found = [losses.gradient(m, z[at], t, y, **own) for m, at, own in parts]
        return found[0] if len(found) == 1 else torch.cat(found)

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
    # A block given back has the C library keep what is freed, up to twice as much; else
    # glibc returns each step's megabytes and pays for their pages again.
    torch.empty(31 * 2**20, dtype=torch.uint8)
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


def _first_weights(d: int, hidden: int, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """Initial weights of a `models.Student` made under each seed, (S, 1, ...)."""
    found = []
    with torch.random.fork_rng(devices=[]):
        for seed in seeds:
            torch.manual_seed(seed)
            found.append(models.Student(d, hidden).arrays())
    return {k: np.stack([own[k] for own in found])[:, None] for k in AXES}


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


class Stack:
    """C students side by side, to be trained all at once and without autograd.

    They meet the same rows, so their first layers are one matrix W (C * hidden, d + 1),
    the bias being the weight of a column of ones, and one product H = relu(W X') serves
    them all. One more, M = G X with G = [H > 0] * dL/dz, holds both gradients:
    dL/dW = w2 * M and, since H = [H > 0] * W X', dL/dw2 is W * M summed over columns.

    parameters: [W, w2 (C, 1, hidden), b2 (C, 1, 1)], each with its .grad.
    """

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        """arrays: W1 (C, hidden, d), b1 and w2 (C, hidden), b2 (C,)."""
        W1, b1, w2, b2 = (torch.tensor(arrays[k], dtype=torch.float32) for k in AXES)
        self.shape = b1.shape
        self.W = torch.cat([W1, b1[..., None]], -1).flatten(0, 1)
        self.w2, self.b2 = w2[:, None], b2[:, None, None]
        self.parameters = [self.W, self.w2, self.b2]
        for p in self.parameters:
            p.grad = torch.zeros_like(p)

    def arrays(self) -> dict[str, np.ndarray]:
        """Views of the parameters in the shapes that __init__ takes."""
        W = self.W.unflatten(0, self.shape)
        own = W[..., :-1], W[..., -1], self.w2[:, 0], self.b2[:, 0, 0]
        return {k: a.numpy() for k, a in zip(AXES, own, strict=True)}

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Rows ending in a one, (B, d + 1) -> H (C, hidden, B) and logits (C, B)."""
        H = _product(self.W, x, "relu").view(*self.shape, len(x))
        return H, torch.baddbmm(self.b2, self.w2, H).squeeze(1)

    def backward(self, H: Tensor, x: Tensor, g: Tensor) -> None:
        """Set every .grad from g = dL/dz (C, B); H is overwritten."""
        _gate(g[:, None].expand_as(H), H, 0.0, grad_input=H)
        M = _product(H.flatten(0, 1), x.t(), "none")
        torch.sum(g, -1, out=self.b2.grad.view(-1))
        torch.sum(self.W * M, -1, out=self.w2.grad.view(-1))
        torch.mul(M, self.w2.view(-1, 1), out=self.W.grad)

    def logits(self, x: Tensor) -> np.ndarray:
        """Rows ending in a one, (n, d + 1) -> (C, n), some rows at a time."""
        return torch.cat([self.forward(rows)[1] for rows in x.split(256)], -1).numpy()


_gate = torch.ops.aten.threshold_backward.grad_input


def _product(a: Tensor, b: Tensor, then: str) -> Tensor:
    """a (m, k) and b (n, k) -> a b', then 'relu' or 'none'.

    By oneDNN where torch has it: on processors that are not Intel's, twice as fast.
    """
    if torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._linear_pointwise(a, b, None, then, [], "")
    product = a @ b.t()
    return product.relu_() if then == "relu" else product

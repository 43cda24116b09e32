"""imagegrid: the same fit for many small image students of one teacher.

Import rule: from kdutils only imagebatches, multiclass, nets and train.

Perceptrons train all at once, as one `Crowd`: their first layers are one matrix, which
meets each batch once, and the others one batched product. Convolutional students train
one after another, a process for each core doing so (`runs.map`): a stack of grouped
convolutions was measured slower than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from kdutils import multiclass, nets, train
from kdutils.imagebatches import ImageBatches


@dataclass(frozen=True)
class Cell:
    """One student: a loss of `multiclass.METHODS`, its settings, whose logits it reads.

    knob: what a loss has of its own, such as label smoothing or the beta of dkd.
    target: a key of the targets that `fit` is given; hint: the weight of the hint loss.
    """

    method: str = "hard"
    alpha: float = 0.0
    T: float = 1.0
    knob: float = 0.0
    target: str = "teacher"
    hint: float = 0.0

    def __post_init__(self) -> None:
        multiclass.check(self.alpha, self.T)


class Crowd(nn.Module):
    """C perceptrons side by side: float32 images (B, H, W) -> logits (C, B, K).

    All of them start as `nets.Perceptron` does under torch's current seed.
    """

    def __init__(self, C: int, side: int, classes: int, widths) -> None:
        super().__init__()
        one = nets.build("perceptron", side, classes, widths=widths)
        self.names = list(one.state_dict())
        own = list(one.state_dict().values())
        self.W = nn.ParameterList([_repeat(w, C) for w in own[::2]])
        self.b = nn.ParameterList([_repeat(b, C)[..., None] for b in own[1::2]])

    def forward(self, x: Tensor) -> Tensor:
        first = self.W[0]
        h = (first.flatten(0, 1) @ x.flatten(1).t()).view(*first.shape[:2], -1)
        h = h + self.b[0]
        for W, b in zip(self.W[1:], self.b[1:], strict=True):
            h = torch.baddbmm(b.to(h.dtype), W, h.relu_())
        return h.transpose(1, 2)

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights by the names of a Perceptron's, each with a first axis of C."""
        pairs = zip(self.W, self.b, strict=True)
        values = [p for W, b in pairs for p in (W, b[..., 0])]
        own = (p.detach().numpy().copy() for p in values)
        return dict(zip(self.names, own, strict=True))


class Hinted(nn.Module):
    """A student that also guesses its teacher's features, by a linear regressor."""

    def __init__(self, net: nn.Module, size: int) -> None:
        super().__init__()
        self.net, self.guess = net, nn.Linear(net.last.in_features, size)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        own = self.net.features(x)
        return self.net.last(own), self.guess(own)


def fit_crowd(
    X: np.ndarray,
    labels: np.ndarray,
    targets: dict[str, np.ndarray],
    cells: list[Cell],
    *,
    classes: int,
    widths,
    epochs: int,
    batch: int,
    lr: float,
    seed: int,
    halved: bool = False,
) -> dict[str, np.ndarray]:
    """Perceptrons of every cell, trained at once; their last weights, stacked (C, ...).

    X: uint8 (n, H, W); labels: int64 (n,), -100 where a row has none; targets: name ->
    teacher logits (n, K). AdamW without decay, a cosine to 0, order and initial weights
    from the seed, the same for all cells. halved: products in bfloat16.
    """
    torch.manual_seed(seed)
    crowd = Crowd(len(cells), X.shape[1], classes, tuple(widths))
    losses = [(part, names, _loss(part)) for part, names in _groups(cells)]

    def loss(z: Tensor, y: Tensor, *seen: Tensor) -> Tensor:
        logits = dict(zip(targets, seen, strict=True))
        total, start = 0.0, 0
        for part, name, one in losses:
            mine = z[start : start + len(part)]
            total, start = (
                total + one(mine, logits.get(name), y).sum(),
                start + len(part),
            )
        return total

    train.fit(
        nets.Halved(crowd) if halved else crowd,
        ImageBatches(X, labels, *_float(targets), batch=batch, seed=seed),
        loss,
        epochs=epochs,
        optimizer=partial(torch.optim.AdamW, lr=lr, weight_decay=0.0, fused=True),
        seed=seed,
    )
    return crowd.arrays()


def fit_one(
    net: nn.Module,
    X: np.ndarray,
    labels: np.ndarray,
    targets: dict[str, np.ndarray],
    cell: Cell,
    *,
    epochs: int,
    batch: int,
    lr: float,
    seed: int,
    reach: int = 0,
    views: np.ndarray | None = None,
    features: np.ndarray | None = None,
    halved: bool = False,
) -> nn.Module:
    """Train one net in place by a cell's loss, as `fit_crowd` trains each of its own.

    reach: images are moved by up to so many pixels; views: teacher logits (V, n, K) of
    every move, which then replace the cell's target. features: the teacher's (n, d),
    for cells with a hint.
    """
    one = _loss([cell])
    seen = [] if views is not None or cell.method == "hard" else _float(targets, cell)
    seen += [] if features is None else [torch.as_tensor(features)]
    told = None if views is None else torch.as_tensor(views)
    torch.manual_seed(seed)
    model = net if features is None else Hinted(net, features.shape[1])

    def loss(out, y: Tensor, *seen: Tensor) -> Tensor:
        if features is None:
            return one(out[None], seen[0].float() if seen else None, y).sum()
        z, guess = out
        soft, felt = seen
        hint = multiclass.hint(guess, felt.float())
        return one(z[None], soft, y).sum() + cell.hint * hint

    train.fit(
        nets.Halved(model) if halved else model,
        ImageBatches(X, labels, *seen, batch=batch, seed=seed, reach=reach, views=told),
        loss,
        epochs=epochs,
        optimizer=partial(torch.optim.AdamW, lr=lr, weight_decay=0.0, fused=True),
        seed=seed,
    )
    return net


def crowd_logits(weights: dict[str, np.ndarray], X: np.ndarray) -> np.ndarray:
    """Logits (C, n, K) of stacked perceptrons for uint8 images (n, H, W)."""
    layers = list(weights.values())
    pixels = X.reshape(len(X), -1).astype(np.float32).T / 255
    h = pixels[None]
    for number, (W, b) in enumerate(zip(layers[::2], layers[1::2], strict=True)):
        h = (np.maximum(h, 0) if number else h).astype(np.float32)
        h = np.matmul(W, h) + b[..., None]
    return h.swapaxes(1, 2)


def _repeat(p: Tensor, C: int) -> nn.Parameter:
    return nn.Parameter(p.expand(C, *p.shape).clone())


def _groups(cells: list[Cell]) -> list[tuple[list[Cell], str]]:
    """Neighbours that one call of one loss serves, and whose logits they read."""
    groups: list[list[Cell]] = []
    for cell in cells:
        last = groups[-1][-1] if groups else None
        if last and (last.method, last.target) == (cell.method, cell.target):
            groups[-1].append(cell)
        else:
            groups.append([cell])
    return [(group, group[0].target) for group in groups]


def _loss(cells: list[Cell]):
    """(z (C, n, K), t (n, K), labels (n,)) -> (C,) of cells with one method."""
    knobs = {
        name: torch.tensor([float(getattr(cell, name)) for cell in cells])
        for name in ("alpha", "T", "knob")
    }
    return lambda z, t, y: multiclass.loss(cells[0].method, z, t, y, **knobs)


def _float(targets: dict[str, np.ndarray], cell: Cell | None = None) -> list[Tensor]:
    wanted = targets if cell is None else [cell.target]
    return [torch.as_tensor(targets[name]).float() for name in wanted]

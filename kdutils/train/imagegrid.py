"""imagegrid: the same fit for many small image students of one teacher.

Students of one kind train side by side, as a crowd: each batch is made and met once for
all of them, and their layers are a few large products instead of many small ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn

from kdutils import losses, models
from kdutils.train import crowds
from kdutils.train import loop as train
from kdutils.train.imagebatches import ImageBatches


@dataclass(frozen=True)
class Cell:
    """One student: a loss of `losses`, its settings, whose logits it reads.

    knob: what a loss has of its own, such as label smoothing or the beta of dkd.
    target: a key of the targets that `fit` is given; hint: the weight of the hint loss.
    Raises ValueError for an alpha outside [0, 1] or a T that is not above 0.
    """

    method: str = "hard"
    alpha: float = 0.0
    T: float = 1.0
    knob: float = 0.0
    target: str = "teacher"
    hint: float = 0.0

    def __post_init__(self) -> None:
        losses.check(alpha=self.alpha, T=self.T)

    def settings(self) -> dict[str, float]:
        """What the loss reads, by its name for it: what is its own is the knob."""
        names = losses.get(self.method, "multiclass").settings["multiclass"]
        return {
            name: float(getattr(self, name if name in ("alpha", "T") else "knob"))
            for name in names
        }


class Hinted(nn.Module):
    """A student that also guesses its teacher's features, by a linear regressor."""

    def __init__(self, net: nn.Module, size: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.net, self.guess = net, nn.Linear(net.last.in_features, size)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        own = self.net.features(x)
        return self.net.last(own), self.guess(own)


def fit_crowd(
    net: nn.Module,
    X: np.ndarray,
    labels: np.ndarray,
    targets: dict[str, np.ndarray],
    cells: list[Cell],
    *,
    epochs: int,
    batch: int,
    lr: float,
    seed: int,
    halved: bool = False,
) -> dict[str, np.ndarray]:
    """A copy of `net` for every cell, trained at once; last weights, stacked (C, ...).

    X: uint8 (n, H, W); labels: int64 (n,), -100 where a row has none; targets: name ->
    teacher logits (n, K). AdamW without decay, a cosine to 0, the order of images from
    the seed, the same for all cells. halved: products in bfloat16.
    """
    parts, told = [], [torch.as_tensor(t).float() for t in targets.values()]
    kind = crowds.of(net)
    for start in range(0, len(cells), kind.together):
        some = cells[start : start + kind.together]
        crowd = kind(net, len(some))
        _train(
            crowd,
            ImageBatches(X, labels, *told, batch=batch, seed=seed),
            _together(some, list(targets)),
            epochs=epochs,
            lr=lr,
            seed=seed,
            halved=halved,
        )
        parts.append(crowd.arrays())
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def ask_crowd(net: nn.Module, weights: dict[str, np.ndarray], X) -> np.ndarray:
    """Logits (C, n, K) of stacked copies of `net` for uint8 images (n, H, W)."""
    number = len(next(iter(weights.values())))
    every = [{k: w[c] for k, w in weights.items()} for c in range(number)]
    return np.stack([models.predict(models.load(net, own), X) for own in every])


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
    one, told = _loss([cell]), []
    if views is None and cell.method != "hard":
        told = [torch.as_tensor(targets[cell.target]).float()]
    if features is not None:
        told += [torch.as_tensor(features).float()]

    def loss(out, y: Tensor, *seen: Tensor) -> Tensor:
        if features is None:
            return one(out[None], seen[0].float() if seen else None, y).sum()
        (z, guess), (t, felt) = out, seen
        return one(z[None], t, y).sum() + cell.hint * losses.multiclass.hint(
            guess, felt
        )

    _train(
        net if features is None else Hinted(net, features.shape[1], seed),
        ImageBatches(
            X, labels, *told, batch=batch, seed=seed, reach=reach, views=views
        ),
        loss,
        epochs=epochs,
        lr=lr,
        seed=seed,
        halved=halved,
    )
    return net


def _train(model, batches, loss, *, epochs, lr, seed, halved) -> None:
    train.fit(
        models.autocast(model, halved),
        batches,
        loss,
        epochs=epochs,
        optimizer=partial(torch.optim.AdamW, lr=lr, weight_decay=0.0, fused=True),
        seed=seed,
    )


def _together(cells: list[Cell], names: list[str]):
    """(z (C, n, K), labels (n,), *logits by name) -> the sum of all cells' losses.

    One call serves neighbours that share a method and a teacher.
    """
    groups = groupby(cells, key=lambda cell: (cell.method, cell.target))
    parts = [(target, list(some)) for (_, target), some in groups]
    calls = [(target, len(some), _loss(some)) for target, some in parts]

    def loss(z: Tensor, y: Tensor, *seen: Tensor) -> Tensor:
        told, total, start = dict(zip(names, seen, strict=True)), 0.0, 0
        for target, count, one in calls:
            mine = z[start : start + count]
            total = total + one(mine, told.get(target), y).sum()
            start += count
        return total

    return loss


def _loss(cells: list[Cell]):
    """(z (C, n, K), t (n, K), labels (n,)) -> (C,) of cells with one method."""
    every = [cell.settings() for cell in cells]
    given = {name: torch.tensor([own[name] for own in every]) for name in every[0]}
    return partial(losses.get(cells[0].method), kind="multiclass", **given)

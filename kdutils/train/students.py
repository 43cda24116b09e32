"""students: the same fit for many small image students of one teacher.

Students of one kind train side by side: each batch is made and met once for all of
them, and their layers are a few large products instead of many small ones.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from kdutils import losses, models
from kdutils.train.batches import Batches, shifts
from kdutils.train.fit import fit


@dataclass(frozen=True)
class Cell:
    """One student: a loss of `losses`, its settings, whose logits it reads.

    coefficient: what a loss has of its own, such as label smoothing or the beta of dkd.
    target: a key of the targets that `fit_stacked` is given; hint: the hint loss's
    weight. Raises ValueError for an alpha outside [0, 1] or a T that is not above 0.
    """

    method: str = "hard"
    alpha: float = 0.0
    T: float = 1.0
    coefficient: float = 0.0
    target: str = "teacher"
    hint: float = 0.0

    def __post_init__(self) -> None:
        losses.check(alpha=self.alpha, T=self.T)

    def settings(self, kind: str = "multiclass") -> dict[str, float]:
        """What the loss reads, by its own names."""
        own = {"alpha": self.alpha, "T": self.T}
        names = losses.get(self.method, kind).settings[kind]
        return {name: float(own.get(name, self.coefficient)) for name in names}


class Stacked(nn.Module):
    """C copies of a net without batch normalisation, to be trained apart.

    Takes float32 images (B, H, W), returns logits (C, B, K). Its parameters are those
    of one net, each with a first axis of C, so that AdamW, which works number by
    number, trains every net as if it were alone. Any net is mapped by
    `torch.func.vmap`; `Perceptrons` and `Convolutionals` are faster (`make bench`).
    together: so many at a time hide the overhead and fit the cache.
    """

    together = 16

    def __init__(self, net: nn.Module, C: int) -> None:
        super().__init__()
        if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules()):
            raise ValueError("a net with batch normalisation is trained one by one")
        own = net.state_dict()
        self.names, self.one = list(own), [copy.deepcopy(net)]  # no module of ours
        self.p = nn.ParameterList(
            nn.Parameter(p.expand(C, *p.shape).clone()) for p in own.values()
        )

    def forward(self, x: Tensor) -> Tensor:
        net = self.one[0].train(self.training)
        one = partial(torch.func.functional_call, net, args=(x,))
        every = dict(zip(self.names, self.p, strict=True))
        return torch.func.vmap(one, randomness="same")(every)

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights by the names of one net's, each (C, ...)."""
        own = (p.detach().cpu().numpy().copy() for p in self.p)
        return dict(zip(self.names, own, strict=True))


class Perceptrons(Stacked):
    """Copies of `models.Perceptron`: the first layers of all are one matrix."""

    together = 64

    def forward(self, x: Tensor) -> Tensor:
        W, b = self.p[0], self.p[1]
        h = (W.flatten(0, 1) @ x.flatten(1).t()).view(*W.shape[:2], -1)
        h = h + _wide(b, h)
        for W, b in zip(self.p[2::2], self.p[3::2], strict=True):
            h = torch.baddbmm(_wide(b, h), W, h.relu_())
        return h.transpose(1, 2)


class Convolutionals(Stacked):
    """Copies of `Convolutional`: patches are cut once, for all first layers.

    A convolution is a product of its filters with the patches it meets (Chellapilla et
    al. 2006). Patches are cut in the order (place in a 2 x 2 block, block, image): then
    what one layer writes is, without a copy, the matrix that the next one reads.
    """

    def forward(self, x: Tensor) -> Tensor:
        W1, b1, W2, b2, W3, b3 = self.p
        C, c = W1.shape[:2]
        autocast = torch.is_autocast_enabled(x.device.type)
        patches = blocks(x.bfloat16() if autocast else x)
        h = (W1.view(C * c, 25) @ patches).view(C, c, -1)
        h = (h + _wide(b1, h)).relu_().view(C, 4 * c, -1)
        h = torch.baddbmm(_wide(b2, h), W2.view(C, -1, 4 * c), h).relu_()
        h = h.view(C, W3.shape[2], len(x))
        return torch.baddbmm(_wide(b3, h), W3, h).transpose(1, 2)


def blocks(x: Tensor) -> Tensor:
    """5 x 5 patches at every second pixel of images (B, H, H), as (25, 4 n n B).

    Columns run over the place (2, 2) in a block of patches, the block (n, n), and the
    image; n = ceil(H / 2) // 2, what is left of a block at the border is left out.
    """
    n = -(-x.shape[1] // 2) // 2
    cut = pad(x, (2, 2, 2, 2)).unfold(1, 5, 2).unfold(2, 5, 2)[:, : 2 * n, : 2 * n]
    cut = cut.unflatten(2, (n, 2)).unflatten(1, (n, 2))  # image, row, 2, column, 2
    return cut.permute(5, 6, 2, 4, 1, 3, 0).reshape(25, -1)


def stacked(net: nn.Module) -> type[Stacked]:
    """The class whose instances hold copies of a net, the fastest there is."""
    if isinstance(net, models.Perceptron) and not _dropout(net):
        return Perceptrons
    return Convolutionals if isinstance(net, models.images.Convolutional) else Stacked


def fit_stacked(
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
    bf16: bool = False,
    device: str = "auto",
    checkpoint=None,
) -> dict[str, np.ndarray]:
    """A copy of `net` for every cell, trained at once; last weights, stacked (C, ...).

    X: uint8 (n, H, W); labels: int64 (n,), -100 where a row has none; targets: name ->
    teacher logits (n, K). AdamW without decay, a cosine to 0, the order of images from
    the seed, the same for all cells. bf16, device, checkpoint: as in `fit`.
    """
    logits = [torch.as_tensor(t).float() for t in targets.values()]
    kind, parts = stacked(net), []
    for start in range(0, len(cells), kind.together):
        some = cells[start : start + kind.together]
        many = kind(net, len(some))
        own = checkpoint and checkpoint.with_name(f"{checkpoint.name}-{start}")
        batches = Batches(X, labels, *logits, batch=batch, seed=seed, scale=255)
        loss = _together(some, list(targets))
        how = {"bf16": bf16, "device": device, "checkpoint": own}
        fit(many, batches, loss, epochs=epochs, optimizer=_adamw(lr), seed=seed, **how)
        parts.append(many.arrays())
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def predict_stacked(net: nn.Module, weights: dict[str, np.ndarray], X) -> np.ndarray:
    """Logits (C, n, K) of stacked copies of `net` for uint8 images (n, H, W)."""
    number = len(next(iter(weights.values())))
    every = [{k: w[c] for k, w in weights.items()} for c in range(number)]
    return np.stack([models.predict(models.load(net, own), X) for own in every])


class Hinted(nn.Module):
    """A student that also guesses its teacher's features, by a linear regressor."""

    def __init__(self, net: nn.Module, size: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.net, self.guess = net, nn.Linear(net.last.in_features, size)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        own = self.net.features(x)
        return self.net.last(own), self.guess(own)


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
    max_shift: int = 0,
    view_targets: np.ndarray | None = None,
    features: np.ndarray | None = None,
    **how,
) -> nn.Module:
    """Train one net in place by a cell's loss, as `fit_stacked` trains each of its own.

    max_shift: images are moved by up to so many pixels; view_targets: teacher logits
    (V, n, K) of every move, which then replace the cell's target. features: the
    teacher's (n, d), for cells with a hint. how: bf16, device, checkpoint of `fit`.
    """
    one, more = _loss([cell]), []
    if view_targets is None and cell.method != "hard":
        more = [torch.as_tensor(targets[cell.target]).float()]
    if features is not None:
        more += [torch.as_tensor(features).float()]

    def loss(out, y: Tensor, *seen: Tensor) -> Tensor:
        if features is None:
            return one(out[None], seen[0].float() if seen else None, y).sum()
        (z, guess), (t, hidden) = out, seen
        hint = losses.multiclass.hint(guess, hidden)
        return one(z[None], t, y).sum() + cell.hint * hint

    shown = {"augment": shifts(max_shift), "view_targets": view_targets}
    fit(
        net if features is None else Hinted(net, features.shape[1], seed),
        Batches(X, labels, *more, batch=batch, seed=seed, scale=255, **shown),
        loss,
        epochs=epochs,
        optimizer=_adamw(lr),
        seed=seed,
        **how,
    )
    return net


def _adamw(lr: float):
    return partial(torch.optim.AdamW, lr=lr, weight_decay=0.0, fused=True)


def _together(cells: list[Cell], names: list[str]):
    """(z (C, n, K), labels (n,), *logits by name) -> the sum of all cells' losses.

    One call serves neighbours that share a method and a teacher.
    """
    groups = groupby(cells, key=lambda cell: (cell.method, cell.target))
    parts = [(target, list(some)) for (_, target), some in groups]
    calls = [(target, len(some), _loss(some)) for target, some in parts]

    def loss(z: Tensor, y: Tensor, *seen: Tensor) -> Tensor:
        logits, total, start = dict(zip(names, seen, strict=True)), 0.0, 0
        for target, count, one in calls:
            mine = z[start : start + count]
            total = total + one(mine, logits.get(target), y).sum()
            start += count
        return total

    return loss


def _loss(cells: list[Cell]):
    """(z (C, n, K), t (n, K), labels (n,)) -> (C,) of cells with one method."""
    every, one = [cell.settings() for cell in cells], losses.get(cells[0].method)
    own = {name: torch.tensor([given[name] for given in every]) for name in every[0]}
    return lambda z, t, y: one(
        z, t, y, kind="multiclass", **{k: v.to(z.device) for k, v in own.items()}
    )


def _dropout(net: nn.Module) -> bool:
    return any(getattr(m, "below", 0) or getattr(m, "p", 0) for m in net.modules())


def _wide(b: Tensor, like: Tensor) -> Tensor:
    return b[..., None].to(like.dtype)

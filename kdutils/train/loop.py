"""train: one `fit` loop; distilling is `fit` with another loss."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class History:
    """What happened: one training loss, and one validation score if any, per epoch.

    best_epoch: epochs trained when the kept weights were reached, counted from 1.
    """

    loss: list[float] = field(default_factory=list)
    val: list[float] = field(default_factory=list)
    best_epoch: int = 0


class Batches:
    """Tensors in memory as batches of rows, in a new order every epoch.

    Iterating yields tuples (X[rows], y[rows], *extra[rows]). Epoch after epoch the
    order is the next torch.randperm of one generator seeded by `seed`: make a fresh
    object for each fit. The last batch may be short, it is never dropped.
    """

    def __init__(self, X, y, *extra, batch: int, seed: int) -> None:
        self.tensors = tuple(torch.as_tensor(a) for a in (X, y, *extra))
        lengths = [len(a) for a in self.tensors]
        if len(set(lengths)) > 1:
            raise ValueError(f"batches: arrays of {lengths} rows, expected one length")
        self.batch = batch
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return math.ceil(len(self.tensors[0]) / self.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        order = torch.randperm(len(self.tensors[0]), generator=self.generator)
        for rows in order.split(self.batch):
            yield tuple(a[rows] for a in self.tensors)


def cosine(done: float) -> float:
    """Factor of the learning rate when the share `done` of all steps is behind us.

    Half a cosine from 1 to 0 (Loshchilov & Hutter 2017, eq. 5, without restarts).
    """
    return (1 + math.cos(math.pi * done)) / 2


def constant(done: float) -> float:
    """The learning rate as given, to the end."""
    return 1.0


def fit(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, ...]],
    loss: Callable[..., Tensor],
    *,
    epochs: int,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    seed: int = 0,
    schedule: Callable[[float], float] = cosine,
    validate: Callable[[nn.Module], float] | None = None,
    patience: int | None = None,
) -> History:
    """Train `model` in place; bit-identical for equal arguments on one thread.

    batches: sized, gives (x, *targets) once per epoch, moved to the model's device;
    loss: (model(x), *targets) -> scalar; optimizer: parameters -> optimizer, such as
    functools.partial(torch.optim.AdamW, lr=1e-3); seed: for dropout; schedule: share of
    steps done -> factor of the learning rate; validate: model -> score, higher is
    better, called in evaluation mode after each epoch: the best epoch's weights are
    kept; patience: stop after that many epochs without a better score.
    A lone last row is left out where the model has BatchNorm1d, which cannot take it.
    Raises ValueError when the loss is no longer finite.
    """
    device = next(model.parameters()).device
    steps = optimizer(model.parameters())
    rates = [group["lr"] for group in steps.param_groups]
    paired = any(isinstance(m, nn.BatchNorm1d) for m in model.modules())
    history, best, step = History(), None, 0
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for epoch in range(1, epochs + 1):
            model.train()
            total, rows = 0.0, 0
            for batch in batches:
                x, *targets = (a.to(device) for a in batch)
                for group, rate in zip(steps.param_groups, rates, strict=True):
                    group["lr"] = rate * schedule(step / (epochs * len(batches)))
                step += 1
                if paired and len(x) == 1:
                    continue
                value = loss(model(x), *targets)
                steps.zero_grad()
                value.backward()
                steps.step()
                total, rows = total + value.detach() * len(x), rows + len(x)
            history.loss.append(float(total) / rows)
            if not math.isfinite(history.loss[-1]):
                raise ValueError(
                    f"the loss is {history.loss[-1]} after epoch {epoch}: "
                    "expected finite inputs and a smaller learning rate"
                )
            if validate is None:
                history.best_epoch = epoch
                continue
            model.eval()
            with torch.no_grad():
                history.val.append(float(validate(model)))
            if best is None or history.val[-1] > history.val[history.best_epoch - 1]:
                history.best_epoch = epoch
                best = copy.deepcopy(model.state_dict())
            if patience is not None and epoch - history.best_epoch >= patience:
                break
    if best is not None:
        model.load_state_dict(best)
    model.eval()
    return history

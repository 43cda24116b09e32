"""fit: one training loop for every net; distilling is `fit` with another loss."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from kdutils import ranges
from kdutils.models import autocast


@dataclass
class History:
    """One training loss, and one validation score if any, per epoch.

    best_epoch: epochs trained when the kept weights were reached, counted from 1.
    """

    loss: list[float] = field(default_factory=list)
    val: list[float] = field(default_factory=list)
    best_epoch: int = 0


def cosine(done: float) -> float:
    """Factor of the learning rate when the share `done` of all steps is behind us.

    Half a cosine from 1 to 0 (Loshchilov & Hutter 2017, eq. 5, without restarts).
    """
    return (1 + math.cos(math.pi * done)) / 2


def triangle(done: float) -> float:
    """Up from .2 to 1 over the first 23 % of all steps, then down to .07.

    Jordan 2024, arXiv 2404.00498, for descent with momentum in few epochs.
    """
    up = 0.23
    return 0.2 + 0.8 * done / up if done < up else 1 - 0.93 * (done - up) / (1 - up)


def descent(parameters, *, lr: float, bias_lr: float = 1.0, decay: float, **own):
    """Nesterov's descent, in which the numbers of one axis have bias_lr times the rate.

    These are biases and normalisations; their decay is as much smaller, so that rate
    times decay is the same for all (Jordan 2024). What needs no gradient stays.
    """
    some = [p for p in parameters if p.requires_grad]
    groups = [{"params": [p for p in some if p.ndim > 1], "weight_decay": decay}]
    small = {"lr": lr * bias_lr, "weight_decay": decay / bias_lr}
    groups += [{"params": [p for p in some if p.ndim < 2], **small}]
    how = {"lr": lr, "nesterov": True, "fused": True, **own}
    return torch.optim.SGD(groups, **how)


class MaxNorm(torch.optim.SGD):
    """SGD with Nesterov momentum; each unit's incoming weights stay within `norm`.

    The constraint of Hinton et al. 2012 (arXiv 1207.0580, section A): a unit whose
    incoming weights have a longer L2 norm has them scaled back to it. It is applied
    after every `every`-th step, to parameters of two dimensions (units, inputs).
    norm=0 applies none.
    """

    def __init__(self, params, *, lr, momentum=0.9, norm=0.0, every=4) -> None:
        super().__init__(params, lr=lr, momentum=momentum, nesterov=True, fused=True)
        self.norm, self.every = norm, every
        self.param_groups[0]["taken"] = 0  # steps; a checkpoint keeps it

    @torch.no_grad()
    def step(self, closure=None):
        value = super().step(closure)
        self.param_groups[0]["taken"] += 1
        if self.norm and self.param_groups[0]["taken"] % self.every == 0:
            for group in self.param_groups:
                for p in group["params"]:
                    if p.dim() == 2:
                        long = p.norm(dim=1, keepdim=True).clamp_(min=self.norm)
                        p.mul_(self.norm / long)
        return value


def constant(done: float) -> float:
    """The learning rate as given, to the end."""
    return 1.0


def warmup(done: float) -> float:
    """Up from 0 to 1 over the first 6 % of all steps, then down to 0, both straight.

    Devlin et al. 2019, for fine-tuning with Adam.
    """
    up = 0.06
    return done / up if done < up else (1 - done) / (1 - up)


SCHEDULES = {"cosine": cosine, "triangle": triangle, "constant": constant}
SCHEDULES["warmup"] = warmup


def fit(
    net: nn.Module,
    batches: Iterable[tuple[Tensor, ...]],
    loss: Callable[..., Tensor],
    *,
    epochs: int,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    seed: int = 0,
    schedule: Callable[[float], float] = cosine,
    validate: Callable[[nn.Module], float] | None = None,
    patience: int | None = None,
    device: str = "auto",
    bf16: bool = False,
    checkpoint: Path | None = None,
    checkpoint_every: float = 10.0,
) -> History:
    """Train `net` in place; bit-identical for equal arguments on one CPU thread.

    batches: sized, gives (x, *targets) once per epoch; loss: (net(x), *targets) ->
    scalar; optimizer: parameters -> optimizer, such as
    functools.partial(torch.optim.AdamW, lr=1e-3); seed: for dropout; schedule: share of
    steps done -> factor of the learning rate; validate: net -> score, higher is better,
    called in evaluation mode after each epoch: the best epoch's weights are kept;
    patience: stop after that many epochs without a better score.
    device: where to train, see `ranges.device`; afterwards it is back where it was.
    bf16: products in bfloat16 by autocast, weights and logits float32.
    checkpoint: a file that resumes an interrupted call with the same arguments; it is
    replaced at the end of an epoch once `checkpoint_every` seconds have passed.
    A lone last row is left out where the net has BatchNorm1d, which cannot take it.
    Raises ValueError when the loss is no longer finite.
    """
    home = next(net.parameters()).device
    place = torch.device(ranges.device(device))
    net.to(place)
    fast, steps = autocast(net, bf16), optimizer(net.parameters())
    rates = [group["lr"] for group in steps.param_groups]
    paired = any(isinstance(m, nn.BatchNorm1d) for m in net.modules())
    history, best, first, step = History(), None, 1, 0
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        if checkpoint is not None and Path(checkpoint).exists():
            history, best, step = _load(checkpoint, net, steps, batches, seed, epochs)
            first = len(history.loss) + 1
            batches.epoch = len(history.loss)
        written = time.monotonic()
        for epoch in range(first, epochs + 1):
            if patience is not None and epoch - 1 - history.best_epoch >= patience:
                break
            net.train()
            total, rows = 0.0, 0
            for batch in batches:
                x, *targets = (a.to(place) for a in batch)
                for group, rate in zip(steps.param_groups, rates, strict=True):
                    group["lr"] = rate * schedule(step / (epochs * len(batches)))
                step += 1
                if paired and len(x) == 1:
                    continue
                value = loss(fast(x), *targets)
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
            else:
                net.eval()
                with torch.no_grad():
                    history.val.append(float(validate(net)))
                score, at = history.val[-1], history.best_epoch
                if best is None or score > history.val[at - 1]:
                    history.best_epoch = epoch
                    best = copy.deepcopy(net.state_dict())
            if checkpoint and time.monotonic() - written >= checkpoint_every:
                state = net, steps, batches, seed, epochs, history, best, step
                _save(checkpoint, *state)
                written = time.monotonic()
    if best is not None:
        net.load_state_dict(best)
    net.to(home).eval()
    return history


def _save(path, net, steps, batches, seed, epochs, history, best, step) -> None:
    """Everything that the next epoch depends on, as one file, whole or not at all."""
    generator = getattr(batches, "generator", None)
    state = {
        "call": [seed, epochs],
        "net": net.state_dict(),
        "optimizer": steps.state_dict(),
        "history": asdict(history),
        "best": best,
        "step": step,
        "random": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None,
        "order": None if generator is None else generator.get_state(),
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    torch.save(state, part)
    os.replace(part, path)


def _load(path, net, steps, batches, seed, epochs) -> tuple[History, dict | None, int]:
    """Set all states back to those of a checkpoint; its history, best weights, step."""
    state = torch.load(path, map_location="cpu")
    if state["call"] != [seed, epochs]:
        raise ValueError(
            f"checkpoint {path} is of seed {state['call'][0]} and {state['call'][1]} "
            f"epochs, not of seed {seed} and {epochs}: delete it to begin again"
        )
    net.load_state_dict(state["net"])
    steps.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    if state["order"] is not None:
        batches.generator.set_state(state["order"])
    return History(**state["history"]), state["best"], state["step"]

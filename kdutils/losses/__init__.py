"""losses: distillation losses in one registry: pure functions of tensors.

Throughout: alpha weighs the teacher, L = (1 - alpha) * hard + alpha * soft, and a soft
term holds its own T^2. z are the student's logits, t the teacher's, y the labels:

    kind        z, t          y                          none
    binary      (..., n)      (..., n) of 0 and 1        NaN
    multiclass  (..., n, K)   int64 (..., n)             -100
    multilabel  (n, K)        (n, K) of 0 and 1
    subclass    (..., n, S)   int64 (..., n), classes    -100

Leading dimensions are independent students: a loss is (...), the mean over its rows
(of `multilabel` over labels too), and settings are numbers or tensors that broadcast to
(...). The hard term averages over the rows that have a label, 0 if none has.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from kdutils.losses import binary, multiclass, multilabel, subclass
from kdutils.ranges import OF_LOSSES

KINDS = {
    "binary": binary,
    "multiclass": multiclass,
    "multilabel": multilabel,
    "subclass": subclass,
}


@dataclass(frozen=True)
class Loss:
    """A loss by name; terms: kind of target -> its soft term (its hard one for 'hard').

    settings: kind -> the names of what the loss reads, alpha first.
    """

    name: str
    terms: dict[str, Callable]
    settings: dict[str, tuple[str, ...]]

    def __call__(self, z, t=None, y=None, *, kind=None, alpha=None, **own) -> Tensor:
        """The loss of the student's logits z; y=None is label-free: soft alone.

        kind: one of KINDS. Without it logits (n,) or labels of floating point are
        binary, labels of the logits' shape multilabel, all others multiclass.
        As numbers, alpha = 1 reads no label and alpha = 0 no teacher.
        """
        z, t, y = (None if a is None else torch.as_tensor(a) for a in (z, t, y))
        kind = kind or _kind(z, y)
        get(self.name, kind)
        if kind == "multiclass":  # its functions have the rows last
            z, t = (None if a is None else a.mT.contiguous() for a in (z, t))
        if self.name == "hard":
            return self.terms[kind](z, y, **own)
        if alpha is None and y is not None:
            raise TypeError(f"loss '{self.name}' needs alpha, the teacher's weight")
        hard = KINDS[kind].hard
        if "classes" in own:
            hard = partial(hard, classes=own.pop("classes"))
        plain = not isinstance(alpha, Tensor)
        if y is not None and plain and alpha == 0:
            return hard(z, y)
        label = {"y": y} if self.name in LABELLED else {}
        soft = self.terms[kind](z, t, **label, **own)
        if y is None or (plain and alpha == 1):
            return soft
        return (1 - alpha) * hard(z, y) + alpha * soft

    def using(self, *, kind: str, **settings) -> Callable[..., Tensor]:
        """(z, t, y) -> the loss of this kind with these settings, checked now."""
        check(**settings)
        return partial(self, kind=kind, **settings)


def _settings(name: str, term: Callable) -> tuple[str, ...]:
    own = (key for key in inspect.getfullargspec(term).kwonlyargs if key != "y")
    return (*own,) if name == "hard" else ("alpha", *own)


def _registry() -> dict[str, Loss]:
    found = {}
    for kind, module in KINDS.items():
        for name, term in module.TERMS.items():
            found.setdefault(name, {})[kind] = term
    return {
        name: Loss(name, terms, {k: _settings(name, f) for k, f in terms.items()})
        for name, terms in found.items()
    }


LABELLED = ("dkd",)  # their soft term reads the label too
LOSSES = _registry()
kd = LOSSES["kd"]


def names(kind: str) -> tuple[str, ...]:
    """The losses for a kind of target."""
    return tuple(name for name, loss in LOSSES.items() if kind in loss.terms)


def get(name: str, kind: str | None = None) -> Loss:
    """The loss called `name`; ValueError where there is none, or none of this kind."""
    if name not in (known := names(kind) if kind else LOSSES):
        raise ValueError(f"loss '{name}' is none of {', '.join(known)}")
    return LOSSES[name]


def gradient(name: str, z: Tensor, t: Tensor, y: Tensor, *, alpha=0.0, **own):
    """d loss.sum() / dz of a binary loss, shape (..., n).

    In closed form where `binary.GRADIENTS` has one (autograd gives the same, some
    twenty times slower), else by autograd. A setting that the loss does not read is
    left out.
    """
    loss = get(name, "binary")
    own = {key: own[key] for key in loss.settings["binary"] if key in own}
    if name == "hard":
        return binary.hard_gradient(z, y, **own)
    if name in binary.GRADIENTS:
        soft = binary.GRADIENTS[name](z, t, **own)
        return binary.hard_gradient(z, y).lerp_(soft, binary.wide(alpha))
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = loss(z, t, y, kind="binary", alpha=alpha, **own)
        return torch.autograd.grad(value.sum(), z)[0]


def check(**settings) -> None:
    """ValueError unless every number of every setting is within its range.

    settings: a number, a list or a tensor each, by the names of `ranges`.
    """
    for name, values in settings.items():
        expected, fits = OF_LOSSES.get(name, ("", None))
        try:
            numbers = torch.as_tensor(values, dtype=torch.float64).flatten().tolist()
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(f"{name} is {values!r}, but must be a number") from None
        for value in numbers if fits else ():
            if not fits(value):
                raise ValueError(f"{name} is {value:g}, but must be {expected}")


def _kind(z: Tensor, y: Tensor | None) -> str:
    if z.ndim == 1:
        return "binary"
    if y is not None and y.shape == z.shape:
        return "multilabel"
    return "binary" if y is not None and y.is_floating_point() else "multiclass"

"""models: teachers and students by name and width; nothing about training."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

ARRAYS = ("W1", "b1", "w2", "b2")  # a student's weights outside torch


class Student(nn.Module):
    """The deployable net: d readings -> `hidden` rectified units -> one logit.

    forward: float32 (n, d) -> logits (n,), in nats; sigmoid gives P(fail).
    """

    def __init__(self, d: int, hidden: int = 64) -> None:
        super().__init__()
        self.first = nn.Linear(d, hidden)
        self.last = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x))).squeeze(-1)

    def arrays(self) -> dict[str, np.ndarray]:
        """Copies as float32: W1 (hidden, d), b1 (hidden,), w2 (hidden,), b2 ()."""
        first, last = self.first, self.last
        own = first.weight, first.bias, last.weight[0], last.bias[0]
        arrays = (p.detach().cpu().numpy().copy() for p in own)
        return dict(zip(ARRAYS, arrays, strict=True))

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Student:
        """The student whose `arrays()` these are."""
        hidden, d = arrays["W1"].shape
        student = cls(d, hidden)
        with torch.no_grad():
            student.first.weight.copy_(torch.from_numpy(arrays["W1"]))
            student.first.bias.copy_(torch.from_numpy(arrays["b1"]))
            student.last.weight[0].copy_(torch.from_numpy(arrays["w2"]))
            student.last.bias.fill_(float(arrays["b2"]))
        return student


class MLP(nn.Module):
    """A teacher: `depth` hidden layers of `width` rectified units with dropout.

    forward: float32 (n, d) -> logits (n,).
    """

    def __init__(self, d: int, width: int = 256, depth: int = 2, dropout: float = 0.0):
        super().__init__()
        sizes = [d] + [width] * depth
        hidden = [
            nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout))
            for a, b in pairwise(sizes)
        ]
        self.hidden = nn.Sequential(*hidden)
        self.last = nn.Linear(sizes[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.hidden(x)).squeeze(-1)


MODELS = {"student": Student, "mlp": MLP}


def build(name: str, **sizes) -> nn.Module:
    """The net called `name` in its given sizes, with torch's own initial weights."""
    if name not in MODELS:
        raise ValueError(f"model '{name}' is none of {', '.join(MODELS)}")
    return MODELS[name](**sizes)

"""net: what is done with any network: count, keep, load, predict, bf16."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn


def parameters(net: nn.Module) -> int:
    """How many numbers a net learns."""
    return sum(p.numel() for p in net.parameters())


def arrays(net: nn.Module) -> dict[str, np.ndarray]:
    """Copies of a net's weights as float32, by their names."""
    return {k: v.detach().cpu().numpy().copy() for k, v in net.state_dict().items()}


def load(net: nn.Module, weights: dict[str, np.ndarray]) -> nn.Module:
    """The net with the weights that `arrays` gave, in evaluation mode."""
    net.load_state_dict({k: torch.as_tensor(v) for k, v in weights.items()})
    return net.eval()


@torch.no_grad()
def predict(
    net: nn.Module,
    X,
    device=None,
    *,
    batch: int = 1000,
    features: bool = False,
    augment: Callable | None = None,
    views: int = 1,
) -> np.ndarray:
    """Logits float32 (n, K) or (n,), or features, of X (n, ...), a batch at a time.

    device: where to, net and rows; without it they stay where the net is. augment: X ->
    its views (V, n, ...); the mean over the first `views` of them is returned
    (test-time augmentation).
    """
    if device is None:
        device = next((p.device for p in net.parameters()), "cpu")
    net, found = net.to(device).eval(), []
    forward = net.features if features else net
    for start in range(0, max(len(X), 1), batch):
        rows = X[start : start + batch]
        shown = rows[None] if augment is None else augment(rows)
        if not isinstance(views, int) or not 1 <= views <= len(shown):
            raise ValueError(f"views is {views}: expected 1 to {len(shown)}")
        x = torch.cat([torch.as_tensor(shown[k]) for k in range(views)])
        z = torch.cat([forward(some.to(device)).float() for some in x.split(batch)])
        found.append(z.unflatten(0, (views, -1)).mean(0))
    return torch.cat(found).cpu().numpy()


class Autocast(nn.Module):
    """A net whose products run in bfloat16; weights and logits stay float32.

    On a processor with bfloat16 instructions a step takes half as long or less.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            out = self.net(x)
        return out.float() if isinstance(out, Tensor) else tuple(z.float() for z in out)


def autocast(net: nn.Module, bf16: bool = True) -> nn.Module:
    """The net with its products in bfloat16, or as it is."""
    return Autocast(net) if bf16 else net


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return function(w)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def straight_through(w: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """function(w) on the way forward, the gradient as it comes on the way back.

    Bengio et al. 2013, arXiv 1308.3432.
    """
    return _StraightThrough.apply(w, function)

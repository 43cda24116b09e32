"""stack: students side by side, trained at once and without autograd."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kdutils.models import ARRAYS


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
        W1, b1, w2, b2 = (torch.tensor(arrays[k], dtype=torch.float32) for k in ARRAYS)
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
        return {k: a.numpy() for k, a in zip(ARRAYS, own, strict=True)}

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

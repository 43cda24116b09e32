"""int8: a two-layer student in eight bits, computed the way the device computes it.

Import rule: numpy only and nothing from kdutils, because the device runs it too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Int8:
    """Student d -> hidden -> 1 with symmetric int8 weights (no zero points).

    W1 int8 (hidden, d) stands for W1 * s1[:, None] and w2 int8 (hidden,) for w2 * s2.
    s1, b1 float16 (hidden,); s2, b2 float32. Two bytes a scale are lossless here: the
    weights were rounded against the float16 value.
    s_in, s_hidden float32: fixed activation scales ("static"); both None means float32
    activations ("weight-only").
    """

    W1: np.ndarray
    s1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    s2: np.float32
    b2: np.float32
    s_in: np.float32 | None = None
    s_hidden: np.float32 | None = None

    def logits(self, X: np.ndarray) -> np.ndarray:
        """Prepared X (n, d) -> float32 logits (n,).

        Static (Jacob et al. 2018, arXiv 1712.05877, with real-valued rescaling), each
        operation rounded to float32, halves to even, products summed in int32:
            x = clip(round(X / s_in), -127, 127)                            int8
            h = clip(round(((x W1') * (s1 s_in) + b1) / s_hidden), 0, 255)  uint8
            z = (h w2) * (s_hidden s2) + b2
        The clip at 0 is the ReLU. A row's logit depends on that row alone.
        """
        X = np.asarray(X, np.float32)
        s1, b1 = self.s1.astype(np.float32), self.b1.astype(np.float32)
        if self.s_in is None:
            hidden = np.maximum((X @ self.W1.T.astype(np.float32)) * s1 + b1, 0)
            return (hidden @ self.w2.astype(np.float32)) * self.s2 + self.b2
        x = np.rint(X / self.s_in).clip(-127, 127)
        hidden = _product(x, self.W1.T) * (s1 * self.s_in) + b1
        h = np.rint(hidden / self.s_hidden).clip(0, 255)
        return _product(h, self.w2) * (self.s_hidden * self.s2) + self.b2


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The int32 sums of a device: integers, so exact in float64 too, at BLAS speed."""
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32)

"""int8: a two-layer student in eight bits, computed the way the device computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# The scales that a row of W1 may have: 2^(-k/16), k = 0 to 255, one byte each.
SCALES = np.exp2(np.arange(256) / -16).astype(np.float16)


@dataclass(frozen=True, eq=False)
class Int8:
    """Student d -> hidden -> 1 with symmetric int8 weights (no zero points).

    W1 int8 (hidden, d) stands for W1 * s1[:, None], w2 int8 (hidden,) for w2 * s2 and
    is -1 or 1: a unit's output weight is in its first layer, see `quantize.merged`.
    s1 float16 (hidden,), each of SCALES: one byte a row, and nothing is lost by it, as
    the weights were rounded against it. b1 float16 (hidden,); s2, b2 float32.
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
        The clip at 0 is the ReLU; the last layer only adds and subtracts. A row's logit
        depends on that row alone.
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

    def one(self) -> Callable[[np.ndarray], np.float32]:
        """A function of one prepared reading float32 (d,) -> its logit, as `logits`.

        For one row at a time from one thread: it keeps its buffers. Static students
        only, ValueError otherwise; up to 1,040 readings, whose products' sums are whole
        numbers below 2^24, exact in float32 in any order.
        """
        if self.s_in is None or self.W1.shape[1] > 1040:
            raise ValueError("one row at a time needs a static student, d up to 1,040")
        W1, w2 = self.W1.astype(np.float32), self.w2.astype(np.float32)
        scale, b1 = self.s1.astype(np.float32) * self.s_in, self.b1.astype(np.float32)
        s_in, s_hidden, b2 = self.s_in, self.s_hidden, self.b2
        last, wild = s_hidden * self.s2, bool(s_in * np.float32(127) < 3)
        low, high, zero, top = np.float32([-127, 127, 0, 255])
        x, h = (np.empty(size, np.float32) for size in self.W1.shape[::-1])

        def logit(row: np.ndarray) -> np.float32:
            np.rint(np.divide(row, s_in, x), x)
            if wild:  # prepared readings lie in (-3, 3): nothing to clip otherwise
                np.minimum(np.maximum(x, low, out=x), high, out=x)
            np.dot(W1, x, h)
            np.add(np.multiply(h, scale, h), b1, h)
            np.rint(np.divide(h, s_hidden, h), h)
            np.minimum(np.maximum(h, zero, out=h), top, out=h)
            return h.dot(w2) * last + b2

        return logit


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The int32 sums of a device: integers, so exact in float64 too, at BLAS speed."""
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32)

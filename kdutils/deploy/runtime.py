"""runtime: the arithmetic of a student in numpy, step by step.

A net is a list of steps; each takes what the one before left. Of a table that is
float32 (n, d), all rows at once; of a map first uint8 (H, W), of a colour image (3, H,
W), then (H, W, channels) or (n,); of a sentence its words' hashes int64 (n,) or, with
those of their parts, (n, 1 + m), then (n, d) or (d,). These come one at a time, so that
their logits depend on them alone.

| step                                        | what it does                         |
| ------------------------------------------- | ------------------------------------ |
| squash                                      | `prepare.squash` of centred readings |
| round, low, high                            | whole multiples of a scale, clipped  |
| planes, p                                   | 1: the map as 0, .5 and 1;           |
|                                             | 2: its dies, its failed dies         |
| colours                                     | bytes, less 128, by 64               |
| conv, out, k, stride, padding, bias, relu   | k x k over all channels              |
| each, k, stride, padding, bias, relu        | k x k, each channel on its own       |
| linear, out, bias, relu                     | of numbers; relu: 2 cuts off at 6    |
| keep                                        | remembers what there is              |
| add                                         | adds what was remembered last        |
| max, k                                      | the largest of each k x k, without   |
|                                             | what is left over                    |
| mean                                        | of each channel                      |
| flatten                                     | channels, then rows                  |
| words, least, most, buckets, out            | of words' hashes a row each, and the |
|                                             | sum of their parts' by the root of   |
|                                             | their number; see `words.hashed`     |
| grams, order, buckets, out                  | the mean of all n-grams' rows        |
| threes, out, bias, relu                     | of (n, d): each three rows, two rows |
|                                             | of zeros at both ends                |
| lstm, out                                   | of (n, d), in both directions        |
| most                                        | of (n, d): the largest               |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from kdutils.deploy import words
from kdutils.deploy.prepare import LIMIT, squash

FAR = 1e17  # in spreads: nearer readings need none of the cases of `squash`

# The scales that a row of W1 may have: 2^(-k/16), k = 0 to 255, one byte each.
SCALES = np.exp2(np.arange(256) / -16).astype(np.float16)


class Step(NamedTuple):
    """A step and its arrays.

    W: conv (k, k, in, out), each (k, k, channels), linear (out, in) or (in,); float64
    where it sums integers. scale: of the sums of a linear step, or a round step's;
    squash: W is the centre. words, grams: W (rows + 1, out), its first row 0, and b
    int32 (buckets + 1,), the row of each bucket. lstm: W (2, 4 out, d + out). shape: of
    what the step leaves of one map.
    """

    word: str
    numbers: tuple[int, ...] = ()
    W: np.ndarray | None = None
    scale: np.ndarray | None = None
    b: np.ndarray | None = None
    shape: tuple[int, ...] = ()


def run(steps: list[Step], x: np.ndarray, kept: list | None = None) -> np.ndarray:
    """What the last step leaves of rows (n, d), a map (H, W), an image (3, H, W)."""
    kept = [] if kept is None else kept
    for step in steps:
        if step.word == "keep":
            kept.append(x)
        elif step.word == "add":
            x = x + kept.pop()
        else:
            x = STEPS[step.word][1](x, step)
    return x


def _planes(x: np.ndarray, step: Step) -> np.ndarray:
    if step.numbers == (2,):
        return np.stack((x > 0, x > 1), -1).astype(np.float32)
    if step.numbers == (1,):
        return x[..., None].astype(np.float32) / np.float32(2)
    raise ValueError(f"{step.numbers[0]} planes, expected 1 or 2")


def _conv(x: np.ndarray, step: Step) -> np.ndarray:
    _, k, stride, padding, *_ = step.numbers
    x, (rows, columns) = _framed(x, k, stride, padding)
    if k > 1 or stride > 1:  # each output's inputs as a row
        a, b, c = x.strides
        shape, strides = (rows, columns, k, x[0, :k].size), (a * stride, b * stride)
        x = as_strided(x, shape, (*strides, a, c))
    y = x.reshape(rows * columns, -1) @ step.W.reshape(-1, step.W.shape[-1])
    return _closed(y.reshape(rows, columns, -1), step)


def _each(x: np.ndarray, step: Step) -> np.ndarray:
    k, stride, padding, *_ = step.numbers
    x, (rows, columns) = _framed(x, k, stride, padding)
    down, right = rows * stride, columns * stride
    y, part = (np.empty((rows, columns, x.shape[2]), np.float32) for _ in range(2))
    for i, j in np.ndindex(k, k):
        seen = x[i : i + down : stride, j : j + right : stride]
        if i or j:
            y += np.multiply(seen, step.W[i, j], out=part)
        else:
            np.multiply(seen, step.W[i, j], out=y)
    return _closed(y, step)


def _framed(x: np.ndarray, k: int, stride: int, padding: int) -> tuple:
    """x (H, W, c) within zeros, C order, and how many rows and columns come out."""
    h, w, c = x.shape
    if padding:
        framed = np.zeros((h + 2 * padding, w + 2 * padding, c), np.float32)
        framed[padding:-padding, padding:-padding] = x
        x = framed
    sizes = tuple((n - k) // stride + 1 for n in x.shape[:2])
    if min(sizes) < 1 or k < 1:
        raise ValueError(f"{k} x {k} does not fit {h} x {w}")
    return np.ascontiguousarray(x), sizes


def _linear(x: np.ndarray, step: Step) -> np.ndarray:
    y = (x.astype(step.W.dtype, copy=False) @ step.W.T).astype(np.float32, copy=False)
    return _closed(y if step.scale is None else y * step.scale, step)


def _closed(y: np.ndarray, step: Step) -> np.ndarray:
    """The bias of a step, and its ReLU (1) or ReLU6 (2)."""
    if step.b is not None:
        y += step.b
    if step.numbers[-1]:
        np.maximum(y, 0, out=y)
    return np.minimum(y, 6, out=y) if step.numbers[-1] == 2 else y


def _max(x: np.ndarray, step: Step) -> np.ndarray:
    (k,) = step.numbers
    rows, columns = (n - n % k for n in x.shape[:2])
    parts = [x[i:rows:k, j:columns:k] for i, j in np.ndindex(k, k)]
    return np.maximum.reduce(parts)


def _words(x: np.ndarray, step: Step) -> np.ndarray:
    rows = step.b[words.rows_of(x, step.numbers[2], 1)]
    if x.ndim == 1:
        return step.W[rows]
    count = np.maximum((x[:, 1:] >= 0).sum(1, keepdims=True), 1)
    return step.W[rows[:, 0]] + step.W[rows[:, 1:]].sum(1) / np.sqrt(count, dtype="f4")


def _grams(x: np.ndarray, step: Step) -> np.ndarray:
    order, buckets, _ = step.numbers
    some = range(1, min(order, len(x)) + 1)
    rows = np.concatenate([words.rows_of(x, buckets, k) for k in some])
    return step.W[step.b[rows]].sum(0) / np.float32(len(rows))


def _threes(x: np.ndarray, step: Step) -> np.ndarray:
    n, d = x.shape
    framed = np.zeros((n + 4, d), np.float32)
    framed[2:-2] = x
    threes = as_strided(framed, (n + 2, 3 * d), framed.strides)
    return _closed(threes @ step.W.T, step)


def _lstm(x: np.ndarray, step: Step) -> np.ndarray:
    """Hochreiter & Schmidhuber 1997; gates as torch orders them: i, f, g, o."""
    (n, d), (out,) = x.shape, step.numbers
    found = np.empty((n, 2 * out), np.float32)
    for way, (W, b) in enumerate(zip(step.W, step.b, strict=True)):
        inputs, U = x @ W[:, :d].T + b, W[:, d:]
        h = c = np.zeros(out, np.float32)
        for t in range(n) if way == 0 else range(n - 1, -1, -1):
            z = inputs[t] + U @ h
            g = np.tanh(z[2 * out : 3 * out])
            i, f, _, o = (1 / (1 + np.exp(-z))).reshape(4, out)
            c = f * c + i * g
            h = o * np.tanh(c)
            found[t, way * out : (way + 1) * out] = h
    return found


# A step's word: how many numbers it has, and what it does.
STEPS: dict[str, tuple[int, Callable]] = {
    "squash": (0, lambda x, step: squash((x - step.W) * step.scale)),
    "round": (2, lambda x, step: np.rint(x / step.scale).clip(*step.numbers)),
    "planes": (1, _planes),
    "colours": (0, lambda x, step: (x.transpose(1, 2, 0).astype("f4") - 128) / 64),
    "conv": (6, _conv),
    "each": (5, _each),
    "linear": (3, _linear),
    "keep": (0, None),
    "add": (0, None),
    "max": (1, _max),
    "mean": (0, lambda x, step: x.mean((0, 1))),
    "flatten": (0, lambda x, step: x.transpose(2, 0, 1).reshape(-1)),
    "words": (4, _words),
    "grams": (3, _grams),
    "threes": (3, _threes),
    "lstm": (1, _lstm),
    "most": (0, lambda x, step: x.max(0)),
}


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

    def steps(self) -> list[Step]:
        """What `logits` does, for `run`; the last layer only adds and subtracts.

        Static (Jacob et al. 2018, arXiv 1712.05877, with real-valued rescaling), each
        operation rounded to float32, halves to even, products summed exactly:
            x = clip(round(X / s_in), -127, 127)                            int8
            h = clip(round(((x W1') * (s1 s_in) + b1) / s_hidden), 0, 255)  uint8
            z = (h w2) * (s_hidden s2) + b2
        The clip at 0 is the ReLU. The sums are a device's int32 ones: integers, so
        exact in float64 too, at BLAS speed; a row's logit depends on that row alone.
        """
        s1, b1 = self.s1.astype(np.float32), self.b1.astype(np.float32)
        if self.s_in is None:
            W1, w2 = self.W1.astype(np.float32), self.w2.astype(np.float32)
            hidden = Step("linear", (len(b1), 1, 1), W1, s1, b1)
            return [hidden, Step("linear", (1, 1, 0), w2, self.s2, self.b2)]
        W1, w2 = self.W1.astype(np.float64), self.w2.astype(np.float64)
        last = np.float32(self.s_hidden * self.s2)
        return [
            Step("round", (-127, 127), scale=self.s_in),
            Step("linear", (len(b1), 1, 0), W1, s1 * self.s_in, b1),
            Step("round", (0, 255), scale=self.s_hidden),
            Step("linear", (1, 1, 0), w2, last, self.b2),
        ]

    def logits(self, X: np.ndarray) -> np.ndarray:
        """Prepared X (n, d) -> float32 logits (n,)."""
        return run(self.steps(), np.asarray(X, np.float32))

    def from_readings(self, center: np.ndarray, scale: np.ndarray) -> Callable:
        """A function of readings float32 (n, d) as they come -> logits float32 (n,).

        `squash` and `steps` in one, bit for bit, without a copy of what does not
        change: a row takes a third of their time. Only for static students, ValueError
        otherwise. Sums of products stay below 2^24 with up to 1,040 readings and 65,000
        units, so they are exact in float32, in any order.
        """
        if self.s_in is None:
            raise ValueError("expected a student with fixed activation scales")
        hidden, d = self.W1.shape
        short = d <= 1040 and hidden <= 65_000
        whole = np.float32 if short else np.float64
        W1, w2 = np.ascontiguousarray(self.W1.T, whole), self.w2.astype(whole)
        center, scale = (np.array([a], np.float32) for a in (center, scale))
        rescale = np.array([self.s1.astype(np.float32) * self.s_in])
        b1 = self.b1.astype(np.float32)[None]
        # arrays without a dimension: numpy's scalars take twice as long
        numbers = (LIMIT, 1, -127, 127, 0, 255, self.s_in, self.s_hidden, self.b2)
        numbers = [np.array(n, np.float32) for n in numbers]
        limit, unit, low, high, zero, top, s_in, s_hidden, b2 = numbers
        last = np.array(np.float32(self.s_hidden * self.s2))
        outside = bool(self.s_in * np.float32(127) < LIMIT)
        near = (FAR / max(1.0, float(scale.max()))) ** 2  # a sum of squares
        near *= bool((np.abs(center.astype(float)) * scale < FAR).all())
        dot, rint, most, least = np.dot, np.rint, np.maximum, np.minimum

        def logits(X: np.ndarray) -> np.ndarray:
            if np.vdot(X, X) < near:
                z = X - center
                z *= scale
                q = z / limit
                q *= q
                q += unit
                z /= np.sqrt(q, q)
            else:  # a missing reading, or one beyond all bounds
                with np.errstate(over="ignore"):
                    z = squash((X - center) * scale)
            z /= s_in
            rint(z, z)
            if outside:  # squashed readings are within LIMIT: nothing to clip otherwise
                least(most(z, low, out=z), high, out=z)
            h = dot(z, W1) if short else dot(z.astype(float), W1).astype(np.float32)
            h *= rescale
            h += b1
            h /= s_hidden
            rint(h, h)
            least(most(h, zero, out=h), top, out=h)
            y = dot(h, w2) if short else dot(h.astype(float), w2).astype(np.float32)
            y *= last
            y += b2
            return y

        return logits

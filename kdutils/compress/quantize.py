"""quantize: a student's weights in eight bits or fewer, its activations in eight."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from kdutils.compress.prune import logits, network
from kdutils.deploy.int8 import SCALES, Int8
from kdutils.models import straight_through

INPUT_SCALE = np.float32(3 / 127)  # prepared readings lie in (-3, 3)


def dynamic(arrays: dict[str, np.ndarray]) -> nn.Module:
    """Post-training dynamic int8 of the Linear layers: the published recipe.

    Weights int8 with one scale a layer; activations take their scale from the batch at
    hand, at every call. The only function on torch's deprecated eager quantization.
    fbgemm where there is one (its results do not depend on the CPU), else qnnpack.
    """
    backend = torch.backends.quantized
    before, known = backend.engine, backend.supported_engines
    backend.engine = "fbgemm" if "fbgemm" in known else "qnnpack"
    try:
        with warnings.catch_warnings():
            for message in ("torch.ao.quantization is depre", "torch.quantize_per_ten"):
                warnings.filterwarnings("ignore", message=message)
            return torch.ao.quantization.quantize_dynamic(
                network(arrays), {nn.Linear}, dtype=torch.qint8
            )
    finally:
        backend.engine = before


def merged(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W1 (hidden, d), b1 and w2 (hidden,) of the same student with w2 of -1 and 1.

    A unit's output weight goes into its first layer, since c relu(x) = relu(c x) for
    c > 0 (Neyshabur et al. 2015, arXiv 1506.02617): a bit is left of it. A unit that
    nobody listens to becomes zeros.
    """
    size = np.abs(arrays["w2"])
    sign = np.where(arrays["w2"] < 0, -1, 1).astype(np.int8)
    return arrays["W1"] * size[:, None], arrays["b1"] * size, sign


def weight_only(
    arrays: dict[str, np.ndarray], *, clip: str = "mse", bits: int = 8
) -> Int8:
    """Weights of 2 to 8 bits, one scale per output row; activations stay float32.

    clip: "max" lets no |w| of a row be cut; "mse" takes, row by row, of the scales
    down to 62 % of that the one of least squared error. Zeros stay zeros.
    """
    W1, b1, w2 = merged(arrays)
    W1, s1 = _rows(W1, clip, _top(bits))
    rest = np.float32(1), np.float32(arrays["b2"])
    return Int8(W1, s1, b1.astype(np.float16), w2, *rest)


def _top(bits: int) -> int:
    if not 2 <= bits <= 8:
        raise ValueError(f"bits must be 2 to 8, not {bits}")
    return 2 ** (bits - 1) - 1


def _rows(W: np.ndarray, clip: str, top: int) -> tuple[np.ndarray, np.ndarray]:
    """W (rows, columns) -> int8 of the same shape and its scales, float16 (rows,)."""
    finer = {"max": [0], "mse": range(12)}
    if clip not in finer:
        raise ValueError(f"clip must be 'max' or 'mse', not {clip!r}")
    size = np.maximum(np.abs(W).max(axis=1) / top, 2.0**-24)
    first = np.floor(-16 * np.log2(size)).astype(int)
    codes = (first + np.array(finer[clip])[:, None]).clip(0, 255)
    wide = SCALES[codes].astype(np.float32)[:, :, None]
    steps = np.rint(W / wide).clip(-top, top)
    best = np.square(steps * wide - W).sum(axis=2).argmin(axis=0)
    rows = np.arange(len(W))
    return steps[best, rows].astype(np.int8), SCALES[codes[best, rows]]


def static(
    arrays: dict[str, np.ndarray],
    X: np.ndarray,
    *,
    clip: str = "mse",
    hidden: str | float = "mse",
    bits: int = 8,
) -> Int8:
    """int8 inputs, uint8 hidden activations, every scale fixed beforehand.

    X (n, d): prepared calibration rows, unlabelled. hidden: the percentile of the
    positive hidden activations that becomes 255 (100: their maximum), or "mse": the
    scale whose logits on X come closest to the float32 student's.
    """
    student = replace(weight_only(arrays, clip=clip, bits=bits), s_in=INPUT_SCALE)
    x = np.rint(X / INPUT_SCALE).clip(-127, 127) * INPUT_SCALE
    W1 = student.W1 * student.s1.astype(np.float32)[:, None]
    H = np.maximum(x @ W1.T + student.b1.astype(np.float32), 0)
    top = np.percentile(H[H > 0], 100 if hidden == "mse" else hidden) if H.any() else 1
    scales = np.float32(top / 255) * np.linspace(0.3, 1, 36, dtype=np.float32)
    if hidden != "mse":
        return replace(student, s_hidden=scales[-1])
    target = logits(arrays, X)
    students = [replace(student, s_hidden=s) for s in scales]
    return min(students, key=lambda q: float(np.square(q.logits(X) - target).mean()))


def _round(t: torch.Tensor) -> torch.Tensor:
    return straight_through(t, torch.round)


def _half(t: torch.Tensor) -> torch.Tensor:
    return straight_through(t, lambda t: t.half().float())


def _scale(log: torch.Tensor) -> torch.Tensor:
    """The nearest of SCALES to exp(log)."""
    code = (log * (-16 / math.log(2))).round().clamp(0, 255).long()
    nearest = torch.from_numpy(SCALES).float()[code]
    return straight_through(log.exp(), lambda _: nearest)


def qat(
    arrays: dict[str, np.ndarray],
    X: np.ndarray,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    *,
    epochs: int,
    lr: float = 1e-3,
    batch: int = 256,
    seed: int = 0,
    mask: dict[str, np.ndarray] | None = None,
    validate: Callable[[Int8], float] | None = None,
    learn_scales: bool = True,
    bits: int = 8,
) -> Int8:
    """Quantization-aware fine-tuning (Jacob et al. 2018) from `static(arrays, X)`.

    loss(logits (b,), rows int64 (b,)) -> scalar, rows indexing X (n, d). The forward
    pass computes exactly what `Int8.logits` does, the backward pass goes straight
    through the rounding (Bengio et al. 2013, arXiv 1308.3432), which makes the scales'
    gradient that of Esser et al. 2020 (LSQ, arXiv 1902.08153, eq. 3). Scales are
    learned as logarithms. Adam, learning rate lr falling to 0 as a cosine.
    mask: W1 and w2, 0 where a weight stays zero; without it, weights now 0 stay 0.
    validate(student) -> higher is better: the best epoch is returned, epoch 0 (before
    training) included. Without it: the last.
    """
    best, top = static(arrays, X, bits=bits), _top(bits)
    score = validate(best) if validate else -math.inf
    mask = {k: torch.as_tensor((mask or arrays)[k] != 0) for k in ("W1", "w2")}
    p = {k: torch.tensor(arrays[k], dtype=torch.float32) for k in ("W1", "b1", "w2")}
    signs = torch.as_tensor(best.w2, dtype=torch.float32)
    p["b2"] = torch.tensor(float(arrays["b2"]))
    scales = {
        k: torch.tensor(np.float32(getattr(best, k))).log()
        for k in ("s1", "s2", "s_hidden")
    }
    x = torch.as_tensor(np.rint(X / INPUT_SCALE).clip(-127, 127), dtype=torch.float32)
    learned = [*p.values(), *(scales.values() if learn_scales else ())]
    optimizer = torch.optim.Adam([t.requires_grad_() for t in learned], lr)
    steps = epochs * math.ceil(len(x) / batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=order).split(batch):
            optimizer.zero_grad()
            loss(
                _forward(x[rows], _rounded(p, scales, mask, signs, top)), rows
            ).backward()
            optimizer.step()
            schedule.step()
        W1, s1, b1, w2, s2, b2, s_hidden = (
            t.detach().numpy()[()].copy() for t in _rounded(p, scales, mask, signs, top)
        )
        student = Int8(
            W1.astype(np.int8),
            s1.astype(np.float16),
            b1.astype(np.float16),
            w2.astype(np.int8),
            s2,
            b2,
            INPUT_SCALE,
            s_hidden,
        )
        now = validate(student) if validate else math.inf
        if now > score or not validate:
            best, score = student, now
    return best


def _rounded(
    p: dict, scales: dict, mask: dict, signs: torch.Tensor, top: int
) -> tuple[torch.Tensor, ...]:
    """What the device would hold, in the order of `Int8`, as float32 with gradients.

    signs: those of w2, fixed; what `merged` does happens here at every step.
    """
    s1, s2 = _scale(scales["s1"]), scales["s2"].exp()
    size = p["w2"] * mask["w2"] * signs
    W1 = p["W1"] * mask["W1"] * size[:, None]
    W1 = _round((W1 / s1[:, None]).clamp(-top, top))
    return W1, s1, _half(p["b1"] * size), signs, s2, p["b2"], scales["s_hidden"].exp()


def _forward(x: torch.Tensor, parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """`Int8.logits`, bit for bit, from int8-valued inputs x (n, d)."""
    W1, s1, b1, w2, s2, b2, s_hidden = parts
    hidden = (x @ W1.T) * (s1 * float(INPUT_SCALE)) + b1
    return (_round((hidden / s_hidden).clamp(0, 255)) @ w2) * (s_hidden * s2) + b2

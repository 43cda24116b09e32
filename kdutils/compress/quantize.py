"""quantize: weights in two to eight bits, of any net or of a two-layer student.

Steps are symmetric, 2^(bits - 1) - 1 either way, with a scale for each output, the one
of least squared error among some (Banner, Nahshan & Soudry 2019 derive it). Training
sees the rounded weights and its gradients pass straight through the rounding (Bengio et
al. 2013, arXiv 1308.3432; Jacob et al. 2018). A net's activations stay float32, and
whatever is rounded for good has its normalisations folded; a two-layer student may have
its activations in eight bits too.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kdutils.compress.prune import layers, logits, network, plain
from kdutils.deploy.runtime import SCALES, Int8
from kdutils.models import straight_through

CLIPS = [1 - step / 20 for step in range(11)]  # shares of the largest weight, 1 to .5
LEAST = 2.0**-24  # the smallest float16 above 0
HALF = 16  # bits of a bias
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
    c > 0 (Neyshabur et al. 2015, arXiv 1506.02617): a bit is left of it. A unit
    without an output weight becomes zeros.
    """
    size = np.abs(arrays["w2"])
    sign = np.where(arrays["w2"] < 0, -1, 1).astype(np.int8)
    return arrays["W1"] * size[:, None], arrays["b1"] * size, sign


def weight_only(arrays: dict[str, np.ndarray], *, bits: int = 8) -> Int8:
    """Weights of 2 to 8 bits, one scale per output row; activations stay float32.

    Row by row, of the scales from the one that cuts no |w| down to 62 % of it, the one
    of least squared error. Zeros stay zeros.
    """
    W1, b1, w2 = merged(arrays)
    W1, s1 = _rows(W1, _top(bits))
    rest = np.float32(1), np.float32(arrays["b2"])
    return Int8(W1, s1, b1.astype(np.float16), w2, *rest)


def _top(bits: int) -> int:
    if bits not in range(2, 9):
        raise ValueError(f"bits is {bits}: expected 2 to 8")
    return 2 ** (bits - 1) - 1


def _best(W: Tensor, scales: Tensor, top: int) -> Tensor:
    """Of scales (K, rows) the number of each row's best for W (rows, columns)."""
    steps = (W / scales[..., None]).round_().clamp_(-top, top)
    return steps.mul_(scales[..., None]).sub_(W).square_().sum(-1).argmin(0)


def _rows(W: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """W (rows, columns) -> int8 of the same shape and its scales, float16 (rows,)."""
    size = np.maximum(np.abs(W).max(axis=1) / top, LEAST)
    first = np.floor(-16 * np.log2(size)).astype(int)
    codes = (first + np.arange(12)[:, None]).clip(0, 255)
    wide = torch.from_numpy(SCALES[codes].astype(np.float32))
    best = _best(torch.from_numpy(W), wide, top).numpy()
    scales = SCALES[codes[best, np.arange(len(W))]]
    steps = np.rint(W / scales.astype(np.float32)[:, None]).clip(-top, top)
    return steps.astype(np.int8), scales


def static(arrays: dict[str, np.ndarray], X: np.ndarray, *, bits: int = 8) -> Int8:
    """int8 inputs, uint8 hidden activations, every scale fixed beforehand.

    X (n, d): prepared calibration rows, unlabelled. The hidden activations' scale is
    the one whose logits on X come closest to the float32 student's.
    """
    student = replace(weight_only(arrays, bits=bits), s_in=INPUT_SCALE)
    x = np.rint(X / INPUT_SCALE).clip(-127, 127) * INPUT_SCALE
    W1 = student.W1 * student.s1.astype(np.float32)[:, None]
    H = np.maximum(x @ W1.T + student.b1.astype(np.float32), 0)
    top = H.max() if H.any() else 1
    scales = np.float32(top / 255) * np.linspace(0.3, 1, 36, dtype=np.float32)
    target = logits(arrays, X)
    students = [replace(student, s_hidden=s) for s in scales]
    return min(students, key=lambda q: float(np.square(q.logits(X) - target).mean()))


def _half(t: Tensor) -> Tensor:
    return straight_through(t, lambda t: t.half().float())


def _scale(log: Tensor) -> Tensor:
    """The nearest of SCALES to exp(log)."""
    code = (log * (-16 / math.log(2))).round().clamp(0, 255).long()
    nearest = torch.from_numpy(SCALES).float()[code]
    return straight_through(log.exp(), lambda _: nearest)


def qat(
    arrays: dict[str, np.ndarray],
    X: np.ndarray,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    epochs: int,
    lr: float = 1e-3,
    batch: int = 256,
    seed: int = 0,
    validate: Callable[[Int8], float] | None = None,
    bits: int = 8,
) -> Int8:
    """Quantization-aware fine-tuning (Jacob et al. 2018) from `static(arrays, X)`.

    loss(logits (b,), rows int64 (b,)) -> scalar, rows indexing X (n, d). The forward
    pass computes exactly what `Int8.logits` does; the scales' gradient is that of Esser
    et al. 2020 (LSQ, arXiv 1902.08153, eq. 3). Scales are learned as logarithms.
    Adam, learning rate lr falling to 0 as a cosine.
    Weights of W1 and w2 that are 0 stay 0.
    validate(student) -> higher is better: the best epoch is returned, epoch 0 (before
    training) included. Without it: the last.
    """
    best, top = static(arrays, X, bits=bits), _top(bits)
    score = validate(best) if validate else -math.inf
    mask = {k: torch.as_tensor(arrays[k] != 0) for k in ("W1", "w2")}
    p = {k: torch.tensor(arrays[k], dtype=torch.float32) for k in ("W1", "b1", "w2")}
    signs = torch.as_tensor(best.w2, dtype=torch.float32)
    p["b2"] = torch.tensor(float(arrays["b2"]))
    scales = {k: np.float32(getattr(best, k)) for k in ("s1", "s2", "s_hidden")}
    scales = {k: torch.tensor(scale).log() for k, scale in scales.items()}
    x = torch.as_tensor(np.rint(X / INPUT_SCALE).clip(-127, 127), dtype=torch.float32)
    learned = [*p.values(), *scales.values()]
    optimizer = torch.optim.Adam([t.requires_grad_() for t in learned], lr)
    steps = epochs * math.ceil(len(x) / batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=order).split(batch):
            optimizer.zero_grad()
            parts = _rounded(p, scales, mask, signs, top)
            loss(_forward(x[rows], parts), rows).backward()
            optimizer.step()
            schedule.step()
        parts = _rounded(p, scales, mask, signs, top)
        W1, s1, b1, w2, *rest = (t.detach().numpy()[()].copy() for t in parts)
        weights = W1.astype("i1"), s1.astype("f2"), b1.astype("f2"), w2.astype("i1")
        student = Int8(*weights, *rest[:2], INPUT_SCALE, rest[2])
        now = validate(student) if validate else math.inf
        if now > score or not validate:
            best, score = student, now
    return best


def _rounded(
    p: dict, scales: dict, mask: dict, signs: Tensor, top: int
) -> tuple[Tensor, ...]:
    """What the device would hold, in the order of `Int8`, as float32 with gradients.

    signs: those of w2, fixed; what `merged` does happens here at every step.
    """
    s1, s2 = _scale(scales["s1"]), scales["s2"].exp()
    size = p["w2"] * mask["w2"] * signs
    W1 = p["W1"] * mask["W1"] * size[:, None]
    W1 = straight_through((W1 / s1[:, None]).clamp(-top, top), torch.round)
    return W1, s1, _half(p["b1"] * size), signs, s2, p["b2"], scales["s_hidden"].exp()


def _forward(x: Tensor, parts: tuple[Tensor, ...]) -> Tensor:
    """`Int8.logits`, bit for bit, from int8-valued inputs x (n, d)."""
    W1, s1, b1, w2, s2, b2, s_hidden = parts
    hidden = (x @ W1.T) * (s1 * float(INPUT_SCALE)) + b1
    hidden = straight_through((hidden / s_hidden).clamp(0, 255), torch.round)
    return (hidden @ w2) * (s_hidden * s2) + b2


def quantized(net: nn.Module, bits: int, clips=CLIPS) -> nn.Module:
    """A copy with weights of `bits` bits, as a file of them is read back.

    See `steps`; biases are rounded to float16. A second time changes nothing. Raises
    ValueError for bits outside of 2 to 8 and where a normalisation is not folded.
    """
    plain(net)
    net = copy.deepcopy(net)
    with torch.no_grad():
        for layer in layers(net).values():
            layer.weight.copy_(rounded(layer.weight, bits, clips))
            if layer.bias is not None:
                layer.bias.copy_(layer.bias.half().float())
    return net


def steps(w: Tensor, bits: int, clips=CLIPS) -> tuple[Tensor, Tensor]:
    """Weights (outputs, ...) as whole numbers, up to 2^(bits - 1) - 1 either way.

    Returns them and a scale for each output that float16 holds, both of w's type: the
    largest weight's share in `clips` that has the least squared error.
    """
    top, rows = _top(bits), w.flatten(1)
    clips = torch.tensor(clips, dtype=w.dtype, device=w.device)[:, None]
    scales = (clips * rows.abs().amax(1) / top).clamp(min=LEAST).half().to(w.dtype)
    best = scales.gather(0, _best(rows, scales, top)[None])[0]
    return (w / _columns(best, w)).round().clamp(-top, top), best


def rounded(w: Tensor, bits: int, clips=CLIPS) -> Tensor:
    """Weights as their whole `steps` times their scales."""
    whole, scale = steps(w, bits, clips)
    return whole * _columns(scale, w)


def _columns(scale: Tensor, w: Tensor) -> Tensor:
    return scale.view(-1, *[1] * (w.dim() - 1))


def tune(
    net: nn.Module,
    fit: Callable[[nn.Module], object],
    *,
    masks: dict[str, Tensor] | None = None,
    bits: int | None = None,
) -> nn.Module:
    """A copy that `fit` trains in place, such as a call of `train.fit`.

    masks: these weights are 0 in every step and afterwards. bits: every forward pass
    sees the weights and biases of `quantized`, and what comes back is rounded. A
    normalisation stays and learns: it multiplies an output as its scale does, so that
    folding it afterwards moves scales and no step. Products are float32. A net of
    sentences has its table rounded and all else in float, as its file has 8 bits there.
    Raises ValueError for bits outside of 2 to 8.
    """
    if bits is not None:
        _top(bits)
    net = copy.deepcopy(net)
    tables = [m for m in net.modules() if isinstance(m, nn.Embedding)]
    seen = {(m, "weight"): _Table(m.weight, bits) for m in tables if bits is not None}
    for name, layer in ({} if seen else layers(net)).items():
        mask = (masks or {}).get(f"{name}.weight")
        if mask is not None or bits is not None:
            seen[layer, "weight"] = _Seen(mask, bits)
        if bits is not None and layer.bias is not None:
            seen[layer, "bias"] = _Seen(None, HALF)
    for (layer, name), how in seen.items():
        parametrize.register_parametrization(layer, name, how)
    fit(net)
    for layer, name in seen:
        parametrize.remove_parametrizations(layer, name)
    return net


class _Seen(nn.Module):
    """A weight as the forward pass sees it: masked, then rounded."""

    def __init__(self, mask: Tensor | None, bits: int | None) -> None:
        super().__init__()
        self.bits = bits
        self.register_buffer("gone", None if mask is None else ~mask, persistent=False)

    def forward(self, w: Tensor) -> Tensor:
        w = w if self.gone is None else w.masked_fill(self.gone, 0.0)
        if self.bits is None:
            return w
        if self.bits == HALF:
            return _half(w)
        return straight_through(w, lambda w: rounded(w, self.bits))


class _Table(nn.Module):
    """A table as the forward pass sees it: each column rounded, rows of zeros kept."""

    def __init__(self, w: Tensor, bits: int) -> None:
        super().__init__()
        self.bits, alive = bits, (w != 0).any(1)
        self.register_buffer("alive", alive.nonzero()[:, 0], persistent=False)

    def forward(self, w: Tensor) -> Tensor:
        def seen(w: Tensor) -> Tensor:
            rows = rounded(w[self.alive].T, self.bits).T
            return torch.zeros_like(w).index_copy_(0, self.alive, rows)

        return straight_through(w, seen)

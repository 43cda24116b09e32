"""Nets and the students of tables pruned, quantized and weighed."""

from __future__ import annotations

import functools
import io
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as entropy

from kdutils import models, train
from kdutils.compress import convert, quantize
from kdutils.compress import prune as compress
from kdutils.deploy import bundle

SIDE = 16


def wafer(seed=0, name="compact", **sizes):
    torch.manual_seed(seed)
    sizes = sizes or {"widths": (4, 6), "depth": 1}
    net = models.build(name, SIDE, 3, **sizes)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_var.uniform_(0.5, 2), m.running_mean.normal_()
            nn.init.uniform_(m.weight, 0.5, 2)
    return net


def folded(seed=0, **sizes):
    return convert.folded(wafer(seed, **sizes))


def perceptron(seed=0, widths=(9, 7)):
    torch.manual_seed(seed)
    return models.build("perceptron", SIDE, 3, widths=widths)


def maps(n=40, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 3, (n, SIDE, SIDE)).astype(np.float32)
    return X, rng.integers(0, 2, (n, 3)).astype(np.float32)


def batches():
    return train.Batches(*maps(), batch=16, seed=1)


def tune(net, **own):
    masks, bits, loss = (
        own.pop("masks", None),
        own.pop("bits", None),
        own.pop("loss", entropy),
    )
    how = {"lr": own.pop("lr", 0.02), "weight_decay": own.pop("decay", 0.1)}
    adamw = functools.partial(torch.optim.AdamW, **how, fused=True)
    how = {"epochs": 2, "seed": 0, "optimizer": adamw, **own}

    def fit(net):
        train.fit(net, batches(), loss, **how)

    return quantize.tune(net, fit, masks=masks, bits=bits)


def numbers(net):
    return {k: v.clone() for k, v in net.state_dict().items()}


def same(one, other):
    return set(one) == set(other) and all(torch.equal(one[k], other[k]) for k in one)


# --- masks ------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("scope", compress.SCOPES)
def test_the_smallest_weights_go_and_no_bias(scope, share):
    net = folded()
    found, own = compress.masks(net, share, scope=scope), compress.layers(net)
    assert (
        list(found)
        == [f"{name}.weight" for name in own][: 1 if scope == "first" else None]
    )
    parts = [list(found)] if scope == "global" else [[k] for k in found]
    for part in parts:
        kept = torch.cat([found[k].flatten() for k in part])
        size = torch.cat([net.get_parameter(k).detach().abs().flatten() for k in part])
        assert (~kept).sum() == round(share * len(kept))
        if 0 < share < 1:
            assert size[~kept].max() <= size[kept].min()


def test_scopes_differ_and_ties_are_broken():
    net = folded()
    one, other = (
        compress.masks(net, 0.5, scope=scope) for scope in compress.SCOPES[:2]
    )
    assert not same(one, other)
    flat = nn.Linear(10, 1)
    nn.init.ones_(flat.weight)
    kept = compress.masks(nn.Sequential(flat), 0.3)["0.weight"]
    assert kept.tolist() == [[False] * 3 + [True] * 7]


@pytest.mark.parametrize("make", [wafer, folded, perceptron])
def test_masked_weights_stay_zero_through_tuning(make):
    net = make()
    masks, before = compress.masks(net, 0.6), numbers(net)
    one_shot, tuned = compress.masked(net, masks), tune(net, masks=masks)
    assert same(before, numbers(net)), "what comes in is not changed"
    moved = 0
    for name, mask in masks.items():
        for after in (one_shot, tuned):
            assert (after.get_parameter(name)[~mask] == 0).all()
        assert torch.equal(one_shot.get_parameter(name)[mask], before[name][mask])
        moved += (tuned.get_parameter(name)[mask] != before[name][mask]).sum()
    assert moved > 0.9 * sum(mask.sum() for mask in masks.values())
    assert set(before) == set(numbers(tuned)), "names are those of the net"


def test_tuning_without_a_change_is_plain_training():
    net, plain = wafer(), wafer()
    train.fit(
        plain, batches(), entropy, epochs=2, seed=0,
        optimizer=lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1, fused=True),
    )  # fmt: skip
    assert same(numbers(plain), numbers(tune(net)))


# --- bits -------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 6, 4, 2])
@pytest.mark.parametrize("make", [folded, perceptron])
def test_weights_are_whole_steps_of_a_half_float(make, bits):
    net = make()
    small, top = quantize.quantized(net, bits), 2 ** (bits - 1) - 1
    for a, b in zip(
        compress.layers(net).values(), compress.layers(small).values(), strict=True
    ):
        for w, q in zip(a.weight.flatten(1), b.weight.flatten(1), strict=True):
            scale = q.abs().max() / top
            assert scale == scale.half().float()
            steps = (q / scale).round()
            assert steps.abs().max() == top and torch.equal(steps * scale, q)
            assert scale <= w.abs().max() / top * 1.001
        assert torch.equal(b.bias, a.bias.half().float())
    assert same(numbers(small), numbers(quantize.quantized(small, bits))), "idempotent"


def test_clipping_has_less_squared_error_than_none():
    torch.manual_seed(0)
    w, gain = torch.randn(50, 400), {}
    for bits in (8, 4):
        top = 2 ** (bits - 1) - 1
        scale = (w.abs().amax(1, keepdim=True) / top).half().float()
        plain = (w / scale).round().clamp(-top, top) * scale
        own = quantize.rounded(w, bits)
        errors = [(q - w).square().sum(1) for q in (own, plain)]
        assert (errors[0] <= errors[1] * (1 + 1e-5)).all()
        gain[bits] = float(1 - errors[0].sum() / errors[1].sum())
    assert gain[4] > 0.2 > 0.1 > gain[8]


def test_an_output_without_weights_stays_empty():
    w = torch.zeros(2, 3, 1, 1)
    w[1] = torch.tensor([0.5, -1.0, 0.0]).view(3, 1, 1)
    q = quantize.rounded(w, 8)
    assert (q[0] == 0).all() and q.shape == w.shape
    assert torch.allclose(q, w, atol=0.01) and q[1, 2] == 0


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("make", [folded, perceptron])
@pytest.mark.parametrize("share", [None, 0.5])
def test_tuning_sees_the_rounded_net_bit_for_bit(make, bits, share):
    net, seen = make(), []
    masks = None if share is None else compress.masks(net, share)
    start = net if masks is None else compress.masked(net, masks)

    def watched(z, y):
        seen.append(z.detach().clone())
        return entropy(z, y)

    how = {"epochs": 1, "decay": 0.0, "seed": 0, "bits": bits, "masks": masks}
    still = tune(net, loss=watched, lr=0.0, **how)
    small = quantize.quantized(start, bits)
    assert same(numbers(still), numbers(small))
    x = next(iter(batches()))[0]
    with torch.no_grad():
        assert torch.equal(seen[0], small(x)) and not torch.equal(seen[0], net(x))
    moved = tune(net, loss=watched, lr=0.02, **how)
    assert same(numbers(moved), numbers(quantize.quantized(moved, bits)))
    assert not same(numbers(moved), numbers(small))
    for name, mask in (masks or {}).items():
        assert (moved.get_parameter(name)[~mask] == 0).all()


@pytest.mark.parametrize("bits", [8, 4])
def test_folding_a_tuned_net_moves_scales_and_no_step(bits):
    net = tune(wafer(), bits=bits, masks=compress.masks(folded(), 0.3))
    plain = convert.folded(net)
    small = quantize.quantized(plain, bits)
    for a, b, raw in zip(
        *(compress.layers(one).values() for one in (plain, small, net)), strict=True
    ):
        top = a.weight.flatten(1).abs().amax(1)
        assert ((a.weight - b.weight).flatten(1).abs().amax(1) <= top / 2**11).all()
        assert not torch.equal(a.weight, raw.weight) or a is plain.body[-1]
    x = torch.from_numpy(maps()[0])
    with torch.no_grad():
        z, own = net(x), small(x)
    assert torch.allclose(z, own, atol=0.01 * float(z.abs().max()))


def test_gradients_pass_straight_through():
    w = torch.randn(4, 5, requires_grad=True)
    up = torch.randn(4, 5)
    seen = models.straight_through(w, lambda w: quantize.rounded(w, 4))
    (seen * up).sum().backward()
    assert torch.equal(seen, quantize.rounded(w, 4)) and torch.equal(w.grad, up)


def test_tuned_bits_fit_better_than_rounding_afterwards():
    how = {"epochs": 10, "lr": 0.02, "decay": 0.0}
    net = tune(perceptron(), **how)
    X, y = maps()

    def error(net):
        with torch.no_grad():
            return float(entropy(net.eval()(torch.from_numpy(X)), torch.from_numpy(y)))

    rounded = quantize.quantized(net, 2)
    tuned = tune(net, bits=2, **how)
    assert error(tuned) < error(rounded) - 0.02


# --- units ------------------------------------------------------------------------


def test_units_leave_a_smaller_net_that_says_the_same():
    net = perceptron(widths=(8, 6))
    _, b, last = compress.layers(net).values()
    with torch.no_grad():
        b.weight[:, [1, 2, 5, 7]] = 0  # four units that nobody listens to
        last.weight[:, [0, 3, 4]] = 0
    small = compress.units(net, share=0.5)
    assert [m.weight.shape[0] for m in compress.layers(small).values()] == [4, 3, 3]
    X = torch.from_numpy(maps()[0])
    assert torch.allclose(net.eval()(X), small.eval()(X), atol=1e-5)
    assert torch.equal(compress.layers(small)["last"].bias, last.bias)
    least = compress.layers(compress.units(net, share=1)).values()
    assert [len(m.weight) for m in least] == [1, 1, 3]


# --- bytes ------------------------------------------------------------------------


def written(net, bits):
    """The net's numbers as a file: per layer the shorter of dense and bitmap."""
    file = io.BytesIO()
    for layer in compress.layers(net).values():
        w = layer.weight.detach().numpy().reshape(len(layer.weight), -1)
        top = 2 ** (bits - 1) - 1
        scale = np.abs(w).max(1, keepdims=True) / top if bits < 32 else None
        held = w.ravel()
        if bits < 32:
            held = np.rint(w / np.where(scale == 0, 1, scale)).astype(np.int8).ravel()
        kept = held[held != 0]
        dense, sparse = coded(held, bits), np.packbits(held != 0).tobytes()
        sparse += coded(kept, bits)
        file.write(min(dense, sparse, key=len))
        if bits < 32:
            file.write(scale.astype("<f2").tobytes())
        if layer.bias is not None:
            bias = layer.bias.detach().numpy()
            file.write(bias.astype("<f4" if bits == 32 else "<f2").tobytes())
    return len(file.getvalue())


def coded(values, bits):
    if bits == 32:
        return values.astype("<f4").tobytes()
    single = np.unpackbits(values.view(np.uint8)[:, None], axis=1)[:, 8 - bits :]
    return np.packbits(single.ravel()).tobytes()


@pytest.mark.parametrize("bits", [32, 8, 6, 4])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("make", [folded, perceptron])
def test_weight_bytes_are_those_of_a_file(make, share, bits):
    net = compress.masked(make(), compress.masks(make(), share))
    net = net if bits == 32 else quantize.quantized(net, bits)
    assert compress.weight_bytes(net, bits=bits) == written(net, bits)


def test_eight_bits_weigh_what_a_file_holds_before_it_is_deflated():
    file, small = convert.packed(wafer(), SIDE, ("a", "b", "c"), id="")
    loaded = bundle.loads(file, "f")
    weights = sum(step.W.size for step in loaded.steps if step.W is not None)
    halves = loaded.student.arrays["halves"].nbytes
    assert compress.weight_bytes(small, bits=8) == weights + halves


@pytest.mark.parametrize(
    "call, word",
    [
        (lambda: compress.masks(folded(), 1.2), "share is 1.2"),
        (lambda: compress.masks(folded(), 0.5, scope="all"), "scope is 'all'"),
        (lambda: compress.units(folded(), share=0.5), "chain of linear layers"),
        (lambda: quantize.quantized(folded(), 9), "bits is 9"),
        (lambda: tune(folded(), bits=1), "bits is 1"),
        (lambda: quantize.quantized(wafer(), 8), "normalisations folded"),
        (lambda: compress.weight_bytes(wafer()), "normalisations folded"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(call, word):
    with pytest.raises(ValueError, match=word):
        call()


# --- a student of a table ---------------------------------------------------------


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return {
        "W1": rng.normal(0, 0.3, (64, 28)).astype(np.float32),
        "b1": rng.normal(0, 0.2, 64).astype(np.float32),
        "w2": rng.normal(0, 0.9, 64).astype(np.float32),
        "b2": np.float32(-0.4),
    }


@pytest.fixture(scope="module")
def X():
    """Prepared readings, in (-3, 3)."""
    z = np.random.default_rng(1).standard_t(3, (600, 28))
    return (z / np.sqrt(1 + (z / 3) ** 2)).astype(np.float32)


def reference(student, X):
    """The device's arithmetic once more: plain loops over int64, one row at a time."""
    f4, logits = np.float32, []
    for row in np.rint(X / student.s_in).clip(-127, 127).astype(np.int64):
        total = 0
        for w, s, b, v in zip(
            student.W1, student.s1, student.b1, student.w2, strict=True
        ):
            product = f4(int(row @ w.astype(np.int64)))
            hidden = f4(f4(product * f4(f4(s) * student.s_in)) + f4(b))
            total += int(np.clip(np.rint(hidden / student.s_hidden), 0, 255)) * int(v)
        scale = f4(student.s_hidden * student.s2)
        logits.append(f4(f4(f4(total) * scale) + student.b2))
    return np.array(logits)


def test_network_computes_the_student(arrays, X):
    by_hand = np.maximum(X @ arrays["W1"].T + arrays["b1"], 0) @ arrays["w2"] - 0.4
    np.testing.assert_allclose(compress.logits(arrays, X), by_hand, atol=1e-5)


def test_the_smallest_first_weights_go_and_the_others_stay(arrays):
    pruned = compress.pruned(arrays, 0.25, scope="first")
    gone = pruned["W1"] == 0
    assert np.abs(arrays["W1"][gone]).max() <= np.abs(arrays["W1"][~gone]).min()
    np.testing.assert_array_equal(pruned["W1"], arrays["W1"] * ~gone)
    for kept in ("b1", "w2", "b2"):
        np.testing.assert_array_equal(pruned[kept], arrays[kept])


def test_units_drop_what_contributes_least(arrays):
    weak = dict(arrays, w2=arrays["w2"].copy())
    weak["w2"][[3, 40]] = 1e-6
    smaller = compress.fewer_units(weak, 62)
    left = np.delete(np.arange(64), [3, 40])
    np.testing.assert_array_equal(smaller["W1"], weak["W1"][left])
    np.testing.assert_array_equal(smaller["w2"], weak["w2"][left])
    with pytest.raises(ValueError, match="1 to 64 hidden units, not 65"):
        compress.fewer_units(arrays, 65)


def test_int8_weights_are_within_half_a_step(arrays):
    student, W1 = quantize.weight_only(arrays), quantize.merged(arrays)[0]
    step = student.s1.astype(np.float32)[:, None]
    inside = np.abs(W1) <= 127 * step
    error = np.abs(student.W1 * step - W1)
    assert 0.9 < inside.mean() < 1, "a few weights are cut"
    assert (error[inside] <= 0.5001 * np.broadcast_to(step, error.shape)[inside]).all()
    assert abs(student.W1.astype(int)).max() == 127
    assert student.W1.dtype == student.w2.dtype == np.int8


def test_the_best_scale_of_a_row_beats_its_maximum(arrays):
    W1, student = quantize.merged(arrays)[0], quantize.weight_only(arrays, bits=4)
    largest = np.abs(W1).max(1, keepdims=True) / 7
    uncut = np.square(np.rint(W1 / largest) * largest - W1).sum(1)
    scale = student.s1.astype(np.float32)[:, None]
    assert np.square(student.W1 * scale - W1).sum() < 0.97 * uncut.sum()


def test_an_empty_row_stays_empty(arrays):
    silent = dict(arrays, W1=arrays["W1"].copy())
    silent["W1"][7] = 0
    student = quantize.weight_only(silent)
    assert not student.W1[7].any()
    assert np.isfinite(student.s1).all()


def test_int8_logits_stay_close(arrays, X):
    exact = compress.logits(arrays, X)
    spread = exact.std()
    for student, bound in (
        (quantize.weight_only(arrays), 0.012),
        (quantize.static(arrays, X), 0.018),
        (quantize.dynamic(arrays), 0.04),
    ):
        error = np.sqrt(np.square(compress.logits(student, X) - exact).mean())
        assert 0 < error < bound * spread


def test_mse_calibration_is_the_best_of_the_fixed_scales(arrays, X):
    exact = compress.logits(arrays, X)
    best = quantize.static(arrays, X)

    def error(student):
        return np.square(student.logits(X) - exact).mean()

    for factor in (0.5, 0.9, 1.1, 2):
        assert error(best) < error(replace(best, s_hidden=best.s_hidden * factor))


def test_static_is_integer_arithmetic_row_by_row(arrays, X):
    student = quantize.static(arrays, X)
    logits = student.logits(X[:40])
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, reference(student, X[:40]))
    alone = [student.logits(row[None])[0] for row in X[:40]]
    np.testing.assert_array_equal(logits, alone)


def test_dynamic_leaves_torch_as_it_was_and_says_nothing(arrays):
    before = torch.backends.quantized.engine
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = quantize.dynamic(arrays)
    assert torch.backends.quantized.engine == before
    assert "DynamicQuantizedLinear" in str(net)


@pytest.fixture(scope="module")
def lesson(arrays, X):
    """A teacher unlike the student, and a loss that follows it."""
    teacher = torch.tensor(3 * X[:, 0] * X[:, 1] - X[:, 2])

    def loss(z, rows):
        return entropy(z, torch.sigmoid(teacher[rows]))

    def distance(student):
        with torch.no_grad():
            z = torch.as_tensor(student.logits(X))
            return float(entropy(z, torch.sigmoid(teacher)))

    return loss, distance


def test_qat_learns_keeps_zeros_and_repeats(arrays, X, lesson):
    loss, distance = lesson
    pruned = compress.pruned(arrays, 0.5, scope="first")

    def run(seed):
        return quantize.qat(pruned, X, loss, epochs=8, batch=64, seed=seed)

    first, again, other = run(0), run(0), run(1)
    before = quantize.static(pruned, X)
    assert distance(first) < 0.7 * distance(before)
    assert not first.W1[pruned["W1"] == 0].any()
    np.testing.assert_array_equal(first.logits(X), again.logits(X))
    assert (first.logits(X) != other.logits(X)).any()
    assert (first.s1 != before.s1).any()
    np.testing.assert_array_equal(first.logits(X[:9]), reference(first, X[:9]))


def test_qat_trains_on_the_device_s_own_bits(arrays, X):
    """The last loss is computed from the logits that the result computes."""
    seen = {}

    def loss(z, rows):
        seen[len(seen)] = z.detach().numpy().copy()
        return (0 * z).sum()

    student = quantize.qat(arrays, X, loss, epochs=1, batch=len(X))
    np.testing.assert_array_equal(np.sort(seen[0]), np.sort(student.logits(X)))


def test_qat_returns_the_best_epoch_or_the_start(arrays, X, lesson):
    loss, distance = lesson
    scores = []

    def validate(student):
        scores.append(-distance(student))
        return scores[-1]

    best = quantize.qat(arrays, X, loss, epochs=4, batch=64, lr=0.05, validate=validate)
    assert len(scores) == 5
    assert -distance(best) == max(scores)
    start = quantize.qat(
        arrays, X, loss, epochs=2, validate=lambda q: -q.W1[0, 0] * 0.0
    )
    np.testing.assert_array_equal(start.W1, quantize.static(arrays, X).W1)


def test_sizes_are_plural(arrays, X):
    dense = compress.size(arrays)
    published = compress.size(compress.pruned(arrays, 0.5, scope="layer"))
    dynamic = compress.size(quantize.dynamic(arrays))
    int8 = compress.size(quantize.static(arrays, X))
    assert dense[:3] == (1921, 1921, 7684)
    assert published[:3] == (1921, 993, 7684)
    assert dense.file_bytes == pytest.approx(9680, rel=0.05)
    assert dynamic.file_bytes == pytest.approx(5776, rel=0.05)
    assert published.file_bytes == dense.file_bytes  # zeros are stored like any number
    assert published.gzip_bytes < 0.75 * dense.gzip_bytes
    assert int8.params == dynamic.params == 1921
    assert int8.raw_bytes == 64 * 28 + 64 + 64 * 4 + 4 * 4
    assert int8.raw_bytes < dynamic.raw_bytes < dense.raw_bytes
    assert int8.gzip_bytes < int8.file_bytes
    assert compress.size(arrays) == dense
    smaller = compress.size(compress.fewer_units(arrays, 32))
    assert smaller.params == 28 * 32 + 32 + 32 + 1

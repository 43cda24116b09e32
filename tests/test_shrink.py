"""Any net pruned and quantized: zeros stay zeros, what is weighed can be written."""

from __future__ import annotations

import functools
import io

import numpy as np
import pytest
import torch
from torch import nn

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


def entropy(z, y):
    return nn.functional.binary_cross_entropy_with_logits(z, y)


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
    (quantize.Through.apply(w, quantize.rounded(w.detach(), 4)) * up).sum().backward()
    assert torch.equal(w.grad, up)


def test_tuned_bits_fit_better_than_rounding_afterwards():
    how = {"epochs": 25, "lr": 0.01, "decay": 0.0}
    net = tune(perceptron(), **how)
    X, y = maps()

    def error(net):
        with torch.no_grad():
            return float(entropy(net.eval()(torch.from_numpy(X)), torch.tensor(y)))

    rounded = quantize.quantized(net, 2)
    tuned = tune(net, bits=2, **how)
    assert error(tuned) < error(rounded) - 0.02


def test_equal_arguments_give_equal_nets():
    one, other = (tune(folded(), bits=6, epochs=1) for _ in range(2))
    assert same(numbers(one), numbers(other))


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


def test_units_of_other_nets_are_refused():
    with pytest.raises(ValueError, match="chain of linear layers"):
        compress.units(folded(), share=0.5)


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
    masks = compress.masks(make(), share)
    net = compress.masked(make(), masks)
    assert bits < 32 or compress.weight_bytes(net) == compress.weight_bytes(
        net, masks=masks
    )
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
        (lambda: quantize.quantized(folded(), 9), "bits is 9"),
        (lambda: tune(folded(), bits=1), "bits is 1"),
        (lambda: quantize.quantized(wafer(), 8), "normalisations folded"),
        (lambda: compress.weight_bytes(wafer()), "normalisations folded"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(call, word):
    with pytest.raises(ValueError, match=word):
        call()

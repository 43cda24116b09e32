"""Image networks and their optimizer, against a count by hand or torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdutils import models
from kdutils.train.fit import MaxNorm


def images(n=20, side=28, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side), np.uint8)


def made(name, side=28, classes=10, seed=0, **sizes):
    torch.manual_seed(seed)
    return models.build(name, side, classes, **sizes).eval()


# --- nets -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "side", "classes", "sizes", "count", "felt"),
    [
        ("perceptron", 28, 10, {"widths": (1200, 1200)}, 2_395_210, 1200),
        ("perceptron", 28, 10, {"widths": (800, 800)}, 1_276_810, 800),
        ("perceptron", 8, 3, {"widths": (5,)}, 65 * 5 + 6 * 3, 5),
        ("perceptron", 28, 2, {"widths": (784, 784)}, 1_232_450, 784),
        ("pooled", 28, 10, {}, 225_034, 128),
        ("convolutional", 28, 10, {"channels": 4}, 104 + 136 + 3930, 392),
        ("convolutional", 9, 5, {"channels": 3}, 78 + 78 + 125, 24),
        ("convolutional", 8, 5, {"channels": 3}, 78 + 78 + 125, 24),
    ],
)
def test_shapes_and_parameters(name, side, classes, sizes, count, felt):
    net, X = made(name, side, classes, **sizes), images(7, side)
    assert models.parameters(net) == count
    x = torch.rand(7, side, side)
    assert net(x).shape == (7, classes) and net.features(x).shape == (7, felt)
    assert torch.equal(net(x), net.last(net.features(x)))
    logits = models.predict(net, X)
    assert logits.shape == (7, classes) and logits.dtype == np.float32
    assert logits.std(0).min() > 0 and logits.std(1).min() > 0


def test_the_pooled_net_has_the_authors_shapes():
    net = made("pooled")
    shapes = {k: tuple(v.shape) for k, v in net.state_dict().items() if v.dim() > 1}
    assert list(shapes.values()) == [
        (32, 1, 3, 3), (64, 32, 3, 3), (128, 5 * 5 * 64), (10, 128)
    ]  # fmt: skip
    assert [m.below for m in net.modules() if type(m) is models.images.ByteDropout] == [
        128,
        128,
    ]


def test_a_perceptron_is_its_matrices_one_after_another():
    net, x = made("perceptron", 6, 4, widths=(7, 5), dropout=0.4), torch.rand(3, 6, 6)
    W1, b1, W2, b2, W3, b3 = net.state_dict().values()
    h = (x.flatten(1) @ W1.t() + b1).clamp(min=0)
    h = (h @ W2.t() + b2).clamp(min=0)
    assert torch.allclose(net(x), h @ W3.t() + b3, atol=1e-6)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="model 'resnet' is none of student, mlp"):
        models.build("resnet", 28, 10)


def test_arrays_and_load_are_a_round_trip():
    net, X = made("pooled", 14, 3), images(5, 14)
    kept = models.arrays(net)
    assert all(a.dtype == np.float32 for a in kept.values())
    other = made("pooled", 14, 3, seed=1).train()
    assert not np.allclose(models.predict(other, X), models.predict(net, X), atol=1e-3)
    loaded = models.load(other.train(), kept)
    assert not loaded.training
    assert np.array_equal(models.predict(loaded, X), models.predict(net, X))
    with torch.no_grad():
        net.last.bias += 1
    assert np.array_equal(kept["last.bias"], models.arrays(other)["last.bias"])


@pytest.mark.parametrize("features", [False, True])
def test_predict_is_a_forward_pass_of_bytes_over_255_without_dropout(features):
    net, X = made("perceptron", 8, 4, widths=(9,), dropout=0.5).train(), images(25, 8)
    found = models.predict(net, X, batch=10, features=features)
    net.eval()
    x = torch.from_numpy(X).float() / 255
    expected = net.features(x) if features else net(x)
    assert np.allclose(found, expected.detach().numpy(), atol=1e-6)
    assert found.shape == (25, 9 if features else 4)


@pytest.mark.parametrize("p", [0.25, 0.3, 0.5])
def test_dropout_keeps_its_share_and_the_mean(p):
    drop, x = models.images.ByteDropout(p), torch.rand(999, 1003) + 0.5
    torch.manual_seed(0)
    out = drop(x)
    share, n = round(256 * p) / 256, x.numel()
    kept = out != 0
    deviation = (share * (1 - share) / n) ** 0.5
    assert abs(kept.float().mean().item() - (1 - share)) < 4 * deviation
    assert torch.allclose(out[kept], x[kept] / (1 - share))
    assert out.mean().item() == pytest.approx(x.mean().item(), abs=8 * deviation)
    by_unit = kept.float().mean(0)  # no unit is dropped more often than another
    assert (by_unit - (1 - share)).abs().max() < 6 * (share * (1 - share) / 999) ** 0.5


def test_dropout_follows_the_seed_and_is_off_when_asked():
    drop, x = models.images.ByteDropout(0.5), torch.ones(40, 50)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(drop(x))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drop(x))
    assert torch.equal(drop.eval()(x), x)
    assert torch.equal(models.images.ByteDropout(0.0)(x), x)


def test_dropout_passes_the_gradient_of_what_it_kept():
    drop, x = models.images.ByteDropout(0.25), torch.rand(30, 3, 5).requires_grad_()
    out = drop(x.transpose(0, 2))
    out.sum().backward()
    assert torch.equal(x.grad.transpose(0, 2) != 0, out != 0)
    assert np.allclose(x.grad.unique().numpy(), [0, 4 / 3])


def test_products_in_bfloat16_give_float32_close_by():
    net, x = made("pooled", 14, 5), torch.rand(30, 14, 14)
    assert models.autocast(net, False) is net
    full, half = net(x), models.autocast(net)(x)
    assert half.dtype == torch.float32
    assert 0 < (full - half).abs().max() < 0.02 * full.abs().max()
    half.sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in net.parameters())


# --- gradient descent within a norm -----------------------------------------------


def descend(make, steps, net=None):
    torch.manual_seed(0)
    net = net or nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = make(net.parameters())
    x, y = torch.randn(32, 6), torch.randint(0, 3, (32,))
    history = []
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
        history.append([p.detach().clone() for p in net.parameters()])
    return history


def test_without_a_limit_it_is_torchs_sgd_with_nesterov():
    def plain(params):
        return torch.optim.SGD(params, lr=0.3, momentum=0.8, nesterov=True)

    for limit in ({}, {"norm": 1e6}):
        found = descend(lambda p, k=limit: MaxNorm(p, lr=0.3, momentum=0.8, **k), 9)
        for a, b in zip(found[-1], descend(plain, 9)[-1], strict=True):
            assert torch.allclose(a, b, atol=1e-6)
    other = descend(lambda p: MaxNorm(p, lr=0.3, momentum=0.9), 9)
    assert not torch.allclose(other[-1][0], found[-1][0], atol=1e-3)


def test_units_are_scaled_back_to_the_norm_every_so_many_steps():
    limit, every = 0.6, 3
    found = descend(lambda p: MaxNorm(p, lr=1.0, norm=limit, every=every), 9)
    free = descend(lambda p: MaxNorm(p, lr=1.0, norm=limit, every=100), 3)
    longest = [max(p.norm(dim=1).max() for p in ps if p.dim() == 2) for ps in found]
    for step, long in enumerate(longest, start=1):
        if step % every == 0:
            assert long == pytest.approx(limit, abs=1e-6)
    assert max(longest) > limit + 0.05  # between times a unit may be longer
    cut = 0
    for after, before in zip(found[2], free[2], strict=True):
        if after.dim() == 1:  # a bias has no limit
            assert torch.equal(after, before)
            continue
        short = before.norm(dim=1) <= limit
        assert torch.equal(after[short], before[short])
        cosine = F.cosine_similarity(after, before)
        assert torch.allclose(cosine, torch.ones_like(cosine), atol=1e-5)
        cut += int((~short).sum())
    assert 0 < cut < 11

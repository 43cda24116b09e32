"""Networks for wafer maps: counted by hand, asked layer by layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdutils import models
from kdutils.compress import convert

SMALL = {"widths": [3, 4, 5], "depth": 2, "head": 6}


def maps(n=5, side=52, seed=0):
    drawn = np.random.default_rng(seed).integers(0, 3, (n, side, side), np.uint8)
    return torch.from_numpy(drawn)


def made(name, side=52, patterns=8, seed=0, **sizes):
    torch.manual_seed(seed)
    return models.build(name, side, patterns, **sizes).eval()


def say(net, x):
    with torch.no_grad():
        return net(x)


LENET = (25 * 6 + 6) + (25 * 6 * 16 + 16)
BASE = (25 * 2 * 8 + 2 * 8) + (9 * 8 * 16 + 2 * 16) + (9 * 16 * 24 + 2 * 24)


@pytest.mark.parametrize(
    ("name", "side", "patterns", "sizes", "count"),
    [
        ("student1", 52, 8, {}, 60_928),
        ("student2", 52, 8, {}, 4_628),
        ("student2", 40, 3, {}, LENET + (16 * 2 * 2 + 1) * 3),
        ("takeshi", 52, 8, {}, 416 + 12_832 + 51_264 + (64 * 36 + 1) * 128 + 129 * 8),
        ("kiryong", 52, 8, {}, 160 + 4_640 + (32 * 13 * 13 + 1) * 64 + 65 * 8),
        ("kiryong", 31, 2, {}, 160 + 4_640 + (32 * 7 * 7 + 1) * 64 + 65 * 2),
        ("resnet18", 52, 1000, {}, 11_689_512),
        ("compact", 52, 8, {"depth": 0}, BASE + 25 * 8),
        ("compact", 52, 8, {}, BASE + 9 * (16**2 + 24**2) + 2 * (16 + 24) + 25 * 8),
        ("compact", 33, 2, {"widths": [4]}, 25 * 2 * 4 + 8 + 5 * 2),
        (
            "compact", 52, 8, {"depth": 0, "head": 50},
            BASE + 9 * 24 + (24 * 50 + 2 * 50) + 51 * 8,
        ),
    ],
)  # fmt: skip
def test_shapes_and_parameters(name, side, patterns, sizes, count):
    net = made(name, side, patterns, **sizes)
    assert models.parameters(net) == count
    z = say(net, maps(3, side))
    assert z.shape == (3, patterns) and z.dtype == torch.float32
    assert z.std(0).min() > 0 and z.std(1).min() > 0


@pytest.mark.parametrize(("name", "bytes"), [("student1", 248e3), ("student2", 21e3)])
def test_the_published_students_weigh_what_the_paper_says(name, bytes):
    """student2: 21 KB to the last digit that is given."""
    found = convert.torch_bytes(made(name))
    assert abs(found - bytes) < (0.01 * bytes if name == "student1" else 500)


@pytest.mark.parametrize("planes", [1, 2, 3])
def test_maps_become_planes(planes):
    X = torch.tensor([[[0, 1], [2, 1]], [[2, 2], [0, 0]]], dtype=torch.uint8)
    x = models.wafers.Reader(planes, nn.Identity())(X)
    grey = [[[0, 0.5], [1, 0.5]], [[1, 1], [0, 0]]]
    dies = [[[0, 1], [1, 1]], [[1, 1], [0, 0]]]
    fails = [[[0, 0], [1, 0]], [[1, 1], [0, 0]]]
    expected = {1: [grey], 2: [dies, fails], 3: [grey] * 3}[planes]
    assert x.dtype == torch.float32
    assert torch.equal(x, torch.tensor(expected, dtype=torch.float32).swapaxes(0, 1))


@pytest.mark.parametrize(
    ("name", "planes"), [("resnet18", 3), ("compact", 2), ("student1", 1)]
)
def test_which_net_sees_which_planes_and_all_are_channels_last(name, planes):
    net = made(name, 52, 2)
    assert net.planes == planes
    form = {"memory_format": torch.channels_last}
    for weight in net.parameters():
        assert weight.dim() < 4 or weight.is_contiguous(**form)
    x = models.wafers.Reader(2, nn.Identity())(maps())
    assert x.is_contiguous(**form)


@pytest.mark.parametrize("name", ["student2", "compact", "kiryong"])
def test_any_number_type_is_read(name):
    net, X = made(name), maps(3)
    z = say(net, X)
    for dtype in (torch.int64, torch.float64, torch.float32, torch.float16):
        assert torch.equal(say(net, X.to(dtype)), z)


@pytest.mark.parametrize("name", models.wafers.MODELS)
def test_no_map_has_a_say_in_anothers_answer(name):
    net, X = made(name), maps(4)
    z = say(net, X)
    each = torch.cat([say(net, X[[i]]) for i in range(4)])
    assert torch.allclose(z, each, atol=1e-5)


# --- layer by layer ---------------------------------------------------------------


def chain(net):
    """A net's weights, in the order of its layers."""
    return iter(net.state_dict().values())


def test_lenets_are_their_layers_one_after_another():
    for name, pool, hidden in (("student1", 2, 3), ("student2", 3, 1)):
        net, X = made(name), maps()
        weights, x = chain(net), X[:, None].float() / 2
        for _ in range(3 if name == "student1" else 2):
            x = F.conv2d(x, next(weights), next(weights)).clamp(min=0)
            x = F.max_pool2d(x, pool)
        x = x.flatten(1)
        for k in range(hidden):
            x = F.linear(x, next(weights), next(weights))
            x = x.clamp(min=0) if k < hidden - 1 else x
        assert not list(weights)
        assert torch.allclose(say(net, X), x, atol=1e-5)


@pytest.mark.parametrize(("name", "k"), [("takeshi", 5), ("kiryong", 3)])
def test_padded_nets_are_their_layers_one_after_another(name, k):
    net, X = made(name), maps()
    weights, x = chain(net), X[:, None].float() / 2
    for _ in range(3 if name == "takeshi" else 2):
        x = F.conv2d(x, next(weights), next(weights), padding=k // 2).clamp(min=0)
        x = F.max_pool2d(x, 2)
    x = F.linear(x.flatten(1), next(weights), next(weights)).clamp(min=0)
    x = F.linear(x, next(weights), next(weights))
    assert not list(weights)
    assert torch.allclose(say(net, X), x, atol=1e-5)
    dropped = [say(net.train(), X) for _ in range(2)]
    assert torch.equal(*dropped) == (name == "takeshi")


@pytest.mark.parametrize("head", [0, 6])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_compact_net_is_its_layers_one_after_another(depth, head):
    net, X = made("compact", **{**SMALL, "depth": depth, "head": head}), maps()
    with torch.no_grad():
        for _ in range(3):  # means and variances that are not 0 and 1
            net.train()(X)
        for name, weight in net.named_parameters():
            if weight.dim() == 1 and "body" in name:
                weight += 0.3 * torch.randn_like(weight)
    weights = chain(net.eval())

    def normed(x, stride):
        W, *own = (next(weights) for _ in range(5))
        next(weights)  # how many batches there were
        x = F.conv2d(x, W, stride=stride, padding=W.shape[-1] // 2)
        scale, shift, mean, variance = (a[:, None, None] for a in own)
        return ((x - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp(min=0)

    x = normed(torch.stack((X > 0, X == 2), 1).float(), 2)
    for _ in range(2):
        x = normed(x, 2)
        for _ in range(depth):
            x = x + normed(x, 1)
    assert x.shape[1:] == (5, 7, 7)
    if head:
        x = F.conv2d(x, next(weights), padding=1, groups=5)
        x = normed(x, 1)
    x = F.linear(x.mean((2, 3)), next(weights), next(weights))
    assert not list(weights)
    assert torch.allclose(say(net, X), x, atol=1e-4)


def test_the_seed_is_the_initial_weights():
    first, again, other = (made("compact", seed=s, **SMALL) for s in (1, 1, 2))
    pairs = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(say(first, maps()), say(other, maps()))

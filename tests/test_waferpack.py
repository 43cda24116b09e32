"""Packed nets: the file byte by byte, what rounding costs, and what is refused."""

from __future__ import annotations

import json
import struct
import zlib

import numpy as np
import pytest
import torch
from torch import nn

from kdutils import models
from kdutils.deploy import waferpack

COMPACT = {"widths": [3, 4, 5], "depth": 1, "head": 6}
CASES = [
    ("compact", 52, COMPACT),
    ("compact", 20, {"widths": [4], "depth": 0}),
    ("student2", 52, {}),
    ("kiryong", 12, {}),
]


def maps(n=6, side=52, seed=0):
    drawn = np.random.default_rng(seed).integers(0, 3, (n, side, side), np.uint8)
    return torch.from_numpy(drawn)


def trained(name="compact", side=52, sizes=None, patterns=8, seed=0):
    """A net whose weights, means and variances are all far from their first ones."""
    torch.manual_seed(seed)
    net = models.build(name, side, patterns, **(sizes or {}))
    with torch.no_grad():
        for _ in range(3):
            net.train()(maps(8, side))
        for weight in net.parameters():
            weight += 0.2 * weight.abs().mean() * torch.randn_like(weight)
            if weight.dim() == 1:
                weight += 0.3 * torch.randn_like(weight)
    return net.eval()


def packed(name="compact", side=52, sizes=None, patterns=8, net=None):
    net = net or trained(name, side, sizes, patterns)
    return waferpack.pack(net, name, side, patterns, **(sizes or {}))


def layers(net):
    return [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def say(net, x):
    with torch.no_grad():
        return net(x)


# --- folding ----------------------------------------------------------------------


@pytest.mark.parametrize(("name", "side", "sizes"), CASES)
def test_folding_changes_no_logit(name, side, sizes):
    net, X = trained(name, side, sizes), maps(side=side)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    small = waferpack.folded(net.train())
    assert net.training and not small.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    z = say(net.eval(), X)
    assert torch.allclose(say(small, X), z, atol=2e-5 * z.abs().max().item())
    assert not [m for m in small.modules() if isinstance(m, nn.BatchNorm2d)]
    convolutions = sum(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert models.parameters(net) - models.parameters(small) == sum(
        m.num_features for m in net.modules() if isinstance(m, nn.BatchNorm2d)
    )
    assert (convolutions > 0) == (name == "compact")


# --- the file ---------------------------------------------------------------------


def read(data, net):
    """[(scales, steps, biases or None)] of a file, as its layout is written down."""
    assert data[:4] == b"KDW\0"
    (length,) = struct.unpack_from("<H", data, 4)
    at, found = 6 + length, []
    for layer in layers(net):
        rows, count = layer.weight.shape[0], layer.weight.numel()
        scales = struct.unpack_from(f"<{rows}e", data, at)
        steps = struct.unpack_from(f"<{count}b", data, at + 2 * rows)
        at += 2 * rows + count
        biases = None
        if layer.bias is not None:
            biases = np.array(struct.unpack_from(f"<{rows}e", data, at))
            at += 2 * rows
        found.append((np.array(scales), np.array(steps).reshape(rows, -1), biases))
    assert struct.unpack_from("<I", data, at) == (zlib.crc32(data[:at]),)
    assert len(data) == at + 4
    return json.loads(data[6 : 6 + length].decode()), found


@pytest.mark.parametrize(("name", "side", "sizes"), CASES)
def test_a_file_is_laid_out_as_its_module_says(name, side, sizes):
    net = trained(name, side, sizes)
    data, small = packed(name, side, sizes, net=net), waferpack.folded(net)
    note, found = read(data, small)
    assert note == {"name": name, "side": side, "patterns": 8, **sizes}
    biased = [layer.bias is not None for layer in layers(small)]
    assert biased.count(False) == ("head" in sizes)
    for layer, (scales, steps, biases) in zip(layers(small), found, strict=True):
        W = layer.weight.detach().double().flatten(1).numpy()
        top = np.abs(W).max(axis=1)
        assert np.allclose(scales, top / 127, rtol=2**-11, atol=0)
        assert (np.abs(steps).max(axis=1) == 127).all()
        rounding = scales / 2 + 127 * scales * 2**-10
        assert (np.abs(steps * scales[:, None] - W) <= rounding[:, None]).all()
        if biases is not None:
            b = layer.bias.detach().double().numpy()
            assert (np.abs(biases - b) <= np.abs(b) * 2**-11 + 2**-25).all()


@pytest.mark.parametrize(("name", "side", "sizes"), CASES)
def test_an_unpacked_net_has_the_weights_of_the_file_and_says_nearly_the_same(
    name, side, sizes
):
    net, X = trained(name, side, sizes), maps(40, side)
    data = packed(name, side, sizes, net=net)
    torch.manual_seed(5)  # the weights are the file's, whatever the seed
    small = waferpack.unpack(data)
    expected = waferpack.folded(net)
    _, found = read(data, expected)
    for layer, (scales, steps, biases) in zip(layers(expected), found, strict=True):
        W = torch.tensor(steps * scales[:, None], dtype=torch.float32)
        layer.weight.data = W.view(layer.weight.shape)
        if biases is not None:
            layer.bias.data = torch.tensor(biases, dtype=torch.float32)
    assert not small.training
    z, said = say(net, X), say(small, X)
    spread = z.std().item()
    assert torch.allclose(said, say(expected, X), atol=1e-4 * spread)
    gap = (said - z).abs()
    assert 0 < gap.mean() < 0.05 * spread and gap.max() < 0.3 * spread


def test_packing_again_gives_the_same_bytes():
    for name, side, sizes in CASES:
        data = packed(name, side, sizes)
        again = packed(name, side, sizes, net=waferpack.unpack(data))
        assert again == data


def test_a_file_does_not_grow_with_what_folding_takes():
    """5 x 5 of 4, one layer: 2 x 25 bytes, 2 of scale and of bias for each output."""
    data = packed(side=20, sizes={"widths": [4], "depth": 0}, patterns=3)
    note = b'{"name":"compact","side":20,"patterns":3,"widths":[4],"depth":0}'
    assert data[6 : 6 + len(note)] == note
    assert len(data) == 6 + len(note) + 4 * (50 + 4) + 3 * (4 + 4) + 4


@pytest.mark.parametrize("value", [0.0, 1e-7, 1e-12])
def test_outputs_without_weights_worth_a_scale_survive(value):
    net = trained(sizes=COMPACT)
    with torch.no_grad():
        net.body[-1].weight[2] = value
    W = waferpack.unpack(packed(sizes=COMPACT, net=net)).body[-1].weight
    assert torch.isfinite(W).all() and (W[2] - value).abs().max() <= 2**-24
    assert (W[[0, 1, 3]] != 0).any(dim=1).all()


def test_torch_bytes_are_those_of_torch_save(tmp_path):
    net = trained(sizes=COMPACT)
    torch.save(net.state_dict(), tmp_path / "weights")
    size = (tmp_path / "weights").stat().st_size
    found = waferpack.torch_bytes(net)
    assert abs(found - size) <= 0.1 * size
    assert found > 4 * models.parameters(net)


# --- refusals ---------------------------------------------------------------------

NONE = "this is no packed wafer net: it does not begin with KDW"
DAMAGED = "a packed wafer net is damaged: its checksum does not match"


@pytest.mark.parametrize("flip", [1, 0x80, 0xFF])
def test_any_byte_that_changed_is_found(flip):
    data = packed(side=20, sizes={"widths": [4], "depth": 0})
    for at in range(len(data)):
        other = bytearray(data)
        other[at] ^= flip
        with pytest.raises(waferpack.PackError) as error:
            waferpack.unpack(bytes(other))
        assert str(error.value) == (NONE if at < 4 else DAMAGED)


def test_any_file_that_was_cut_or_grew_is_found():
    data = packed(side=20, sizes={"widths": [4], "depth": 0})
    for end in range(len(data)):
        with pytest.raises(waferpack.PackError) as error:
            waferpack.unpack(data[:end])
        assert str(error.value) == (NONE if end < 10 else DAMAGED)
    for more in (b"\0", b"\xff", data):
        with pytest.raises(waferpack.PackError, match=f"^{DAMAGED}$"):
            waferpack.unpack(data + more)


@pytest.mark.parametrize("data", [b"", b"KDW", b"PK\3\4" + bytes(90), b"KDB\0" * 9])
def test_other_files_are_refused(data):
    with pytest.raises(waferpack.PackError) as error:
        waferpack.unpack(data)
    assert str(error.value) == NONE and isinstance(error.value, ValueError)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("separable", {"widths": [3, 4, 5], "depth": 1}), ("resnet18", {})],
)
def test_nets_of_nets_are_folded_and_packed_as_well(name, sizes):
    net, X = trained(name, sizes=sizes), maps()
    assert torch.allclose(say(waferpack.folded(net), X), say(net, X), atol=1e-4)
    again = say(waferpack.unpack(packed(name, sizes=sizes, net=net)), X)
    assert (again - say(net, X)).abs().mean() < 0.05 * say(net, X).std()


def sealed(held):
    """A file whose checksum is right, whatever it says."""
    return held + struct.pack("<I", zlib.crc32(held))


def test_a_file_with_a_right_checksum_and_a_wrong_content_is_refused():
    held = packed("compact", 20, {"widths": [4], "depth": 0})[:-4]
    end = 6 + int.from_bytes(held[4:6], "little")
    wrong = {
        "bytes where": held + b"\0\0",
        "cannot be read|bytes where": held[:-2],
        "cannot be read": held[:6] + b"{" * (end - 6) + held[end:],
    }
    for said, file in wrong.items():
        with pytest.raises(waferpack.PackError, match=said):
            waferpack.unpack(sealed(file))


def test_a_normalisation_without_a_convolution_is_refused():
    net = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1))
    with pytest.raises(waferpack.PackError, match="no convolution"):
        waferpack.folded(net)

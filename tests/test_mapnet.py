"""Wafer nets on the device: torch's answers from numpy alone, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_waferpack import trained
from torch import nn

from kdutils import models
from kdutils.data import wafersim
from kdutils.deploy import container, mapnet, mapsteps, waferbundle, waferpack
from kdutils.deploy.container import BundleError
from kdutils.store import code

ROOT = Path(__file__).parents[1]
PATTERNS = wafersim.PATTERNS
TINY = {"widths": [2, 3], "depth": 1}
CASES = [
    ("compact", {"widths": [8, 16, 24], "depth": 2}),
    ("compact", {"widths": [3, 4, 5], "depth": 1, "head": 6}),
    ("separable", {"widths": [7, 14, 18], "depth": 1}),
    ("student1", {}),
    ("student2", {}),
    ("takeshi", {}),
    ("kiryong", {}),
]
DEVICE = """
import sys
for name in ("torch", "torchvision", "sklearn", "pandas", "scipy"):
    sys.modules[name] = None
import numpy as np
from kdutils.deploy import mapnet
net = mapnet.load(sys.argv[1])
np.save(sys.argv[2], net.logits(np.load(sys.argv[3])))
"""


@pytest.fixture(scope="module")
def maps():
    return wafersim.draw(24, seed=7)[0]


def small(side=9):
    return np.random.default_rng(1).integers(0, 3, (2, side, side), np.uint8)


def tiny(side=9, **changes):
    """The smallest file there is a reason to write: three patterns, maps of 9 x 9."""
    how = {"patterns": ("a", "b", "ü"), "id": "m1", "golden": small(side)} | changes
    net = trained("compact", side, TINY, patterns=len(how["patterns"]))
    return waferbundle.pack(net, "compact", side, **how, **TINY)


def torch_says(net, name, sizes, X):
    file = waferpack.pack(net, name, 52, 8, **sizes)
    with torch.no_grad():
        return waferpack.unpack(file)(torch.from_numpy(X)).numpy(), len(file)


# --- the same answers -------------------------------------------------------------


@pytest.mark.parametrize(("name", "sizes"), CASES)
def test_numpy_says_what_torch_says(name, sizes, maps):
    net = trained(name, 52, sizes)
    data = waferbundle.pack(net, name, 52, PATTERNS, id="m", golden=maps[:2], **sizes)
    found = mapnet.loads(data, "f")
    said, (expected, size) = found.logits(maps), torch_says(net, name, sizes, maps)
    assert said.dtype == np.float32 and said.shape == (24, 8)
    assert np.abs(said - expected).max() <= 1e-4 * expected.std()
    assert (found.id, found.net, found.side) == ("m", name, 52)
    assert found.patterns == PATTERNS
    assert np.array_equal(found.golden[0], maps[:2])
    assert np.array_equal(found.golden[1], torch_says(net, name, sizes, maps[:2])[0])
    assert sum(found.parts.values()) == len(data) < size + 1600


def test_a_map_is_answered_alike_in_any_company(maps):
    name, sizes = CASES[0]
    net = trained(name, 52, sizes)
    data = waferbundle.pack(net, name, 52, PATTERNS, id="m", golden=maps[:1], **sizes)
    found = mapnet.loads(data, "f")
    said = found.logits(maps)
    for rows in ([3], [5, 3], list(range(24))[::-1]):
        assert np.array_equal(found.logits(maps[rows]), said[rows])
    for other in (np.int64, np.float32):
        assert np.array_equal(found.logits(maps.astype(other)), said)
    assert found.logits(maps[:0]).shape == (0, 8)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize(("k", "stride", "padding"), [(1, 1, 0), (3, 2, 1), (2, 3, 0)])
def test_a_convolution_is_torch_s(k, stride, padding, groups):
    rng = np.random.default_rng(k)
    x = rng.normal(size=(4, 7, 10)).astype(np.float32)
    W = rng.normal(size=(4, 4 // groups, k, k)).astype(np.float32)
    how = {"stride": stride, "padding": padding, "groups": groups}
    z = torch.conv2d(torch.from_numpy(x[None]), torch.from_numpy(W), **how)[0].numpy()
    found = mapsteps._conv(x, W, stride, padding, groups)
    assert found.shape == z.shape and np.allclose(found, z, atol=1e-5)


def test_the_device_needs_no_torch(tmp_path, maps):
    name, sizes = CASES[2]
    net = trained(name, 52, sizes)
    data = waferbundle.pack(net, name, 52, PATTERNS, id="m", golden=maps[:2], **sizes)
    (tmp_path / "net").write_bytes(data)
    np.save(tmp_path / "maps.npy", maps)
    files = [tmp_path / "net", tmp_path / "said.npy", tmp_path / "maps.npy"]
    command = [sys.executable, "-c", DEVICE, *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = torch_says(net, name, sizes, maps)[0]
    assert np.allclose(np.load(files[1]), expected, atol=1e-4 * expected.std())
    reached = code.reached("kdutils.deploy.mapnet")
    assert {name.rpartition(".")[2] for name in reached} == {
        "deploy",
        "mapnet",
        "mapsteps",
        "container",
    }


# --- the file ---------------------------------------------------------------------


def test_any_safetensors_program_opens_it(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy", reason="safetensors is not here")
    arrays = numpy.load(tiny())
    assert set(arrays) == {*mapnet.TENSORS, "crc32"}
    assert arrays["weights"].dtype == np.int8 and arrays["golden_logits"].shape == (
        2,
        3,
    )


@pytest.mark.parametrize("side", [1, 3, 9, 52])
@pytest.mark.parametrize("values", [[0], [1], [2], [0, 1, 2]])
def test_golden_maps_come_back(side, values):
    maps = np.random.default_rng(2).choice(values, (3, side, side)).astype(np.uint8)
    held = mapnet.squeezed(maps)
    assert np.array_equal(mapnet.spread(held, 3, side), maps)
    for n in (0, 30) if side == 1 else (0, 2, 30):
        with pytest.raises(ValueError, match=f"are not {n} of {side} x {side}"):
            mapnet.spread(held, n, side)


def test_a_person_reads_what_it_is():
    data = tiny()
    lines = dict(mapnet.describe(mapnet.loads(data, "f")))
    assert lines["model"] == "m1" and lines["patterns"] == "a, b, ü"
    assert lines["step 2"] == "conv 2 5 2 2 1 1 1: 2 x 5 x 5 by weights 2 x 2 x 5 x 5"
    assert lines["weights"] == str(100 + 54 + 81 + 9)
    assert lines["bytes"] == f"{len(data):,}"


# --- refusals ---------------------------------------------------------------------


def test_every_flipped_bit_is_found():
    data, rng = tiny(), np.random.default_rng(3)
    chosen = set(rng.choice(8 * len(data), 400, replace=False).tolist())
    for bit in range(8 * len(data)):
        other = bytearray(data)
        other[bit // 8] ^= 1 << bit % 8
        read = mapnet.loads if bit in chosen else container.read
        with pytest.raises(BundleError, match=r"^some file is "):
            read(bytes(other), "some file")


def test_every_cut_file_is_found():
    data = tiny()
    for end in range(len(data)):
        with pytest.raises(BundleError, match=r"^f is "):
            mapnet.loads(data[:end], "f")


def changed(**changes):
    """A file with a right checksum and other notes or arrays."""
    tensors, about = container.read(tiny(), "f")
    for key, value in changes.items():
        (tensors if key in tensors else about)[key] = value
    return container.write(tensors, about)


def steps(*places, **numbers):
    """The tiny net's program with other steps at some places."""
    program = json.loads(container.read(tiny(), "f")[1]["program"])
    for place in places:
        program[place] = numbers["step"]
    return json.dumps(program)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "wafer net 2"}, "is no wafer net: expected the format"),
        ({"side": "10"}, "golden maps are not 2 of 10 x 10"),
        ({"side": "nine"}, "is not a whole wafer net"),
        ({"patterns": '["a","b"]'}, "does not end in 2 logits"),
        ({"patterns": "[1,2,3]"}, "is no text"),
        ({"patterns": "["}, "is not a whole wafer net"),
        ({"program": "[]"}, "has 244 weights, expected 0"),
        ({"program": "7"}, "is not a whole wafer net"),
        ({"program": "[" * 99999}, "is not a whole wafer net"),
        ({"weights": np.ones(243, np.int8)}, "has 243 weights, too few"),
        ({"weights": np.ones(245, np.int8)}, "has 245 weights, expected 244"),
        ({"weights": np.ones(244, np.int8)}, "does not say here what it said"),
        ({"weights": np.ones(244, np.float32)}, "its arrays are"),
        ({"halves": np.ones(3, np.float16)}, "has 3 halves, too few"),
        ({"halves": np.full(22, np.nan, np.float16)}, "does not say here"),
        ({"golden_logits": np.zeros((2, 3), np.float32)}, "does not say here"),
        ({"golden_logits": np.full((2, 3), np.nan, np.float32)}, "does not say here"),
        ({"golden_logits": np.zeros((0, 3), np.float32)}, "golden maps are not 0"),
        ({"golden_maps": np.ones(20, np.uint8)}, "is not a whole wafer net"),
        ({"more": np.ones(1, np.int8)}, "is not a whole wafer net|its arrays"),
    ],
)
def test_a_right_checksum_over_a_wrong_content_is_refused(changes, said):
    if "more" in changes:
        tensors, about = container.read(tiny(), "f")
        data = container.write({**tensors, **changes}, about)
    else:
        data = changed(**changes)
    with np.errstate(invalid="ignore"), pytest.raises(BundleError, match=said) as error:
        mapnet.loads(data, "f")
    assert str(error.value).startswith("f ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("place", "step", "said"),
    [
        (0, ["planes", 3], "3 planes, expected 1 or 2"),
        (0, ["planes"], r"step 1 is none: planes \[\]"),
        (0, ["colour", 2], "step 1 is none: colour"),
        (1, ["conv", 2, 5, 0, 2, 1, 1, 1], ""),
        (1, ["conv", 2, 5, 2, -2, 1, 1, 1], "step 2 is none"),
        (1, ["conv", 2, 5.0, 2, 2, 1, 1, 1], "step 2 is none"),
        (1, ["conv", 3, 5, 2, 2, 2, 1, 1], "2 channels in 2 groups give no 3"),
        (1, ["conv", 2, 5, 2, 2, 0, 1, 1], "2 channels in 0 groups"),
        (1, ["conv", 2, 50, 2, 2, 1, 1, 1], "too few"),
        (1, ["max", 0], ""),
        (3, ["add"], ""),
        (5, ["keep"], "keeps what it never adds"),
        (-1, ["mean"], ""),
        (-1, ["flatten"], ""),
    ],
)
def test_a_program_that_cannot_be_done_is_refused(place, step, said):
    data = changed(program=steps(place, step=step))
    with pytest.raises(BundleError, match=rf"^f is not a whole wafer net \(.*{said}"):
        mapnet.loads(data, "f")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            np.zeros((2, 8, 9)),
            "expected wafer maps of shape (n, 9, 9), got (2, 8, 9)",
        ),
        (np.zeros((9, 9)), "expected wafer maps of shape (n, 9, 9), got (9, 9)"),
        (np.full((1, 9, 9), 3), "map 1 has 3 in row 1, column 1, expected 0 (off"),
        (np.eye(9)[None] * 255, "map 1 has 255.0 in row 1, column 1, expected 0 (off"),
        (np.full((1, 9, 9), np.nan), "map 1 has nan in row 1, column 1, expected 0"),
    ],
)
def test_other_maps_are_refused(wrong, said):
    net = mapnet.loads(tiny(), "f")
    with pytest.raises(BundleError) as error:
        net.logits(wrong)
    assert str(error.value).startswith(said)
    with pytest.raises(BundleError):
        tiny(golden=wrong)


def test_a_net_that_the_steps_cannot_do_is_refused():
    odd = models.wafers.Reader(1, nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU()))
    with pytest.raises(BundleError, match="has no step for GELU"):
        waferbundle.program(odd)
    with pytest.raises(BundleError, match="has no step for BatchNorm2d"):
        waferbundle.program(models.build("compact", 9, 3, **TINY))
    with pytest.raises(BundleError, match="expected a net of wafernets"):
        waferbundle.program(odd.body)
    with pytest.raises(BundleError, match="at least one golden map"):
        tiny(golden=small()[:0])


def test_inspect_reads_a_wafer_net_too(tmp_path, capsys):
    from kdutils.deploy import bundle

    path = tmp_path / "net.safetensors"
    path.write_bytes(tiny())
    assert bundle.main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert "wafer maps of 9 x 9 dies" in text and "a, b, ü" in text

"""A student of maps as one file: torch's logits from numpy, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from kdutils import models
from kdutils.compress import convert
from kdutils.compress import prune as compress
from kdutils.data.simulate import wafersim
from kdutils.deploy import __main__ as deploy
from kdutils.deploy import bundle, container, onnxfile, runtime
from kdutils.deploy.bundle import BundleError
from kdutils.edge import model
from kdutils.store import code

ROOT = Path(__file__).parents[1]
PATTERNS = wafersim.PATTERNS
TINY = {"widths": [2, 3], "depth": 1}
CASES = [("compact", {"widths": [8, 16, 24], "depth": 2})]
CASES += [("compact", {"widths": [3, 4, 5], "depth": 1, "head": 6})]
CASES += [("separable", {"widths": [7, 14, 18], "depth": 1}), ("student1", {})]
CASES += [("student2", {}), ("takeshi", {}), ("kiryong", {})]
DEVICE = """
import sys
for name in ("torch", "torchvision", "sklearn", "pandas", "scipy"):
    sys.modules[name] = None
import runpy
runpy.run_module("kdutils.deploy", run_name="__main__", alter_sys=True)
"""


def trained(name="compact", side=52, sizes=None, patterns=8, seed=0):
    """A net whose weights, means and variances are all far from their first ones."""
    torch.manual_seed(seed)
    net = models.build(name, side, patterns, **(TINY if sizes is None else sizes))
    drawn = np.random.default_rng(0).integers(0, 3, (8, side, side), np.uint8)
    with torch.no_grad():
        for _ in range(3):
            net.train()(torch.from_numpy(drawn))
        for weight in net.parameters():
            weight += 0.2 * weight.abs().mean() * torch.randn_like(weight)
            if weight.dim() == 1:
                weight += 0.3 * torch.randn_like(weight)
    return net.eval()


def logits(net, maps):
    with torch.no_grad():
        return net(torch.from_numpy(maps)).numpy()


def tiny(side=9, id="m1", classes=("a", "b", "ü"), **how):
    """The smallest file there is a reason to write: three patterns, maps of 9 x 9."""
    net = trained("compact", side, TINY, patterns=len(classes))
    return convert.packed(net, side, classes, id=id, **how)[0]


@pytest.fixture(scope="module")
def maps():
    return wafersim.draw(8, seed=7)[0]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case[0])
def shipped(request):
    """A trained net, its file, what was packed, and what the file gives back."""
    name, sizes = request.param
    net = trained(name, 52, sizes)
    data, small = convert.packed(net, 52, PATTERNS, id="m")
    return net, data, small, bundle.loads(data, "f")


# --- folding and rounding ---------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sizes"), [*CASES[:3], CASES[4], ("resnet18", {})], ids=str
)
def test_folding_changes_no_logit(name, sizes, maps):
    maps = maps[:3, ::3, ::3] if name == "resnet18" else maps  # it takes any side
    net = trained(name, maps.shape[1], sizes)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    small = convert.folded(net.train())
    assert net.training and not small.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    z = logits(net.eval(), maps)
    assert np.allclose(logits(small, maps), z, atol=2e-5 * np.abs(z).max())
    assert not [m for m in small.modules() if isinstance(m, nn.BatchNorm2d)]
    assert models.parameters(net) - models.parameters(small) == sum(
        m.num_features for m in net.modules() if isinstance(m, nn.BatchNorm2d)
    )


def test_a_normalisation_without_a_convolution_is_refused():
    with pytest.raises(ValueError, match="no convolution"):
        convert.folded(nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)))


def test_eight_bits_keep_the_largest_weight_of_each_output(shipped, maps):
    net, _, small, _ = shipped
    plain = convert.folded(net)
    for a, b in zip(compress.layers(plain).values(), compress.layers(small).values()):  # noqa: B905
        W, V = (m.weight.detach().flatten(1).double().numpy() for m in (a, b))
        scale = np.float16(np.abs(W).max(1) / 127).astype(float)[:, None]
        whole = V / scale
        assert np.allclose(whole, np.rint(whole), atol=1e-4)
        assert (np.abs(np.rint(whole)).max(1) == 127).all()
        assert (np.abs(V - W) <= scale / 2 + 127 * scale * 2**-10).all()
        if a.bias is not None:
            assert torch.equal(b.bias, a.bias.half().float())
    z, rounded = logits(net, maps), logits(small, maps)
    gap = np.abs(z - rounded)
    assert 0 < gap.mean() < 0.05 * z.std() and gap.max() < 0.3 * z.std()


@pytest.mark.parametrize("value", [0.0, 1e-7, 1e-12])
def test_outputs_without_weights_worth_a_scale_survive(value):
    net = trained()
    with torch.no_grad():
        net.body[-1].weight[2] = value
    file, _ = convert.packed(net, 52, PATTERNS, id="m")
    W = bundle.loads(file, "f").steps[-1].W
    assert np.isfinite(W).all() and np.abs(W[2] - value).max() <= 2**-24
    assert (W[[0, 1, 3]] != 0).any(1).all()


def test_torch_bytes_are_those_of_torch_save(tmp_path):
    net = trained()
    torch.save(net.state_dict(), tmp_path / "weights")
    size, found = (tmp_path / "weights").stat().st_size, convert.torch_bytes(net)
    assert abs(found - size) <= 0.1 * size and found > 4 * models.parameters(net)


# --- the same logits --------------------------------------------------------------


def test_numpy_gives_torch_s_logits(shipped, maps):
    _, data, small, found = shipped
    z, expected = found.score(maps), logits(small, maps)
    assert z.dtype == np.float32 and z.shape == (8, 8)
    assert np.abs(z - expected).max() <= 1e-4 * expected.std()
    assert (found.id, found.student.side, found.classes) == ("m", 52, PATTERNS)
    assert np.array_equal(found.golden[1], logits(small, found.golden[0]))
    weights = compress.weight_bytes(small, bits=8)
    assert bundle.model_bytes(found.student) + 1200 > len(data) < weights + 1200
    assert convert.packed(small, 52, PATTERNS, id="m")[0] == data


@pytest.mark.parametrize("word", ["conv", "each"])
@pytest.mark.parametrize(("k", "stride", "padding"), [(1, 1, 0), (3, 2, 1), (2, 3, 0)])
def test_a_convolution_is_torch_s(k, stride, padding, word):
    rng = np.random.default_rng(k)
    x = rng.normal(size=(4, 7, 10)).astype(np.float32)
    W = rng.normal(size=(4, 1 if word == "each" else 4, k, k)).astype(np.float32)
    how = {"stride": stride, "padding": padding, "groups": 4 // W.shape[1]}
    z = torch.conv2d(torch.from_numpy(x[None]), torch.from_numpy(W), **how)[0].numpy()
    held = W.transpose(2, 3, 1, 0) if word == "conv" else W[:, 0].transpose(1, 2, 0)
    numbers = (*([4] if word == "conv" else []), k, stride, padding, 0, 0)
    step = runtime.Step(word, numbers, np.ascontiguousarray(held))
    found = runtime.run([step], x.transpose(1, 2, 0)).transpose(2, 0, 1)
    assert found.shape == z.shape and np.allclose(found, z, atol=1e-5)


def test_onnx_gives_the_same_logits(shipped, maps):
    onnxruntime, found = pytest.importorskip("onnxruntime"), shipped[-1]
    session = onnxruntime.InferenceSession(
        deploy.export(found, "onnx"), providers=["CPUExecutionProvider"]
    )
    z, there = session.run(["logit", "there"], {"maps": maps})
    expected = found.score(maps)
    assert np.allclose(z, expected, atol=1e-4 * expected.std())
    assert np.array_equal(there, z > 0)
    for to, words in (
        ("onnx-int8", "no int8 weights"),
        ("c", "fixed activation scales"),
    ):
        with pytest.raises(ValueError, match=words):
            deploy.export(found, to)


# --- the file ---------------------------------------------------------------------


def test_the_layout_is_what_the_docstring_says():
    numpy = pytest.importorskip("safetensors.numpy", reason="safetensors is not here")
    arrays = numpy.load(data := tiny())
    assert set(arrays) == {"weights", "halves", "golden", "crc32"}
    small = convert.packed(trained("compact", 9, TINY, 3), 9, ("a", "b", "c"), id="")[1]
    whole = np.frombuffer(zlib.decompress(arrays["weights"].tobytes(), -15), np.int8)
    halves, at = arrays["halves"].astype(np.float32), 0
    for layer in compress.layers(small).values():
        W = layer.weight.detach().numpy()
        scale, halves = halves[: len(W)], halves[len(W) :]
        found = whole[at : at + W.size].reshape(len(W), -1) * scale[:, None]
        assert np.array_equal(found, W.reshape(len(W), -1))
        b, halves = halves[: len(W)], halves[len(W) :]
        assert np.array_equal(b, layer.bias.detach().numpy())
        at += W.size
    assert at == whole.size and not halves.size
    _, about = container.read(data, "f")
    assert about["net"].startswith("planes 2,conv 2 5 2 2 1 1,conv 3 3 2 1 1 1,keep,")
    assert about["net"].endswith(",add,mean,linear 3 1 0") and about["side"] == "9"


def test_a_limit_takes_bits(maps):
    net, sizes = trained("separable", 52, CASES[2][1]), []
    for bits in (8, 7, 6, 5, 4):
        limit = sizes[-1] - 1 if sizes else None
        data, small = convert.packed(net, 52, PATTERNS, id="m", limit=limit)
        sizes.append(len(data))
        whole = bundle.loads(data, "f").student.arrays["weights"].tobytes()
        most = np.abs(np.frombuffer(zlib.decompress(whole, -15), np.int8)).max()
        assert most == 2 ** (bits - 1) - 1
        assert torch.equal(
            small.body[0].weight, convert.rounded(net, bits=bits).body[0].weight
        )
    with pytest.raises(ValueError, match=f"bits, expected at most {sizes[-1] - 1:,}"):
        convert.packed(net, 52, PATTERNS, id="m", limit=sizes[-1] - 1)


def test_the_published_21_kilobytes_hold_our_student():
    sizes = {"widths": [16, 32, 56], "depth": 3}
    names = ("Center", "Donut", "Edge-Loc", "Edge-Ring", "Loc", "Near-Full", "Scratch")
    how = {"id": "mixedwm38-c644b3f64185", "limit": 21_000}
    net = trained("separable", 52, sizes)
    assert len(convert.packed(net, 52, (*names, "Random"), **how)[0]) <= 21_000


def test_inspect_tells_a_person_what_it_is(tmp_path, capsys):
    path = tmp_path / "net.safetensors"
    path.write_bytes(data := tiny())
    assert deploy.main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert text == deploy.inspect(path) + "\n"
    assert f"{len(data):,} bytes, checksum and golden logits right" in text
    assert "wafer maps of 9 x 9 dies, 3 logits" in text and "a, b, ü" in text
    assert "2     conv 2 5 2 2 1 1     5 x 5 x 2     5 x 5 x 2 x 2\n" in text
    assert f"{100 + 54 + 81 + 9:,} whole numbers" in text


def test_the_command_line_reads_maps_without_torch(tmp_path, capsys):
    maps, files = bundle.golden_maps(9), [str(tmp_path / n) for n in ("net", "m.npy")]
    Path(files[0]).write_bytes(tiny())
    np.save(files[1], maps)
    done = subprocess.run(
        [sys.executable, "-c", DEVICE, *files], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    z = bundle.load(files[0]).score(maps)
    assert head == "row,a,b,ü,verdict" and len(lines) == 4
    for i, line in enumerate(lines):
        row, *cells, verdict = line.split(",")
        assert int(row) == i + 1 and np.array_equal(np.float32(cells), z[i])
        there = [name for name, n in zip("abü", z[i], strict=True) if n > 0]
        assert verdict == "+".join(there)
    Path(files[1]).write_bytes(b"no maps")
    assert deploy.main(files) == 2
    assert "m.npy is not a .npy file of arrays" in capsys.readouterr().err
    reached = {
        name.rpartition(".")[2] for name in code.reached("kdutils.deploy.bundle")
    }
    assert reached == {"deploy", "bundle", "container", "prepare", "runtime", "words"}


def test_golden_maps_are_wafers_that_differ():
    X = bundle.golden_maps(52)
    assert X.shape == (4, 52, 52) and X.dtype == np.uint8 and X.max() == 2
    assert not X[:, 0, 0].any() and X[:, 26, 26].all()
    middle, edge = (X == 2)[:, 20:32, 20:32].mean((1, 2)), (X == 2)[:, 3].mean(1)
    assert middle[1] > 0.6 > 0.2 > middle[[0, 2]].max() and edge.argmax() == 2
    assert np.array_equal(X, bundle.golden_maps(52))


# --- refusals ---------------------------------------------------------------------


def changed(**changes):
    """A file with a right checksum and other notes or arrays."""
    tensors, about = container.read(tiny(), "f")
    for key, value in changes.items():
        (about if isinstance(value, str) else tensors)[key] = value
    return container.write(tensors, about)


DENSE = np.frombuffer(zlib.compress(bytes(1 << 20), 9)[2:-4], np.uint8)


def deflated(count):
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    held = deflate.compress(np.ones(count, np.int8).tobytes()) + deflate.flush()
    return np.frombuffer(held, np.uint8)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "wafer net 1"}, "holds 'wafer net 1', this program reads 'kdb 2'"),
        ({"side": "10"}, "does not repeat its golden vectors"),
        ({"side": "nine"}, "holds no whole student"),
        ({"side": "99999"}, "its maps are 4 of 99999"),
        ({"classes": "a,b"}, "does not end in 2 logits"),
        ({"net": ""}, "no step of maps"),
        ({"net": "planes 2"}, "does not end in 3 logits|too many"),
        ({"weights": deflated(243)}, "too few weights"),
        ({"weights": deflated(245)}, "1 weights too many"),
        ({"weights": deflated(244)}, "does not repeat its golden"),
        ({"weights": DENSE}, "not deflated as they should"),
        ({"weights": np.ones(244, np.uint8)}, "holds no whole student"),
        ({"weights": np.ones(244, np.float32)}, "its arrays are"),
        ({"halves": np.ones(3, np.float16)}, "too few halves"),
        ({"halves": np.full(22, np.nan, np.float16)}, "does not repeat its golden"),
        ({"golden": np.zeros((2, 3), np.float32)}, "does not repeat its golden"),
        ({"golden": np.full((2, 3), np.nan, np.float32)}, "does not repeat its golden"),
        ({"golden": np.zeros((0, 3), np.float32)}, "its maps are 0 of 9 x 9"),
        ({"more": np.ones(1, np.int8)}, "its arrays are"),
    ],
)
def test_a_right_checksum_over_a_wrong_content_is_refused(changes, words):
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(BundleError, match=words) as error,
    ):
        bundle.loads(changed(**changes), "f")
    assert str(error.value).startswith("f ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("place", "step", "words"),
    [
        (0, "planes 3", "3 planes, expected 1 or 2"),
        (0, "planes", "no step of maps: planes"),
        (0, "colour 2", "no step of maps: colour"),
        (0, "squash", "no step of maps: squash"),
        (1, "conv 2 5 0 2 1 1", ""),
        (1, "conv 2 5 2 -2 1 1", "no step of maps"),
        (1, "conv 2 5.0 2 2 1 1", "no step of maps"),
        (1, "conv 2 5 2 2 1", "no step of maps"),
        (1, "conv 2 50 2 2 1 1", "too few"),
        (1, "conv 2 0 2 2 1 1", ""),
        (1, "each 5 2 2 1 1", ""),
        (1, "max 0", ""),
        (3, "add", ""),
        (5, "keep", "keeps what it never adds"),
        (-1, "mean", ""),
        (-1, "flatten", ""),
    ],
)
def test_a_net_that_cannot_be_computed_is_refused(place, step, words):
    net = container.read(tiny(), "f")[1]["net"].split(",")
    net[place] = step
    with pytest.raises(BundleError, match=rf"^f holds no whole student \(.*{words}"):
        bundle.loads(changed(net=",".join(net)), "f")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.zeros((2, 8, 9)), "expected wafer maps of shape (n, 9, 9), got (2, 8, 9)"),
        (np.zeros((9, 9)), "expected wafer maps of shape (n, 9, 9), got (9, 9)"),
        (np.full((1, 9, 9), 3), "map 1 has 3 in row 1, column 1, expected 0 (off"),
        (np.eye(9)[None] * 255, "map 1 has 255.0 in row 1, column 1, expected 0 (off"),
        (np.full((1, 9, 9), np.nan), "map 1 has nan in row 1, column 1, expected 0"),
    ],
)
def test_other_maps_are_refused(wrong, words):
    with pytest.raises(BundleError) as error:
        bundle.loads(tiny(), "f").score(wrong)
    assert str(error.value).startswith(words)


def test_a_net_that_the_steps_cannot_do_is_refused():
    odd = models.wafers.Reader(1, nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU()))
    with pytest.raises(BundleError, match="has no step for GELU"):
        convert.program(odd)
    with pytest.raises(BundleError, match="has no step for BatchNorm2d"):
        convert.program(models.build("compact", 9, 3, **TINY))
    with pytest.raises(BundleError, match="expected a net of maps"):
        convert.program(odd.body)


def test_the_watcher_serves_tables_alone(tmp_path):
    (tmp_path / "net").write_bytes(tiny())
    with pytest.raises(BundleError, match="reads maps: expected a student of a table"):
        model.load(tmp_path / "net")


COLOURED = {"airbench": {"widths": (4, 8)}, "mobilenetv2": {"width": 0.1}}


@pytest.mark.parametrize("name", COLOURED)
def test_colour_images_are_files_too(tmp_path, capsys, name):
    torch.manual_seed(0)
    net = models.build(name, 12, 3, **COLOURED[name])
    X = np.random.default_rng(0).integers(0, 256, (40, 3, 12, 12)).astype(np.uint8)
    with torch.no_grad():
        for m in net.train().modules():  # scales, and statistics of these images
            if isinstance(m, nn.BatchNorm2d):
                m.bias.uniform_(-1, 1)
        for _ in range(20):
            net(torch.from_numpy(X))
    data, small = convert.packed(net.eval(), 12, ("a", "b", "c"), id="")
    found = bundle.loads(data, "f")
    z = found.score(X)
    assert np.allclose(z, models.predict(small, X), atol=1e-4)
    fine = models.predict(net, X)
    assert np.abs(z - fine).max() < 0.1 * np.ptp(fine) and np.ptp(fine) > 0.1
    session = onnxruntime.InferenceSession(onnxfile.exact(found))
    logit, chosen = session.run(None, {"images": X})
    assert np.allclose(logit, z, atol=1e-4) and (chosen == z.argmax(1)).all()
    files = [str(tmp_path / name) for name in ("net", "X.npy")]
    Path(files[0]).write_bytes(data)
    np.save(files[1], X)
    assert deploy.main(files) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[-1] for line in lines[1:]] == ["abc"[k] for k in z.argmax(1)]
    assert deploy.main(["inspect", files[0]]) == 0
    assert "colour images of 12 x 12 pixels" in capsys.readouterr().out
    with pytest.raises(BundleError, match=r"\(n, 3, 12, 12\), got \(40, 12, 12\)"):
        found.score(X[:, 0])
    with pytest.raises(BundleError, match="uint8"):
        found.score(X / 255)


def test_a_maximum_between_a_convolution_and_a_falling_scale_cannot_be_folded():
    parts = nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.BatchNorm2d(2)
    parts[2].weight.data[0] = -1
    with pytest.raises(ValueError, match="follows no convolution"):
        convert.folded(nn.Sequential(*parts))


def test_a_net_that_asks_for_too_much_memory_is_refused():
    held, about = container.read(tiny(), "m")
    about = about | {"net": about["net"].replace("conv 3 3 1 1", "conv 3 3 1 60000", 1)}
    assert "60000" in about["net"]
    with pytest.raises(BundleError, match="needs too much memory"):
        bundle.loads(container.write(held, about), "m")

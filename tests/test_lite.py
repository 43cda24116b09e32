"""lite: EfficientNet-Lite, its published weights, grey images, a stage's refusals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kdutils import models
from kdutils.data import images as pictures
from kdutils.data import readers, registry
from kdutils.data.simulate import miniatures
from kdutils.recipes import networks
from kdutils.store import runs
from kdutils.views import figures
from kdutils.views import images as views
from kdutils.views import networks as nets

TINY = {"width": 0.25, "pixels": 32}
SHARED = {"net": "lite0", "sizes": TINY, "val": 0, "batch": 32, "lr": 0.003}
SHARED |= {"decay": 0.01, "schedule": "warmup", "smoothing": 0.0, "bf16": False}
SHARED |= {"augment": {"max_shift": 1}, "sets": 2, "optimizer": "adam", "epochs": 1}
TEACHER = {"student": "teacher", "method": "label-only", "teaches": True, "seeds": 1}
ALONE = {"student": "small", "method": "label-only", "seeds": 1}
KD = {**ALONE, "method": "kd", "teacher": "teacher/label-only", "alpha": 0.5}
KD |= {"beside": "small/label-only", "T": [1, 4]}


def images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Generated images, and a generated file of the tiny net's weights."""
    folder = tmp_path_factory.mktemp("data")
    miniatures.write(str(folder), "pneumoniamnist", "mhist")
    torch.manual_seed(7)
    held = models.build("lite0", 32, 1000, **TINY).state_dict()
    place = folder / "efficientnet-lite0"
    place.mkdir()
    torch.save(held, place / readers.LITE0)
    (place / readers.MARKER).write_text("generated\n")
    return folder


@pytest.mark.parametrize(
    "name, count", {"lite0": 3_371_008, "lite2": 4_811_072}.items()
)
def test_it_has_the_published_number_of_weights(name, count):
    net = models.build(name, 28, 2)
    assert models.parameters(net) == count + 1281 * 2
    assert len(net.state_dict()) == {"lite0": 296, "lite2": 386}[name]  # as in the file


def test_a_strided_step_is_padded_as_tensorflow_pads():
    """An even side gets its one zero at the end, an odd side one at each end."""
    for side, ends in ((6, (0, 1)), (7, (1, 1))):
        net = models.build("lite0", side, 2, **{**TINY, "pixels": 0}).eval()
        x = torch.rand(1, 3, side, side)
        expected = F.conv2d(F.pad(x, ends * 2), net.body[1].weight, stride=2)
        assert torch.allclose(net.body[:2](x), expected, atol=1e-6)


def test_grey_images_are_repeated_and_resized_by_the_net():
    net, X = models.build("lite0", 28, 2, **TINY), images(5, 28, 28)
    z = models.predict(net, X)
    colour = np.repeat(X[:, None], 3, axis=1)
    np.testing.assert_allclose(models.predict(net, colour), z, atol=1e-5)
    x = F.interpolate(torch.tensor(colour).float(), (32, 32), mode="bilinear")
    with torch.no_grad():
        inner = net.body((x - 127) / 128)
    np.testing.assert_allclose(inner, z, atol=1e-4)


def test_all_but_the_last_layer_begins_with_the_weights(root):
    path = root / "efficientnet-lite0" / readers.LITE0
    held = torch.load(path, weights_only=True)
    config = {"source": "pneumoniamnist", "root": str(root), "seed": 3, **SHARED}
    parts = networks.task(config).load(config)
    own = networks.untrained(config | {"weights": "efficientnet-lite0"}, parts)
    plain = networks.untrained(config, parts)
    *same, weight, _ = own.state_dict()
    assert all(torch.equal(own.state_dict()[name], held[name]) for name in same)
    assert torch.equal(own.state_dict()[weight], plain.state_dict()[weight])
    assert not torch.equal(own.body[1].weight, plain.body[1].weight)


@pytest.mark.parametrize(
    "change, sentence",
    {
        "size": ({"sizes": TINY | {"width": 1.0}}, "expected the weights of a net of"),
        "net": ({"net": "airbench", "sizes": {}}, "airbench cannot begin: expected a"),
        "name": ({"weights": "mnist"}, "weights set 'mnist' is unknown"),
    }.values(),
)
def test_weights_of_another_net_are_refused(root, change, sentence):
    config = {"source": "mhist", "root": str(root), "seed": 0, **SHARED}
    config |= {"weights": "efficientnet-lite0", "val": 4} | change
    parts = networks.task(config).load(config)
    with pytest.raises(ValueError, match=sentence):
        networks.untrained(config, parts)


def test_a_file_that_is_no_weights_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(b"not at all")
    with pytest.raises(ValueError, match=r"a.pth holds 0 arrays that are not the 294"):
        models.build("lite0", 28, 2, **TINY).pretrained(path)


def test_weights_that_are_not_the_published_ones_are_refused(root, monkeypatch):
    place = root / "efficientnet-lite0"
    its = registry.known("efficientnet-lite0")
    own = dataclasses.replace(its, sha256=(its.read(place).sha256,))
    assert own.sha256 != its.sha256 and its.licence == "Apache 2.0"
    monkeypatch.setattr(registry.readers, "generated", lambda place: False)
    with pytest.raises(registry.SourceError, match="does not hold the official cont"):
        registry.read("efficientnet-lite0", str(root))
    monkeypatch.setitem(registry.DATASETS, "efficientnet-lite0", own)
    assert registry.read("efficientnet-lite0", str(root)).kind == "real"


def test_a_run_with_weights_is_recorded_with_them():
    config = {"source": "pneumoniamnist", "root": "", "net": "lite0", "sizes": {}}
    digests = {networks.digest(config)}
    for name in ("efficientnet-lite0", "efficientnet-lite2"):
        digests.add(networks.digest(config | {"weights": name}))
    assert len(digests) == 3


@pytest.fixture(scope="module")
def found(root, tmp_path_factory):
    """The rows of a stage on grey images: alone, and taught."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.paths, "ROOT", tmp_path_factory.mktemp("work"))
        patch.setenv("KD_REPORT", "toy")
        shared = SHARED | {"source": "pneumoniamnist", "root": str(root)}
        shared |= {"weights": "efficientnet-lite0"}

        def mapped(part, arms, rows=None):
            configs = networks.plan(arms, rows, **shared)
            stage = "10_kd_histology"
            return runs.map(stage, networks, configs, part=part, workers=1)

        alone = mapped("alone", [TEACHER, ALONE])
        yield alone, mapped("taught", [KD], alone)


def test_two_classes_have_an_auc_and_its_gain(found):
    rows = nets.tidy(*found)
    assert rows["kind"].eq("generated").all() and len(rows) == 4
    assert rows["test_auc"].between(0, 1).all() and "mirrored_acc" not in rows
    small = rows[rows["student"] == "small"].set_index("method")
    own = small.loc["label-only", "test_auc"]
    assert small.loc["label-only", "auc_gain"] == 0
    gains = small.loc["kd", "test_auc"] - own
    np.testing.assert_allclose(small.loc["kd", "auc_gain"], gains)
    line = nets.table(rows).set_index("method").loc["kd"]
    assert line["auc"] in small.loc["kd", "test_auc"].tolist()
    assert {"auc_low", "auc_gain", "auc_gain_high"} <= {*nets.table(rows)}
    sweep = views.sweep(nets.swept(rows)).set_index(["method", "T"])
    both = sweep.loc["kd", "auc_gain"]
    np.testing.assert_allclose(both, gains)
    assert list(both.index) == [1.0, 4.0]


def test_a_constant_predictor_is_in_every_row(found, root):
    parts = pictures.split("pneumoniamnist", seed=0, val=0, root=str(root))
    most = np.bincount(parts.train.y).argmax()
    assert (nets.tidy(*found)["constant_acc"] == (parts.test.y == most).mean()).all()


def test_histology_in_colour_is_shown_mirrored_too(root, tmp_path, monkeypatch):
    monkeypatch.setattr(runs.paths, "ROOT", tmp_path)
    monkeypatch.setenv("KD_REPORT", "toy")
    arm = ALONE | {"sets": 1, "val": 4}
    configs = networks.plan([arm], source="mhist", root=str(root), **SHARED | arm)
    row = runs.map("10_kd_histology", networks, configs, workers=1).iloc[0]
    assert 0 <= row["mirrored_acc"] <= 1 and 0 <= row["test_auc"] <= 1


def test_grey_images_are_drawn(root):
    X = pictures.split("pneumoniamnist", seed=0, val=0, root=str(root)).train.X
    figure = figures.photographs(X[:3], [X[3:6]])
    assert [len(ax.images) for ax in figure.axes] == [1] * 6

"""networks: one recipe for colour images: teachers, students, files, refusals."""

from __future__ import annotations

import dataclasses
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from kdutils import metrics, models
from kdutils.compress import convert
from kdutils.data import images, readers, registry
from kdutils.data.simulate import miniatures
from kdutils.deploy import bundle
from kdutils.recipes import networks
from kdutils.store import config as settings
from kdutils.store import runs
from kdutils.views import figures
from kdutils.views import networks as nets

SHARED = {"source": "cifar10", "val": 100, "net": "airbench", "batch": 64, "lr": 0.3}
SHARED |= {"bias_lr": 16, "momentum": 0.85, "decay": 1e-3, "schedule": "triangle"}
SHARED |= {"smoothing": 0.0, "bf16": False, "augment": {"max_shift": 1}, "sets": 2}
SMALL = {"student": "small", "sizes": {"widths": [4, 8]}, "epochs": 2, "seeds": 1}
TEACHER = {"student": "large", "method": "label-only", "teaches": True, "seeds": 1}
TEACHER |= {"sizes": {"widths": [8, 16]}, "epochs": 3}
ALONE = {**SMALL, "method": "label-only", "file_bytes": 2500}
KD = {**SMALL, "method": "kd", "teacher": "large/label-only", "alpha": [0.5, 1.0]}
KD |= {"beside": "small/label-only", "T": 2, "file_bytes": 2500}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    miniatures.write(str(folder), "cifar10")
    return str(folder)


@pytest.fixture(scope="module")
def found(root, tmp_path_factory):
    """The rows of nets alone, of taught nets, and of one that was tuned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.paths, "ROOT", tmp_path_factory.mktemp("work"))
        patch.setenv("KD_REPORT", "toy")
        torch.set_num_threads(1)

        def mapped(part, arms, rows=None):
            configs = networks.plan(arms, rows, root=root, **SHARED)
            return runs.map("08_kd_cifar10", networks, configs, part=part, workers=1)

        alone = mapped("alone", [TEACHER, ALONE])
        taught = mapped("taught", [KD], alone)
        both = nets.joined(alone, taught)
        tuned = {**KD, "method": "qat", "start": "small/kd", "bits": 4, "epochs": 1}
        yield alone, taught, mapped("tuned", [tuned | {"alpha": 1.0}], both)


def test_every_arm_has_its_rows_and_a_taught_net_its_teacher(found):
    alone, taught, tuned = found
    assert alone["student"].tolist() == ["large", "small"]
    assert taught[["alpha", "T"]].to_numpy().tolist() == [[0.5, 2.0], [1.0, 2.0]]
    large, small = alone.to_dict("records")
    assert large["test_acc"] > 0.2 > 0.1 and large["kind"] == "generated"
    assert (taught["teacher_acc"] == large["test_acc"]).all()
    for row in taught.to_dict("records"):  # McNemar's counts are of the base's images
        right = 200 * (row["test_acc"] - small["test_acc"])
        assert row["only_mine"] - row["only_base"] == pytest.approx(right)
    best = taught.loc[taught["val_acc"].idxmax(), "run"]
    assert tuned["start"].tolist() == [best]


def test_a_net_whose_file_is_too_large_has_a_row_without_one(found, capsys):
    alone = found[0].iloc[1]
    run = runs.open(networks, alone["run"])
    parts = networks.task(run.config).load(run.config)
    net = networks.trained(run, parts)
    assert networks.filed({**run.config, "file_bytes": 99}, parts, net) == {}
    said = capsys.readouterr().err
    assert said.startswith("small label-only: the net has ")
    assert said.endswith("with weights of 4 bits, expected at most 99\n")


def test_a_file_is_what_the_row_says_of_it(found):
    alone, _, tuned = found
    row, four = alone.iloc[1], tuned.iloc[0]
    assert row["packed_bytes"] <= 2500 and four["packed_bits"] == 4
    assert four["packed_bytes"] < row["packed_bytes"]
    run = runs.open(networks, row["run"])
    parts = networks.task(run.config).load(run.config)
    file, _ = convert.packed(
        networks.trained(run, parts), 32, tuple("abcdefghij"), id="", limit=2500
    )
    scores = bundle.loads(file, "f").score(parts.test.X)
    assert metrics.accuracy(parts.test.y, scores) == row["packed_acc"]


def test_a_teacher_is_asked_about_the_views_that_its_student_sees(found):
    run = runs.open(networks, found[0]["run"].iloc[0])
    parts = networks.task(run.config).load(run.config)
    views, net = run.arrays("views")["views"], networks.trained(run, parts)
    sets = networks.shown(run.config, parts, run.config["sets"])
    assert views.shape == (2, 500, 10)
    assert np.allclose(views[1][:9], models.predict(net, sets[1][:9]), atol=0.02)


def test_tables_pair_each_net_with_the_one_that_learnt_from_labels(found):
    rows = nets.tidy(*found)
    table = nets.table(rows).set_index(["student", "method"])
    kd = table.loc[("small", "kd")]
    taught = found[1]
    chosen = taught.loc[taught["val_acc"].idxmax(), "test_acc"]
    assert kd["gain"] == pytest.approx(chosen - found[0]["test_acc"].iloc[1])
    assert table.loc[("small", "label-only"), "gain"] == 0
    assert set(nets.swept(rows)["student"]) == {"small"}
    files = table.reset_index().replace({"method": {"kd": "a-method-of-mine"}})
    assert len(figures.networks(files).axes[0].lines) > 1  # a name that is not known
    assert not nets.scored(rows, "cifar10")  # generated images meet no claim
    real = pd.concat(nets.scored(rows.assign(kind="real"), "cifar10"))
    real = real.set_index("system")["value"]
    assert real["cifar10/student-kd"] == chosen
    assert real["cifar10/teacher"] == found[0]["test_acc"].iloc[0]
    known = rows.assign(kind="real", weights="efficientnet-lite0")
    basis = pd.concat(nets.scored(known, "cifar10"))["basis"]
    assert basis.str.endswith("begun with those of efficientnet-lite0").all()


@pytest.mark.parametrize(
    "arm, sentence",
    {
        "teacher": ({**KD, "teacher": "huge/kd"}, "teacher is 'huge/kd'"),
        "none": ({**SMALL, "method": "kd", "alpha": 0.5}, "expected a teacher"),
    }.values(),
)
def test_an_arm_without_its_teacher_is_refused(found, arm, sentence):
    with pytest.raises(ValueError, match=sentence):
        networks.plan([arm], found[0], root="", **SHARED)


def test_a_config_is_checked_before_anything_trains():
    (config,) = networks.plan([ALONE], root="", **SHARED)
    settings.check(networks.Config, config, "networks")
    with pytest.raises(ValueError, match="bits is 0: expected a whole number of at"):
        settings.check(networks.Config, config | {"bits": 0}, "networks")


def test_a_student_of_other_views_is_refused(found, root):
    alone, _, _ = found
    (config,) = networks.plan([KD | {"alpha": 1.0}], alone, root=root, **SHARED)
    run = runs.Run("08_kd_cifar10", "0" * 12, config | {"sets": 3})
    parts = networks.task(config).load(config)
    with pytest.raises(ValueError, match="sets is not the teacher's"):
        networks.learn(run.config, run, parts)


@pytest.mark.parametrize("name", ["airbench", "mobilenetv2", "resnet50"])
def test_nets_of_the_registry_take_bytes(name):
    net = models.build(name, 32, 10).eval()
    X = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32)).astype(np.uint8)
    z = models.predict(net, X)
    assert z.shape == (2, 10) and np.isfinite(z).all()


def test_whitening_gives_patches_without_correlation():
    rng = np.random.default_rng(0)
    X = np.clip(
        rng.normal(120, 60, (200, 1, 8, 8)) + rng.normal(0, 5, (200, 3, 8, 8)), 0, 255
    )
    net = models.build("airbench", 8, 3, widths=(4, 4))
    net.whiten(X.astype(np.uint8), eps=0.0)
    x = (torch.from_numpy(X.astype(np.uint8)).float() - 128) / 64
    with torch.no_grad():
        out = net.body[0](x).sub(net.body[0].bias.view(1, -1, 1, 1))[:, :12]
    out = out.movedim(1, -1).reshape(-1, 12)
    assert torch.allclose(out.T @ out / len(out), torch.eye(12), atol=1e-3)


# --- CIFAR-10's files ---------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil, sentence",
    {
        "cut": (lambda data: data[:-7], "holds .* bytes where whole records of 3,073"),
        "label": (lambda data: b"\x0b" + data[1:], "row 1: value 11 where 0 to 9"),
    }.values(),
)
def test_a_spoilt_batch_is_named(root, tmp_path, spoil, sentence):
    miniatures.write(str(tmp_path), "cifar10")
    path = tmp_path / "cifar10" / readers.CIFAR10[1]
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=f"data_batch_2.bin.*{sentence}"):
        images.split("cifar10", seed=0, val=10, root=str(tmp_path))


def test_an_archive_beside_the_readme_is_unpacked(root, tmp_path, monkeypatch):
    place = tmp_path / "cifar10"
    place.mkdir()
    made = Path(root) / "cifar10"
    with tarfile.open(place / "cifar-10-binary.tar.gz", "w:gz") as archive:
        archive.add(made / "cifar-10-batches-bin", "cifar-10-batches-bin")
    its = registry.known("cifar10")
    own = {"files": dict.fromkeys(its.files, ""), "sha256": (its.read(made).sha256,)}
    here = dataclasses.replace(its, **own)
    monkeypatch.setitem(registry.DATASETS, "cifar10", here)
    parts = images.split("cifar10", seed=0, val=10, root=str(tmp_path))
    assert len(parts.test) == 200 and parts.kind == "real"
    (place / readers.CIFAR10[0]).unlink()
    whole = (place / "cifar-10-binary.tar.gz").read_bytes()
    (place / "cifar-10-binary.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(registry.SourceError, match=r"not a whole tar.gz archive"):
        registry.find("cifar10", str(tmp_path))
    assert not (place / readers.CIFAR10[0]).exists()

"""Miniatures: the official layout, the same bytes by seed, learnable."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from toy_data import parts

from kdutils.data import images, readers, sentences, tables, wafers
from kdutils.data.registry import DATASETS, SourceError
from kdutils.data.simulate import miniatures
from kdutils.deploy.prepare import Prepare

DIGESTS = {"secom": tables.digest}
DIGESTS |= dict.fromkeys(("mnist", "pneumoniamnist"), images.digest)
DIGESTS |= dict.fromkeys(("sst2", "squad", "minilm"), sentences.digest)
DIGESTS |= dict.fromkeys(("mixedwm38", "wm811k"), wafers.digest)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", DIGESTS)
def test_a_miniature_repeats_by_seed_byte_by_byte(written, tmp_path, name):
    for folder, seed in (("same", 0), ("other", 1)):
        miniatures.write(str(tmp_path / folder), name, seed=seed)
    roots = (written, tmp_path / "same", tmp_path / "other")
    one, same, other = (contents(root / name) for root in roots)
    assert one == same and all(one[file] != other[file] for file in one)
    digests = [DIGESTS[name](name, root=str(root)) for root in roots]
    assert digests[0] == digests[1] != digests[2]
    assert not {*digests} & {*DATASETS[name].sha256}
    miniatures.write(str(tmp_path / "same"), name, seed=1)  # it may be replaced
    assert contents(tmp_path / "same" / name) == other
    assert (written / name / "GENERATED").read_text().endswith(f"not {name}.\n")


@pytest.mark.parametrize("name", DIGESTS)
def test_a_miniature_never_replaces_real_files(root, name):
    (root / name / "GENERATED").unlink()
    first, before = next(o for o in DIGESTS if o != name), contents(root / name)
    shutil.rmtree(root / first)
    with pytest.raises(SourceError, match=f"{name} holds real files"):
        miniatures.write(str(root), first, name, seed=5)
    assert contents(root / name) == before and not (root / first).exists()


def test_images_have_the_official_layout_and_say_so(written):
    for name, sizes in (
        ("mnist", [1100, 100, 400]),
        ("pneumoniamnist", [300, 60, 120]),
    ):
        split = images.split(name, seed=0, val=100, root=str(written))
        assert [len(part) for part in parts(split)] == sizes
        assert split.kind == images.kind(name, str(written)) == "generated"
        assert split.train.X.shape[1:] == (28, 28)
        counts = np.bincount(split.test.y)
        assert len(counts) == images.classes(name) and counts.min() > 0


def test_wafers_have_the_official_layout_and_say_so(written):
    for name, file, keys in (
        ("mixedwm38", "MixedWM38", {"arr_0", "arr_1"}),
        ("wm811k", "wm811k_subset", {"flat", "shape", "failure_type"}),
    ):
        held = np.load(written / name / f"{file}.npz")
        assert set(held) == keys | {"split", "orig_index"}
        split = wafers.split(name, seed=0, root=str(written))
        assert split.kind == wafers.kind(name, str(written)) == "generated"
        for part in parts(split):
            assert part.y.any(axis=0).all() and not part.y.any(axis=1).all()
    test = wafers.split("mixedwm38", seed=0, root=str(written)).test
    assert len(np.unique(wafers.combination(test.y))) == 38


def test_secom_has_the_official_layout_and_says_so(written):
    data, labels = ((written / "secom" / n).read_text() for n in readers.SECOM)
    rows = [line.split(" ") for line in data.splitlines()]
    assert {len(row) for row in rows} == {60} and len(rows) == 400
    assert all(re.fullmatch(r"NaN|-?\d+\.\d{4}", cell) for row in rows for cell in row)
    lines = labels.splitlines()
    form = re.compile(r'-?1 "\d\d/\d\d/2008 \d\d:\d\d:\d\d"')
    assert all(form.fullmatch(line) for line in lines if line)
    assert sum(line.startswith("1 ") for line in lines) == 100
    X = np.array(rows, float)
    assert (np.nanmax(X, axis=0) == np.nanmin(X, axis=0)).sum() == 6
    assert (np.isnan(X).mean(axis=0) > 0.5).sum() == 5
    assert tables.kind("secom", root=str(written)) == "generated"


@pytest.mark.parametrize(("name", "low"), [("mnist", 0.5), ("pneumoniamnist", 0.62)])
def test_images_can_be_learned_but_not_perfectly(written, name, low):
    """Nearest class mean: far above chance, and the mixed images are lost to it."""
    split = images.split(name, seed=0, val=0, root=str(written))
    X, x = (p.X.reshape(len(p), -1).astype(float) for p in (split.train, split.test))
    means = [X[split.train.y == c].mean(0) for c in range(images.classes(name))]
    guess = np.linalg.norm(x[:, None] - np.array(means), axis=2).argmin(axis=1)
    assert low < (guess == split.test.y).mean() < 0.97


@pytest.mark.parametrize("seed", [0, 1])
def test_a_majority_class_model_would_fail_secom(tmp_path, seed):
    miniatures.write(str(tmp_path), "secom", seed=seed)
    for split in tables.splits("secom", root=str(tmp_path), seed=0, folds=3):
        prepare = Prepare.fit(split.train.X, split.train.y, split.features)
        model = LogisticRegression(C=0.1)
        model.fit(prepare.transform(split.train.X), split.train.y)
        score = model.decision_function(prepare.transform(split.test.X))
        assert roc_auc_score(split.test.y, score) > 0.68

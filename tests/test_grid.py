"""The grid against a plain torch loop: same students, whoever trains beside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from kdutils import models
from kdutils.train import grid

CELLS = [grid.Cell("kd", 0.5, 4.0), grid.Cell("hard"), grid.Cell("logit-mse", 0.8)]
CELLS += [grid.Cell("kd", 1.0, 2.0), grid.Cell("logit-std", 0.6, 2.0)]
CELLS += [grid.Cell("hard", coefficient=0.2), grid.Cell("ttm", 0.7, 3.0)]
HOW = {"epochs": 5, "batch": 64, "lr": 6e-2, "hidden": 16, "weight_decay": 0.01}
SEEDS = (3, 8)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(1000, 6)).astype(np.float32)
    t = (X[:, 0] + X[:, 1] * X[:, 2] - 1).astype(np.float32)
    y = (rng.random(1000) < 1 / (1 + np.exp(-2 * t))).astype(np.float32)
    labels = y[:430].copy()
    labels[::7] = np.nan
    return {
        "X": X[:430],
        "y": labels,
        "teacher": t[:430],
        "X_val": X[430:],
        "y_val": y[430:],
    }


@pytest.fixture(scope="module")
def trained(rows):
    return grid.fit(**rows, cells=CELLS, seeds=SEEDS, **HOW)


@pytest.fixture(scope="module")
def last(rows):
    """Judged after the last epoch alone, so that no near tie chooses the epoch."""
    return grid.fit(**rows, cells=CELLS, seeds=SEEDS, **HOW, eval_every=HOW["epochs"])


def reference_loss(cell, z, t, y):
    """Plain torch; smoothing, temperatures and unlabelled rows written out."""
    known = ~y.isnan()
    target = y[known] * (1 - cell.coefficient) + cell.coefficient / 2
    hard = F.binary_cross_entropy_with_logits(z[known], target)
    a, T, cross_entropy = cell.alpha, cell.T, F.binary_cross_entropy_with_logits
    if cell.method == "hard":
        return hard
    if cell.method == "kd":
        soft = T**2 * cross_entropy(z / T, torch.sigmoid(t / T))
    if cell.method == "logit-mse":
        soft = F.mse_loss(z, t)
    if cell.method == "ttm":
        soft = cross_entropy(z, torch.sigmoid(t / T))
    if cell.method == "logit-std":
        z, t = ((a - a.mean()) / a.std(correction=0) for a in (z, t))
        soft = T**2 * cross_entropy(z / T, torch.sigmoid(t / T))
    return (1 - a) * hard + a * soft


def made(arrays):
    """The student of these arrays."""
    student = models.Student(arrays["W1"].shape[1], len(arrays["W1"]))
    with torch.no_grad():
        for p, a in zip(student.parameters(), arrays.values(), strict=True):
            p.copy_(torch.as_tensor(a).view(p.shape))
    return student


def one_student(rows, cell, seed, start=None):
    """Validation AUC per epoch and the last weights: a plain loop and autograd."""
    torch.manual_seed(seed)
    student = models.Student(rows["X"].shape[1], HOW["hidden"])
    student = made(start) if start else student
    X, y, t = (torch.from_numpy(rows[k]) for k in ("X", "y", "teacher"))
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        student.parameters(), lr=HOW["lr"], weight_decay=HOW["weight_decay"]
    )
    steps = HOW["epochs"] * -(-len(X) // HOW["batch"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    aucs = []
    for _ in range(HOW["epochs"]):
        for some in torch.randperm(len(X), generator=order).split(HOW["batch"]):
            optimizer.zero_grad()
            reference_loss(cell, student(X[some]), t[some], y[some]).backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            z = student(torch.from_numpy(rows["X_val"])).numpy()
        aucs.append(roc_auc_score(rows["y_val"], z))
    return aucs, student.arrays()


def close(one, other, atol=5e-5):
    return all(np.allclose(one[k], other[k], atol=atol) for k in one)


@pytest.mark.parametrize("c", range(len(CELLS)), ids=lambda c: str(CELLS[c].method))
@pytest.mark.parametrize("s", range(len(SEEDS)))
def test_every_method_equals_a_plain_loop(rows, trained, last, c, s):
    aucs, arrays = one_student(rows, CELLS[c], SEEDS[s])
    assert last.val_auc[s, c] == pytest.approx(aucs[-1], abs=1e-4)
    assert close(last.arrays(s, c), arrays)
    assert trained.val_auc[s, c] == pytest.approx(max(aucs), abs=1e-4)
    assert aucs[trained.best_epoch[s, c] - 1] == pytest.approx(max(aucs), abs=1e-4)


def test_the_best_epochs_weights_are_those_that_are_kept(rows, trained):
    assert trained.val_auc.shape == (2, 7) and trained.val_auc.min() > 0.6
    assert len(np.unique(trained.weights["b2"])) == 14, "the students differ"
    X_val = torch.from_numpy(rows["X_val"])
    with torch.no_grad():
        for s, c in np.ndindex(2, 7):
            z = made(trained.arrays(s, c))(X_val).numpy()
            auc = grid.auc(z, rows["y_val"])
            assert auc == pytest.approx(trained.val_auc[s, c], abs=1e-4)
    assert 1 <= trained.best_epoch.min() < trained.best_epoch.max() <= HOW["epochs"]


def test_a_block_at_a_time_trains_the_same(rows, trained, monkeypatch):
    monkeypatch.setattr(grid, "UNITS", 2 * HOW["hidden"] * HOW["batch"])
    blocks = grid.fit(**rows, cells=CELLS, seeds=SEEDS, **HOW)
    assert np.allclose(blocks.weights["W1"], trained.weights["W1"], atol=1e-6)


def test_the_same_call_gives_the_same_bits(rows, trained):
    torch.rand(5)
    generator = torch.random.get_rng_state()
    again = grid.fit(**rows, cells=CELLS, seeds=SEEDS, **HOW)
    assert torch.equal(torch.random.get_rng_state(), generator)
    for name, values in trained.weights.items():
        assert np.array_equal(values, again.weights[name]), name


def test_a_torch_without_onednn_trains_the_same(rows, last, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    how = {**HOW, "eval_every": HOW["epochs"]}
    found = grid.fit(**rows, cells=CELLS, seeds=SEEDS[:1], **how)
    assert np.allclose(found.weights["W1"][0], last.weights["W1"][0], atol=5e-5)


def test_init_is_where_training_starts(rows, trained):
    start = trained.arrays(0, 2)
    how = {**HOW, "eval_every": HOW["epochs"]}
    found = grid.fit(**rows, cells=CELLS[:2], seeds=[5], init=start, **how)
    for c in range(2):
        aucs, arrays = one_student(rows, CELLS[c], 5, start)
        assert found.val_auc[0, c] == pytest.approx(aucs[-1], abs=1e-4)
        assert close(found.arrays(0, c), arrays)
    each = {k: a[:, :2] for k, a in trained.weights.items()}
    still = grid.fit(
        **rows, cells=CELLS[:2], seeds=SEEDS, init=each, **{**HOW, "lr": 0}
    )
    assert all(np.array_equal(still.weights[k], each[k]) for k in each)


def test_weights_that_start_at_zero_stay_and_the_others_train(rows, trained):
    start = trained.arrays(0, 0)
    keeps = {"W1": np.abs(start["W1"]) > np.median(np.abs(start["W1"]))}
    keeps |= {"w2": np.arange(16) != 4}
    start |= {name: start[name] * keep for name, keep in keeps.items()}
    start["b1"][:3] = 0
    found = grid.fit(**rows, cells=CELLS, seeds=[0], init=start, **HOW)
    for c in range(len(CELLS)):
        arrays = found.arrays(0, c)
        for name, keep in keeps.items():
            assert np.array_equal(arrays[name] != 0, keep), name
            assert not np.isclose(arrays[name][keep], start[name][keep]).all()
    assert (found.weights["b1"] != 0).all()


def test_validation_may_be_rarer_but_always_sees_the_last_epoch(rows):
    upside_down = {**rows, "y_val": 1 - rows["y_val"]}
    seen = set()
    for own in (rows, upside_down):
        found = grid.fit(**own, cells=CELLS, seeds=SEEDS, **HOW, eval_every=2)
        seen |= set(found.best_epoch.ravel().tolist())
    assert {2, 5} <= seen <= {2, 4, 5}


@pytest.mark.parametrize("decimals", [0, 9])
def test_auc_is_sklearns_ties_and_all(decimals):
    rng = np.random.default_rng(decimals)
    z = rng.normal(size=(3, 2, 150)).astype(np.float32).round(decimals)
    y = (rng.random(150) < 0.2).astype(np.float32)
    z[0, 0], z[1, 1] = 0.0, -np.float32(0)
    z[2, 0, ::2] *= -0.0
    found = grid.auc(z, y)
    expected = [[roc_auc_score(y, one) for one in row] for row in z]
    assert np.allclose(found, expected, atol=1e-12) and found[0, 0] == 0.5
    assert grid.auc(y * 3 - 7, y) == 1.0 and grid.auc(-y, y) == 0.0


def test_bad_rows_are_named(rows):
    def fit(**changed):
        grid.fit(**{**rows, **changed}, cells=CELLS, seeds=[0], **HOW)

    with pytest.raises(ValueError, match="X_val is not finite"):
        fit(X_val=np.where(rows["X_val"] > 3, np.nan, rows["X_val"]))
    with pytest.raises(ValueError, match="y_val holds one class"):
        fit(y_val=np.zeros(len(rows["y_val"])))
    with pytest.raises(ValueError, match="430, 430 and 429 rows"):
        fit(teacher=rows["teacher"][1:])
    with pytest.raises(ValueError, match="'kl' is none of hard"):
        grid.fit(**rows, cells=[grid.Cell("kl")], seeds=[0], **HOW)
    with pytest.raises(ValueError, match="diverged by epoch 1"):
        grid.fit(**rows, cells=CELLS, seeds=[0], **{**HOW, "lr": 1e30})

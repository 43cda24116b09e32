"""Stacked image students against a plain torch loop, whoever trains beside them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdutils import losses, models
from kdutils.train import students
from kdutils.train.students import Cell

CELLS = [Cell(), Cell("hard", coefficient=0.1), Cell("kd", 0.5, 2.0)]
CELLS += [Cell("kd", 1.0, 8.0), Cell("kd", 0.9, 4.0, target="assistant")]
CELLS += [Cell("logit-mse", 0.3), Cell("dkd", 0.5, 2.0, coefficient=4.0)]
CELLS += [Cell("dkd", 0.5, 2.0, coefficient=1.0, target="assistant")]
CELLS += [Cell("logit-std", 0.6, 2.0), Cell("dist", 0.9, 2.0)]
KINDS = [
    ("perceptron", 8, {"widths": (7, 6)}),
    ("convolutional", 8, {"channels": 3}),
    ("convolutional", 9, {"channels": 2}),  # a border that no block has room for
]
HOW = {"epochs": 3, "batch": 50, "lr": 0.03, "seed": 4}
N, K = 120, 5
SAME = 2e-3


def rows(side, labelled=1.0):
    """Images whose class is told by a bright block, and what two teachers say."""
    rng = np.random.default_rng(side)
    X = rng.integers(0, 160, (N, side, side)).astype(np.uint8)
    y = rng.integers(0, K, N)
    X[np.arange(N), 1 + y, 2] += 90
    t = 3 * np.eye(K)[y] + rng.standard_normal((N, K))
    a = 2 * np.eye(K)[(y + (rng.random(N) < 0.2)) % K] + rng.standard_normal((N, K))
    known = np.where(rng.random(N) < labelled, y, -100)
    return X, known, {"teacher": t.astype(np.float32), "assistant": a.astype("f2")}


def fresh(kind, seed=3):
    name, side, sizes = kind
    torch.manual_seed(seed)
    return models.build(name, side, K, **sizes)


def reference_loss(cell, z, t, y):
    """Torch's own losses where it has them; unlabelled rows have no say in `hard`."""
    known = y != -100
    hard = F.cross_entropy(z[known], y[known]) if known.any() else z.sum() * 0
    if cell.method == "hard":
        return F.cross_entropy(z, y, label_smoothing=cell.coefficient)
    if cell.method == "kd":
        told, own = F.softmax(t / cell.T, -1), F.log_softmax(z / cell.T, -1)
        soft = cell.T**2 * F.kl_div(own, told, reduction="batchmean")
    elif cell.method == "logit-mse":
        soft = F.mse_loss(z, t)
    else:
        return losses.get(cell.method)(z, t, y, **cell.settings())
    return (1 - cell.alpha) * hard + cell.alpha * soft


def one_student(kind, X, y, targets, cell, *, epochs, batch, lr, seed, felt=None):
    """Logits of one net after a loop of torch's own parts, and its weights."""
    net = fresh(kind)
    x, y = torch.from_numpy(X).float() / 255, torch.from_numpy(y)
    t, params = torch.from_numpy(targets[cell.target]).float(), list(net.parameters())
    if felt is not None:
        torch.manual_seed(seed)
        guess = nn.Linear(net.last.in_features, felt.shape[1])
        felt, params = torch.from_numpy(felt).float(), [*params, *guess.parameters()]
    optimizer = torch.optim.Adam(params, lr=lr)
    steps = epochs * -(-len(x) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for some in torch.randperm(len(x), generator=order).split(batch):
            loss = reference_loss(cell, net(x[some]), t[some], y[some])
            if felt is not None:
                away = guess(net.features(x[some])) - felt[some]
                loss = loss + cell.hint * (away**2).mean() / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return models.predict(net, X)


def away(found, expected):
    """Mean difference over mean size: an unlucky kink of a rectifier moves one row."""
    return np.abs(found - expected).mean() / np.abs(expected).mean()


def stacked(kind, given, cells, **more):
    """Logits (C, n, K) of students trained side by side."""
    weights = students.fit_stacked(fresh(kind), *given, cells, **{**HOW, **more})
    return students.predict_stacked(fresh(kind), weights, given[0])


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0]}-{kind[1]}")
def trained(request):
    kind = request.param
    given = rows(kind[1], labelled=0.8)
    return kind, given, stacked(kind, given, CELLS)


def test_every_loss_equals_a_plain_loop(trained):
    kind, given, found = trained
    assert found.shape == (len(CELLS), N, K) and found.dtype == np.float32
    for cell, z in zip(CELLS, found, strict=True):
        assert away(z, one_student(kind, *given, cell, **HOW)) < SAME, cell
    start = models.predict(fresh(kind), given[0])
    apart = [away(z, other) for z in found for other in (start, *found)]
    assert sorted(apart)[len(CELLS)] > 10 * SAME  # each differs but from itself


def test_one_alone_equals_its_place_among_others(trained):
    kind, (X, y, targets), found = trained
    for cell, z in zip(CELLS, found, strict=True):
        net = students.fit_one(fresh(kind), X, y, targets, cell, **HOW)
        assert not net.training
        assert away(models.predict(net, X), z) < SAME, cell


def test_how_many_are_together_changes_nothing(trained, monkeypatch):
    kind, given, found = trained
    monkeypatch.setattr(students.stacked(fresh(kind)), "together", 3)
    turned = stacked(kind, given, CELLS[::-1])
    assert max(map(away, turned, found[::-1])) < SAME


@pytest.mark.parametrize("kind", KINDS[:2], ids=lambda kind: kind[0])
def test_all_start_as_the_net_and_leave_it_alone(kind):
    net, given = fresh(kind), rows(kind[1])
    start = models.arrays(net)
    still = students.fit_stacked(net, *given, CELLS[:3], **{**HOW, "lr": 0.0})
    other = students.fit_stacked(net, *given, CELLS[:3], **HOW)
    for name, own in models.arrays(net).items():
        assert np.array_equal(own, start[name])
        assert still[name].shape == (3, *own.shape)
        assert (still[name] == own).all() and (other[name] != own).any()


@pytest.mark.parametrize("kind", KINDS[:2], ids=lambda kind: kind[0])
def test_the_same_call_gives_the_same_bits_and_draws_none_of_torch_s(kind):
    given = rows(kind[1])
    first = stacked(kind, given, CELLS[2:7])
    net, generator = fresh(kind), torch.random.get_rng_state()
    students.fit_stacked(net, *given, CELLS[:2], **HOW)
    students.fit_one(net, *given, CELLS[2], **HOW)
    assert torch.equal(torch.random.get_rng_state(), generator)
    torch.rand(5)
    assert np.array_equal(stacked(kind, given, CELLS[2:7]), first)
    assert not np.allclose(stacked(kind, given, CELLS[2:7], seed=5), first, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS[:2], ids=lambda kind: kind[0])
def test_bf16_products_stay_close(kind):
    given = rows(kind[1])
    full, half = (stacked(kind, given, CELLS[:6], bf16=h) for h in (False, True))
    assert half.dtype == np.float32
    assert 0 < away(half, full) < 0.1


# --- labels, hints and views ------------------------------------------------------


def test_rows_without_a_label_teach_by_the_teacher_alone():
    X, y, targets = rows(8)
    hidden = np.where(np.arange(N) % 3, -100, y)
    wrong = np.where(hidden == -100, -100, (y + 1) % K)
    cells = [Cell("kd", 0.0, 2.0), Cell("kd", 1.0, 2.0)]
    few, other = (
        stacked(KINDS[0], (X, own, targets), cells) for own in (hidden, wrong)
    )
    assert np.array_equal(few[1], other[1])  # at alpha 1 no label is read
    assert not np.allclose(few[0], other[0], atol=0.1)
    spoiled = {"teacher": targets["teacher"][::-1].copy()}
    alone = stacked(KINDS[0], (X, hidden, spoiled), cells)
    assert np.array_equal(few[0], alone[0])  # at alpha 0 no teacher is
    assert not np.allclose(few[1], alone[1], atol=0.1)


@pytest.mark.parametrize("kind", KINDS[:2], ids=lambda kind: kind[0])
def test_a_hint_equals_a_plain_loop(kind):
    X, y, targets = rows(kind[1])
    felt = np.random.default_rng(0).random((N, 6)).astype(np.float16)
    found = {}
    for hint in (0.0, 20.0):
        cell = Cell("kd", 0.9, 4.0, hint=hint)
        net = students.fit_one(fresh(kind), X, y, targets, cell, features=felt, **HOW)
        found[hint] = models.predict(net, X)
        expected = one_student(kind, X, y, targets, cell, felt=felt, **HOW)
        assert away(found[hint], expected) < SAME
    plain = students.fit_one(fresh(kind), X, y, targets, cell, **HOW)
    assert away(models.predict(plain, X), found[0.0]) < SAME
    assert away(found[20.0], found[0.0]) > 10 * SAME


def test_views_take_the_targets_place_crop_by_crop():
    X, y, targets = rows(8)
    cell, how = Cell("kd", 1.0, 4.0), {**HOW, "max_shift": 1}
    said = targets["teacher"]

    def fitted(views, targets=targets):
        net = students.fit_one(
            fresh(KINDS[0]), X, y, targets, cell, view_targets=views, **how
        )
        return models.predict(net, X)

    same = fitted(np.stack([said] * 9), targets={})
    assert np.array_equal(same, fitted(None))
    half = fitted(np.stack([said] * 9).astype(np.float16))
    assert np.allclose(half, same, atol=0.02)
    apart = np.stack([said if v == 4 else -said for v in range(9)])
    assert not np.allclose(fitted(apart), same, atol=0.1)


# --- what is refused --------------------------------------------------------------


def test_a_weight_or_a_temperature_that_cannot_be_is_refused():
    for alpha, T, said in ((1.01, 2.0, "alpha is .* from 0"), (0.5, 0.0, "T is .* ab")):
        with pytest.raises(ValueError, match=said):
            Cell("kd", alpha, T)


def test_any_net_without_batch_normalisation_trains_stacked():
    torch.manual_seed(2)
    net, given, how = (
        models.images.Pooled(14, K, dropout=0.0),
        rows(14),
        {**HOW, "epochs": 2},
    )
    weights = students.fit_stacked(net, *given, CELLS[2:4], **how)
    found = students.predict_stacked(copy.deepcopy(net), weights, given[0])
    for cell, z in zip(CELLS[2:4], found, strict=True):
        one = students.fit_one(copy.deepcopy(net), *given, cell, **how)
        assert away(models.predict(one, given[0]), z) < 0.02, cell
    dropped = students.fit_stacked(
        models.images.Pooled(14, K), *given, CELLS[:2], **how
    )
    assert np.abs(dropped["last.weight"] - weights["last.weight"]).max() > 1e-3


def test_batch_normalisation_and_an_unknown_loss_are_refused():
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(196), nn.Linear(196, K))
    with pytest.raises(ValueError, match="with batch normalisation is trained one by"):
        students.fit_stacked(net, *rows(14), CELLS, **HOW)
    with pytest.raises(ValueError, match="loss 'kl' is none of hard, kd"):
        stacked(KINDS[0], rows(8), [Cell("kl", 0.5, 2.0)])
    with pytest.raises(ValueError, match="smaller learning rate"):
        stacked(KINDS[0], rows(8), [Cell("logit-mse", 1.0)], lr=1e30)

"""Batches: every row once an epoch, its view beside its targets; predictions so too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from kdutils.data import symmetry
from kdutils.train import Batches, Shifts, predict, shifts


def maps(n=12, side=5, seed=0):
    return np.random.default_rng(seed).integers(0, 3, (n, side, side), np.uint8)


def net(side=5, patterns=3):
    """One linear layer: what it says depends on every die's place."""
    torch.manual_seed(1)
    layer = nn.Linear(side * side, patterns)
    return nn.Sequential(nn.Flatten(), Cast(), nn.BatchNorm1d(side * side), layer)


class Cast(nn.Module):
    def forward(self, x):
        return x.float()


def copy_number(shown, own):
    """Which of its eight copies a map is shown as."""
    eight = symmetry.turned(own[None])[:, 0]
    found = [k for k, copy in enumerate(eight) if np.array_equal(copy, shown)]
    assert len(found) == 1
    return found[0]


# --- batches ----------------------------------------------------------------------


def test_every_map_comes_once_an_epoch_beside_its_targets():
    X, row = maps(23), np.arange(23)
    z = row[:, None] + np.array([0.25, 0.5], np.float32)
    batches = Batches(X, z, row, batch=5, seed=3, augment=symmetry.turned)
    assert len(batches) == 5
    orders = []
    for _ in range(3):
        found = list(batches)
        assert [len(x) for x, *_ in found] == [5, 5, 5, 5, 3]
        for x, said, rows in found:
            assert x.dtype == torch.uint8 and x.shape[1:] == (5, 5)
            assert np.array_equal(said, z[rows])
            for shown, i in zip(x.numpy(), rows, strict=True):
                copy_number(shown, X[i])
        orders.append(torch.cat([rows for *_, rows in found]).tolist())
        assert sorted(orders[-1]) == row.tolist()
    assert orders[0] != orders[1] != orders[2]


def test_the_turns_are_all_eight_and_equally_often():
    X, row = maps(50), np.arange(50)
    batches = Batches(X, row, batch=20, seed=0, augment=symmetry.turned)
    seen = np.zeros((50, 8), int)
    for _ in range(40):
        for x, rows in batches:
            for shown, i in zip(x.numpy(), rows, strict=True):
                seen[i, copy_number(shown, X[i])] += 1
    assert (seen.sum(1) == 40).all() and (seen > 0).sum(1).min() >= 6
    deviation = (2000 * (1 / 8) * (7 / 8)) ** 0.5
    assert (abs(seen.sum(0) - 250) < 4 * deviation).all()


def test_without_turns_maps_stay_as_they_are():
    X, row = maps(9), np.arange(9)
    batches = Batches(X, row, batch=4, seed=0, augment=lambda X: X[None])
    for _ in range(2):
        for x, rows in batches:
            assert np.array_equal(x, X[rows.numpy()])


def test_a_seed_is_an_order_and_its_turns():
    def shown(seed):
        batches = Batches(
            maps(), np.arange(12), batch=5, seed=seed, augment=symmetry.turned
        )
        torch.rand(seed)  # the global generator has no say
        return [a.tolist() for _ in range(2) for batch in batches for a in batch]

    assert shown(1) == shown(1) != shown(2)


def test_maps_are_copied_before_they_are_shown():
    X = maps()
    batches = Batches(X, batch=12, seed=0, augment=symmetry.turned)
    kept = batches.views.clone()
    for (x,) in batches:
        x.zero_()
    assert torch.equal(batches.views, kept) and np.array_equal(X, maps())


@pytest.mark.parametrize(
    ("targets", "said"),
    [([11], "[11]"), ([12, 13], "[12, 13]"), ([0], "[0]")],
)
def test_targets_of_another_length_are_refused(targets, said):
    with pytest.raises(ValueError) as error:
        Batches(maps(), *map(np.zeros, targets), batch=4, seed=0)
    expected = f"batches: targets of {said} rows for 12 inputs, expected one length"
    assert str(error.value) == expected


# --- asking -----------------------------------------------------------------------


@pytest.mark.parametrize("views", range(1, 9))
def test_an_answer_is_the_mean_over_the_first_copies(views):
    X, model = maps(7), net()
    found = predict(model, X, augment=symmetry.turned, views=views)
    assert found.shape == (7, 3) and found.dtype == np.float32
    model.eval()
    with torch.no_grad():
        each = [model(torch.tensor(copy.copy())) for copy in symmetry.turned(X)]
    expected = np.mean([z.numpy() for z in each[:views]], axis=0)
    assert np.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("k", range(1, 8))
def test_no_turn_changes_the_answer_of_eight_views(k):
    X, model = maps(7), net()
    Y = np.ascontiguousarray(symmetry.turned(X)[k])
    first, again = (
        predict(model, maps, augment=symmetry.turned, views=8) for maps in (X, Y)
    )
    assert np.allclose(first, again, atol=1e-6)
    one, other = (predict(model, maps) for maps in (X, Y))
    assert np.abs(one - other).max() > 0.01


@pytest.mark.parametrize("views", [1, 3, 8])
def test_how_many_are_asked_at_once_changes_nothing(views):
    X, model = maps(11), net()
    whole = predict(model, X, augment=symmetry.turned, views=views)
    for rows in (1, 4, 11):
        found = predict(model, X, augment=symmetry.turned, views=views, rows=rows)
        assert np.allclose(found, whole, atol=1e-6)


def test_asking_neither_trains_nor_drops_anything():
    X, model = maps(), nn.Sequential(net(), nn.Dropout(0.5)).train()
    kept = {k: v.clone() for k, v in model.state_dict().items()}
    assert np.array_equal(predict(model, X), predict(model.train(), X))
    assert not model.training
    assert all(torch.equal(v, kept[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("views", [0, 9, -1, 2.5])
def test_views_that_are_none_are_refused(views):
    with pytest.raises(ValueError) as error:
        predict(net(), maps(), augment=symmetry.turned, views=views)
    assert str(error.value) == f"views is {views}: expected 1 to 8"


# --- images -----------------------------------------------------------------------


def images(n=20, side=28, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side), np.uint8)


def marked(n=50, side=6):
    """Images whose first pixel is their number."""
    X = images(n, side)
    X[:, 0, 0] = np.arange(n)
    return X


def test_every_image_comes_once_an_epoch_with_its_targets():
    X = marked()
    told = np.arange(100, dtype=np.float32).reshape(50, 2)
    batches = Batches(X, np.arange(50), told, batch=16, seed=3, scale=255)
    assert len(batches) == 4
    orders = []
    for _ in range(3):
        sizes, order = [], []
        for x, y, t in batches:
            assert x.dtype == torch.float32
            assert torch.equal(x, torch.from_numpy(X[y]).float() / 255)
            assert torch.equal(t, torch.from_numpy(told[y]))
            sizes.append(len(x))
            order += y.tolist()
        assert sizes == [16, 16, 16, 2] and sorted(order) == list(range(50))
        orders.append(order)
    assert orders[0] != orders[1] != orders[2] != orders[0]

    def first(seed):
        again = Batches(X, np.arange(50), batch=16, seed=seed)
        return [[y for _, ys in again for y in ys.tolist()] for _ in range(3)]

    assert first(3) == orders and first(4) != orders


def moved(X, down, right):
    """Images moved with zeros behind them: np.roll, and what came round made 0."""
    found = np.roll(X, (down, right), (1, 2))
    for axis, step in ((1, down), (2, right)):
        end = slice(None, step) if step > 0 else slice(step or X.shape[axis], None)
        found[(slice(None),) * axis + (end,)] = 0
    return found


@pytest.mark.parametrize("max_shift", [0, 1, 2])
def test_views_are_moves_with_zeros_behind_them(max_shift):
    X = images(4, 7)
    shown = list(Shifts(X, max_shift))
    steps = range(max_shift, -max_shift - 1, -1)
    moves = [(down, right) for down in steps for right in steps]
    assert len(shown) == len(moves) == (2 * max_shift + 1) ** 2
    for (down, right), view in zip(moves, shown, strict=True):
        assert view.dtype == torch.uint8
        assert np.array_equal(view.numpy(), moved(X, down, right)), (down, right)
    assert np.array_equal(shown[len(shown) // 2].numpy(), X)
    assert (shifts(max_shift) is None) == (max_shift == 0)


def test_moves_differ_from_image_to_image_and_max_shift_every_view():
    X = images(40, 7)
    shown = torch.stack(list(Shifts(X, 1))).float().div(255)
    count, epochs = np.zeros(9), []
    batches = Batches(X, np.arange(40), batch=16, seed=0, augment=shifts(1), scale=255)
    for _ in range(5):
        own = {}
        for x, y in batches:
            same = (shown[:, y] == x).all(-1).all(-1)  # (view, image)
            assert (same.sum(0) == 1).all()
            own |= dict(zip(y.tolist(), same.int().argmax(0).tolist(), strict=True))
        epochs.append([own[y] for y in range(40)])
        count += np.bincount(epochs[-1], minlength=9)
    assert count.min() > 5 and len(set(map(tuple, epochs))) == 5
    how = {"batch": 16, "seed": 0, "augment": shifts(1)}
    for (a,), (b,) in zip(Batches(X, **how), Batches(X, **how), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("max_shift", [1, 2])
def test_the_teacher_speaks_of_the_crop_that_is_shown(max_shift):
    """A teacher that says the sums of an image's rows and columns."""
    X = images(30, 8)
    says = [torch.cat([v.sum(1), v.sum(2)], 1) for v in Shifts(X, max_shift)]
    views = torch.stack(says).float()
    batches = Batches(
        X,
        np.arange(30),
        batch=7,
        seed=5,
        augment=shifts(max_shift),
        view_targets=views.numpy(),
        scale=255,
    )
    plain, still = 0, views[len(views) // 2]
    for _ in range(2):
        for x, y, told in batches:
            seen = torch.cat([x.sum(1), x.sum(2)], 1) * 255
            assert torch.allclose(seen, told, atol=1e-2)
            plain += (told == still[y]).all(1).sum().item()
    assert plain < 30  # of 60: most were moved


def test_batches_that_cannot_fit_are_refused():
    X = images(20, 6)
    with pytest.raises(ValueError, match=r"targets of \[20, 19\] rows for 20 inputs"):
        Batches(X, np.arange(20), np.arange(19), batch=4, seed=0)
    with pytest.raises(ValueError, match=r"\(9, 20, 'K'\) for 9 views"):
        Batches(
            X, batch=4, seed=0, augment=shifts(1), view_targets=np.zeros((25, 20, 3))
        )
    with pytest.raises(ValueError, match=r"shape \(9, 19, 3\)"):
        Batches(
            X, batch=4, seed=0, augment=shifts(1), view_targets=np.zeros((9, 19, 3))
        )

"""Turned maps: each in one of its eight copies, beside its targets; and asked so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from kdutils.data import symmetry
from kdutils.train import turns


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
    batches = turns.TurnedBatches(X, z, row, batch=5, seed=3)
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
    batches = turns.TurnedBatches(X, row, batch=20, seed=0)
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
    batches = turns.TurnedBatches(X, row, batch=4, seed=0, turned=False)
    for _ in range(2):
        for x, rows in batches:
            assert np.array_equal(x, X[rows.numpy()])


def test_a_seed_is_an_order_and_its_turns():
    def shown(seed):
        batches = turns.TurnedBatches(maps(), np.arange(12), batch=5, seed=seed)
        torch.rand(seed)  # the global generator has no say
        return [a.tolist() for _ in range(2) for batch in batches for a in batch]

    assert shown(1) == shown(1) != shown(2)


def test_maps_are_copied_before_they_are_shown():
    X = maps()
    batches = turns.TurnedBatches(X, batch=12, seed=0)
    kept = batches.copies.clone()
    for (x,) in batches:
        x.zero_()
    assert torch.equal(batches.copies, kept) and np.array_equal(X, maps())


@pytest.mark.parametrize(
    ("targets", "said"),
    [([11], "[11]"), ([12, 13], "[12, 13]"), ([0], "[0]")],
)
def test_targets_of_another_length_are_refused(targets, said):
    with pytest.raises(ValueError) as error:
        turns.TurnedBatches(maps(), *map(np.zeros, targets), batch=4, seed=0)
    expected = f"batches: targets of {said} rows for 12 maps, expected one length"
    assert str(error.value) == expected


# --- asking -----------------------------------------------------------------------


@pytest.mark.parametrize("views", range(1, 9))
def test_an_answer_is_the_mean_over_the_first_copies(views):
    X, model = maps(7), net()
    found = turns.ask(model, X, views=views)
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
    first, again = (turns.ask(model, maps, views=8) for maps in (X, Y))
    assert np.allclose(first, again, atol=1e-6)
    one, other = (turns.ask(model, maps) for maps in (X, Y))
    assert np.abs(one - other).max() > 0.01


@pytest.mark.parametrize("views", [1, 3, 8])
def test_how_many_are_asked_at_once_changes_nothing(views):
    X, model = maps(11), net()
    whole = turns.ask(model, X, views=views)
    for rows in (1, 4, 11):
        found = turns.ask(model, X, views=views, rows=rows)
        assert np.allclose(found, whole, atol=1e-6)


def test_asking_neither_trains_nor_drops_anything():
    X, model = maps(), nn.Sequential(net(), nn.Dropout(0.5)).train()
    kept = {k: v.clone() for k, v in model.state_dict().items()}
    assert np.array_equal(turns.ask(model, X), turns.ask(model.train(), X))
    assert not model.training
    assert all(torch.equal(v, kept[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("views", [0, 9, -1, 2.5])
def test_views_that_are_none_are_refused(views):
    with pytest.raises(ValueError) as error:
        turns.ask(net(), maps(), views=views)
    assert str(error.value) == f"views is {views}: expected 1 to 8 copies of a map"

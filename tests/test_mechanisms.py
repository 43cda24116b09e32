"""The hidden defects are those of the devices that the tester handed out."""

from __future__ import annotations

import numpy as np
import pytest

from kdutils.data.simulate import physics, tester

OPTIONS = {"train_lots": 20, "val_lots": 5, "test_lots": 15, "devices": 250}
SEED = 4
MEAN = physics.SEVERITY @ physics.SEVERITY_SHARE


@pytest.fixture(scope="module")
def split():
    return next(tester.splits(seed=SEED, **OPTIONS))


def errors(part, number):
    """For each reading that a defect moves: (mean shift, expected shift, its error).

    In units of the reading's spread; the mean error comes from both groups' variance.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        u = np.where(
            tester.LOG, np.log(part.X / tester.NOMINAL), part.X - tester.NOMINAL
        )
    u = u / tester.SPREAD
    found = []
    for defect in range(1, len(physics.DEFECTS)):
        for name, move in physics.DEFECTS[defect].moves.items():
            column = u[:, physics.NAMES.index(name)]
            his, healthy = (column[number == d] for d in (defect, 0))
            his, healthy = his[np.isfinite(his)], healthy[np.isfinite(healthy)]
            error = np.sqrt(his.var() / len(his) + healthy.var() / len(healthy))
            found.append((his.mean() - healthy.mean(), MEAN * move, error))
    return np.array(found).T


def test_the_names_are_the_physics():
    assert tuple(d.name for d in physics.DEFECTS) == tester.DEFECTS
    assert tester.DEFECTS[0] == "none" and len(set(tester.DEFECTS)) == 7


def test_a_number_for_each_row_of_each_part(split):
    numbers = tester.defects(SEED, **OPTIONS)
    for part, number in zip((split.train, split.val, split.test), numbers, strict=True):
        assert number.shape == part.y.shape and number.dtype == np.int64
        assert set(number) == set(range(7))
    share = np.bincount(np.concatenate(numbers)) / 10_000
    for defect, found in zip(physics.DEFECTS, share, strict=True):
        assert abs(found - defect.share) < 4 * np.sqrt(defect.share / 10_000)


@pytest.mark.parametrize("which", ["train", "val", "test"])
def test_each_defect_moves_its_own_readings_as_its_physics_says(split, which):
    number = dict(
        zip(("train", "val", "test"), tester.defects(SEED, **OPTIONS), strict=True)
    )
    shift, expected, error = errors(getattr(split, which), number[which])
    assert (abs(shift - expected) < 4.5 * error).all()
    strong = abs(expected) > 4 * error
    assert strong.sum() > 10
    assert (np.sign(shift) == np.sign(expected))[strong].all()


@pytest.mark.parametrize("wrong", ["seed", "order"])
def test_another_draw_would_be_noticed(split, wrong):
    seed = SEED + 1 if wrong == "seed" else SEED
    number = tester.defects(seed, **OPTIONS)[2]
    number = np.roll(number, 1) if wrong == "order" else number
    shift, expected, error = errors(split.test, number)
    assert (abs(shift - expected) > 4.5 * error).mean() > 0.5


def test_defects_fail_more_often_and_other_options_are_another_draw(split):
    number = tester.defects(SEED, **OPTIONS)[2]
    rates = [split.test.y[number == defect].mean() for defect in range(7)]
    assert min(rates[1:]) > 3 * rates[0]
    other = tester.defects(SEED, **{**OPTIONS, "train_lots": 21})[2]
    assert (other != number).any()

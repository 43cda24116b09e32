"""The simulated tester knows its own P(fail | x), and divides lots, not rows."""

import numpy as np
import pytest

from kdutils import metrics
from kdutils.data import tables
from kdutils.data.simulate import physics, tester


@pytest.fixture(scope="module")
def production():
    rng = np.random.default_rng(11)
    X, y, lot, _ = tester.produce(rng, lots=200, devices=60)
    return X, y, lot, tester.fail_probability(X)


def test_every_load_move_and_corner_names_something_that_exists():
    assert len(physics.NAMES) == len(set(physics.NAMES)) == 28
    assert len(physics.TESTS) == 8 and all(physics.UNITS)
    assert sum(defect.share for defect in physics.DEFECTS) == pytest.approx(1)
    assert tuple(d.name for d in physics.DEFECTS) == tester.DEFECTS
    assert tester.DEFECTS[0] == "none" and len(set(tester.DEFECTS)) == 7
    for reading in physics.READINGS:
        assert set(reading.loads) <= set(physics.FACTORS)
    for defect in physics.DEFECTS:
        assert set(defect.moves) | set(defect.jitter) <= set(physics.NAMES)
        assert set(defect.corner) <= set(physics.FACTORS)


def test_production_is_that_of_a_tester(production):
    """Few fails, a best AUC of .88, stepped and heavy-tailed readings, slow drift."""
    X, y, lot, p = production
    assert metrics.auc(y, p) == pytest.approx(0.88, abs=0.012)
    assert 0.08 < y.mean() < 0.18
    volts = X[:, physics.NAMES.index("vdd_min")]
    volts = volts[~np.isnan(volts)]
    assert np.allclose(volts / 5, np.round(volts / 5))
    leak = X[:, physics.NAMES.index("leak_gate")]
    assert np.nanmax(leak) / np.nanmedian(leak) > 50
    means = np.array([np.nanmean(X[lot == i, 8]) for i in range(200)])
    assert np.corrcoef(means[:-1], means[1:])[0, 1] > 0.5


def test_the_probability_is_calibrated_in_every_tenth(production):
    """What is predicted happens: 12,000 devices, ten bins, four standard errors."""
    _, y, _, p = production
    bins = np.digitize(p, np.quantile(p, np.linspace(0, 1, 11)[1:-1]))
    for number in range(10):
        rows = bins == number
        error = abs(y[rows].mean() - p[rows].mean())
        assert error < 4 * np.sqrt((p[rows] * (1 - p[rows])).sum()) / rows.sum()


def test_a_missing_test_is_integrated_out_not_guessed(production):
    X, y, p = (part[::3] for part in (production[0], production[1], production[3]))
    timing = [j for j, r in enumerate(physics.READINGS) if r.test == "timing"]
    hidden = X.copy()
    hidden[:, timing] = np.nan
    blind = tester.fail_probability(hidden)
    assert abs(blind.mean() - y.mean()) < 0.01
    assert metrics.auc(y, blind) < metrics.auc(y, p)


def test_some_readings_are_missing_by_whole_tests(production):
    X = production[0]
    columns = [j for j, r in enumerate(physics.READINGS) if r.test == "contact"]
    gone = np.isnan(X[:, columns])
    assert 0.002 < gone.mean() < 0.012
    assert (gone.all(axis=1) == gone.any(axis=1)).all()


def test_lots_never_cross_parts_and_seeds_differ():
    sizes = {"train_lots": 6, "val_lots": 2, "test_lots": 3, "devices": 50}
    split = next(tables.splits("tester", seed=1, **sizes))
    lots = [set(part.group) for part in (split.train, split.val, split.test)]
    assert [len(one) for one in lots] == [6, 2, 3]
    assert not (lots[0] & lots[1] or lots[0] & lots[2] or lots[1] & lots[2])
    again = next(tables.splits("tester", seed=1, **sizes))
    other = next(tables.splits("tester", seed=2, **sizes))
    assert np.array_equal(split.test.X, again.test.X, equal_nan=True)
    assert not np.array_equal(split.test.X, other.test.X, equal_nan=True)


def test_no_lot_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="must all be at least 1"):
        next(tester.splits(seed=0, train_lots=0))


# --- the hidden defects ----------------------------------------------------------

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


def test_defects_fail_more_often_and_other_options_are_another_draw(split):
    number = tester.defects(SEED, **OPTIONS)[2]
    rates = [split.test.y[number == defect].mean() for defect in range(7)]
    assert min(rates[1:]) > 3 * rates[0]
    other = tester.defects(SEED, **{**OPTIONS, "train_lots": 21})[2]
    assert (other != number).any()

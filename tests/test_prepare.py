"""What is learned inside a fold, and synthetic rows."""

import numpy as np
import pytest

from kdutils.data.simulate.synthetic import munge
from kdutils.deploy.prepare import Prepare, rank_auc, squash


def test_squash_is_the_smooth_clip():
    z = np.array([0.0, 1.0, -3.0, 1e30, -np.inf, np.nan], np.float32)
    expected = [0, 1 / np.sqrt(1 + 1 / 9), -3 / np.sqrt(2), 3, -3, 0]
    assert np.allclose(squash(z), expected)
    assert squash(z).dtype == np.float32


def test_rank_auc_counts_ties_half():
    X = np.column_stack([np.ones(4), np.arange(4.0)])
    assert rank_auc(X, np.array([0, 0, 1, 1])).tolist() == [0.5, 1.0]


def test_columns_that_cannot_help_are_left_out():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 4))
    X[:, 1] = 7
    X[:60, 2] = np.nan
    prepare = Prepare.fit(X, rng.random(100) < 0.3, ("a", "b", "c", "d"))
    assert prepare.names == ("a", "d")
    with pytest.raises(ValueError, match="no column varies"):
        Prepare.fit(X[:, 1:3], rng.random(100) < 0.3, ("b", "c"))


def test_the_strongest_columns_are_chosen_without_their_copies():
    rng = np.random.default_rng(0)
    y = rng.random(400) < 0.3
    X = rng.standard_normal((400, 30))
    X[:, 5] += 2 * y
    X[:, 6] = X[:, 5] + 0.01 * rng.standard_normal(400)
    X[:, 9] -= y
    prepare = Prepare.fit(X, y, tuple(map(str, range(30))), k=2)
    assert set(prepare.names) in ({"5", "9"}, {"6", "9"})


def test_centre_and_scale_are_robust():
    X = np.arange(101.0)[:, None].repeat(2, axis=1)
    X[0, 0] = 1e9
    prepare = Prepare.fit(X, np.arange(101) % 2, ("a", "b"))
    assert prepare.center[0] == pytest.approx(51)
    assert np.abs(prepare.transform(X)).max() <= 3
    assert (prepare.transform(np.full((1, 2), np.nan)) == 0).all()


def test_munge_stays_near_and_differs():
    rng = np.random.default_rng(0)
    X = np.concatenate(
        [rng.standard_normal((50, 3)), 20 + rng.standard_normal((50, 3))]
    )
    made = munge(X.astype(np.float32), 250, seed=3)
    assert made.shape == (250, 3) and made.dtype == np.float32
    assert not ((made > 8) & (made < 12)).any()
    assert len(np.unique(made, axis=0)) > 200
    assert np.array_equal(made, munge(X.astype(np.float32), 250, seed=3))

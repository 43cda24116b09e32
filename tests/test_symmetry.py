"""The eight symmetries of a square map, and the name that they share."""

from __future__ import annotations

import numpy as np
import pytest

from kdutils.data import symmetry


@pytest.fixture
def X():
    return np.random.default_rng(0).integers(0, 3, (5, 6, 6), dtype=np.uint8)


def test_the_eight_copies_come_in_their_fixed_order():
    (first, *_), second, *_ = copies = symmetry.turned(np.array([[[1, 2], [3, 4]]]))
    assert np.array_equal(first, [[1, 2], [3, 4]])
    assert np.array_equal(second[0], [[2, 4], [1, 3]])
    assert np.array_equal(copies[2][0], [[4, 3], [2, 1]])
    assert np.array_equal(copies[4][0], [[2, 1], [4, 3]])
    assert np.array_equal(copies[5][0], [[1, 3], [2, 4]])  # mirrored, then turned
    assert len({copy.tobytes() for copy in copies}) == 8


def test_copies_keep_kind_and_order(X):
    copies = symmetry.turned(X)
    assert copies.shape == (8, 5, 6, 6) and copies.dtype == np.uint8
    for k in range(8):
        assert np.array_equal(
            np.sort(copies[k].reshape(5, -1)), np.sort(X.reshape(5, -1))
        )


@pytest.mark.parametrize("k", range(8))
def test_every_copy_has_the_same_name(X, k):
    assert symmetry.canonical(symmetry.turned(X)[k]) == symmetry.canonical(X)


def test_another_map_has_another_name(X):
    other = X.copy()
    other[:, 2, 3] = (other[:, 2, 3] + 1) % 3
    names = symmetry.canonical(X) + symmetry.canonical(other)
    assert len(set(names)) == 10 and {len(name) for name in names} == {16}


def test_blocks_change_nothing(X, monkeypatch):
    whole = symmetry.canonical(X)
    monkeypatch.setattr(symmetry, "BLOCK", 2)
    assert symmetry.canonical(X) == whole
    assert symmetry.canonical(X[:0]) == []


@pytest.mark.parametrize("shape", [(2, 3, 4), (4, 4)])
def test_maps_that_are_not_square_are_refused(shape):
    with pytest.raises(ValueError, match=r"maps are \(.*\) where \(n, H, H\) was"):
        symmetry.turned(np.zeros(shape, np.uint8))

"""The simulated wafer maps hold the patterns that their labels name, and no others."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from kdutils.data.simulate import wafersim
from kdutils.data.simulate.wafersim import COMBINATIONS, PATTERNS

R, DISC = wafersim.R, wafersim.DISC
REAL = Path(os.environ.get("KD_DATA", "none")) / "mixedwm38" / "MixedWM38.npz"


def row(*names):
    return [int(name in names) for name in PATTERNS]


def maps(*names, n=200, seed=0, **options):
    """Maps of one combination only."""
    return wafersim.draw(n, seed=seed, combinations=[row(*names)], **options)[0]


def share(X, where=DISC):
    """The share of fails among the dies of a region, for each map."""
    return ((X == 2) & where).sum((1, 2)) / ((X > 0) & where).sum((1, 2))


def test_the_combinations_are_the_38():
    assert COMBINATIONS.shape == (38, 8) and COMBINATIONS.dtype == np.uint8
    assert len(np.unique(COMBINATIONS, axis=0)) == 38
    assert not COMBINATIONS.flags.writeable
    assert np.bincount(COMBINATIONS.sum(1)).tolist() == [1, 8, 13, 12, 4]
    assert (COMBINATIONS[1:9] == np.eye(8)).all()
    c, d, el, er, _, nf, _, r = COMBINATIONS.T.astype(bool)
    assert not (c & d).any() and not (el & er).any()
    assert (COMBINATIONS[nf | r].sum(1) == 1).all()


@pytest.mark.parametrize("n", [0, 1, 38, 600])
def test_shapes_and_values(n):
    X, y = wafersim.draw(n, seed=3)
    assert X.shape == (n, 52, 52) and y.shape == (n, 8)
    assert X.dtype == y.dtype == np.uint8
    assert set(np.unique(X)) <= {0, 1, 2}
    if n >= 38:
        drawn, counts = np.unique(y, axis=0, return_counts=True)
        assert len(drawn) == 38 and np.ptp(counts) <= 1


def test_the_same_seed_gives_the_same_bytes():
    first, again, other = (wafersim.draw(300, seed=s) for s in (7, 7, 8))
    digest = [hashlib.sha256(X.tobytes() + y.tobytes()) for X, y in (first, again)]
    assert digest[0].digest() == digest[1].digest()
    assert (first[0] != other[0]).any()


def test_the_disc_is_the_same_but_for_whole_wafers_and_ragged_ones():
    X, y = wafersim.draw(760, seed=1)
    whole = (y[:, 5] | y[:, 7]).astype(bool)
    assert DISC.sum() == 2061
    assert ((X[~whole] > 0) == DISC).all()
    sizes = (X[whole] > 0).sum((1, 2))
    assert sizes.min() > 1843 and sizes.max() < 2400 and len(np.unique(sizes)) > 5
    X = maps("Loc", ragged=0.5)
    other = ((X > 0) != DISC).any((1, 2))
    assert 70 < other.sum() < 130
    assert len(np.unique((X[other] > 0).sum((1, 2)))) > 5


def test_background_is_a_fixed_share_of_the_dies():
    X = maps(background_normal=(0.1, 0.1))
    assert ((X == 2).sum((1, 2)) == 206).all()
    spread = (X == 2).mean(0)[DISC].std() / np.sqrt(0.1 * 0.9 / 200)
    assert 0.9 < spread < 1.1  # no die fails more often than another
    assert (maps(background_normal=(0, 0)) < 2).all()
    assert (maps(background_normal=(1, 1)) == 2).sum() == 200 * 2061


INSIDE = {"Center": (R < 0.1, R > 0.65), "Donut": ((R > 0.25) & (R < 0.4), R > 0.9)}
INSIDE |= {"Edge-Ring": (R > 0.96, R < 0.9), "Edge-Loc": (R > 0.96, R < 0.9)}
INSIDE |= {"Loc": ((R > 0.6) & (R < 0.9), R < 0.3)}
INSIDE |= {"Scratch": ((R > 0.6) & (wafersim.DIE_Y < 0), wafersim.DIE_Y > 0.1)}


@pytest.mark.parametrize("name", INSIDE)
def test_a_pattern_fails_where_it_is_and_nowhere_else(name):
    X = maps(name, background=(0, 0))
    where, elsewhere = (area & DISC for area in INSIDE[name])
    inside, outside = (X[:, area] == 2 for area in (where, elsewhere))
    assert inside.mean() > 0.05 and inside.any(1).mean() > 0.9
    assert outside.mean() < 0.002
    weak = maps(name, background=(0, 0), strength=(0.2, 0.2))[:, where] == 2
    assert abs(weak.mean() / inside.mean() - 0.2) < 0.03


def test_the_hole_of_a_donut_is_clean():
    options = {"donut_offset": (0, 0), "donut_hole": (0.3, 0.3)}
    X = maps("Donut", background=(0.5, 0.5), **options)
    assert (X[:, R < 0.3] == 1).all() and share(X, R > 0.8).min() > 0.3


def test_an_arc_is_as_long_as_it_says():
    options = {"background": (0, 0), "edge_fill": (1, 1)}
    ring = (maps("Edge-Ring", n=20, **options) == 2).sum()
    arc = (maps("Edge-Loc", n=20, edge_loc_length=(90, 90), **options) == 2).sum()
    assert abs(arc / ring - 0.25) < 0.02


def test_a_scratch_is_a_line():
    X = maps("Scratch", background=(0, 0), scratch_fill=(1, 1)) == 2
    neighbours = sum(
        np.roll(X, (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j
    )
    assert 15 < X.sum((1, 2)).mean() < 60
    assert np.median(neighbours[X]) <= 3
    assert (neighbours[X] > 0).mean() > 0.98


@pytest.mark.parametrize(
    "name, low, high", [("Near-Full", 0.7, 0.95), ("Random", 0.35, 0.6)]
)
def test_whole_wafers(name, low, high):
    failing = share(maps(name))
    assert low < failing.mean() < high and failing.std() > 0.03
    even = maps(name, near_full_slope=(0, 0), random_slope=(0, 0))
    assert abs(share(even).mean() - failing.mean()) < 0.1
    X = maps(name, near_full_slope=(3, 3), random_slope=(3, 3))
    for along in (wafersim.DIE_X, wafersim.DIE_Y):
        assert share(X, along > 0.1).mean() > share(X, along < -0.1).mean() + 0.1


def test_every_parameter_moves_the_maps():
    X, _ = wafersim.draw(114, seed=0, ragged=0.2)
    for known in wafersim.PARAMETERS:
        assert known.meaning and known.unit in wafersim.LIMITS
        low, high = known.low, known.high
        least, most = wafersim.LIMITS[known.unit]
        assert least <= low <= high <= most
        other = (low, low) if low < high else (low / 2, low / 2)
        moved, _ = wafersim.draw(114, seed=0, ragged=0.2, **{known.name: other})
        assert (moved != X).any(), known.name


@pytest.mark.parametrize(
    "options, said",
    [
        ({"n": -1}, "n is -1"),
        ({"ragged": 1.5}, "ragged is 1.5"),
        ({"combinations": [[0] * 7]}, "shape (1, 7)"),
        ({"combinations": []}, "shape (0,)"),
        ({"combinations": [row(), row("Center", "Donut")]}, "combinations, row 2"),
        ({"combinations": [row("Loc", "Random")]}, "row 1"),
        ({"combinations": [[0, 0, 0, 0, 2, 0, 0, 0]]}, "row 1"),
        ({"haze": (0, 1)}, "haze is no parameter"),
        ({"background": 0.2}, "background is 0.2"),
        ({"background": (0.3, 0.2)}, "background is (0.3, 0.2)"),
        ({"background": (0.2, 1.2)}, "between 0 and 1 (share of dies)"),
        ({"loc_depth": (0, 0.1)}, "loc_depth is (0, 0.1)"),
        ({"strength": (1, np.inf)}, "strength is"),
        ({"whole_dies": (1, 20)}, "between 2 and 52"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(options, said):
    with pytest.raises(ValueError) as error:
        wafersim.draw(**{"n": 5, "seed": 0, **options})
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.skipif(not REAL.exists(), reason="KD_DATA has no mixedwm38/MixedWM38.npz")
def test_the_real_maps_have_these_combinations_shares_and_profiles():
    with np.load(REAL) as file:
        real, y = file["arr_0"], file["arr_1"]
    assert (np.unique(y, axis=0) == np.unique(COMBINATIONS, axis=0)).all()
    rings = [DISC & (i / 6 <= R) & ((i + 1) / 6 > R) for i in range(6)]
    quirks = [row("Donut", edge, "Loc") for edge in ("Edge-Loc", "Edge-Ring")]
    for names in COMBINATIONS.tolist():
        if names in quirks:  # the real maps have a thinner background here
            continue
        X = real[(y == names).all(1)][:400]
        Z, _ = wafersim.draw(400, seed=0, combinations=[names])
        assert abs(share(X).mean() - share(Z).mean()) < 0.025, names
        assert abs(share(X).std() - share(Z).std()) < 0.015, names
        gaps = [share(X, ring).mean() - share(Z, ring).mean() for ring in rings]
        assert np.abs(gaps).max() < 0.12, (names, gaps)

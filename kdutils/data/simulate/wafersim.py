"""wafersim: wafer maps with up to four defects at once, drawn for any number of maps.

A map is a disc of 52 x 52: 0 off the wafer, 1 a die that passes, 2 one that fails. The
38 combinations are those of MixedWM38: at most one of Center and Donut, at most one of
Edge-Loc and Edge-Ring, Loc and Scratch with or without each other and any of these (36
with the normal wafer), and Near-Full and Random, each alone. Not copied from the real
maps, because a student could read a label off them: dies of a scratch outside the disc,
and a thinner background where Donut, Loc and an edge pattern meet. Scratches lie where
MixedWM38 has them, in the lower half.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from kdutils.data.readers import PATTERNS
from kdutils.data.simulate import waferpatterns as patterns

_DRAWN = {
    0: patterns.center,
    1: patterns.donut,
    2: patterns.edge_loc,
    3: patterns.edge_ring,
    4: patterns.loc,
    6: patterns.scratch,
}
_WHOLE = {5: "near_full", 7: "random"}
BLOCK = 256  # maps drawn at a time: their arrays stay in the cache


def _legal() -> np.ndarray:
    """The combinations: normal, the eight single ones, then by number of patterns."""
    rows = [
        (c == 1, c == 2, e == 1, e == 2, loc, 0, scratch, 0)
        for c, e, loc, scratch in product(range(3), range(3), range(2), range(2))
    ]
    rows += [(0, 0, 0, 0, 0, 1, 0, 0), (0, 0, 0, 0, 0, 0, 0, 1)]
    rows.sort(key=lambda row: (sum(row), [-value for value in row]))
    legal = np.array(rows, np.uint8)
    legal.setflags(write=False)
    return legal


COMBINATIONS = _legal()


def draw(
    n: int,
    *,
    seed: int,
    combinations: Sequence | None = None,
    ragged: float = 0.0,
    **ranges: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """n maps, uint8 (n, 52, 52), and their patterns, uint8 (n, 8) of 0 and 1.

    combinations: rows of 8 to draw from, equally often, all 38 if None;
    ragged: P(the disc has larger dies and a ragged edge), beyond Near-Full and Random,
    which always have; ranges: by the name of a parameter, its (low, high).
    The same arguments give the same bytes. Raises ValueError.
    """
    if n < 0:
        raise ValueError(f"n is {n} where 0 or more maps were expected")
    if not 0 <= ragged <= 1:
        raise ValueError(f"ragged is {ragged} where a share from 0 to 1 was expected")
    rows = COMBINATIONS if combinations is None else _combinations(combinations)
    ranges = _ranges(ranges)
    rng = np.random.default_rng([seed, 38])
    y = rows[_numbers(rng, n, len(rows))]
    X = np.empty((n, patterns.SIDE, patterns.SIDE), np.uint8)
    for start in range(0, n, BLOCK):
        block = slice(start, min(start + BLOCK, n))
        X[block] = _maps(rng, y[block].astype(bool), ragged, ranges)
    return X, y


def _maps(rng, y: np.ndarray, ragged: float, ranges: dict) -> np.ndarray:
    """The maps of a block, uint8 (n, 52, 52), of patterns y, bool (n, 8)."""
    of = patterns.Draws(rng, ranges, len(y))
    rate = np.where(y.any(1), *(of[f"background{w}"].ravel() for w in ("", "_normal")))
    fails = patterns.background(of, rate)
    strength = of["strength"]
    for number, pattern in _DRAWN.items():
        has = np.flatnonzero(y[:, number])
        some = patterns.Draws(rng, ranges, len(has))
        p = pattern(some)
        if number == PATTERNS.index("Donut"):
            p, hole = p
            fails[has] &= ~hole
        fails[has] |= some.die() < strength[has] * p
    X = np.where(patterns.DISC, 1 + fails, 0).astype(np.uint8)
    has = np.flatnonzero(rng.random(len(y)) < ragged)
    on = patterns.ragged(patterns.Draws(rng, ranges, len(has)))
    X[has] = np.where(on, np.maximum(X[has], 1), 0)
    for number, name in _WHOLE.items():
        has = np.flatnonzero(y[:, number])
        X[has] = patterns.whole(patterns.Draws(rng, ranges, len(has)), name)
    return X


def _numbers(rng, n: int, k: int) -> np.ndarray:
    """n numbers below k in random order, each equally often, to one."""
    counts = np.full(k, n // k)
    counts[np.argsort(rng.random(k))[: n % k]] += 1
    return rng.permutation(np.repeat(np.arange(k), counts))


def _combinations(combinations: Sequence) -> np.ndarray:
    """The combinations as uint8 (k, 8); refused if one is not among the 38."""
    rows = np.asarray(combinations)
    if rows.ndim != 2 or rows.shape[1] != len(PATTERNS) or not len(rows):
        raise ValueError(
            f"combinations has the shape {rows.shape} where (k, 8) was expected"
        )
    for number, row in enumerate(rows.tolist(), 1):
        if row not in COMBINATIONS.tolist():
            raise ValueError(
                f"combinations, row {number}: {row} is none of the 38 combinations "
                "of 0 and 1 in wafersim.COMBINATIONS"
            )
    return rows.astype(np.uint8)


def _ranges(given: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Every parameter's (low, high), those given instead of the table's."""
    table = {parameter.name: parameter for parameter in patterns.PARAMETERS}
    ranges = {name: (row.low, row.high) for name, row in table.items()}
    for name, value in given.items():
        if name not in table:
            raise ValueError(f"{name} is no parameter of wafersim: {', '.join(table)}")
        least, most = patterns.LIMITS[table[name].unit]
        pair = np.shape(value) == (2,) and least <= value[0] <= value[1] <= most
        if not (pair and np.isfinite(value).all()):
            raise ValueError(
                f"{name} is {value} where (low, high) between {least} and {most} "
                f"({table[name].unit}) was expected"
            )
        ranges[name] = tuple(value)
    return ranges

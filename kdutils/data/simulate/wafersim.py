"""wafersim: wafer maps with up to four of eight defects, for any number of maps.

A map is a disc of 52 x 52: 0 off the wafer, 1 a die that passes, 2 one that fails. The
38 combinations are those of MixedWM38: at most one of Center and Donut, at most one of
Edge-Loc and Edge-Ring, Loc and Scratch with or without each other and any of these (36
with the normal wafer), and Near-Full and Random, each alone. Not copied from the real
maps, because a student could read a label off them: dies of a scratch outside the disc,
and a thinner background where Donut, Loc and an edge pattern meet. Scratches lie where
MixedWM38 has them, in the lower half.

Each defect is drawn from its ranges. Lengths are in wafer radii from the centre, x to
the right and y upwards; angles in degrees, anticlockwise from the right. A pattern is
P(fail) of each die, float32 (n, 52, 52). Near-Full and Random are states of a whole
wafer: drawn on a coarser grid of dies and enlarged as pictures are, which gives them
their texture and a passing rim.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from kdutils.data.readers import PATTERNS, SIDE

CENTRE = 26  # row and column of the die in the middle: the disc's rows are 1 to 51
RADIUS = 25.58  # dies

_rows, _columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
DIE_X = (_columns - CENTRE) / np.float32(RADIUS)
DIE_Y = (CENTRE - _rows) / np.float32(RADIUS)
R = np.hypot(DIE_X, DIE_Y)
ANGLE = np.degrees(np.arctan2(DIE_Y, DIE_X))
DISC = R <= 1  # 2,061 dies

DONUT_RIM = 0.03  # radii: how softly a donut ends outwards
EDGE_DEPTH = (0.915, 0.96)  # radii: where an edge pattern begins, and is at full
BLOCK = 256  # maps drawn at a time: their arrays stay in the cache
EDGE_INNER = 0.8  # P(fail) of an edge pattern between the two, as a share of full


class Range(NamedTuple):
    """A parameter is uniform between low and high, drawn anew for each map."""

    name: str
    low: float
    high: float
    unit: str
    meaning: str


# fmt: off
PARAMETERS = tuple(Range(*row) for row in (
    ("background", 0.19, 0.198, "share of dies", "fail at random under any pattern"),
    ("background_normal", 0.01, 0.144, "share of dies", "fail on a normal wafer"),
    ("strength", 1, 1, "factor", "scales P(fail) of every pattern but the two whole"),
    ("center_offset", -0.17, 0.17, "radii either way", "x and y of the blob's middle"),
    ("center_radius", 0.09, 0.345, "radii", "radius of the blob"),
    ("donut_offset", -0.17, 0.17, "radii either way", "x and y of the ring's middle"),
    ("donut_hole", 0.05, 0.34, "radii", "radius of the hole, where no die fails"),
    ("donut_width", 0.13, 0.29, "radii", "from the hole to where half the dies fail"),
    ("edge_loc_angle", -180, 180, "degrees of direction", "middle of the arc"),
    ("edge_loc_length", 30, 330, "degrees", "length of the arc"),
    ("edge_fill", 0.72, 1, "P(fail)", "of a die in Edge-Loc or Edge-Ring"),
    ("loc_angle", -180, 180, "degrees of direction", "where the spot is"),
    ("loc_distance", 0.74, 0.8, "radii", "distance of the spot's middle"),
    ("loc_depth", 0.13, 0.2, "radii", "half depth of the spot, towards the centre"),
    ("loc_breadth", 4, 30, "degrees", "half breadth of the spot along the edge"),
    ("loc_fill", 0.8, 0.95, "P(fail)", "of a die in the spot's middle"),
    ("scratch_angle", 38, 70, "degrees of direction",
     "its middle's, below the horizontal, left or right"),
    ("scratch_distance", 0.54, 0.74, "radii", "of its middle from the centre"),
    ("scratch_bend", 1.4, 3.5, "radii", "radius of its curve, hollow towards the edge"),
    ("scratch_width", 1.1, 1.3, "dies", "width of the line"),
    ("scratch_fill", 0.9, 1, "P(fail)", "of a die on the line"),
    ("near_full_share", 0.8, 1, "share of dies", "fail in the mean over the wafer"),
    ("random_share", 0.3, 0.65, "share of dies", "fail in the mean over the wafer"),
    ("near_full_slope", -3.5, 3.5, "log odds a radius", "of P(fail) in x, and in y"),
    ("random_slope", -1.2, 1.2, "log odds a radius", "of P(fail) in x, and in y"),
    ("whole_dies", 22, 38, "dies across", "a wafer of Near-Full, Random, or ragged"),
))
# fmt: on

# The least and the most that a parameter of this unit can be.
LIMITS = {
    "share of dies": (0, 1),
    "P(fail)": (0, 1),
    "factor": (0, np.inf),
    "radii": (0.001, np.inf),
    "radii either way": (-1, 1),
    "degrees": (0.001, 360),
    "degrees of direction": (-360, 360),
    "dies": (0, SIDE),
    "dies across": (2, SIDE),
    "log odds a radius": (-20, 20),
}


class Draws:
    """The parameters of n maps, each drawn when it is read."""

    def __init__(self, rng: np.random.Generator, ranges: dict[str, tuple], n: int):
        self.rng, self.ranges, self.n = rng, ranges, n

    def __getitem__(self, name: str) -> np.ndarray:
        """One value a map, float32 (n, 1, 1)."""
        values = self.rng.uniform(*self.ranges[name], (self.n, 1, 1))
        return values.astype(np.float32)

    def die(self) -> np.ndarray:
        """A number from 0 to 1 for every die, float32 (n, 52, 52)."""
        return self.rng.random((self.n, SIDE, SIDE), np.float32)


def background(of: Draws, rate: np.ndarray) -> np.ndarray:
    """Exactly a share `rate` (n,) of the disc's dies, bool (n, 52, 52)."""
    u = of.rng.random((of.n, DISC.sum()), np.float32)
    count = np.rint(rate * u.shape[1]).astype(int)
    limit = np.c_[np.sort(u), np.ones(of.n)][np.arange(of.n), count]
    fails = np.zeros((of.n, SIDE, SIDE), bool)
    fails[:, DISC] = u < limit[:, None]
    return fails


def center(of: Draws) -> np.ndarray:
    """A round blob near the middle in which every die fails."""
    r = np.hypot(DIE_X - of["center_offset"], DIE_Y - of["center_offset"])
    return (r < of["center_radius"]).astype(np.float32)


def donut(of: Draws) -> tuple[np.ndarray, np.ndarray]:
    """A ring with a sharp hole and a soft rim, and the hole, bool (n, 52, 52)."""
    r = np.hypot(DIE_X - of["donut_offset"], DIE_Y - of["donut_offset"])
    hole = of["donut_hole"]
    outside = (r - hole - of["donut_width"]) / DONUT_RIM
    return (r >= hole) / (1 + np.exp(np.minimum(outside, 50))), r < hole


def edge_ring(of: Draws) -> np.ndarray:
    """All of the wafer's edge, one or two dies deep."""
    depth = np.where(EDGE_DEPTH[1] <= R, 1, np.where(EDGE_DEPTH[0] <= R, EDGE_INNER, 0))
    return depth.astype(np.float32) * of["edge_fill"]


def edge_loc(of: Draws) -> np.ndarray:
    """An arc of the wafer's edge."""
    away = _turned(ANGLE - of["edge_loc_angle"])
    return edge_ring(of) * (abs(away) <= of["edge_loc_length"] / 2)


def loc(of: Draws) -> np.ndarray:
    """A spot off the centre, as broad as its angle: it fans out towards the edge."""
    away = _turned(ANGLE - of["loc_angle"]) / of["loc_breadth"]
    deep = (R - of["loc_distance"]) / of["loc_depth"]
    return of["loc_fill"] * np.exp(-((0.5 * (away**2 + deep**2)) ** 2))


def scratch(of: Draws) -> np.ndarray:
    """A line about one die wide, part of a circle, across a lower side of the wafer."""
    side = of.rng.choice(np.float32([-1, 1]), (of.n, 1, 1))
    angle = np.radians(of["scratch_angle"])
    bend = of["scratch_bend"]
    far = of["scratch_distance"] + bend
    r = np.hypot(DIE_X - side * far * np.cos(angle), DIE_Y + far * np.sin(angle))
    near = abs(r - bend) < of["scratch_width"] / (2 * RADIUS)
    return near * of["scratch_fill"]


def whole(of: Draws, name: str) -> np.ndarray:
    """Maps of near_full or random: 0 off the wafer, 1 pass, 2 fail; (n, 52, 52)."""
    dies, x, y = _larger(of)
    share = of[f"{name}_share"].clip(0.001, 0.999)
    slopes = of[f"{name}_slope"] * x + of[f"{name}_slope"] * y
    odds = np.log(share / (1 - share)) + slopes
    fails = of.rng.random(odds.shape, np.float32) < 1 / (1 + np.exp(-odds))
    values = np.where(x**2 + y**2 <= 1, 1 + fails, 0)
    return _enlarged(values, dies).astype(np.uint8)


def rim(of: Draws) -> np.ndarray:
    """Which cells are on a wafer of larger dies, bool (n, 52, 52)."""
    dies, x, y = _larger(of)
    return _enlarged(x**2 + y**2 <= 1, dies) > 0


def _larger(of: Draws) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many dies are across each wafer, and their x and y in radii."""
    dies = np.rint(of["whole_dies"])
    x = (2 * np.arange(dies.max(initial=2), dtype=np.float32) + 1) / dies - 1
    return dies, x, -x.transpose(0, 2, 1)


def _enlarged(values: np.ndarray, dies: np.ndarray) -> np.ndarray:
    """The first `dies` rows and columns, bilinearly over 52 x 52, rounded."""
    place = (np.arange(SIDE, dtype=np.float32) + 0.5) * dies / SIDE - 0.5
    place = place.clip(0, dies - 1)[:, 0]
    low = np.minimum(place.astype(int), dies[:, 0].astype(int) - 2)
    share = (place - low)[:, :, None]
    values = values.astype(np.float32)
    for _ in range(2):  # rows, then columns
        a, b = (np.take_along_axis(values, i[:, :, None], 1) for i in (low, low + 1))
        values = (a + share * (b - a)).transpose(0, 2, 1)
    return np.floor(values + 0.5)


def _turned(angle: np.ndarray) -> np.ndarray:
    """The same angle between -180 and 180 degrees."""
    return (angle + 180) % 360 - 180


_DRAWN = {0: center, 1: donut, 2: edge_loc, 3: edge_ring, 4: loc, 6: scratch}
_WHOLE = {5: "near_full", 7: "random"}


def _legal() -> np.ndarray:
    """The combinations: normal, the eight single ones, then by number of"""
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
    X = np.empty((n, SIDE, SIDE), np.uint8)
    for start in range(0, n, BLOCK):
        block = slice(start, min(start + BLOCK, n))
        X[block] = _maps(rng, y[block].astype(bool), ragged, ranges)
    return X, y


def _maps(rng, y: np.ndarray, ragged: float, ranges: dict) -> np.ndarray:
    """The maps of a block, uint8 (n, 52, 52), of patterns y, bool (n, 8)."""
    of = Draws(rng, ranges, len(y))
    rate = np.where(y.any(1), *(of[f"background{w}"].ravel() for w in ("", "_normal")))
    fails = background(of, rate)
    strength = of["strength"]
    for number, pattern in _DRAWN.items():
        has = np.flatnonzero(y[:, number])
        some = Draws(rng, ranges, len(has))
        p = pattern(some)
        if number == PATTERNS.index("Donut"):
            p, hole = p
            fails[has] &= ~hole
        fails[has] |= some.die() < strength[has] * p
    X = np.where(DISC, 1 + fails, 0).astype(np.uint8)
    has = np.flatnonzero(rng.random(len(y)) < ragged)
    on = rim(Draws(rng, ranges, len(has)))
    X[has] = np.where(on, np.maximum(X[has], 1), 0)
    for number, name in _WHOLE.items():
        has = np.flatnonzero(y[:, number])
        X[has] = whole(Draws(rng, ranges, len(has)), name)
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
    table = {parameter.name: parameter for parameter in PARAMETERS}
    ranges = {name: (row.low, row.high) for name, row in table.items()}
    for name, value in given.items():
        if name not in table:
            raise ValueError(f"{name} is no parameter of wafersim: {', '.join(table)}")
        least, most = LIMITS[table[name].unit]
        pair = np.shape(value) == (2,) and least <= value[0] <= value[1] <= most
        if not (pair and np.isfinite(value).all()):
            raise ValueError(
                f"{name} is {value} where (low, high) between {least} and {most} "
                f"({table[name].unit}) was expected"
            )
        ranges[name] = tuple(value)
    return ranges

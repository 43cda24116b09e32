"""wafers: the loader of wafer maps: a source's name in, its split out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kdutils.data import PARTS, Rows, Split, apart, readers, registry
from kdutils.data.readers import PATTERNS
from kdutils.data.registry import digest, kind, known
from kdutils.data.simulate import wafersim

__all__ = ["classes", "combination", "digest", "duplicates", "kind", "split"]
SIMULATED = "simulated"
SHARES = 0.6, 0.15, 0.25  # of a file that does not say who trains, validates and tests
COMBINATIONS = wafersim.COMBINATIONS  # uint8 (38, 8): the sets of patterns there are


def split(
    source: str, *, seed: int, root: str = "", rows: tuple | None = None, **options
) -> Split:
    """A source's maps: X uint8 (n, 52, 52), y uint8 (n, 8), see `data.Part`.

    mixedwm38, wm811k: the parts of the file, whatever the seed; if it names none, the
    seed draws 60, 15 and 25 % of each combination of patterns.
    simulated: the seed draws `rows`, how many maps train, validate and test; the
    options are those of `wafersim.draw`.
    group numbers the maps that are equal turned or mirrored. No group is in two parts:
    only the last part's maps stay. Validation and test keep the first map of a group.
    """
    known(source, "wafer")
    if source == SIMULATED:
        maps = _drawn(seed, rows, options)
    elif rows is not None or options:
        raise ValueError(f"{source} is read as it is: rows and options are simulated's")
    else:
        maps = registry.read(source, root)
    return maps.split(_places(maps, seed), single=True)


def duplicates(source: str, root: str = "", seed: int = 0) -> dict:
    """How many maps of a file repeat another, and how many `split` leaves out.

    exact_across, symmetric_across: maps of train or val that are in a later part too,
    as they are, or turned or mirrored or as they are; within: maps of each part that
    repeat an earlier one of it, turned or not; labels_differ: groups of equal maps
    that have more than one combination of patterns; dropped: by part.
    """
    known(source, "wafer")
    maps = registry.read(source, root)
    group, places = maps.group, _places(maps, seed)
    exact = readers.numbered([X.tobytes() for X in maps.X])
    kept = apart(group, places, single=True)
    pairs = np.unique(np.column_stack((group, combination(maps.y))), axis=0)[:, 0]
    within = [len(i) - len(np.unique(group[i])) for i in places]
    dropped = [len(a) - len(b) for a, b in zip(places, kept, strict=True)]
    return {
        "exact_across": _across(exact, places),
        "symmetric_across": _across(group, places),
        "labels_differ": int((np.bincount(pairs) > 1).sum()),
        "within": dict(zip(PARTS, within, strict=True)),
        "dropped": dict(zip(PARTS, dropped, strict=True)),
    }


def classes() -> tuple[str, ...]:
    """The names of the eight columns of y."""
    return PATTERNS


def combination(y: np.ndarray) -> np.ndarray:
    """The set of patterns of each map as one number, int64 (n,): column k is bit k."""
    return np.asarray(y, np.int64) @ (1 << np.arange(len(PATTERNS)))


def _drawn(seed: int, rows: tuple | None, options: dict) -> Rows:
    three = isinstance(rows, list | tuple) and len(rows) == 3
    if not three or not all(isinstance(n, int) and n > 0 for n in rows):
        raise ValueError(
            f"rows is {rows}: expected three numbers above 0, of the simulated maps to "
            "train, validate and test"
        )
    seeds = np.random.SeedSequence([seed, 38]).generate_state(3)
    pairs = zip(rows, map(int, seeds), strict=True)
    drawn = [wafersim.draw(n, seed=own, **options) for n, own in pairs]
    X, y = (np.concatenate(arrays) for arrays in zip(*drawn, strict=True))
    made = readers.maps(X, y, np.repeat(PARTS, rows))
    return replace(made, source=SIMULATED, kind=SIMULATED)


def _places(maps: Rows, seed: int) -> list[np.ndarray]:
    """Where in the file each part's maps stand, in the file's order."""
    if maps.part is not None:
        return [np.flatnonzero(maps.part == part) for part in PARTS]
    _, first, size = np.unique(maps.group, return_index=True, return_counts=True)
    label, part = combination(maps.y)[first], np.empty(len(first), np.int64)
    order = np.random.default_rng(seed).permutation(len(first))
    for one in np.unique(label):
        chosen = order[label[order] == one]
        ends = size[chosen].cumsum()
        middle = (ends - size[chosen] / 2) / ends[-1]
        part[chosen] = np.searchsorted(np.cumsum(SHARES)[:-1], middle)
    return [np.flatnonzero(part[maps.group] == k) for k in range(len(PARTS))]


def _across(group: np.ndarray, places: list[np.ndarray]) -> int:
    """How many maps of train and val have one of their group in a later part."""
    train, val, test = (group[i] for i in places)
    later = np.isin(train, np.concatenate((val, test)))
    return int(later.sum() + np.isin(val, test).sum())

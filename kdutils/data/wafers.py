"""wafers: the one loader of wafer maps: a source's name in, its split out."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

import numpy as np

from kdutils.data import Part, Split, imagefiles, symmetry, wafersim
from kdutils.data.waferfiles import PARTS, PATTERNS, Maps
from kdutils.data.wafersources import SOURCES, find, folder, generated

SIMULATED = "simulated"
SHARES = 0.6, 0.15, 0.25  # of a file that does not say who trains, validates and tests
COMBINATIONS = wafersim.COMBINATIONS  # uint8 (38, 8): the sets of patterns there are


def split(
    source: str, *, seed: int, root: str = "", rows: tuple | None = None, **options
) -> Split:
    """A source's maps: X uint8 (n, 52, 52), y uint8 (n, 8), see `waferfiles.Maps`.

    mixedwm38, wm811k: the parts of the file, whatever the seed; if it names none, the
    seed draws 60, 15 and 25 % of each combination of patterns.
    simulated: the seed draws `rows`, how many maps train, validate and test; the
    options are those of `wafersim.draw`.
    group numbers the maps that are equal turned or mirrored. No group is in two parts:
    only the last part's maps stay. Validation and test keep the first map of a group.
    """
    if source == SIMULATED:
        maps, group = _drawn(seed, rows, options)
    elif rows is not None or options:
        raise ValueError(f"{source} is read as it is: rows and options are simulated's")
    else:
        maps, group, _ = _maps(source, root)
    kept = _kept(group, _places(maps, group, seed))
    parts = [Part(maps.X[i], maps.y[i], group[i], maps.row[i]) for i in kept]
    return Split(*parts, (), (), source, kind(source, root))


def duplicates(source: str, root: str = "", seed: int = 0) -> dict:
    """How many maps of a file repeat another, and how many `split` leaves out.

    exact_across, symmetric_across: maps of train or val that are in a later part too,
    as they are, or turned or mirrored or as they are; within: maps of each part that
    repeat an earlier one of it, turned or not; labels_differ: groups of equal maps
    that have more than one combination of patterns; dropped, before, after: by part.
    """
    maps, group, _ = _maps(source, root)
    exact = _numbered([X.tobytes() for X in maps.X])
    places = _places(maps, group, seed)
    kept = _kept(group, places)
    pairs = np.unique(np.column_stack((group, combination(maps.y))), axis=0)[:, 0]
    within = [len(i) - len(np.unique(group[i])) for i in places]
    before, after = [len(i) for i in places], [len(i) for i in kept]
    dropped = [a - b for a, b in zip(before, after, strict=True)]
    by_part = {"within": within, "dropped": dropped, "before": before, "after": after}
    return {
        "exact_across": _across(exact, places),
        "symmetric_across": _across(group, places),
        "labels_differ": int((np.bincount(pairs) > 1).sum()),
        **{k: dict(zip(PARTS, v, strict=True)) for k, v in by_part.items()},
    }


def classes() -> tuple[str, ...]:
    """The names of the eight columns of y."""
    return PATTERNS


def combination(y: np.ndarray) -> np.ndarray:
    """The set of patterns of each map as one number, int64 (n,): column k is bit k."""
    return np.asarray(y, np.int64) @ (1 << np.arange(len(PATTERNS)))


def digest(source: str, root: str = "", **options) -> str:
    """Hex sha256 over the maps and labels as read, part by part; of the options, if
    simulated: the simulator itself is in every run's code digest.

    Where the file is not there, it is that of the content known to be real: a report
    whose runs are recorded needs no maps.
    """
    if source == SIMULATED:
        text = json.dumps({"source": source, **options}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
    place = folder(source, root)
    if not any((place / file).is_file() for file in SOURCES[source].files):
        return SOURCES[source].sha256[0]
    return _maps(source, root)[2]


def kind(source: str, root: str = "") -> str:
    """'simulated', 'generated' (a miniature), 'real' (known content), else 'yours'."""
    if source == SIMULATED:
        return SIMULATED
    if generated(source, root):
        return "generated"
    return "real" if digest(source, root) in SOURCES[source].sha256 else "yours"


def _maps(source: str, root: str) -> tuple[Maps, np.ndarray, str]:
    stat = (path := find(source, root)).stat()
    return _read(source, path, (stat.st_mtime_ns, stat.st_size))


@functools.lru_cache(maxsize=2)
def _read(source: str, path: Path, stamp: tuple) -> tuple[Maps, np.ndarray, str]:
    """The maps as read, their groups, int64 (n,), and the content's sha256."""
    maps = SOURCES[source].read(path)
    named = [slice(None)] if maps.split is None else [maps.split == p for p in PARTS]
    sha256 = imagefiles.content((maps.X[i], maps.y[i], None) for i in named)
    return maps, _numbered(symmetry.canonical(maps.X)), sha256


def _drawn(seed: int, rows: tuple | None, options: dict) -> tuple[Maps, np.ndarray]:
    three = isinstance(rows, list | tuple) and len(rows) == 3
    if not three or not all(isinstance(n, int) and n > 0 for n in rows):
        raise ValueError(
            f"rows is {rows}: expected three numbers above 0, of the simulated maps to "
            "train, validate and test"
        )
    seeds = np.random.SeedSequence([seed, 38]).generate_state(3)
    drawn = [
        wafersim.draw(n, seed=int(own), **options)
        for n, own in zip(rows, seeds, strict=True)
    ]
    X, y = (np.concatenate(arrays) for arrays in zip(*drawn, strict=True))
    maps = Maps(X, y, np.repeat(PARTS, rows), np.arange(len(X)))
    return maps, _numbered(symmetry.canonical(X))


def _numbered(names: list[bytes]) -> np.ndarray:
    """Equal names as one number, from 0 in the order of their first places."""
    number: dict[bytes, int] = {}
    return np.array([number.setdefault(name, len(number)) for name in names], np.int64)


def _places(maps: Maps, group: np.ndarray, seed: int) -> list[np.ndarray]:
    """Where in the file each part's maps stand, in the file's order."""
    if maps.split is not None:
        return [np.flatnonzero(maps.split == part) for part in PARTS]
    _, first, size = np.unique(group, return_index=True, return_counts=True)
    label, part = combination(maps.y)[first], np.empty(len(first), np.int64)
    order = np.random.default_rng(seed).permutation(len(first))
    for one in np.unique(label):
        chosen = order[label[order] == one]
        ends = size[chosen].cumsum()
        middle = (ends - size[chosen] / 2) / ends[-1]
        part[chosen] = np.searchsorted(np.cumsum(SHARES)[:-1], middle)
    return [np.flatnonzero(part[group] == k) for k in range(len(PARTS))]


def _kept(group: np.ndarray, places: list[np.ndarray]) -> list[np.ndarray]:
    """The places of each part that stay: see `split`."""
    train, val, test = places
    val, test = (
        i[np.sort(np.unique(group[i], return_index=True)[1])] for i in (val, test)
    )
    val = val[~np.isin(group[val], group[test])]
    later = np.concatenate((group[val], group[test]))
    return [train[~np.isin(group[train], later)], val, test]


def _across(group: np.ndarray, places: list[np.ndarray]) -> int:
    """How many maps of train and val have one of their group in a later part."""
    train, val, test = (group[i] for i in places)
    later = np.isin(train, np.concatenate((val, test)))
    return int(later.sum() + np.isin(val, test).sum())

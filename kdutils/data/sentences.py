"""sentences: the loader of sentences and questions: a source's name in, a split out."""

from __future__ import annotations

import numpy as np

from kdutils.data import Part, Rows, Split, images, registry, squad
from kdutils.data.registry import digest, kind, known

__all__ = ["digest", "kind", "questions", "shown", "split"]
TEST_SHARE = 0.25  # of the articles, where the source has no test set of its own


def split(source: str, *, seed: int, val: int, root: str = "") -> Split:
    """A source's sentences: X int32 (n, length), y int64 (n,); features: its words.

    X holds each word's place in the features, -1 after the last one. sst2: the official
    parts, so `val` and the seed change nothing; where the test file has no labels, dev
    is the test set and the seed draws `val` of the training sentences.
    squad: y int64 (n, 2); the seed draws `val` articles, and a quarter for testing
    where the source has no test set; training questions without an answer come last.
    No sentence is in two parts: of equal ones, only the last part's stay.
    Raises ValueError if `val` leaves no training sentence or a file is not as it
    should be.
    """
    known(source, "text")
    rows = registry.read(source, root)
    if rows.y.ndim == 2:
        return _by_article(rows, seed, val)
    return images.divided(rows, seed=seed, val=val)


def _by_article(rows: Rows, seed: int, val: int) -> Split:
    """The answered questions, no article in two parts, the others to train with."""
    answered, test = rows.y[:, 0] >= 0, rows.part == "test"
    free = np.unique(rows.group[answered & ~test])
    drawn = 0 if test.any() else max(1, round(TEST_SHARE * len(free)))
    if not 1 <= val < len(free) - drawn:
        raise ValueError(
            f"val is {val}: expected 1 to {len(free) - drawn - 1} articles, as "
            f"{rows.source} has {len(free) - drawn} to train and validate"
        )
    order = np.random.default_rng(seed).permutation(free)
    test |= answered & np.isin(rows.group, order[:drawn])
    held = answered & np.isin(rows.group, order[drawn : drawn + val])
    kept = [*np.flatnonzero(answered & ~held & ~test), *np.flatnonzero(~answered)]
    return rows.split([np.array(kept), np.flatnonzero(held), np.flatnonzero(test)])


def questions(source: str, root: str, part: Part) -> list[squad.Question]:
    """The questions of a part's rows, as the file has them."""
    every = squad.questions(registry.find(source, root))
    return [every[row][0] for row in part.row]


def shown(parts: Split, row) -> str:
    """The sentence of a row of X."""
    return " ".join(parts.features[i] for i in row if i >= 0)

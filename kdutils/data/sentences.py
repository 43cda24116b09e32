"""sentences: the loader of sentences: a source's name in, its split out."""

from __future__ import annotations

from kdutils.data import Split, images, registry
from kdutils.data.registry import digest, kind, known

__all__ = ["digest", "kind", "shown", "split"]


def split(source: str, *, seed: int, val: int, root: str = "") -> Split:
    """A source's sentences: X int32 (n, length), y int64 (n,); features: its words.

    X holds each word's place in the features, -1 after the last one. sst2: the official
    parts, so `val` and the seed change nothing; where the test file has no labels, dev
    is the test set and the seed draws `val` of the training sentences.
    No sentence is in two parts: of equal ones, only the last part's stay.
    Raises ValueError if `val` leaves no training sentence or a file is not as it
    should be.
    """
    known(source, "text")
    return images.divided(registry.read(source, root), seed=seed, val=val)


def shown(parts: Split, row) -> str:
    """The sentence of a row of X."""
    return " ".join(parts.features[i] for i in row if i >= 0)

"""recipes.tasks: what differs between kinds of data, one object each."""

from __future__ import annotations

from dataclasses import dataclass

from kdutils.store.config import Count, Natural, Share


@dataclass(frozen=True)
class Sizes:
    """The sizes that a net can be built with; which of them, its name says."""

    widths: list[Count] | None = None
    depth: Natural = 0
    head: Natural = 0
    channels: Count = 1
    dropout: Share = 0.0


@dataclass(frozen=True)
class Net:
    """A net by its name and sizes."""

    name: str
    sizes: Sizes

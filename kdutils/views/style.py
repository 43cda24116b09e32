"""style: one look for every figure, and the same bytes on every run."""

from __future__ import annotations

import functools
import io
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kdutils import paths
from kdutils.views.names import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, called

__all__ = ["BLACK", "BLUE", "GREEN", "GREY", "ORANGE", "PINK", "called"]

WIDTH = 7.0  # inches
METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}


class Unit(NamedTuple):
    """How a quality and its gains are written (`said`) and drawn (`axis`)."""

    column: str  # q of a table's q, q_low, q_high and val_q
    said: str
    scale: float
    digits: int
    axis: str
    drawn: float
    drawn_digits: int

    def gain(self, value: float) -> str:
        """A gain in a sentence: `+0.0087 AUC`, `+0.52 points`."""
        return f"{signed(self.scale * value, self.digits)} {self.said}"


AUC = Unit("auc", "AUC", 1, 4, "test AUC × 1000", 1000, 1)
POINTS = Unit("acc", "points", 100, 2, "test accuracy, % points", 100, 2)


class Page(Figure):
    """A figure that a notebook shows as the PNG that `save` writes."""

    def __repr__(self) -> str:
        return f"Figure: {' '.join(self.get_suptitle().split())}"

    def _repr_png_(self) -> bytes:
        return render(self, "png")


@contextmanager
def look() -> Iterator[None]:
    """The study's matplotlibrc and nothing of the user's."""
    with mpl.rc_context():
        mpl.rc_file(Path(__file__).with_name("matplotlibrc"))
        yield


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """A function that draws in the study's look, whatever was set before."""

    @functools.wraps(draw)
    def wrapped(*args, **kwargs) -> Figure:
        with look():
            return draw(*args, **kwargs)

    return wrapped


def render(figure: Figure, kind: str) -> bytes:
    """The figure as PNG or SVG: no date, no program's name, ids from a fixed salt."""
    buffer = io.BytesIO()
    with look():
        figure.savefig(buffer, format=kind, metadata=METADATA[kind])
    return buffer.getvalue()


def save(figure: Figure, name: str) -> list[Path]:
    """Write figures/<name>.svg and .png."""
    folder = paths.figures()
    return [
        paths.write(folder / f"{name}.{kind}", render(figure, kind))
        for kind in ("svg", "png")
    ]


def page(
    rows: int, columns: int, height: float, title: str, **subplots: object
) -> tuple[Page, np.ndarray]:
    """A page WIDTH inches wide: rows x columns axes (always 2-D) under a sentence.

    height: inches under a title of one line.
    """
    title = textwrap.fill(title[:1].upper() + title[1:], 80)
    figure = Page(figsize=(WIDTH, height + 0.17 * title.count("\n")))
    figure.suptitle(title, x=0.012, ha="left")
    return figure, figure.subplots(rows, columns, squeeze=False, **subplots)


def note(figure: Figure, text: str) -> None:
    """How to read the figure, in one or two lines at its foot."""
    text = textwrap.fill(text, 124)
    figure.supxlabel(text, x=0.012, ha="left", fontsize=7, color=GREY)


def signed(value: float, digits: int) -> str:
    """+0.0012 or −0.0012, with a true minus; a rounded 0 has no sign."""
    number = f"{abs(value):.{digits}f}"
    if not number.strip("0."):
        return number
    return ("+" if value > 0 else "−") + number


def crosses(line: dict | pd.Series, name: str = "gain") -> bool:
    """Whether the interval does not exclude 0; so says one that is not there."""
    return not (line[f"{name}_low"] > 0 or line[f"{name}_high"] < 0)


def counts(table: pd.DataFrame) -> str:
    """n of a panel's lines: one number, or the least and the most."""
    low, high = int(table["n"].min()), int(table["n"].max())
    return str(low) if low == high else f"{low}–{high}"


def sources(frame: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """(source, its name with the kind of its data, its lines), in the frame's order.

    Where the frame tells students apart, so does the list; the name then says which.
    """
    keys = ["source", *({"student"} & set(frame))]
    return [
        (key[0], f"{place(group)} ({group['kind'].iloc[0]} data)", group)
        for key, group in frame.groupby(keys, sort=False)
    ]


def place(group: pd.DataFrame) -> str:
    """Where a panel's lines come from, in a sentence: `SECOM`, `MNIST, CNN`."""
    first = group.iloc[0]
    names = [first["source"], *([first["student"]] if "student" in group else [])]
    return ", ".join(map(called, names))


def interval(
    ax: Axes, x: float, low: float, high: float, y: float, color: str, **marker: object
) -> None:
    """A dot with its horizontal interval, where it has one."""
    if not np.isnan(low):
        ax.plot([low, high], [y, y], color=color, lw=1.6, solid_capstyle="butt")
    ax.plot([x], [y], **({"marker": "o", "color": color} | marker))


def legend(
    figure: Figure, looks: dict[str, tuple], side: str = "left", ncols: int = 2, **line
) -> None:
    """At the figure's foot, what each (colour, marker) stands for."""
    handles = [
        Line2D([], [], color=color, marker=marker, label=name, **line)
        for name, (color, marker) in looks.items()
    ]
    figure.legend(handles=handles, loc=f"outside lower {side}", ncols=ncols)


def names(ax: Axes, labels: list[str]) -> None:
    """Row names on the y axis, the first on top."""
    ax.set_yticks(range(len(labels)), [called(label) for label in labels])
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")

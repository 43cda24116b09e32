"""style: one look for every figure, and the same bytes on every run."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from PIL import Image

from kdutils import paths
from kdutils.views.names import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, called

__all__ = ["BLACK", "BLUE", "GREEN", "GREY", "ORANGE", "PINK", "called"]

WIDTH = 7.0  # inches
METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
LOOKS = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PINK, "D"))


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
EXACT = POINTS._replace(axis="exact match, % points", drawn_digits=1)


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


styled = look()  # a decorator: the function draws in the study's look


def render(figure: Figure, kind: str) -> bytes:
    """The figure as PNG or SVG: no date, no program's name, ids from a fixed salt.

    A PNG has a palette of 256 colours: a third of the bytes.
    """
    buffer = io.BytesIO()
    with look():
        figure.savefig(buffer, format=kind, metadata=METADATA[kind])
    if kind == "png":
        colours = Image.open(buffer).convert("RGB").quantize(dither=Image.Dither.NONE)
        colours.save(buffer := io.BytesIO(), "PNG", optimize=True)
    return buffer.getvalue()


def save(figure: Figure, name: str) -> list[Path]:
    """Write figures/<name>.svg and .png."""
    files = {kind: paths.figures() / f"{name}.{kind}" for kind in ("svg", "png")}
    return [paths.write(path, render(figure, kind)) for kind, path in files.items()]


def page(
    rows: int, columns: int, height: float, title: str, **subplots: object
) -> tuple[Page, np.ndarray]:
    """A page WIDTH inches wide: rows x columns axes (always 2-D) under a sentence.

    height: inches under a title of one line.
    """
    lines = (title[:1].upper() + title[1:]).split("\n")
    title = "\n".join(textwrap.fill(line, 80) for line in lines)
    figure = Page(figsize=(WIDTH, height + 0.17 * title.count("\n")))
    figure.suptitle(title, x=0.012, ha="left")
    return figure, figure.subplots(rows, columns, squeeze=False, **subplots)


def across(
    table: pd.DataFrame,
    height: float,
    title: str,
    *,
    rows: list[str] = (),
    axis: str = "",
    between: str = "\n",
    **subplots: object,
) -> tuple[Page, list[tuple[Axes, str, pd.DataFrame]]]:
    """A page with a panel per source, and (axes, source, lines) of each.

    rows: names of the rows of a panel, the first on top; axis: what x is.
    """
    found = sources(table)
    subplots = {"sharey": bool(rows)} | subplots
    figure, axes = page(1, len(found), height, title, **subplots)
    panels = []
    for ax, (source, name, group) in zip(axes[0], found, strict=True):
        ax.set_title(f"{name}{between}n = {counts(group)}")
        ax.set_xlabel(axis)
        if rows:
            names(ax, rows)
        panels.append((ax, source, group))
    return figure, panels


def tiled(count: int, foot: float, each: float, title: str) -> tuple[Page, np.ndarray]:
    """A page of panels two abreast; `each`: inches of a row, beside those of `foot`."""
    columns = min(count, 2)
    down = -(-count // columns)
    figure, axes = page(down, columns, foot + down * each, title)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    return figure, axes


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


def crosses(line: Mapping, name: str = "gain") -> bool:
    """Whether the interval does not exclude 0; so says one that is not there."""
    return not (line[f"{name}_low"] > 0 or line[f"{name}_high"] < 0)


def result(question: str, table: pd.DataFrame, unit: Unit, name: str = "gain") -> str:
    """A title: the question, and each panel's gain if its interval clears 0.

    Of a panel with several lines, how many of them are clearly above 0.
    """
    shown, none = [], []
    for *_, group in sources(table):
        clear = group[group[f"{name}_low"] > 0]
        if len(group) > 1:
            shown.append(f"{len(clear)} of {len(group)} clearly on {place(group)}")
        elif crosses(group.iloc[0], name):
            none.append(place(group))
        else:
            shown.append(f"{unit.gain(group[name].iloc[0])} on {place(group)}")
    shown += [f"undecided on {', '.join(none)}"] if none else []
    return f"{question} {'; '.join(shown)}"


def ends(lines: Mapping, name: str, scale: float = 1) -> list:
    """A quantity of a line, or of a table's lines, and the ends of its interval."""
    return [scale * lines[f"{name}{end}"] for end in ("", "_low", "_high")]


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


def band(ax: Axes, x: Iterable, y: list, color: str, **line: object) -> None:
    """A line through y = [values, low, high] with its interval as a band."""
    ax.plot(x, y[0], color=color, **line)
    ax.fill_between(x, *y[1:], color=color, alpha=0.15, lw=0)


def log(axis: Axis, write: Callable[[float], str], at: Iterable | None = None) -> None:
    """Ticks of a log axis `at` values, or at 1, 2 and 5 times powers of ten."""
    locator = LogLocator(subs=(1, 2, 5)) if at is None else FixedLocator(at)
    axis.set_major_locator(locator)
    axis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
    axis.set_minor_locator(NullLocator())


def handle(color: str, mark: str) -> Line2D:
    """A legend's line (`--`, `:`) or marker."""
    if mark in ("--", ":"):
        return Line2D([], [], color=color, ls=mark, lw=1)
    return Line2D([], [], color=color, ls="none", marker=mark)


def short(value: float) -> str:
    """Bytes on an axis: `500`, `20 k`, `5 M`."""
    for unit, name in ((1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def log_x(ax: Axes, values: pd.Series, write: str) -> None:
    """A log x axis with a tick at each of the values, and no other."""
    ticks = sorted(values.dropna().unique())
    ax.set_xscale("log")
    ax.set_xticks(ticks, [write.format(tick) for tick in ticks])
    ax.minorticks_off()
    ax.grid(axis="y")


def legend(
    figure: Figure,
    looks: dict[str, tuple] | None = None,
    side: str = "left",
    ncols: int = 2,
    **line,
) -> None:
    """At the figure's foot, what each (colour, marker) stands for, or each label."""
    known: dict[str, object] = {}
    for ax in figure.axes if looks is None else ():
        known |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    for name, (color, marker, *face) in (looks or {}).items():
        fill = {"markerfacecolor": face[0]} if face else {}
        known[name] = Line2D([], [], color=color, marker=marker, **fill, **line)
    place = {"loc": f"outside lower {side}", "ncols": ncols or len(known)}
    figure.legend(known.values(), known.keys(), **place)


def names(ax: Axes, labels: list[str]) -> None:
    """Row names on the y axis, the first on top."""
    ax.set_yticks(range(len(labels)), [called(label) for label in labels])
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")

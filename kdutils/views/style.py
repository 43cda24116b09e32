"""style: one look for every figure, and the same bytes on every run."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator
from PIL import Image

from kdutils import paths
from kdutils.views.names import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, called

__all__ = ["BLACK", "BLUE", "GREEN", "GREY", "ORANGE", "PINK", "called"]

WIDTH = 7.0  # inches
METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
LOOKS = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PINK, "D"))


class Unit(NamedTuple):
    """How gains are written (name, times scale) and drawn (axis, times drawn)."""

    name: str
    scale: float
    digits: int
    axis: str
    drawn: float
    drawn_digits: int

    def gain(self, value: float) -> str:
        """A gain in a sentence: `+0.0087 AUC`, `+0.52 points`."""
        return f"{signed(self.scale * value, self.digits)} {self.name}"


AUC = Unit("AUC", 1, 4, "test AUC × 1000", 1000, 1)
POINTS = Unit("points", 100, 2, "test accuracy, % points", 100, 2)
EXACT = POINTS._replace(axis="exact match, % points", drawn_digits=1)
ERRORS = Unit("errors", 1, 1, "errors", 1, 1)
ARI = Unit("ARI", 1, 3, "ARI", 1, 3)


class Page(Figure):
    """A figure that a notebook shows as the PNG that `save` writes, with its words."""

    def __repr__(self) -> str:
        return f"Figure: {' '.join(self.get_suptitle().split())}"

    def _repr_png_(self) -> tuple[bytes, dict]:
        return render(self, "png"), {"alt": described(self)}


def described(figure: Figure) -> str:
    """What a figure shows, for who cannot see it.

    Its title, which has what was computed; its panels, axes, rows and legend; its note.
    """
    drawn = [ax for ax in figure.axes if ax.axison and ax.get_label() != "<colorbar>"]
    rows = [tick.get_text() for ax in drawn[:1] for tick in ax.get_yticklabels()]
    legends = [*figure.legends, *filter(None, (ax.get_legend() for ax in drawn))]
    parts = {
        "Panels": [ax.get_title(loc="left") or ax.get_title("center") for ax in drawn],
        "Across": [ax.get_xlabel() for ax in drawn],
        "Upwards": [ax.get_ylabel() for ax in drawn],
        "Rows": rows if any(any(map(str.isalpha, row)) for row in rows) else [],
        "Legend": [text.get_text() for one in legends for text in one.get_texts()],
    }
    words = [figure.get_suptitle().rstrip(".")]
    for name, some in parts.items():
        if some := list(dict.fromkeys(filter(None, some))):
            words.append(f"{name}: {'; '.join(some)}")
    text = ". ".join(filter(None, [*words, figure.get_supxlabel()]))
    return " ".join(text.replace("?.", "?").split())


# The study's matplotlibrc and nothing of the user's; as decorator of what draws.
look = partial(mpl.rc_context, fname=Path(__file__).with_name("matplotlibrc"))
styled = look()


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
    **subplots: object,
) -> tuple[Page, list[tuple[Axes, str, pd.DataFrame]]]:
    """A page with a panel per source, and (axes, source, lines) of each.

    rows: names of the rows of a panel, the first on top; axis: what x is. Of more than
    two panels the first alone names it.
    """
    found = sources(table)
    subplots = {"sharey": bool(rows)} | subplots
    figure, axes = page(1, len(found), height, title, **subplots)
    panels = []
    for ax, (source, name, group) in zip(axes[0], found, strict=True):
        if len(found) > 2:
            name = name.replace(" (", "\n(")
        ax.set_title(f"{name}\nn = {counts(group)}")
        if rows:
            names(ax, rows)
        panels.append((ax, source, group))
    for ax in axes[0] if len(found) < 3 else axes[0, :1]:
        ax.set_xlabel(axis, loc="center" if len(found) < 3 else "left")
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


def crosses(lines: Mapping, name: str = "gain") -> np.ndarray:
    """Whether an interval does not exclude 0; so says one that is not there."""
    clear = (lines[f"{name}_low"] > 0) | (lines[f"{name}_high"] < 0)
    return np.logical_not(clear)


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


def rows(values: pd.Series, listed: list) -> pd.Series:
    """The row of each value, as it is listed."""
    return values.map({value: row for row, value in enumerate(listed)})


def dots(
    ax: Axes,
    lines: pd.DataFrame,
    column: str,
    at: Iterable[float],
    scale: float = 1,
    color: str | Iterable[str] = BLUE,
    face: str | Iterable[str] | None = None,
    *,
    upright: bool = False,
    **marker: object,
) -> None:
    """A dot per line of a table, with its 95 % interval where it has one.

    at: the row of each dot, or if `upright` its place along x; color, face: of all, or
    one for each line.
    """
    fill = color if face is None else face
    inks, fills = (np.broadcast_to(c, len(lines)) for c in (color, fill))
    marker = {"marker": "o", "ls": "none", "zorder": 3} | marker
    for value, low, high, y, ink, fill in zip(
        *ends(lines, column, scale), at, inks, fills, strict=True
    ):
        turn = slice(None, None, -1 if upright else 1)
        line = {"color": ink, "lw": 1.6, "solid_capstyle": "butt"}
        ax.plot(*([low, high], [y, y])[turn], **line)
        ax.plot(*([value], [y])[turn], color=ink, mfc=fill, **marker)


def of_gains(lines: pd.DataFrame) -> dict:
    """Colours of `dots`: blue above 0, orange below, open where the interval is not."""
    color = np.where(lines["gain"] > 0, BLUE, ORANGE)
    return {"color": color, "face": np.where(crosses(lines), "white", color)}


def published(ax: Axes, values: pd.Series, at: float | pd.Series) -> None:
    """Published values where they are known, as orange diamonds."""
    known = values.notna().to_numpy()
    if known.any():
        at = np.broadcast_to(at, len(values))[known]
        ax.plot(values[known], at, "D", ms=3.5, color=ORANGE)


def band(
    ax: Axes,
    x: Iterable,
    lines: Mapping,
    column: str,
    scale: float,
    color: str,
    **line: object,
) -> None:
    """A line through a table's quantity with its interval as a band."""
    value, *interval = ends(lines, column, scale)
    ax.plot(x, value, color=color, **line)
    ax.fill_between(x, *interval, color=color, alpha=0.15, lw=0)


def log(axis: Axis, write: Callable[[float], str], at: Iterable | None = None) -> None:
    """Ticks of a log axis `at` values, or at 1, 2 and 5 times powers of ten."""
    locator = LogLocator(subs=(1, 2, 5)) if at is None else FixedLocator(at)
    axis.set_major_locator(locator)
    axis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
    axis.set_minor_locator(FixedLocator([]))


def bytes_x(ax: Axes, label: str, at: Iterable | None = None) -> None:
    """A log x axis of bytes (`500`, `20 k`, `5 M`), ticks as `log` has them, a grid."""
    ax.set_xscale("log")
    log(ax.xaxis, EngFormatter(), at)
    ax.set_xlabel(label)
    ax.grid()


def log_x(ax: Axes, values: pd.Series, write: str) -> None:
    """A log x axis with a tick at each of the values, and no other."""
    ax.set_xscale("log")
    log(ax.xaxis, write.format, sorted(values.dropna().unique()))
    ax.grid(axis="y")


def legend(
    figure: Figure,
    looks: dict[str, tuple] | None = None,
    side: str = "left",
    ncols: int = 2,
    ls: str = "none",
) -> None:
    """At the figure's foot, what each (colour, mark) stands for, or each label.

    A mark is a marker, with the colour of its face if that is another, or a line, `--`.
    """
    known: dict[str, object] = {}
    for ax in figure.axes if looks is None else ():
        known |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    for name, (color, mark, *face) in (looks or {}).items():
        line = mark in ("--", ":")
        look = {"ls": mark, "lw": 1} if line else {"ls": ls, "marker": mark}
        known[name] = Line2D([], [], color=color, mfc=(face or [color])[0], **look)
    place = {"loc": f"outside lower {side}", "ncols": ncols or len(known)}
    figure.legend(known.values(), known.keys(), **place)


def names(ax: Axes, labels: list[str]) -> None:
    """Row names on the y axis, the first on top."""
    ax.set_yticks(range(len(labels)), [called(label) for label in labels])
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")

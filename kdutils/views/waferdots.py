"""waferdots: quality with its interval, line by line and against bytes."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from kdutils.views import style

GOALS = (0.90, 0.95)
DRAWN = {  # what is drawn against bytes: group, bytes, quality, colour, look
    "ours, the eight-bit file": ("ours", "int8_bytes", "int8", style.BLUE, "o-"),
    "the same, asked 8 times": ("ours", "int8_bytes", "turned", style.BLUE, "v:"),
    "ours, torch.save": ("ours", "torch_bytes", "exact", style.GREEN, "^-"),
    "published nets": ("published", "torch_bytes", "exact", style.ORANGE, "s"),
}


@style.styled
def dots(
    table: pd.DataFrame,
    name: str,
    column: str,
    title: str,
    axis: str,
    claim: str | None = None,
) -> Figure:
    """A quantity per line with its interval, in %; one panel per site.

    name, column, claim: the table's columns of names, values and, as orange diamonds,
    published values. Open dots: the interval crosses 0 where the quantity is a gain.
    """
    panels = list(table.groupby("source", sort=False))
    listed = list(dict.fromkeys(table[name]))
    gains = column == "gain"
    figure, axes = style.page(
        1, len(panels), 1.15 + 0.25 * len(listed), title, sharey=True
    )
    for ax, (source, group) in zip(axes[0], panels, strict=True):
        for _, line in group.iterrows():
            ends = [100 * line[f"{column}{end}"] for end in ("", "_low", "_high")]
            y = listed.index(line[name])
            open_dot = gains and style.crosses(line)
            look = {"markerfacecolor": "white"} if open_dot else {}
            color = style.ORANGE if gains and line["gain"] < 0 else style.BLUE
            style.interval(ax, *ends, y=y, color=color, **look)
            if claim and line[claim] == line[claim]:
                ax.plot([100 * line[claim]], [y], "D", ms=4, color=style.ORANGE)
        if gains:
            ax.axvline(0, color=style.BLACK, lw=0.8)
        else:
            _shares(ax.set_xlim, ax.get_xlim())
        kind = group["kind"].iloc[0]
        ax.set_title(f"{style.called(source)} ({kind} data), n = {style.counts(group)}")
        ax.set_xlabel(axis)
        style.names(ax, listed)
    said = "Mean and 95 % interval over n seeds."
    said += " Open dots: the interval crosses 0." if gains else ""
    known = claim is not None and table[claim].notna().any()
    style.note(figure, said + (" Orange: as published." if known else ""))
    return figure


@style.styled
def capacity(table: pd.DataFrame) -> Figure:
    """Bytes (log) against exact match: ours as int8 files and floats, published nets.

    table: `wafers.students` of one site: its groups 'ours' and 'published'.
    """
    ours = table[table["group"] == "ours"]
    theirs, said = table[table["group"] == "published"], []
    for goal in GOALS:
        fits = ours[ours["int8"] >= goal]
        size = f"{fits['int8_bytes'].min():,.0f} bytes" if len(fits) else "none"
        said.append(f"above {100 * goal:.0f} %: {size}")
    figure, axes = style.page(1, 1, 3.9, f"The smallest file {', '.join(said)}")
    ax = axes[0, 0]
    for label, (name, size, quality, color, look) in DRAWN.items():
        rows = table[table["group"] == name].sort_values(size)
        mean, low, high = (100 * rows[f"{quality}{e}"] for e in ("", "_low", "_high"))
        ax.plot(rows[size], mean, look, color=color, ms=4.5, label=label)
        ax.vlines(rows[size], low, high, color=color, lw=1.2)
    claims = theirs.dropna(subset=["published_exact"])
    for line in claims.itertuples():
        point = (line.published_bytes, 100 * line.published_exact)
        ax.plot(*point, marker="D", color=style.PINK, ms=5)
    ax.axhline(100 * ours["teacher_exact"].mean(), color=style.BLACK, lw=1, ls="--")
    _shares(ax.set_ylim, ax.get_ylim())
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("bytes (log)")
    ax.set_ylabel(f"exact match on test maps, %, mean of n = {style.counts(ours)}")
    ax.grid()
    handles, _ = ax.get_legend_handles_labels()
    dashed = {"color": style.BLACK, "ls": "--", "lw": 1, "label": "their teachers"}
    handles.append(Line2D([], [], **dashed))
    if len(claims):
        pink = {"color": style.PINK, "marker": "D", "ls": "none"}
        handles.append(Line2D([], [], label="as published", **pink))
    figure.legend(handles=handles, loc="outside lower left", ncols=3)
    return figure


def _shares(keep: Callable, ends: tuple[float, float]) -> None:
    """An axis of shares in % that ends where shares do, whatever an interval says."""
    keep(max(ends[0], -2), min(ends[1], 102))

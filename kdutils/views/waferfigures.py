"""waferfigures: the figures of stage 05, each from a table of `views.wafers`."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from kdutils.views import figures, style

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


DIES = ListedColormap(["white", "#d9e3ec", style.BLUE])  # off the wafer, pass, fail
MIXED = 3  # maps of several patterns beside those of one


def examples(rows: pd.DataFrame, patterns: tuple[str, ...]) -> dict[str, tuple]:
    """Site -> (X uint8 (n, 52, 52), y uint8 (n, 8)), one map of each of its sets.

    rows: those of `wafer_data`; patterns: the names of the columns of y.
    """
    sites = {}
    for name, sets in rows.groupby("site", sort=False):
        packed = (zlib.decompress(base64.b64decode(text)) for text in sets["example"])
        X = np.frombuffer(b"".join(packed), np.uint8).reshape(len(sets), 52, 52)
        there = [set(text.split("+")) for text in sets["patterns"]]
        y = np.array([[name in one for name in patterns] for one in there], np.uint8)
        sites[name] = X, y
    return sites


@style.styled
def maps(sites: dict[str, tuple], patterns: tuple[str, ...]) -> Figure:
    """A row of maps per site: normal, each pattern alone, then mixtures.

    sites: name -> (X uint8 (n, 52, 52), y uint8 (n, 8)). Each is the site's first map
    of that set of patterns; a set that a site has not stays empty.
    """
    wanted = [np.zeros(len(patterns), int), *np.eye(len(patterns), dtype=int)]
    every = np.unique(np.concatenate([y for _, y in sites.values()]), axis=0)
    mixed = every[every.sum(axis=1) > 1]
    order = np.argsort(-mixed.sum(axis=1), kind="stable")
    wanted += [*mixed[order][:MIXED]]
    kinds = len(np.unique(every, axis=0))
    figure, axes = style.page(
        len(sites),
        len(wanted),
        0.75 + 0.72 * len(sites),
        f"{kinds} sets of patterns: normal, one alone, up to "
        f"{int(every.sum(axis=1).max())} at once",
        gridspec_kw={"wspace": 0.04},
    )
    for row, (name, (X, y)) in zip(axes, sites.items(), strict=True):
        for ax, which in zip(row, wanted, strict=True):
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
            found = np.flatnonzero((y == which).all(axis=1))
            if found.size:
                ax.imshow(X[found[0]], cmap=DIES, vmin=0, vmax=2)
        row[0].set_ylabel(style.called(name), fontsize=7)
    for ax, which in zip(axes[0], wanted, strict=True):
        said = [name for name, there in zip(patterns, which, strict=True) if there]
        ax.set_title("\n".join(said or ["normal"]), fontsize=5.5, loc="center")
    return figure


@style.styled
def surface(table: pd.DataFrame) -> Figure:
    """Fidelity, which chooses, and the gain over labels, both over α and β.

    table: `wafers.surface` of one net.
    """
    best = table[table["chosen"]].iloc[0]
    crosses = " (interval crosses 0)" if style.crosses(best) else ""
    figure, axes = style.page(
        1,
        2,
        1.5 + 0.3 * table["alpha"].nunique(),
        f"{best['model']} repeats {100 * best['val_fidelity']:.1f} % of its teacher's "
        f"verdicts at α = {best['alpha']:g}, β = {best['beta']:g}; its gain over "
        f"labels is {style.POINTS.gain(best['gain'])}{crosses}",
    )
    said = {"val_fidelity": "fidelity on validation maps, %", "gain": "gain, points"}
    for ax, (column, label) in zip(axes[0], said.items(), strict=True):
        mesh = _cells(ax, table, column)
        bar = figure.colorbar(mesh, ax=ax, shrink=0.9, pad=0.02, aspect=18)
        bar.outline.set_visible(False)
        ax.set_title(label)
        ax.set_xlabel("β, above which the teacher's word is a label")
    axes[0, 0].set_ylabel("α")
    place = f"{style.called(best['source'])} ({best['kind']} data)"
    style.note(
        figure,
        f"{place}, n = {style.counts(table)}. α weighs the teacher's logits. Gain: "
        "exact match on test maps over the same net taught by labels, at equal seed; "
        "hatched: its 95 % interval crosses 0. Frame: the best fidelity.",
    )
    return figure


def _cells(ax: Axes, table: pd.DataFrame, column: str) -> QuadMesh:
    alphas, betas = (sorted(table[c].unique()) for c in ("alpha", "beta"))
    grid = 100 * table.pivot(index="alpha", columns="beta", values=column)
    limit = max(float(grid.abs().max().max()), 0.1)
    look = {"cmap": "RdBu", "vmin": -limit, "vmax": limit}
    if column != "gain":
        low, high = grid.min().min(), grid.max().max()
        look = {"cmap": "Blues", "vmin": low - 1, "vmax": high + 1}
    mesh = ax.pcolormesh(grid.to_numpy(), edgecolors="white", linewidth=0.8, **look)
    for line in table.to_dict("records"):
        x, y = betas.index(line["beta"]), alphas.index(line["alpha"])
        value, crosses = 100 * line[column], column == "gain" and style.crosses(line)
        if crosses:
            figures.hatch(ax, x, y)
        text = style.signed(value, 1) if column == "gain" else f"{value:.1f}"
        box = {"fc": "white", "ec": "none", "pad": 0.8}
        where = {"ha": "center", "va": "center", "fontsize": 6.5, "bbox": box}
        ax.text(x + 0.5, y + 0.5, text, **where)
        if line["chosen"]:
            figures.frame(ax, x, y)
    figures.ticks(ax, betas, alphas)
    return mesh


LOOKS = ((style.BLUE, "o"), (style.ORANGE, "s"), (style.GREEN, "^"), (style.PINK, "D"))


@style.styled
def diagram(
    table: pd.DataFrame, lines: pd.DataFrame, doubts: pd.DataFrame, name: str
) -> Figure:
    """A reliability diagram, and errors by the teacher's doubt side by side.

    table: `wafers.reliability` of one site; lines: `wafers.teachers`; doubts:
    `wafers.doubt` of one student; name: how it is called.
    """
    best = lines.loc[lines["ece"].idxmin()]
    first, last = doubts.iloc[0], doubts.iloc[-1]
    title = (
        f"Best calibrated: {best['teacher']}, asked {best['views']} ×, ECE "
        f"{100 * best['ece']:.2f} %; {name} errs in {100 * last['student']:.1f} % of "
        f"the maps where its teacher is torn, in {100 * first['student']:.1f} % of "
        "those where it is sure"
    )
    figure, axes = style.page(1, 2, 3.3, title)
    _reliability(axes[0, 0], table, lines)
    _errors(axes[0, 1], doubts, name)
    style.note(
        figure,
        "Left: answers of all test maps, patterns and seeds, in ten bins of "
        "probability; behind a name: ECE. Right: test maps in fifths by the teacher's "
        f"entropy; mean and 95 % interval over seeds, n = {style.counts(doubts)}.",
    )
    return figure


def _reliability(ax: Axes, table: pd.DataFrame, lines: pd.DataFrame) -> None:
    ax.plot([0, 100], [0, 100], color=style.GREY, lw=0.8, ls="--")
    ece = lines.set_index(["teacher", "views"])["ece"]
    panels = table.groupby(["teacher", "views"], sort=False)
    for (key, group), (color, marker) in zip(panels, LOOKS, strict=False):
        label = f"{key[0]}, asked {key[1]} × ({100 * ece[key]:.2f} %)"
        points = (100 * group["p"], 100 * group["share"])
        ax.plot(*points, color=color, marker=marker, ms=3.5, lw=1, label=label)
    ax.set_xlabel("teacher's probability, %")
    ax.set_ylabel("pattern is there, %")
    ax.set_title(f"{table['source'].iloc[0]} ({table['kind'].iloc[0]} data)")
    ax.grid()
    ax.legend(fontsize=7)


def _errors(ax: Axes, doubts: pd.DataFrame, name: str) -> None:
    x = np.arange(1, len(doubts) + 1)
    looks = {"student": (style.BLUE, "o", name), "teacher": (style.ORANGE, "s", "")}
    for who, (color, marker, label) in looks.items():
        mean, low, high = (100 * doubts[f"{who}{e}"] for e in ("", "_low", "_high"))
        ax.plot(x, mean, color=color, marker=marker, label=label or "its teacher")
        ax.fill_between(x, low, high, color=color, alpha=0.15, lw=0)
    ends = [f"{value:.2g}" for value in doubts["doubt"]]
    ax.set_xticks(x, ends)
    ax.set_ylim(0, min(ax.get_ylim()[1], 100))
    ax.set_xlabel("teacher's entropy in nats, mean of each fifth")
    ax.set_ylabel("wrong maps, %")
    ax.grid(axis="y")
    ax.legend(fontsize=7)

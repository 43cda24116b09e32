"""watcher: what became of every lot of a shift, and where the milliseconds went.

Counts are of `recipes.edge_watcher`, summed over seeds; times of a report's measured/
files, which no two machines share and no claim reads.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdutils import paths
from kdutils.views import style

COUNTS = ["lots", "judged", "refused", "right", "lost", "doubled", "wrong", "devices"]
BAD = ("lost", "doubled", "wrong")  # what must not be
FAULTS = {  # the kinds of edge.malformed.Malformed, as an engineer says them
    "number": "not a number",
    "range": "out of range",
    "header": "another header",
    "cells": "too few or many cells",
    "duplicate": "an id twice",
    "encoding": "not text",
    "short": "cut short",
}
WAYS = ("int8", "xgboost", "watcher")
SAID = ("pass", "fail", "refused")
STEPS = {  # parts of the bench edge-latency, as they follow each other
    "event": "event, claim",
    "read": "read, hash",
    "parse": "parse",
    "model": "model",
    "publish": "publish (fsyncs)",
    "rest": "log, way back",
    "whole": "close to verdict",
    "fsyncs": "the disk's fsyncs alone",
}


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without the student's bytes; counts stay whole beside empty cells."""
    return rows.drop(columns="bundle").convert_dtypes()


def lots(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and fault: what became of the lots, summed over n shifts.

    The growing file is the fault `rows`: its lots are its appended rows. stray: files
    that nothing accounts for, counted once a shift, on the source's first line.
    """
    rows, lines = rows[rows["part"] != "wild"], []
    order = ["good", *FAULTS, "rows"]
    rows = rows.sort_values("fault", kind="stable", key=lambda of: of.map(order.index))
    for (source, kind), every in rows.groupby(["source", "kind"], sort=False):
        shifts = every.drop_duplicates("run")
        stray = int(shifts["stray"].sum())
        for (part, fault), group in every.groupby(["part", "fault"], sort=False):
            line = {"source": source, "kind": kind, "part": part, "fault": fault}
            line |= group[COUNTS].sum().astype(int).to_dict() | {"stray": stray}
            lines.append(line | {"kills": int(shifts["kills"].sum()), "n": len(shifts)})
            stray = 0
    return pd.DataFrame(lines)


def wild(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and wild cell: what each way says of it, over n seeds."""
    rows, lines = rows[rows["part"] == "wild"], []
    for (source, kind, fault), group in rows.groupby(
        ["source", "kind", "fault"], sort=False
    ):
        first = group.iloc[0]
        line = {"source": source, "kind": kind, "reading": fault, "cell": first["cell"]}
        line |= {way: _tally(group[way]) for way in WAYS}
        lines.append(line | {"reason": first["said"], "n": len(group)})
    return pd.DataFrame(lines)


def whole(table: pd.DataFrame) -> pd.DataFrame:
    """One line per source of `lots`: sums over lots and appended rows alike."""
    names = [*COUNTS, "stray"]
    sums = table.groupby("source", sort=False)[names].sum()
    kills = table.groupby("source", sort=False)["kills"].max()
    return sums.assign(kills=kills).reset_index()


def latest(what: str) -> pd.DataFrame | None:
    """The newest measured/<what>-*.csv of the profile's report; None without one.

    A second run of a report reads the first one's: times are never made again.
    """
    folder = paths.reports(paths.profile()) / "measured"
    found = [pd.read_csv(path) for path in sorted(folder.glob(f"{what}-*.csv"))]
    return max(found, key=lambda frame: str(frame["date"].max()), default=None)


@style.styled
def fates(table: pd.DataFrame) -> Figure:
    """What became of each lot and appended row: one bar a fate, a panel a source.

    table: `lots`.
    """
    panels = style.sources(table)
    most = table.groupby("source")["lots"].sum().max()
    bad = int(table[[*BAD]].to_numpy().sum())
    kills = int(whole(table)["kills"].sum())
    title = f"{table['lots'].sum():,} lots and rows, {kills:,} kills: "
    title += f"{bad:,} lost, doubled or wrong"
    named = {fault: said for fault, said in FAULTS.items() if fault in set(table.fault)}
    names = ["judged", *named.values(), "rows refused", *BAD]
    height = 1.1 + 0.21 * len(names)
    figure, axes = style.page(1, len(panels), height, title, sharey=True, sharex=True)
    for ax, (source, _, group) in zip(axes[0], panels, strict=True):
        refused = group.groupby("fault")["refused"].sum()
        counts = [group["judged"].sum(), *(refused.get(fault, 0) for fault in named)]
        counts += [refused.get("rows", 0), *group[[*BAD]].sum()]
        colors = [style.BLUE] + [style.GREY] * (len(named) + 1)
        _bars(ax, counts, colors + [style.ORANGE] * len(BAD))
        ax.set_xlim(0, 1.2 * most)
        ax.set_title(f"{style.called(source)}, n = {style.counts(group)}")
        ax.set_xlabel("lots and appended rows")
        style.names(ax, names)
    style.note(
        figure,
        "Blue: a verdict, once. Grey: quarantined, by reason. Orange: what must not "
        "be. n: shifts, each with its own lots.",
    )
    return figure


@style.styled
def parts(table: pd.DataFrame) -> Figure:
    """Median and 99th percentile of each part of a lot's way, in ms.

    table: measured/edge-latency-*.csv; which processor it is of, is in the note.
    """
    by, first = table.set_index("part"), table.iloc[0]
    steps = {part: said for part, said in STEPS.items() if part in by.index}
    p50, p99 = (f"{by.loc['above', key]:.1f} ms" for key in ("p50_ms", "p99_ms"))
    title = f"Above the disk's fsyncs a verdict takes {p50} (median), {p99} (99 %)"
    figure, axes = style.page(1, 1, 1.1 + 0.24 * len(steps), title)
    ax = axes[0, 0]
    for y, part in enumerate(steps):
        color = {"whole": style.BLUE, "fsyncs": style.GREY}.get(part, style.GREEN)
        low, high = by.loc[part, "p50_ms"], by.loc[part, "p99_ms"]
        ax.plot([low, high], [y, y], color=color, lw=1.6, solid_capstyle="butt")
        ax.plot([low], [y], "o", color=color)
        ax.annotate(f" {low:.2f} to {high:.2f}", (high, y), va="center", fontsize=7)
    ax.set_xscale("log")
    ax.set_xlim(right=4 * by["p99_ms"].max())
    ax.set_xlabel("ms: the dot is the median, the line ends at the 99th percentile")
    style.names(ax, list(steps.values()))
    style.note(
        figure,
        f"{first['lots']:,} lots of one row, {first['rate']:g} a second, watched by "
        f"{first['events']}, on {first['disk']}; processor {first['cpu']}, measured "
        f"{first['date']}. Times of one machine.",
    )
    return figure


def _bars(ax: Axes, counts: list[int], colors: list[str]) -> None:
    ax.barh(range(len(counts)), counts, color=colors, height=0.7)
    for y, count in enumerate(counts):
        color = style.BLACK if count else style.GREY
        ax.annotate(f" {count:,}", (count, y), va="center", fontsize=7, color=color)


def _tally(said: pd.Series) -> str:
    """`pass`, or where seeds differ `3 pass, 2 fail`."""
    counts = {word: int(np.sum(said == word)) for word in SAID}
    there = {word: count for word, count in counts.items() if count}
    if len(there) == 1:
        return next(iter(there))
    return ", ".join(f"{count} {word}" for word, count in there.items())

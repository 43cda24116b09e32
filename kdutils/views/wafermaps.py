"""wafermaps: wafer maps as pictures, and what α and β make of a student."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from kdutils.views import heatmap, style

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
            heatmap.hatch(ax, x, y)
        text = style.signed(value, 1) if column == "gain" else f"{value:.1f}"
        box = {"fc": "white", "ec": "none", "pad": 0.8}
        where = {"ha": "center", "va": "center", "fontsize": 6.5, "bbox": box}
        ax.text(x + 0.5, y + 0.5, text, **where)
        if line["chosen"]:
            heatmap.frame(ax, x, y)
    heatmap.ticks(ax, betas, alphas)
    return mesh

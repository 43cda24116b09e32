"""heatmap: the gain over label-only at the same seed, over α and T."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kdutils.views import style


@style.styled
def gain_heatmap(
    table: pd.DataFrame, method: str = "kd", unit: style.Unit = style.AUC
) -> Figure:
    """Mean gain over label-only at the same seed, α × T, one panel per source.

    table: `tables.sweep`, or `images.sweep` with a panel per student too. One colour
    scale, centred on 0. Hatched where the interval crosses 0, a dot where p < .05 after
    Holm, framed the cell chosen on validation.
    """
    panels = style.sources(table[table["method"] == method])
    cells = pd.concat(group for *_, group in panels)
    limit = max(unit.drawn * float(cells["gain"].abs().max()), 0.1)
    title = []
    for *_, group in panels:
        best = _best(group, unit)
        crosses = " (interval crosses 0)" if style.crosses(best) else ""
        title.append(f"{unit.gain(best['gain'])} on {style.place(group)}{crosses}")
    across = min(len(panels), 2)
    down = -(-len(panels) // across)
    figure, axes = style.page(
        down,
        across,
        0.7 + down * (0.7 + 0.31 * cells["alpha"].nunique()),
        f"{style.called(method)} chosen on validation against label-only: "
        + "; ".join(title),
    )
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for ax, (_, name, group) in zip(axes.flat, panels, strict=False):
        mesh = _heatmap(ax, group, limit, unit)
        passed = f"{(group['p_holm'] < 0.05).sum()} of {len(group)} cells pass Holm"
        ax.set_title(f"{name}, n = {style.counts(group)}\n{passed}")
        ax.set_xlabel("temperature T")
    for row in axes:
        row[0].set_ylabel("α, the weight of the teacher")
    bar = figure.colorbar(mesh, ax=axes, shrink=0.85, pad=0.02, aspect=22)
    bar.set_label(f"gain in {unit.axis}")
    bar.outline.set_visible(False)
    style.note(
        figure,
        "Gain over the label-only student at the same seed. Hatched: the 95 % interval "
        f"crosses 0. Dot: p < 0.05 after Holm. Frame: chosen on validation "
        f"{'AUC' if unit is style.AUC else 'accuracy'}. n: seeds, or seeds × folds.",
    )
    return figure


def _heatmap(ax: Axes, group: pd.DataFrame, limit: float, unit: style.Unit) -> QuadMesh:
    alphas, ts = (sorted(group[c].unique()) for c in ("alpha", "T"))
    grid = group.pivot(index="alpha", columns="T", values="gain").loc[alphas, ts]
    mesh = ax.pcolormesh(
        unit.drawn * grid.to_numpy(float),
        cmap="RdBu",
        vmin=-limit,
        vmax=limit,
        edgecolors="white",
        linewidth=0.8,
    )
    for row in group.itertuples():
        x, y = ts.index(row.T), alphas.index(row.alpha)
        crosses = style.crosses(row._asdict())
        if crosses:
            hatch(ax, x, y)
        gain = unit.drawn * row.gain
        strong = abs(gain) > 0.6 * limit and not crosses
        ax.text(
            x + 0.5,
            y + 0.5,
            style.signed(gain, unit.drawn_digits) + ("•" if row.p_holm < 0.05 else ""),
            ha="center",
            va="center",
            fontsize=6.5,
            color="white" if strong else "black",
            bbox={"fc": "white", "ec": "none", "pad": 0.8} if crosses else None,
        )
    best = _best(group, unit)
    frame(ax, ts.index(best["T"]), alphas.index(best["alpha"]))
    ticks(ax, ts, alphas)
    return mesh


def hatch(ax: Axes, x: int, y: int) -> None:
    """Mark the cell in column x and row y as one whose interval crosses 0."""
    ax.add_patch(Rectangle((x, y), 1, 1, fill=False, hatch="////", lw=0))


def frame(ax: Axes, x: int, y: int) -> None:
    """Mark the cell in column x and row y as the chosen one."""
    ax.add_patch(Rectangle((x, y), 1, 1, fill=False, ec="black", lw=1.8, zorder=5))


def ticks(ax: Axes, columns: list[float], rows: list[float]) -> None:
    """Name the cells along both sides, without lines."""
    ax.set_xticks(np.arange(len(columns)) + 0.5, [f"{x:g}" for x in columns])
    ax.set_yticks(np.arange(len(rows)) + 0.5, [f"{y:g}" for y in rows])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _best(group: pd.DataFrame, unit: style.Unit) -> pd.Series:
    return group.loc[group[f"val_{unit.column}"].idxmax()]

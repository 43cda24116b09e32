"""belief: how the temperature moves a student's calibration, drawn."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdutils.views import style

SHADES = ("#56B4E9", "#0072B2", "#00324F")  # little, middling, much teacher
DRAWN = {"ece": ("ECE, %", 100), "nll": ("NLL, nats", 1)}


@style.styled
def calibration(table: pd.DataFrame, method: str = "kd") -> Figure:
    """ECE and NLL against T at three weights of the teacher, beside label-only.

    table: `images.sweep`. One row of panels per source and student.
    """
    panels, title = style.sources(table), []
    for *_, group in panels:
        alone = group.loc[group["method"] == "label-only", "ece"].iloc[0]
        cells = group[group["method"] == method]
        best, worst = (
            cells.loc[i] for i in (cells["ece"].idxmin(), cells["ece"].idxmax())
        )
        title.append(
            f"{100 * best['ece']:.2f} % at T = {best['T']:g} to "
            f"{100 * worst['ece']:.2f} % at T = {worst['T']:g}, label-only "
            f"{100 * alone:.2f} % on {style.place(group)}"
        )
    figure, axes = style.page(
        len(panels),
        len(DRAWN),
        0.9 + 1.75 * len(panels),
        f"Calibration error {'; '.join(title)}",
        sharex=True,
    )
    for row, (_, name, group) in zip(axes, panels, strict=True):
        for ax, (column, (axis, scale)) in zip(row, DRAWN.items(), strict=True):
            _lines(ax, group, method, column, scale)
            ax.set_ylabel(axis)
        row[0].set_title(f"{name}, n = {style.counts(group)}")
    for ax in axes[-1]:
        ax.set_xlabel("temperature T (log)")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=4)
    return figure


def _lines(
    ax: Axes, group: pd.DataFrame, method: str, column: str, scale: float
) -> None:
    ends = [f"{column}_low", f"{column}_high"]
    alone = group[group["method"] == "label-only"].iloc[0]
    ax.axhspan(*(scale * alone[ends]), color=style.GREY, alpha=0.2, lw=0)
    ax.axhline(scale * alone[column], color=style.GREY, label="label-only")
    cells = group[group["method"] == method]
    alphas = sorted(cells["alpha"].unique())
    kept = sorted({alphas[0], alphas[len(alphas) // 2], alphas[-1]})
    for alpha, color in zip(kept, SHADES[-len(kept) :], strict=True):
        line = cells[cells["alpha"] == alpha].sort_values("T")
        value, low, high = (scale * line[c] for c in (column, *ends))
        ax.plot(
            line["T"], value, marker="o", ms=3.5, color=color, label=f"α = {alpha:g}"
        )
        ax.fill_between(line["T"], low, high, color=color, alpha=0.15, lw=0)
    ax.set_xscale("log")
    ax.set_xticks(
        sorted(cells["T"].unique()), [f"{t:g}" for t in sorted(cells["T"].unique())]
    )
    ax.set_xticks([], minor=True)
    ax.grid(axis="y")

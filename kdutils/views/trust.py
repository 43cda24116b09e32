"""trust: how far a teacher of wafer maps can be trusted, and who pays for it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdutils.views import style

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

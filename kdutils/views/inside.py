"""inside: what a teacher's subclasses hold, and what they are worth, drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from kdutils.views import style
from kdutils.views.names import NAMES
from kdutils.views.style import called
from kdutils.views.subclass import BY_AUC

CLASSES = {
    "mnist": ("0–4", "5–9"),
    "digits": ("0–4", "5–9"),
    "tester": ("pass", "fail"),
}
WAYS = NAMES["way"]


@style.styled
def contingency(table: pd.DataFrame, found: pd.DataFrame) -> Figure:
    """Where the test rows of each hidden group go: one panel per source and way.

    table: `subclass.contingency`; found: `subclass.discovered`. Columns of one class
    stand together, in the order of the groups that they hold.
    """
    keys = ["source", "way"]
    scores = found.set_index(keys)
    panels, title = list(table.groupby(keys, sort=False)), []
    for source in table["source"].unique():
        best = scores.loc[source]["ari"].idxmax()
        line = scores.loc[source, best]
        means = scores.loc[source]["ari_kmeans"].max()
        means = "" if np.isnan(means) else f"k-means {means:.2f}, "
        title.append(
            f"{line['ari']:.2f} on {called(source)} ({best}; {means}the classes alone "
            f"{line['ari_class']:.2f})"
        )
    across = min(len(panels), 2)
    down = -(-len(panels) // across)
    most = max(group["truth"].nunique() for _, group in panels)
    figure, axes = style.page(
        down,
        across,
        0.6 + down * (1.0 + 0.2 * most),
        f"Do subclasses rediscover the hidden groups? ARI {'; '.join(title)}",
    )
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for ax, (key, group) in zip(axes.flat, panels, strict=False):
        mesh = _shares(ax, group, CLASSES.get(key[0], ("0", "1")))
        line = scores.loc[key]
        ax.set_title(
            f"{called(key[0])} ({group['kind'].iloc[0]} data), {key[1]}\n"
            f"ARI {line['ari']:.2f} [{line['ari_low']:.2f}, {line['ari_high']:.2f}], "
            f"n = {line['n']:.0f}\n"
            f"{line['used']:.1f} of {line['subclasses']:.0f} subclasses in use"
        )
    bar = figure.colorbar(mesh, ax=axes, shrink=0.85, pad=0.02, aspect=22)
    bar.set_label("% of the group's test rows")
    bar.outline.set_visible(False)
    style.note(
        figure,
        "Each row sums to 100 %; numbers from 5 %. Shown is the seed of the median "
        "adjusted Rand index (ARI: 1 equal, 0 by chance); its mean and 95 % interval "
        "are over n seeds. Behind a group's name: its test rows.",
    )
    return figure


@style.styled
def models(table: pd.DataFrame) -> Figure:
    """Quality of each model and way with its interval; published values beside it.

    table: `subclass.models`. One panel per source: AUC for the tester, else accuracy.
    """
    panels, title = style.sources(table), []
    for source, _, group in panels:
        way = "ours" if "ours" in set(group["way"]) else group["way"].iloc[0]
        line = group[(group["way"] == way) & (group["model"] == "student-subclass")]
        line = line.iloc[0]
        name, unit = (
            ("auc_gain", style.AUC) if source in BY_AUC else ("gain", style.POINTS)
        )
        end = " (interval crosses 0)" if style.crosses(line, name) else ""
        title.append(f"{unit.gain(line[name])} on {called(source)}{end}")
    listed = list(table["model"].unique())
    ways = [way for way in WAYS if way in set(table["way"])]
    figure, axes = style.page(
        1,
        len(panels),
        1.7 + 0.3 * len(listed),
        f"Subclasses against plain distillation: {'; '.join(title)}",
        sharey=True,
    )
    for ax, (source, name, group) in zip(axes[0], panels, strict=True):
        column, scale = ("auc", 1) if source in BY_AUC else ("acc", 100)
        for line in group.to_dict("records"):
            ends = [scale * line[f"{column}{end}"] for end in ("", "_low", "_high")]
            _, color, marker = WAYS[line["way"]]
            y = listed.index(line["model"])
            y += 0.24 * (ways.index(line["way"]) - (len(ways) - 1) / 2)
            style.interval(ax, *ends, y=y, color=color, marker=marker, ms=4)
            published = line["published_acc"]
            if published == published and line["way"] == ways[0]:
                ax.plot([100 * published], [y - 0.22], "D", ms=3.5, color=style.ORANGE)
        ax.set_title(f"{name}\nn = {style.counts(group)}")
        ax.set_xlabel("test AUC" if column == "auc" else "test accuracy, %")
        ax.xaxis.set_major_locator(MaxNLocator(4))
        style.names(ax, listed)
    looks = {f"way: {way}": WAYS[way][1:] for way in ways}
    if table["published_acc"].notna().any():
        looks["as published, one training"] = (style.ORANGE, "D")
    handles = [
        Line2D([], [], ls="none", color=color, marker=marker, label=name)
        for name, (color, marker) in looks.items()
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=3)
    return figure


def _shares(ax: Axes, group: pd.DataFrame, classes: tuple[str, str]) -> QuadMesh:
    names = list(group["truth"].unique())
    counts = group.pivot(index="truth", columns="subclass", values="count").loc[names]
    owner = group.drop_duplicates("subclass").set_index("subclass")["class"]
    home = counts.to_numpy().argmax(axis=0)
    order = sorted(
        range(len(owner)), key=lambda k: (owner[k], counts[k].sum() == 0, home[k], k)
    )
    counts = counts[order].to_numpy()
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    mesh = ax.pcolormesh(
        share, cmap="Blues", vmin=0, vmax=100, edgecolors="white", linewidth=0.6
    )
    for (y, x), value in np.ndenumerate(share):
        if value >= 5:
            color = "white" if value > 60 else "black"
            place = {"ha": "center", "va": "center", "fontsize": 6.5, "color": color}
            ax.text(x + 0.5, y + 0.5, f"{value:.0f}", **place)
    ax.axvline((owner == owner[order[0]]).sum(), color=style.BLACK, lw=1)
    labels = [f"{n}, {c:,}" for n, c in zip(names, counts.sum(axis=1), strict=True)]
    ax.set_yticks(np.arange(len(names)) + 0.5, labels)
    ax.set_xticks(np.arange(len(order)) + 0.5, [str(k) for k in order])
    ax.set_ylim(len(names), 0)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel(f"← {classes[0]}    subclasses    {classes[1]} →")
    return mesh

"""figures: each function takes a table of `views.tables` and returns a figure.

A title says what is seen, computed from the table.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdutils.views import style
from kdutils.views.heatmap import gain_heatmap
from kdutils.views.names import NAMES, TEACHERS
from kdutils.views.style import called, save
from kdutils.views.trade import ladder, pareto

__all__ = [
    "gain_heatmap",
    "insample",
    "label_curve",
    "ladder",
    "methods",
    "pareto",
    "save",
    "teachers",
]

NO_LABELS = "No label curve: no number of labels fits into the rows of a split"


@style.styled
def teachers(table: pd.DataFrame) -> Figure:
    """AUC per model with its interval; a line where the best possible AUC is known.

    table: `tables.teachers`. One panel per source.
    """
    panels, title = style.sources(table), []
    for source, _, group in panels:
        auc = group.set_index("model")["auc"]
        best = auc[auc.index.isin(TEACHERS)].idxmax()
        bayes = f" of {auc['bayes']:.3f} possible" if "bayes" in auc else ""
        title.append(f"{called(best)} on {called(source)}, AUC {auc[best]:.3f}{bayes}")
    models = [m for m in table["model"].unique() if m not in ("bayes", "constant")]
    figure, axes = style.page(
        1,
        len(panels),
        1.5 + 0.3 * len(models),
        f"Best teacher: {'; '.join(title)}",
        sharey=True,
    )
    for ax, (_, name, group) in zip(axes[0], panels, strict=True):
        for line in group.itertuples():
            if line.model == "bayes":
                ax.axvline(line.auc, color=style.BLACK, lw=1, ls="--")
                place = (line.auc, len(models) - 0.75)
                ax.annotate("Bayes ", place, ha="right", va="center", fontsize=7)
            elif line.model in models:
                color = style.BLUE if line.model in TEACHERS else style.GREY
                row = models.index(line.model)
                style.interval(ax, line.auc, line.auc_low, line.auc_high, row, color)
        ax.set_title(f"{name}\nn = {style.counts(group)}")
        ax.set_xlabel("test AUC")
        style.names(ax, models)
    style.note(
        figure,
        "Mean and 95 % interval; n: seeds, or seeds × folds. Blue: teachers, grey: "
        "control. A constant predictor has AUC 0.5.",
    )
    return figure


@style.styled
def insample(table: pd.DataFrame) -> Figure:
    """What a teacher says of rows it was trained on, against out of fold.

    table: `tables.teachers`. One row of panels per source: share of near-certain
    targets (p < 0.02 or p > 0.98) and AUC on the training rows.
    """
    table = table[table["insample_sure"].notna() & table["oof_sure"].notna()]
    worst = table.loc[(table["insample_sure"] - table["oof_sure"]).idxmax()]
    title = (
        f"Scored on its own training rows, {called(worst['model'])} is near-certain of "
        f"{100 * worst['insample_sure']:.0f} % of {called(worst['source'])}, out of "
        f"fold of {100 * worst['oof_sure']:.0f} %"
    )
    panels = style.sources(table)
    most = max(len(group) for *_, group in panels)
    figure, axes = style.page(
        len(panels), 2, 1.1 + len(panels) * (0.75 + 0.24 * most), title, sharex="col"
    )
    for row, (_, name, group) in zip(axes, panels, strict=True):
        for ax, what in zip(row, ("sure", "auc"), strict=True):
            _dumbbells(ax, group[f"oof_{what}"], group[f"insample_{what}"])
            style.names(ax, group["model"].tolist())
        row[0].set_title(name)
        row[1].set_yticklabels([])
    axes[-1][0].set_xlabel("share of near-certain targets (p < 0.02 or p > 0.98)")
    axes[-1][1].set_xlabel("AUC on the training rows")
    axes[0][0].set_xlim(-0.03, 1.03)
    handles = axes[0][1].get_lines()[1:3]
    figure.legend(
        handles, ["out of fold", "in sample"], loc="outside lower right", ncols=2
    )
    return figure


@style.styled
def methods(table: pd.DataFrame, unit: style.Unit = style.AUC) -> Figure:
    """Paired gain over label-only of each method at the cell chosen on validation.

    table: `tables.chosen`, or `images.chosen` with a panel per student. Filled dots:
    the interval does not cross 0.
    """
    table = table[table["method"] != "label-only"]
    panels, title = style.sources(table), []
    for *_, group in panels:
        gains = group.set_index("method")["gain"]
        clear = int((group["gain_low"] > 0).sum())
        title.append(
            f"{called(gains.idxmax())} {unit.gain(gains.max())} on "
            f"{style.place(group)} ({clear} of {len(gains)} methods clearly above 0)"
        )
    listed = list(table["method"].unique())
    figure, axes = style.page(
        1,
        len(panels),
        1.65 + 0.28 * len(listed),
        f"Largest gain over label-only: {'; '.join(title)}",
        sharey=True,
    )
    for ax, (_, name, group) in zip(axes[0], panels, strict=True):
        ax.axvline(0, color=style.BLACK, lw=0.8)
        for line in group.itertuples():
            crosses = style.crosses(line._asdict())
            style.interval(
                ax,
                *(unit.drawn * v for v in (line.gain, line.gain_low, line.gain_high)),
                y=listed.index(line.method),
                color=style.BLUE if line.gain > 0 else style.ORANGE,
                markerfacecolor="white" if crosses else None,
            )
        ax.set_title(f"{name}\nn = {style.counts(group)}")
        ax.set_xlabel(f"gain in {unit.axis}")
        style.names(ax, listed)
    style.note(
        figure,
        "Mean and 95 % interval of the gain at the same seed, each method at its α and "
        "T chosen on validation. Open dots: the interval crosses 0. n: seeds, or seeds "
        "× folds.",
    )
    return figure


@style.styled
def label_curve(table: pd.DataFrame, bayes: dict[str, float] | None = None) -> Figure:
    """AUC against the number of labels: one panel per source and share of wrong labels.

    table: `tables.labels`; bayes: best possible AUC by source, where it is known.
    Of an empty table only a title, which says so.
    """
    if table.empty:
        figure, axes = style.page(1, 1, 0.6, NO_LABELS)
        axes[0, 0].set_axis_off()
        return figure
    sources, noises = style.sources(table), sorted(table["noise"].unique())
    students = table[
        table["arm"].isin(NAMES["arm"]) & ~table["arm"].isin(["label-only", "teacher"])
    ]
    top = students.loc[students["gain"].idxmax()]
    title = (
        f"Largest gain over label-only: {style.signed(top['gain'], 3)} AUC, "
        f"{top['arm']} on {called(top['source'])} with {top['labels']:,.0f} labels"
    )
    title += f", {100 * top['noise']:.0f} % of them wrong" if top["noise"] else ""
    figure, axes = style.page(
        len(sources),
        len(noises),
        0.95 + 2.1 * len(sources),
        title,
        sharey="row",
        sharex="row",
    )
    for row, (source, name, group) in zip(axes, sources, strict=True):
        for ax, noise in zip(row, noises, strict=True):
            _curves(ax, group[group["noise"] == noise], (bayes or {}).get(source))
            ax.set_title(f"{name}\n{100 * noise:.0f} % of labels wrong")
        row[0].set_ylabel("test AUC")
    for ax in axes[-1]:
        ax.set_xlabel("labelled rows (log)")
    named = {}
    for ax in axes.flat:
        named |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    place = {"loc": "outside lower left", "ncols": len(named)}
    figure.legend(named.values(), named.keys(), **place)
    return figure


def _dumbbells(ax: Axes, honest: pd.Series, flattered: pd.Series) -> None:
    for y, (a, b) in enumerate(zip(honest, flattered, strict=True)):
        ax.plot([a, b], [y, y], color="#bbbbbb", lw=2, zorder=1)
        ax.plot([a], [y], "o", color=style.BLUE)
        ax.plot([b], [y], "D", color=style.ORANGE)


def _curves(ax: Axes, group: pd.DataFrame, bayes: float | None) -> None:
    for arm, (_, color, marker) in NAMES["arm"].items():
        line = group[group["arm"] == arm].sort_values("labels")
        if len(line):
            ax.plot(line["labels"], line["auc"], marker=marker, color=color, label=arm)
            ends = (line["labels"], line["auc_low"], line["auc_high"])
            ax.fill_between(*ends, color=color, alpha=0.15, lw=0)
    if bayes is not None:
        ax.axhline(bayes, color=style.BLACK, ls="--", lw=1, label="Bayes")
    ax.set_xscale("log")
    ticks = sorted(group["labels"].dropna().unique())
    ax.set_xticks(ticks, [f"{t:,.0f}" for t in ticks])
    ax.minorticks_off()
    ax.grid(axis="y")

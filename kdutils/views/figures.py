"""figures: each function takes a table of `views.tables` and returns a figure.

A title says what is seen, computed from the table.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from kdutils.views import style
from kdutils.views.names import NAMES, TEACHERS
from kdutils.views.style import called
from kdutils.views.style import save as save

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
    title = f"Best teacher: {'; '.join(title)}"
    height = 1.5 + 0.3 * len(models)
    figure, axes = style.page(1, len(panels), height, title, sharey=True)
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
    title = f"Largest gain over label-only: {'; '.join(title)}"
    height = 1.65 + 0.28 * len(listed)
    figure, axes = style.page(1, len(panels), height, title, sharey=True)
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


FAMILIES = NAMES["family"]
STUDENT = "student fp32"  # the ladder's first step: distilled, neither pruned nor int8
TICKS = (-50, -2, 2, 50)  # thousandths of AUC
LINEAR = 2.0  # the axis is linear up to ±2 thousandths, logarithmic beyond


@style.styled
def ladder(table: pd.DataFrame) -> Figure:
    """Paired AUC change per compression step against the fp32 student, and its bytes.

    table: `tables.ladder`. One panel per source; the bytes are those of the first. The
    axis is linear within ±0.002 AUC (grey) and logarithmic beyond, so that a step
    of 0.0005 and one of 0.05 are both seen.
    """
    panels, said = style.sources(table), {"ours": [], "published": []}
    for source, _, group in panels:
        last = group[group["family"] == "published"].sort_values("order").tail(1)
        said["ours"].append(
            f"{style.signed(path(group)[-1]['drop'], 4)} on {style.called(source)}"
        )
        said["published"] += [
            f"{style.signed(drop, 4)} on {style.called(source)}"
            for drop in last["drop"]
        ]
    title = f"Compressed, the student's AUC changes by {', '.join(said['ours'])}"
    if said["published"]:
        title += f"; as published, by {', '.join(said['published'])}"
    steps = table.sort_values("order", kind="stable").drop_duplicates("step")
    figure, axes = style.page(
        1, len(panels), 1.2 + 0.2 * len(steps), title, sharex=True, sharey=True
    )
    for ax, (_, name, group) in zip(axes[0], panels, strict=True):
        _steps(ax, group, steps["step"].tolist())
        ax.set_title(f"{name}\nn = {style.counts(group)}")
        ax.set_xlabel("change in AUC × 1000")
    for y, size in enumerate(steps["shipped_bytes"]):
        place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        look = {"va": "center", "ha": "right", "fontsize": 7, "annotation_clip": False}
        axes[0, -1].annotate(f"{size:,.0f} B", (1, y), (38, 0), **place, **look)
    handles = [
        Line2D([], [], marker="o", ls="none", color=look.color, label=name)
        for name, look in FAMILIES.items()
        if name in set(table["family"])
    ]
    handles.append(Line2D([], [], color=style.GREY, label="95 % interval"))
    figure.legend(handles=handles, loc="outside lower right", ncols=4)
    return figure


@style.styled
def pareto(
    ladder: pd.DataFrame,
    teachers: pd.DataFrame,
    chosen: pd.DataFrame | None = None,
    *,
    source: str,
) -> Figure:
    """Bytes (log) against AUC: student → +KD → +prune → +int8, teachers, as published.

    ladder, teachers, chosen: the tables of those names; from `chosen` comes the
    label-only student, which weighs what the distilled one does.
    """
    steps = ladder[ladder["source"] == source]
    models = teachers[teachers["source"] == source].set_index("model")
    route = path(steps)
    chain = [(step["shipped_bytes"], step["auc"]) for step in route]
    rest = route[1:]
    tags = [
        "+KD",
        *("+prune" if s["precision"] == "fp32" else f"+{s['precision']}" for s in rest),
    ]
    if chosen is not None:
        mask = (chosen["source"] == source) & (chosen["method"] == "label-only")
        chain.insert(0, (chain[0][0], float(chosen.loc[mask, "auc"].iloc[0])))
        tags.insert(0, "student")
    best = models.loc[models.index.isin(TEACHERS), "auc"].idxmax()
    weight, kept = chain[-1][0], 100 * chain[-1][1] / models.loc[best, "auc"]
    figure, axes = style.page(
        1,
        1,
        4.3,
        f"{weight:,.0f} bytes keep {kept:.1f} % of the AUC of a teacher of "
        f"{models.loc[best, 'bytes']:,.0f} bytes ({style.called(best)}) on "
        f"{style.called(source)} ({steps['kind'].iloc[0]} data)",
    )
    ax = axes[0, 0]
    _arrows(ax, chain, tags, style.BLUE)
    published = _published(ax, steps)
    for model in TEACHERS:
        if model in models.index and models.loc[model, "bytes"] > 0:
            point = (models.loc[model, "bytes"], models.loc[model, "auc"])
            ax.plot(*point, marker="D", ls="none", color=style.GREEN)
            _tag(ax, style.called(model), point, (-6, -3), style.GREEN, ha="right")
    if "bayes" in models.index:
        ax.axhline(models.loc["bayes", "auc"], color=style.BLACK, lw=1, ls="--")
        ax.annotate(
            "Bayes: the best possible",
            (0.995, models.loc["bayes", "auc"]),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            fontsize=7,
        )
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
    ax.margins(x=0.12, y=0.12)
    ax.grid()
    ax.set_xlabel("bytes to ship (log): the bundle where there is one, else the file")
    ax.set_ylabel(f"test AUC, mean of n = {style.counts(steps)}")
    legend = {"ours": (style.BLUE, "o"), "teachers": (style.GREEN, "D")}
    legend |= dict.fromkeys(published, (style.ORANGE, "s"))
    style.legend(figure, legend, ls="none", ncols=3)
    return figure


def path(steps: pd.DataFrame) -> list[pd.Series]:
    """fp32 student → best pruned → + int8 → + 4 bits, chosen on validation AUC."""
    first = steps[steps["step"] == STUDENT]
    ours = steps[(steps["family"] == "ours") & (steps["sparsity"] > 0)]
    chain = [first.iloc[0]] if len(first) else [steps.sort_values("order").iloc[0]]
    for precision in ("fp32", "int8", "int4"):
        kept = ours[ours["precision"] == precision]
        if len(kept):
            chain.append(kept.loc[kept["val_auc"].idxmax()])
    return chain


def _steps(ax: Axes, group: pd.DataFrame, listed: list[str]) -> None:
    ax.axvspan(-LINEAR, LINEAR, color="#f2f2f2", lw=0)
    ax.axvline(0, color=style.BLACK, lw=0.8)
    for row in group.itertuples():
        drop = [1000 * v for v in (row.drop, row.drop_low, row.drop_high)]
        style.interval(
            ax, *drop, y=listed.index(row.step), color=FAMILIES[row.family].color
        )
    style.names(ax, listed)
    ax.set_xscale("symlog", linthresh=LINEAR, linscale=0.8)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: style.signed(v, 0)))
    low, high = ax.get_xlim()
    ax.set_xticks([t for t in TICKS if min(low, -2) <= t <= max(high, 2)])
    ax.tick_params(axis="x", labelsize=7)
    ax.minorticks_off()


def _arrows(ax: Axes, chain: list[tuple], tags: list[str], color: str) -> None:
    for start, end in pairwise(chain):
        arrow = {"arrowstyle": "->", "color": color, "lw": 1.3}
        ax.annotate("", end, start, arrowprops=arrow)
    for point, tag in zip(chain, tags, strict=True):
        ax.plot(*point, marker="o", ls="none", color=color)
        if tag == "student":
            _tag(ax, f"student {point[0]:,.0f} B", point, (6, -3), color)
        elif point == chain[-1]:
            _tag(ax, f"{tag} {point[0]:,.0f} B", point, (0, -13), color, ha="center")
        elif tag == "+KD":
            _tag(ax, tag, point, (6, 1), color)
        else:
            _tag(ax, tag, point, (0, 6), color, ha="center")


def _published(ax: Axes, steps: pd.DataFrame) -> list[str]:
    """The published steps as numbered squares, the recipe's way dotted; their names."""
    published = steps[steps["family"] == "published"].sort_values("order")
    recipe = published[(published["sparsity"] > 0) | (published["precision"] == "fp32")]
    ax.plot(
        recipe["shipped_bytes"],
        recipe["auc"],
        color=style.ORANGE,
        lw=0.9,
        ls=":",
        zorder=1,
    )
    for number, row in enumerate(published.itertuples(), 1):
        point = (row.shipped_bytes, row.auc)
        ax.plot(*point, marker="s", ms=8, ls="none", color=style.ORANGE, zorder=3)
        digit = {"color": "white", "ha": "center", "va": "center_baseline"}
        ax.annotate(number, point, fontsize=6.5, zorder=4, **digit)
    return [f"{number} {step}" for number, step in enumerate(published["step"], 1)]


def _tag(
    ax: Axes, text: str, point: tuple, offset: tuple, color: str, ha: str = "left"
) -> None:
    style = {"fontsize": 7, "color": color, "ha": ha}
    ax.annotate(text, point, offset, textcoords="offset points", **style)

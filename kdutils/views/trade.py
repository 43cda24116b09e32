"""trade: the two figures of bytes against quality: the ladder and the Pareto front."""

from __future__ import annotations

from itertools import pairwise

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from kdutils.views import style
from kdutils.views.names import NAMES, TEACHERS

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
    handles = [
        Line2D([], [], color=color, marker=marker, ls="none", label=name)
        for name, (color, marker) in legend.items()
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=3)
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

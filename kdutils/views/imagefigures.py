"""imagefigures: the figures of stages 03 and 04, from `views.images` and `subclass`."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from kdutils.views import style
from kdutils.views.images import binomial
from kdutils.views.names import NAMES
from kdutils.views.style import called
from kdutils.views.subclass import BY_AUC

ARMS, STUDENTS = NAMES["arm"], NAMES["student"]
FIDELITY = {  # column: what is drawn, its axis, and the scale
    "acc": ("test accuracy, %", 100),
    "agreement": ("agrees with teacher, %", 100),
    "ece": ("calibration error (ECE), %", 100),
}


@style.styled
def hinton(table: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """Test errors per system, each seed a dot, published counts beside them.

    table: `images.hinton` of these rows; systems of omitted digits: see `unseen`.
    """
    if "omitted" in table:
        table = table[table["omitted"].isna()]
    panels, title = style.sources(table), []
    for *_, group in panels:
        errors = group.set_index("system")["errors"]
        parts = {"alone": "student", "distilled": "student-kd"}
        said = [f"{errors[name]:.1f} {how}" for how, name in parts.items()]
        title.append(
            f"{', '.join(said)}, {errors['teacher']:.1f} for the teacher on "
            f"{style.place(group)}"
        )
    listed = list(table["system"].unique())
    title = f"Errors of a student: {'; '.join(title)}"
    height = 1.6 + 0.32 * len(listed)
    figure, axes = style.page(1, len(panels), height, title, sharey=True)
    for ax, (_, name, group) in zip(axes[0], panels, strict=True):
        for line in group.itertuples():
            y = listed.index(line.system)
            ends = (line.errors, line.errors_low, line.errors_high)
            same = (rows["source"] == line.source) & (rows["system"] == line.system)
            each = rows.loc[same, "errors"]
            low = [y - 0.22] * len(each)
            ax.plot(each, low, ".", color=style.GREY, ms=4, zorder=1)
            style.interval(ax, *ends, y=y, color=style.BLUE, zorder=3)
            published = line.published_errors
            if published == published:
                ends = binomial(int(published), int(line.n_test))
                orange = {"color": style.ORANGE, "marker": "D", "ms": 3.5}
                style.interval(ax, published, *ends, y=y + 0.25, **orange)
        ax.set_title(f"{name}\nn = {style.counts(group)}")
        ax.set_xlabel(f"errors of {group['n_test'].iloc[0]:,.0f} test images")
        style.names(ax, listed)
    said = "Grey: seeds. Blue: their mean and its 95 % interval (another training). "
    if table["published_errors"].notna().any():
        said += (
            "Orange: published, one training, with its exact binomial interval (other "
            "test images)."
        )
    style.note(figure, said)
    return figure


@style.styled
def unseen(table: pd.DataFrame) -> Figure:
    """Error rates of students that never saw some digits, before and after a bias.

    table: `images.hinton`. One panel per system: on all test images and on those of
    the omitted digits.
    """
    table, title = table[table["omitted"].notna()], []
    for line in table.itertuples():
        before, after = (
            100 * (1 - count / line.n_omitted)
            for count in (line.errors_omitted, line.corrected_omitted)
        )
        title.append(
            f"{line.system} gets {before:.1f} % right, {after:.1f} % with its bias "
            "corrected"
        )
    title = f"Of images whose digits were never shown, {'; '.join(title)}"
    figure, axes = style.page(1, len(table), 2.1, title, sharey=True)
    for ax, line in zip(axes[0], table.to_dict("records"), strict=True):
        _unseen(ax, line)
        source = f"{called(line['source'])} ({line['kind']} data), n = {line['n']}"
        ax.set_title(f"{line['system']}: {source}")
        ax.set_xscale("log")
        _percent(ax.xaxis)
        ax.set_xlabel("test error, % (log)")
        style.names(ax, ["all digits", "omitted digits"])
    looks = {
        "as trained": (style.GREY, "o", None),
        "bias from training images": (style.BLUE, "o", None),
        "best bias on test": (style.BLUE, "o", "white"),
        "published": (style.ORANGE, "D", None),
    }
    looks.popitem() if "published_best" not in table else None
    handles = [
        Line2D([], [], ls="none", color=c, marker=m, markerfacecolor=f, label=name)
        for name, (c, m, f) in looks.items()
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=4)
    return figure


@style.styled
def few_labels(table: pd.DataFrame) -> Figure:
    """Test error against the number of labels, both log; one panel per source.

    table: `images.few_labels`.
    """
    panels, title = style.sources(table), []
    for *_, group in panels:
        least = group["labels"].min()
        first = group[group["labels"] == least].set_index("arm")["acc"]
        arms = [arm for arm in ARMS if arm in first.index and arm != "teacher"]
        said = ", ".join(f"{arm} {100 * (1 - first[arm]):.1f} %" for arm in arms)
        title.append(f"{least:,.0f} labels on {style.place(group)}: {said}")
    figure, axes = style.page(
        1, len(panels), 3.3, f"Test error with {'; '.join(title)}"
    )
    for ax, (_, name, group) in zip(axes[0], panels, strict=True):
        for arm in (arm for arm in ARMS if arm in set(group["arm"])):
            _curve(ax, group[group["arm"] == arm].sort_values("labels"), arm)
        ax.set_yscale("log")
        error = 100 * (1 - group["acc"])
        ax.set_ylim(max(error.min() / 2, 0.01), min(1.6 * error.max(), 100))
        _percent(ax.yaxis)
        ax.set_xscale("log")
        ticks = sorted(group["labels"].unique())
        ax.set_xticks(ticks, [f"{t:,.0f}" for t in ticks])
        ax.set_xticks([], minor=True)
        ax.set_xlabel("labelled images (log)")
        ax.set_title(f"{name}, n = {style.counts(group)}")
        ax.grid(axis="y")
    axes[0, 0].set_ylabel("test error, % (log)")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=3)
    return figure


@style.styled
def fidelity(table: pd.DataFrame) -> Figure:
    """Accuracy, agreement with the teacher and calibration per method and student.

    table: `images.chosen`. One row of panels per source.
    """
    title = []
    for *_, group in style.sources(table):
        best = group.set_index("method")[["agreement", "acc"]].idxmax().map(called)
        both = "and" if best.nunique() == 1 else f"method, {best['acc']}"
        title.append(
            f"{best['agreement']} is the most faithful {both} the most accurate on "
            f"{style.place(group)}"
        )
    listed = list(table["method"].unique())
    sources = list(table.groupby("source", sort=False))
    height = 0.9 + len(sources) * (0.6 + 0.25 * len(listed))
    figure, axes = style.page(
        len(sources), len(FIDELITY), height, "; ".join(title), sharey="row"
    )
    students = [s for s in STUDENTS if s in set(table["student"])]
    for row, (source, group) in zip(axes, sources, strict=True):
        for ax, (column, (axis, scale)) in zip(row, FIDELITY.items(), strict=True):
            for line in group.to_dict("records"):
                _, color, marker = STUDENTS[line["student"]]
                ends = [scale * line[f"{column}{end}"] for end in ("", "_low", "_high")]
                y = listed.index(line["method"])
                y += 0.3 * (students.index(line["student"]) - (len(students) - 1) / 2)
                style.interval(ax, *ends, y=y, color=color, marker=marker, ms=4)
            style.names(ax, listed)
            ax.set_xlabel(axis)
        kind = group["kind"].iloc[0]
        row[0].set_title(f"{called(source)} ({kind} data), n = {style.counts(group)}")
    looks = {called(student): STUDENTS[student][1:] for student in students}
    style.legend(figure, looks, side="right")
    return figure


def _unseen(ax: Axes, line: dict) -> None:
    """Row 0: all test images, row 1: those of the omitted digits."""
    rows = (
        (line["n_test"], ("errors", "corrected_errors", "best_errors")),
        (line["n_omitted"], ("errors_omitted", "corrected_omitted", "best_omitted")),
    )
    looks = ((style.GREY, None), (style.BLUE, None), (style.BLUE, "white"))
    for y, (n, columns) in enumerate(rows):
        for column, (color, face) in zip(columns, looks, strict=True):
            ends = (line[column], line[f"{column}_low"], line[f"{column}_high"])
            ends = [min(max(100 * v / n, 50 / n), 100) for v in ends]
            style.interval(ax, *ends, y=y, color=color, markerfacecolor=face)
    anchors = {"errors": 0, "best": 0, "omitted": 1, "best_omitted": 1}
    for name, y in anchors.items():
        published = line.get(f"published_{name}", np.nan)
        if published == published:
            x = 100 * published / rows[y][0]
            ax.plot([x], [y + 0.22], "D", ms=3.5, color=style.ORANGE)


def _curve(ax: Axes, line: pd.DataFrame, arm: str) -> None:
    _, color, marker = ARMS[arm]
    error, low, high = (
        100 * (1 - line[c]).clip(lower=1e-4) for c in ("acc", "acc_high", "acc_low")
    )
    ax.plot(line["labels"], error, marker=marker, color=color, label=arm)
    ax.fill_between(line["labels"], low, high, color=color, alpha=0.15, lw=0)


def _percent(axis: Axis) -> None:
    """Ticks of a log axis at 1, 2 and 5 times powers of ten, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_locator(NullLocator())


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
    title = f"Calibration error {'; '.join(title)}"
    height = 0.9 + 1.75 * len(panels)
    figure, axes = style.page(len(panels), len(DRAWN), height, title, sharex=True)
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
    title = f"Do subclasses rediscover the hidden groups? ARI {'; '.join(title)}"
    height = 0.6 + down * (1.0 + 0.2 * most)
    figure, axes = style.page(down, across, height, title)
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
    title = f"Subclasses against plain distillation: {'; '.join(title)}"
    height = 1.7 + 0.3 * len(listed)
    figure, axes = style.page(1, len(panels), height, title, sharey=True)
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
    style.legend(figure, looks, ls="none", ncols=3)
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

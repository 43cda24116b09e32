"""picture: the figures of the image stage, each from a table of `views.images`."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from kdutils.views import style
from kdutils.views.images import binomial
from kdutils.views.names import NAMES
from kdutils.views.style import called

ARMS, STUDENTS = NAMES["arm"], NAMES["student"]
BELIEF = {  # column: what is drawn, its axis, and the scale
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
    figure, axes = style.page(
        1,
        len(panels),
        1.6 + 0.32 * len(listed),
        f"Errors of a student: {'; '.join(title)}",
        sharey=True,
    )
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
        len(sources), len(BELIEF), height, "; ".join(title), sharey="row"
    )
    students = [s for s in STUDENTS if s in set(table["student"])]
    for row, (source, group) in zip(axes, sources, strict=True):
        for ax, (column, (axis, scale)) in zip(row, BELIEF.items(), strict=True):
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
    handles = [
        Line2D([], [], color=color, marker=marker, label=called(student))
        for student, (_, color, marker) in STUDENTS.items()
        if student in students
    ]
    figure.legend(handles=handles, loc="outside lower right", ncols=2)
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

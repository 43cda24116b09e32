"""figures: each function takes a table of `views` and returns a figure.

A title asks; what it answers is computed, and cleared by its interval.
"""

from __future__ import annotations

import base64
import zlib
from itertools import cycle, pairwise

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from kdutils.views import style
from kdutils.views.images import BY_AUC, OFFICIAL, binomial
from kdutils.views.names import NAMES, START, TEACHERS, Name
from kdutils.views.style import called
from kdutils.views.style import save as save

ARMS, FAMILIES, STUDENTS, WAYS = (
    NAMES[column] for column in ("arm", "family", "student", "way")
)
NO_LABELS = "No label curve: no number of labels fits into the rows of a split"


@style.styled
def targets(image: np.ndarray, logits: np.ndarray, temperatures: list[float]) -> Figure:
    """An image (H, W), and the softened probabilities of a teacher's logits (K,)."""
    best, second = np.argsort(-logits)[:2]
    title = f"The teacher takes this image for a {best}, or else for a {second}"
    size = (1, 1 + len(temperatures), 1.9)
    figure, (row,) = style.page(*size, title, width_ratios=[1] + [2] * (size[1] - 1))
    row[0].imshow(image, cmap="Greys")
    row[0].set_axis_off()
    for ax, T in zip(row[1:], temperatures, strict=True):
        soft = np.exp((logits - logits.max()) / T)
        ax.bar(range(len(logits)), 100 * soft / soft.sum(), color=style.BLUE)
        ax.set(title=f"T = {T:g}", xlabel="class", xticks=range(len(logits)))
        ax.set_ylim(0, 100)
    row[1].set_ylabel("probability, %")
    return figure


# --- dots with intervals, a row per model, method, system or step ------------------


@style.styled
def teachers(table: pd.DataFrame) -> Figure:
    """AUC per model of `tables.teachers`; dashed: the best that is possible."""
    found, close = [], []
    for *_, group in style.sources(table):
        best = group[group["model"].isin(TEACHERS)].sort_values("auc", ascending=False)
        where, first = style.place(group), best.iloc[0]
        if (first["auc_low"] > best["auc_high"].iloc[1:]).all():
            named = f"{called(first['model'])}, AUC {first['auc']:.3f}"
            found.append(f"{named}, on {where}")
        else:
            close.append(where)
    found += [f"undecided on {', '.join(close)}"] if close else []
    models = [m for m in table["model"].unique() if m not in ("bayes", "constant")]
    title, look = f"Which teacher is best? {'; '.join(found)}", {"axis": "test AUC"}
    height = 1.5 + 0.3 * len(models)
    figure, panels = style.across(table, height, title, rows=models, **look)
    for ax, _, group in panels:
        for auc in group.loc[group["model"] == "bayes", "auc"]:
            ax.axvline(auc, color=style.BLACK, lw=1, ls="--")
            place = (auc, len(models) - 0.75)
            ax.annotate("Bayes ", place, ha="right", va="center", fontsize=7)
        group = group[group["model"].isin(models)]
        color = np.where(group["model"].isin(TEACHERS), style.BLUE, style.GREY)
        style.dots(ax, group, "auc", style.rows(group["model"], models), color=color)
    style.note(
        figure,
        "Mean and 95 % interval; n: seeds, or seeds × folds. Blue: teachers, grey: "
        "control. A constant predictor has AUC 0.5.",
    )
    return figure


@style.styled
def insample(table: pd.DataFrame) -> Figure:
    """Of `tables.teachers`: what each says of its training rows, and out of fold."""
    table = table[table["insample_sure"].notna() & table["oof_sure"].notna()]
    title = "How sure is a teacher of its own training rows, and of rows out of fold?"
    panels = style.sources(table)
    most = max(len(group) for *_, group in panels)
    height = 1.1 + len(panels) * (0.75 + 0.24 * most)
    figure, axes = style.page(len(panels), 2, height, title, sharex="col")
    looks = {"out of fold": (style.BLUE, "o"), "in sample": (style.ORANGE, "D")}
    for row, (_, name, group) in zip(axes, panels, strict=True):
        at = np.arange(len(group))
        for ax, what in zip(row, ("sure", "auc"), strict=True):
            both = [group[f"{rows}_{what}"] for rows in ("oof", "insample")]
            ax.hlines(at, *both, color="#bbbbbb", lw=2, zorder=1)
            for value, (color, marker) in zip(both, looks.values(), strict=True):
                ax.plot(value, at, marker, color=color)
            style.names(ax, group["model"].tolist())
        row[0].set_title(name)
        row[1].set_yticklabels([])
    axes[-1][0].set_xlabel("share of near-certain targets (p < 0.02 or p > 0.98)")
    axes[-1][1].set_xlabel("AUC on the training rows")
    axes[0][0].set_xlim(-0.03, 1.03)
    style.legend(figure, looks, side="right")
    return figure


@style.styled
def methods(table: pd.DataFrame, unit: style.Unit = style.AUC) -> Figure:
    """Gain of each method of `tables.chosen` or `images.chosen` at its chosen cell."""
    table = table[table["method"] != "label-only"]
    title = style.result("Which methods beat label-only?", table, unit)
    axis, scale = f"gain in {unit.axis}", unit.drawn
    figure = dots(table, "method", "gain", title, axis, scale=scale)
    style.note(
        figure,
        "Mean and 95 % interval of the gain at the same seed, each method at its α and "
        "T chosen on validation. Open dots: the interval crosses 0. n: seeds, or seeds "
        "× folds.",
    )
    return figure


@style.styled
def dots(
    table: pd.DataFrame,
    name: str,
    column: str,
    title: str,
    axis: str,
    claim: str | None = None,
    scale: float = 100,
) -> Figure:
    """A quantity per line with its interval, times scale; one panel per source.

    name, column, claim: the table's columns of names, values and, as orange diamonds,
    published values. Open dots: the interval crosses 0 where the quantity is a gain.
    """
    listed = list(dict.fromkeys(table[name]))
    height = 1.3 + 0.27 * len(listed)
    figure, panels = style.across(table, height, title, rows=listed, axis=axis)
    for ax, _, group in panels:
        at = style.rows(group[name], listed)
        if column == "gain":
            ax.axvline(0, color=style.BLACK, lw=0.8)
            style.dots(ax, group, column, at, scale, **style.of_gains(group))
            continue
        style.dots(ax, group, column, at, scale)
        style.published(ax, scale * group[claim] if claim else at * np.nan, at)
        low, high = ax.get_xlim()  # of shares, whatever an interval says
        ax.set_xlim(max(low, -2), min(high, 102))
    text = "Mean and 95 % interval over n seeds."
    text += " Open dots: the interval crosses 0." if column == "gain" else ""
    known = claim is not None and table[claim].notna().any()
    style.note(figure, text + (" Orange: as published." if known else ""))
    return figure


@style.styled
def hinton(table: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """Test errors per system of `images.hinton`; rows: a dot per seed."""
    if "omitted" in table:
        table = table[table["omitted"].isna()]
    taught, listed = table["system"] == "student-kd", list(table["system"].unique())
    question = "How many test errors less does a student make that was distilled?"
    title = style.result(question, table[taught], style.ERRORS, "fewer")
    figure, panels = style.across(table, 1.6 + 0.32 * len(listed), title, rows=listed)
    for ax, source, group in panels:
        at = style.rows(group["system"], listed)
        each = rows[(rows["source"] == source) & rows["system"].isin(listed)]
        low = style.rows(each["system"], listed) - 0.22
        ax.plot(each["errors"], low, ".", color=style.GREY, ms=4, zorder=1)
        style.dots(ax, group, "errors", at, zorder=3)
        known = group.loc[group["published_errors"].notna(), ["published_errors"]]
        ends = [binomial(int(count), OFFICIAL) for count in known["published_errors"]]
        names = ["published_errors_low", "published_errors_high"]
        known[names] = np.reshape(ends, (-1, 2))
        look = {"color": style.ORANGE, "marker": "D", "ms": 3.5}
        style.dots(ax, known, "published_errors", at[known.index] + 0.25, **look)
        ax.set_xlabel(f"errors of {group['n_test'].iloc[0]:,.0f} test images")
    text = "Grey: seeds. Blue: their mean and its 95 % interval (another training). "
    if table["published_errors"].notna().any():
        text += (
            "Orange: published, one training, with its exact binomial interval (other "
            "test images)."
        )
    style.note(figure, text)
    return figure


@style.styled
def unseen(table: pd.DataFrame) -> Figure:
    """Error rates of the systems of `images.hinton` that never saw some digits."""
    table = table[table["omitted"].notna()]
    title = "How many errors are left once the logits of digits never shown are raised?"
    figure, axes = style.page(1, len(table), 2.1, title, sharey=True)
    looks = {
        "as trained": (style.GREY, "o"),
        "bias from training images": (style.BLUE, "o"),
        "best bias on test": (style.BLUE, "o", "white"),
    }
    for ax, row in zip(axes[0], table.index, strict=True):
        line = table.loc[[row]]
        for y, (counted, columns) in enumerate(UNSEEN.items()):
            share = 100 / line[counted].iloc[0]
            drawn = (share * line.select_dtypes("number")).clip(share / 2, 100)
            for column, (color, _, *face) in zip(columns, looks.values(), strict=False):
                style.dots(ax, drawn, column, [y], 1, color, *face)
            for column in columns[len(looks) :]:
                if column in drawn:
                    style.published(ax, drawn[column], y + 0.22)
        first = line.iloc[0]
        source = f"{called(first['source'])} ({first['kind']} data), n = {first['n']}"
        ax.set_title(f"{first['system']}: {source}")
        ax.set_xscale("log")
        style.log(ax.xaxis, "{:g}".format)
        ax.set_xlabel("test error, % (log)")
        style.names(ax, ["all digits", "omitted digits"])
    if "published_best" in table:
        looks["published"] = (style.ORANGE, "D")
    style.legend(figure, looks, ncols=4)
    return figure


UNSEEN = {  # a row's test images; its errors as trained, with each bias, as published
    "n_test": ["errors", "corrected_errors", "best_errors"],
    "n_omitted": ["errors_omitted", "corrected_omitted", "best_omitted"],
}
UNSEEN["n_test"] += ["published_errors", "published_best"]
UNSEEN["n_omitted"] += ["published_omitted", "published_best_omitted"]


@style.styled
def fidelity(table: pd.DataFrame) -> Figure:
    """Accuracy, agreement with the teacher and calibration, of `images.chosen`."""
    drawn = {"acc": "test accuracy, %", "agreement": "agrees with teacher, %"}
    drawn |= {"ece": "calibration error (ECE), %"}
    listed = list(table["method"].unique())
    found = style.sources(table.drop(columns="student"))
    height = 0.9 + len(found) * (0.6 + 0.25 * len(listed))
    size = (len(found), len(drawn), height)
    title = "Is the student that agrees most with its teacher also right, "
    title += "and calibrated?"
    figure, axes = style.page(*size, title, sharey="row")
    students = [s for s in STUDENTS if s in set(table["student"])]
    for row, (source, name, _) in zip(axes, found, strict=True):
        group = table[table["source"] == source]
        for ax, (column, axis) in zip(row, drawn.items(), strict=True):
            _beside(ax, group, column, 100, "method", listed, "student", students, 0.3)
            style.names(ax, listed)
            ax.set_xlabel(axis)
        row[-1].set_xscale("log")
        row[0].set_title(f"{name}, n = {style.counts(group)}")
    looks = {called(student): STUDENTS[student][1:] for student in students}
    style.legend(figure, looks, side="right")
    return figure


def _beside(ax, group, column, scale, name, listed, kind, kinds, gap) -> None:
    """Dots with intervals in the row of their name, those of several kinds apart."""
    for place, value in enumerate(kinds):
        some, (_, color, marker) = group[group[kind] == value], NAMES[kind][value]
        at = style.rows(some[name], listed) + gap * (place - (len(kinds) - 1) / 2)
        style.dots(ax, some, column, at, scale, color, marker=marker, ms=4)
        if place == 0 and "published_acc" in some:
            style.published(ax, 100 * some["published_acc"], at - 0.22)


@style.styled
def models(table: pd.DataFrame) -> Figure:
    """AUC of the tester, else accuracy, per model and way of `images.models`."""
    title = []
    for source, _, group in style.sources(table):
        way = "ours" if "ours" in set(group["way"]) else group["way"].iloc[0]
        line = group[(group["way"] == way) & (group["model"] == "student-subclass")]
        by_auc = source in BY_AUC
        name, unit = ("auc_gain", style.AUC) if by_auc else ("gain", style.POINTS)
        title.append(style.result("", line, unit, name))
    listed = list(table["model"].unique())
    ways = [way for way in WAYS if way in set(table["way"])]
    title = f"Do subclasses beat plain distillation?{';'.join(title)}"
    figure, panels = style.across(table, 1.7 + 0.3 * len(listed), title, rows=listed)
    for ax, source, group in panels:
        column, scale = ("auc", 1) if source in BY_AUC else ("acc", 100)
        _beside(ax, group, column, scale, "model", listed, "way", ways, 0.24)
        ax.set_xlabel("test AUC" if column == "auc" else "test accuracy, %")
        ax.xaxis.set_major_locator(MaxNLocator(4))
    looks = {f"way: {way}": WAYS[way][1:] for way in ways}
    if table["published_acc"].notna().any():
        looks["as published, one training"] = (style.ORANGE, "D")
    style.legend(figure, looks, ls="none", ncols=3)
    return figure


TICKS = (-50, -2, 2, 50)  # thousandths of AUC
LINEAR = 2.0  # the axis is linear up to ±2 thousandths, logarithmic beyond


@style.styled
def ladder(table: pd.DataFrame) -> Figure:
    """Change in AUC per step of `tables.ladder`, and bytes of the first source.

    The axis is linear within ±0.002 AUC (grey) and logarithmic beyond, so that a step
    of 0.0005 and one of 0.05 are both seen.
    """
    groups = [group.sort_values("order") for *_, group in style.sources(table)]
    ours = pd.DataFrame([path(group)[-1] for group in groups])
    title = style.result("Does compressing cost AUC?", ours, style.AUC, "drop")
    published = [group[group["family"] == "published"].tail(1) for group in groups]
    if len(published := pd.concat(published)):
        title += style.result("; as published:", published, style.AUC, "drop")
    steps = table.sort_values("order", kind="stable").drop_duplicates("step")
    listed = steps["step"].tolist()
    look = {"rows": listed, "axis": "change in AUC × 1000", "sharex": True}
    figure, panels = style.across(table, 1.4 + 0.2 * len(steps), title, **look)
    for ax, _, group in panels:
        ax.axvspan(-LINEAR, LINEAR, color="#f2f2f2", lw=0)
        ax.axvline(0, color=style.BLACK, lw=0.8)
        color = [FAMILIES[family].color for family in group["family"]]
        style.dots(ax, group, "drop", style.rows(group["step"], listed), 1000, color)
        ax.set_xscale("symlog", linthresh=LINEAR, linscale=0.8)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: style.signed(v, 0)))
        low, high = ax.get_xlim()
        ax.set_xticks([t for t in TICKS if min(low, -2) <= t <= max(high, 2)])
        ax.tick_params(axis="x", labelsize=7)
        ax.minorticks_off()
    sizes, shipped = panels[-1][0].secondary_yaxis("right"), steps["shipped_bytes"]
    sizes.set_yticks(range(len(steps)), [f"{size:,.0f}" for size in shipped])
    sizes.set_ylabel(f"bytes of the file that ships, {called(steps['source'].iloc[0])}")
    sizes.tick_params(length=0)
    sizes.spines[:].set_visible(False)
    style.note(
        figure,
        "Mean and 95 % interval of the change at the same seed. Orange: as published; "
        "blue: ours; grey: control. Shaded: within 0.002 AUC of the fp32 student.",
    )
    return figure


# --- curves with bands -------------------------------------------------------------

FEW = "Does a teacher help where labels are few? Gains over label-only:"


@style.styled
def label_curve(table: pd.DataFrame, bayes: dict[str, float] | None = None) -> Figure:
    """AUC against labels, of `tables.labels`: a panel per source and wrong share.

    bayes: best possible AUC by source, where it is known. Of an empty table a title.
    """
    if table.empty:
        figure, axes = style.page(1, 1, 0.6, NO_LABELS)
        axes[0, 0].set_axis_off()
        return figure
    sources, noises = style.sources(table), sorted(table["noise"].unique())
    taught = set(ARMS) - {"label-only", "teacher"}
    gains = table[table["arm"].isin(taught) & table["gain"].notna()]
    title = style.result(FEW, gains, style.AUC)
    size = (len(sources), len(noises), 0.95 + 2.1 * len(sources))
    figure, axes = style.page(*size, title, sharey="row", sharex="row")
    for row, (source, name, group) in zip(axes, sources, strict=True):
        for ax, noise in zip(row, noises, strict=True):
            lines = group[group["noise"] == noise]
            _arms(ax, lines, "auc")
            if source in (bayes or {}):
                look = {"color": style.BLACK, "ls": "--", "lw": 1, "label": "Bayes"}
                ax.axhline(bayes[source], **look)
            ax.set_title(f"{name}\n{100 * noise:.0f} % of labels wrong")
        row[0].set_ylabel("test AUC")
    for ax in axes[-1]:
        ax.set_xlabel("labelled rows (log)")
    style.legend(figure, ncols=0)
    return figure


def _arms(ax: Axes, lines: pd.DataFrame, column: str) -> None:
    """A band per arm against the number of labels."""
    lines = lines.sort_values("labels")
    for arm, (_, color, marker) in ARMS.items():
        some, look = lines[lines["arm"] == arm], {"marker": marker, "label": arm}
        if len(some):
            style.band(ax, some["labels"], some, column, 1, color, **look)
    style.log_x(ax, lines["labels"], "{:,.0f}")


@style.styled
def few_labels(table: pd.DataFrame) -> Figure:
    """Test error against the number of labels of `images.few_labels`, both log."""
    table = table.copy()
    for end, other in (("", ""), ("_low", "_high"), ("_high", "_low")):
        table[f"error{end}"] = 100 * (1 - table[f"acc{other}"]).clip(lower=1e-4)
    gains = table[~table["arm"].isin(["label-only", "teacher"])]
    title, axis = style.result(FEW, gains, style.POINTS), "labelled images (log)"
    figure, panels = style.across(table, 3.3, title, axis=axis)
    for ax, _, group in panels:
        _arms(ax, group, "error")
        ax.set_yscale("log")
        low, high = group["error"].min() / 2, 1.6 * group["error"].max()
        ax.set_ylim(max(low, 0.01), min(high, 100))
        style.log(ax.yaxis, "{:g}".format)
    panels[0][0].set_ylabel("test error, % (log)")
    style.legend(figure, ncols=3)
    return figure


SHADES = ("#56B4E9", "#0072B2", "#00324F")  # little, middling, much teacher
DRAWN = {"ece": ("ECE, %", 100), "nll": ("NLL, nats", 1)}


@style.styled
def calibration(table: pd.DataFrame, method: str = "kd") -> Figure:
    """ECE and NLL of `images.sweep` against T, at three α, beside label-only."""
    panels = style.sources(table)
    title = "At which temperature does a student know how sure it may be?"
    height = 0.9 + 1.75 * len(panels)
    figure, axes = style.page(len(panels), len(DRAWN), height, title, sharex=True)
    for row, (_, name, group) in zip(axes, panels, strict=True):
        alone = group[group["method"] == "label-only"].iloc[0]
        cells = group[group["method"] == method].sort_values("T")
        for ax, (column, (axis, scale)) in zip(row, DRAWN.items(), strict=True):
            value, *ends = style.ends(alone, column, scale)
            ax.axhspan(*ends, color=style.GREY, alpha=0.2, lw=0)
            ax.axhline(value, color=style.GREY, label="label-only")
            alphas = sorted(cells["alpha"].unique())
            kept = sorted({alphas[0], alphas[len(alphas) // 2], alphas[-1]})
            for alpha, color in zip(kept, SHADES[-len(kept) :], strict=True):
                line = cells[cells["alpha"] == alpha]
                look = {"marker": "o", "ms": 3.5, "label": f"α = {alpha:g}"}
                style.band(ax, line["T"], line, column, scale, color, **look)
            style.log_x(ax, cells["T"], "{:g}")
            ax.set_ylabel(axis)
        row[0].set_title(f"{name}, n = {style.counts(group)}")
    for ax in axes[-1]:
        ax.set_xlabel("temperature T (log)")
    style.legend(figure, ncols=4)
    return figure


@style.styled
def diagram(
    table: pd.DataFrame, lines: pd.DataFrame, by_entropy: pd.DataFrame, name: str
) -> Figure:
    """A reliability diagram, and errors by the teacher's entropy side by side.

    table: `wafers.reliability` of one site; lines: `wafers.teachers`; by_entropy:
    `wafers.by_entropy` of one student; name: how it is called.
    """
    title = f"Can a teacher's probabilities be believed, and where does {name} err?"
    figure, axes = style.page(1, 2, 3.3, title)
    _reliability(axes[0, 0], table, lines)
    _errors(axes[0, 1], by_entropy, name)
    for ax in axes[0]:
        ax.legend(fontsize=7)
    style.note(
        figure,
        "Left: answers of all test maps, patterns and seeds, in ten bins of "
        "probability; behind a name: ECE. Right: test maps in fifths by the teacher's "
        f"entropy; mean and 95 % interval over seeds, n = {style.counts(by_entropy)}.",
    )
    return figure


def _reliability(ax: Axes, table: pd.DataFrame, lines: pd.DataFrame) -> None:
    ax.plot([0, 100], [0, 100], color=style.GREY, lw=0.8, ls="--")
    ece = lines.set_index(["teacher", "views"])["ece"]
    panels = table.groupby(["teacher", "views"], sort=False)
    for (key, group), (color, marker) in zip(panels, style.LOOKS, strict=False):
        label = f"{key[0]}, asked {key[1]} × ({100 * ece[key]:.2f} %)"
        points = (100 * group["p"], 100 * group["share"])
        ax.plot(*points, color=color, marker=marker, ms=3.5, lw=1, label=label)
    ax.set_xlabel("teacher's probability, %")
    ax.set_ylabel("pattern is there, %")
    ax.set_title(style.sources(table)[0][1])
    ax.grid()


def _errors(ax: Axes, by_entropy: pd.DataFrame, name: str) -> None:
    x = np.arange(1, len(by_entropy) + 1)
    labels = {"student": name, "teacher": "its teacher"}
    for (who, label), (color, marker) in zip(labels.items(), style.LOOKS, strict=False):
        style.band(ax, x, by_entropy, who, 100, color, marker=marker, label=label)
    ax.set_xticks(x, [f"{value:.2g}" for value in by_entropy["entropy"]])
    ax.set_ylim(0, min(ax.get_ylim()[1], 100))
    ax.set_xlabel("teacher's entropy in nats, mean of each fifth")
    ax.set_ylabel("wrong maps, %")
    ax.grid(axis="y")


# --- heatmaps ----------------------------------------------------------------------


AXES = {  # what a heatmap's x is, and the loss that it and α shape
    "T": ("temperature T", "L = (1−α)·hard + α·T²·soft"),
    "beta": (
        "β, the probability above which the teacher's word is a label",
        "L = (1−α)·BCE(labels above β) + α·MSE(logits)",
    ),
}


@style.styled
def heatmap(
    table: pd.DataFrame,
    chosen: pd.DataFrame,
    unit: style.Unit = style.AUC,
    x: str = "T",
    method: str = "kd",
) -> Figure:
    """Mean gain over label-only at the same seed, α × T or α × β, a panel per student.

    table: a surface, with how many seeds or folds chose each cell (`chosen`); chosen:
    what these choices gain. Each panel has its own scale, centred on 0.
    """
    if "method" in table:
        table, chosen = (t[t["method"] == method] for t in (table, chosen))
    name, loss = AXES[x]
    title = style.result("Does distilling beat label-only?", chosen, unit)
    title += f"\nα weighs the teacher: {loss}"
    panels, alphas = style.sources(table), table["alpha"].nunique()
    figure, axes = style.tiled(len(panels), 0.8, 0.75 + 0.34 * alphas, title)
    for ax, (_, panel, lines) in zip(axes.flat, panels, strict=False):
        _cells(ax, lines, x, unit)
        passed = f"{(lines['p_holm'] < 0.05).sum()} of {len(lines)} cells pass Holm"
        ax.set_title(f"{panel}, n = {style.counts(lines)}\n{passed}")
        ax.set(xlabel=name, ylabel="α")
    style.note(
        figure,
        f"Gain over the label-only student at the same seed in {unit.axis}. Hatched: "
        "the 95 % interval crosses 0. Dot: p < 0.05 after Holm. k/n: chosen on its "
        "own validation rows by k of n seeds, or seeds × folds. Each panel has its own "
        "scale.",
    )
    return figure


def _cells(ax: Axes, lines: pd.DataFrame, x: str, unit: style.Unit) -> None:
    """A table's gains as cells over α (upwards) and x."""
    lines = lines.assign(
        drawn=unit.drawn * lines["gain"],
        crosses=style.crosses(lines),
        text=[_cell(line, unit) for line in lines.to_dict("records")],
    )
    cells = lines.pivot(index="alpha", columns=x).sort_index(ascending=False)
    limit = max(lines["drawn"].abs().max(), 0.1)
    look = {"annot_kws": {"fontsize": 6, "linespacing": 1.1}, "linewidths": 0.8}
    look |= {"cmap": "RdBu", "vmin": -limit, "vmax": limit, "fmt": "", "ax": ax}
    look["cbar_kws"] = {"pad": 0.02, "aspect": 22}
    seaborn.heatmap(cells["drawn"], annot=cells["text"], **look)
    ax.tick_params(length=0, rotation=0)
    there = cells["drawn"].notna().to_numpy()
    hatched = cells["crosses"].to_numpy()[there].astype(bool)
    for text, (row, column), crosses in zip(
        ax.texts, np.argwhere(there), hatched, strict=True
    ):
        if crosses:
            text.set(color="black", bbox={"fc": "white", "ec": "none", "pad": 0.8})
            hatch = {"fill": False, "hatch": "////", "lw": 0}
            ax.add_patch(Rectangle((column, row), 1, 1, **hatch))


def _cell(line: dict, unit: style.Unit) -> str:
    """A gain, its dot where it passes Holm, and how often the cell was chosen."""
    text = style.signed(unit.drawn * line["gain"], unit.drawn_digits)
    text += "•" if line["p_holm"] < 0.05 else ""
    return text + (f"\n{line['chosen']}/{line['n']}" if line["chosen"] else "")


CLASSES = {
    "mnist": ("0–4", "5–9"),
    "digits": ("0–4", "5–9"),
    "tester": ("pass", "fail"),
}


@style.styled
def contingency(table: pd.DataFrame, found: pd.DataFrame) -> Figure:
    """Where the test rows of each hidden group go: a panel per source and way.

    table: `images.contingency`; found: `images.discovered`. Columns of one class
    stand together, in the order of the groups that they hold.
    """
    keys = ["source", "way"]
    scores = found.set_index(keys)
    panels = list(table.groupby(keys, sort=False))
    question = "Do subclasses find more of the hidden groups than the classes alone?"
    found = found[found["ari"].notna()]
    title = style.result(question, found, style.ARI, "over_classes")
    title += style.result("; than k-means?", found, style.ARI, "more")
    most = max(group["truth"].nunique() for _, group in panels)
    figure, axes = style.tiled(len(panels), 0.6, 1.0 + 0.2 * most, title)
    for ax, (key, group) in zip(axes.flat, panels, strict=False):
        _groups(ax, group, CLASSES.get(key[0], ("0", "1")))
        line = scores.loc[key]
        ax.set_title(
            f"{called(key[0])} ({group['kind'].iloc[0]} data), {key[1]}\n"
            f"ARI {line['ari']:.2f} [{line['ari_low']:.2f}, {line['ari_high']:.2f}], "
            f"n = {line['n']:.0f}\n"
            f"{line['used']:.1f} of {line['subclasses']:.0f} subclasses in use"
        )
    style.note(
        figure,
        "% of each group's test rows, which sum to 100; numbers from 5 %. Shown is the "
        "seed of the median adjusted Rand index (ARI: 1 equal, 0 by chance); its mean "
        "and 95 % interval are over n seeds. Behind a group's name: its test rows.",
    )
    return figure


def _groups(ax: Axes, group: pd.DataFrame, classes: tuple[str, str]) -> None:
    names = list(group["truth"].unique())
    counts = group.pivot(index="truth", columns="subclass", values="count").loc[names]
    owner = group.drop_duplicates("subclass").set_index("subclass")["class"]
    home = counts.to_numpy().argmax(axis=0)
    place = {k: (owner[k], counts[k].sum() == 0, home[k]) for k in range(len(owner))}
    order = sorted(place, key=place.get)
    counts = counts[order].to_numpy()
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = [f"{n}, {c:,}" for n, c in zip(names, counts.sum(axis=1), strict=True)]
    look = {"annot_kws": {"fontsize": 6.5}, "linewidths": 0.6, "cbar": False}
    look |= {"cmap": "Blues", "vmin": 0, "vmax": 100, "fmt": "", "ax": ax}
    text = np.where(share >= 5, np.char.mod("%.0f", share), "")
    seaborn.heatmap(pd.DataFrame(share, labels, order), annot=text, **look)
    ax.tick_params(length=0, rotation=0)
    ax.axvline((owner == owner[order[0]]).sum(), color=style.BLACK, lw=1)
    ax.set_xlabel(f"← {classes[0]}    subclasses    {classes[1]} →")


# --- bytes against quality ---------------------------------------------------------


@style.styled
def pareto(table: pd.DataFrame) -> Figure:
    """Bytes (log) against quality, of `curves.routes`: a panel per data and student."""
    title = "How few bytes keep a student's quality? Mean and 95 % interval"
    table = table.rename(columns={end: f"value_{end}" for end in ("low", "high")})
    panels = list(table.groupby(["source", "model"], sort=False))
    figure, axes = style.tiled(len(panels), 0.9, 2.2, title)
    for ax, ((source, model), group) in zip(axes.flat, panels, strict=False):
        first = group.iloc[0]
        scale = 1 if first["quality"] == "AUC" else 100
        student = f", {called(model)}" if model in STUDENTS else ""
        n = f"n = {style.counts(group[group['group'] == 'ours'])}"
        ax.set_title(f"{called(source)}{student} ({first['kind']} data), {n}")
        ax.set_ylabel(f"test {first['quality']}" + (", %" if scale == 100 else ""))
        weighed = "file" if scale == 1 else "weights; of a star: file"
        style.bytes_x(ax, f"bytes (log), {weighed}")
        _route(ax, group[group["group"] == "ours"], scale)
        for row in group.index[group["group"] != "ours"]:
            _beside_route(ax, group.loc[[row]], scale)
        ax.margins(x=0.2, y=0.16)
    shown = set(table["group"])
    style.legend(figure, {name: look for name, look in ROUTES.items() if name in shown})
    return figure


ROUTES = {  # group of `curves.routes` -> colour, marker or line
    "ours": (style.BLUE, "o"),
    "our file, ships": (style.BLUE, "*"),
    "our file, does not ship": (style.GREY, "*"),
    "published recipe, run here": (style.ORANGE, "s"),
    "published": (style.ORANGE, "D"),
    "published bytes, score of other data": (style.ORANGE, ":"),
    "teacher": (style.BLACK, "--"),
}


def path(steps: pd.DataFrame) -> list[pd.Series]:
    """fp32 student → best pruned → + int8 → + 4 bits, chosen on validation AUC."""
    first = steps[steps["step"] == START]
    ours = steps[(steps["family"] == "ours") & (steps["sparsity"] > 0)]
    chain = [first.iloc[0]] if len(first) else [steps.sort_values("order").iloc[0]]
    for precision in ("fp32", "int8", "int4"):
        kept = ours[ours["precision"] == precision]
        if len(kept):
            chain.append(kept.loc[kept["val_auc"].idxmax()])
    return chain


def _route(ax: Axes, steps: pd.DataFrame, scale: float) -> None:
    """Our steps, an arrow from each to the next, with intervals and names."""
    color, _ = ROUTES["ours"]
    points = list(zip(steps["bytes"], scale * steps["value"], strict=True))
    for start, end in pairwise(points):
        arrow = {"arrowstyle": "->", "color": color, "lw": 1.1, "shrinkB": 4}
        ax.annotate("", end, start, arrowprops=arrow)
    ax.plot(*zip(*points, strict=True), color=color, lw=0)
    style.dots(ax, steps, "value", steps["bytes"], scale, color, "white", upright=True)
    for (x, y), tag in zip(points, steps["tag"], strict=True):
        offset = {"student": (6, -9), "+KD": (4, 5)}.get(tag, (4, -11))
        look = {"textcoords": "offset points", "fontsize": 6.5, "color": color}
        look["bbox"] = {"fc": "white", "ec": "none", "pad": 0.4, "alpha": 0.8}
        ax.annotate(tag, (x, y), offset, **look)


def _beside_route(ax: Axes, line: pd.DataFrame, scale: float) -> None:
    """A teacher's level, a file, or the bytes of a file that has no score here."""
    ((group, size, value),) = line[["group", "bytes", "value"]].to_numpy()
    color, marker = ROUTES[group]
    if group == "teacher":
        ax.axhline(scale * value, color=color, lw=0.9, ls=marker)
    elif np.isnan(value):
        ax.axvline(size, color=color, lw=1, ls=marker)
    else:
        look = {"marker": marker, "ms": 11 if marker == "*" else 5, "upright": True}
        style.dots(ax, line, "value", [size], scale, color, **look)


GOALS = (0.90, 0.95)
FLOOR = 70  # %: what lies below is named at the axis's foot, most nets lie far above
RUN_HERE = ("published", "torch_bytes", "exact", style.ORANGE, "s")
CAPACITY = {  # what is drawn against bytes: group, bytes, quality, colour, look
    "ours, the eight-bit file": ("ours", "int8_bytes", "int8", style.BLUE, "o"),
    "the same, 8 views": ("ours", "int8_bytes", "views8", style.GREEN, "v"),
    "published nets, run here": RUN_HERE,
}


@style.styled
def capacity(table: pd.DataFrame) -> Figure:
    """Bytes (log) against exact match: ours as eight-bit files, published nets.

    table: `wafers.students` of one site: its groups 'ours' and 'published'. No line
    joins the points: their nets were trained for the number of epochs beside them.
    """
    ours, found = table[table["group"] == "ours"], []
    for goal in GOALS:
        fits = ours[ours["int8_low"] > goal]
        size = f"{fits['int8_bytes'].min():,.0f} bytes" if len(fits) else "none"
        found.append(f"above {100 * goal:.0f} %: {size}")
    title = f"The smallest file whose interval lies {', '.join(found)}"
    figure, axes = style.page(1, 1, 4.1, title)
    ax, looks = axes[0, 0], {}
    for label, (name, size, quality, color, marker) in CAPACITY.items():
        looks[label], lines = (color, marker), table[table["group"] == name]
        low = 100 * lines[quality] < FLOOR
        drawn = (100 * lines.filter(like=quality)).clip(lower=FLOOR)
        face, look = np.where(low, "white", color), {"marker": marker, "upright": True}
        style.dots(ax, drawn, quality, lines[size], 1, color, face, **look)
        for line in lines.to_dict("records") if quality != "views8" else ():
            mean, below = 100 * line[quality], 100 * line[quality] < FLOOR
            text = f"{line['epochs']:.0f}" + (f" ({mean:.0f} %)" if below else "")
            look = {"textcoords": "offset points", "fontsize": 7, "color": color}
            place = (line[size], max(mean, FLOOR))
            ax.annotate(text, place, (5, 4 if below else -9), **look)
    claims = table[table["group"] == "published"].dropna(subset=["published_exact"])
    if len(claims):
        looks["as published"] = (style.PINK, "D")
        points = claims["published_bytes"], 100 * claims["published_exact"]
        ax.plot(*points, "D", color=style.PINK, ms=5)
    looks["their teachers"] = (style.BLACK, "--")
    ax.axhline(100 * ours["teacher_exact"].mean(), color=style.BLACK, lw=1, ls="--")
    ax.set_ylim(FLOOR - 1, 101)
    style.bytes_x(ax, "bytes (log); numbers: epochs; open: below the axis, exact match")
    ax.set_ylabel(f"exact match on test maps, %, mean of n = {style.counts(ours)}")
    style.legend(figure, looks, ncols=3)
    return figure


# --- colour images -----------------------------------------------------------------


@style.styled
def photographs(images: np.ndarray, views: list[np.ndarray]) -> Figure:
    """Images uint8 (n, 3, H, W) or (n, H, W) in a row, then a row per set of views."""
    rows = ["images", *(f"set {e}" for e in range(len(views)))]
    title = "Each set shows one view of every image"
    figure, axes = style.page(len(rows), len(images), 0.8 * len(rows), title)
    for line, name, some in zip(axes, rows, [images, *views], strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for ax, image in zip(line, some, strict=True):
            shown = np.asarray(image)
            shown = shown.transpose(1, 2, 0) if shown.ndim == 3 else shown
            ax.imshow(shown, cmap="gray")
            ax.set(xticks=[], yticks=[])
    return figure


@style.styled
def networks(table: pd.DataFrame, of: str = "images") -> Figure:
    """Bytes of the file (log) against test accuracy `of` what: of `networks.table`.

    Dashed: the best net without a file, the teacher.
    """
    files = table[table["packed_bytes"].notna()]
    question = "Does a taught file beat one that learnt from labels?"
    taught = files[files["method"] == "kd"]
    title = style.result(question, taught, style.POINTS)
    figure, axes = style.page(1, 1, 3.6, title)
    ax, looks = axes[0, 0], {}
    for method, group in files.groupby("method", sort=False):
        color = NAMES["method"].get(method, Name(color=style.PINK)).color
        looks[called(method)] = (color, "o")
        style.dots(ax, group, "packed", group["packed_bytes"], 100, color, upright=True)
    line = table[table["packed_bytes"].isna()].nlargest(1, "val_acc").iloc[0]
    name = f"{line['student']}, {line['params']:,.0f} weights in float"
    looks[name] = (style.BLACK, "--")
    ax.axhline(100 * line["acc"], color=style.BLACK, lw=1, ls="--")
    style.bytes_x(ax, "bytes of the file that ships (log)")
    ax.set_ylabel(f"accuracy on test {of}, %, n = {style.counts(files)}")
    style.legend(figure, looks)
    return figure


@style.styled
def bit_widths(table: pd.DataFrame, of: str = "images") -> Figure:
    """Bytes of the file (log) against test accuracy: a line per net, a dot per width.

    table: `networks.widths`; of: what is classified. A dot's number is its bits.
    """
    figure, axes = style.page(1, 1, 3.4, "How few bits may a weight have?")
    ax, looks = axes[0, 0], {}
    colors = cycle((style.BLUE, style.ORANGE, style.GREEN, style.PINK))
    for student, group in table.groupby("student", sort=False):
        color = next(colors)
        looks[called(student)] = (color, "o")
        at = group["packed_bytes"]
        style.dots(ax, group, "packed", at, 100, color, upright=True)
        ax.plot(at, 100 * group["packed"], color=color, lw=1)
        for x, y, bits in zip(at, group["packed"], group["packed_bits"], strict=True):
            place = {"xytext": (4, 4), "textcoords": "offset points", "fontsize": 7}
            ax.annotate(f"{bits}", (x, 100 * y), **place)
    style.bytes_x(ax, "bytes of the file (log)")
    ax.set_ylabel(f"accuracy on test {of}, %, n = {style.counts(table)}")
    style.legend(figure, looks)
    return figure


# --- wafer maps --------------------------------------------------------------------

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
    title = f"{len(every)} sets of patterns: normal, one alone, up to "
    title += f"{int(every.sum(axis=1).max())} at once"
    size = (len(sites), len(wanted), 0.75 + 0.72 * len(sites))
    figure, axes = style.page(*size, title, gridspec_kw={"wspace": 0.04})
    for row, (name, (X, y)) in zip(axes, sites.items(), strict=True):
        for ax, which in zip(row, wanted, strict=True):
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
            found = np.flatnonzero((y == which).all(axis=1))
            if found.size:
                ax.imshow(X[found[0]], cmap=DIES, vmin=0, vmax=2)
        row[0].set_ylabel(called(name), fontsize=7)
    for ax, which in zip(axes[0], wanted, strict=True):
        text = [name for name, there in zip(patterns, which, strict=True) if there]
        ax.set_title("\n".join(text or ["normal"]), fontsize=5.5, loc="center")
    return figure

"""curves: what is lost against bytes, how far each way pays, and all data together.

A point pays where what it loses against the float32 student stays within a tolerance:
`shown` where the whole interval says so, `possible` where the interval does not say the
opposite. A single value has no interval: nothing is shown by it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdutils.views import style
from kdutils.views.figures import path
from kdutils.views.names import START
from kdutils.views.summary import SETTING, delta, groups, summarise

CONTROL = "dense, same extra epochs"
BYTES = [b * 10**k for k in range(1, 7) for b in (1, 2, 5)]
TICKS = (-20.0, -5.0, -1.0, 0.0, 1.0, 5.0)  # points
ROUTE = ["source", "kind", "model", "quality", "group", "step", "tag"]
ROUTE += ["bytes", "value", "low", "high", "n"]


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and point, in order: what it costs, what it saves.

    drop and to_control are paired at equal seed and fold: against the float32 student,
    and against the dense one with as many rounds of fine-tuning (0: the same student).
    """
    quantities = {"auc": "test_auc", "drop": "drop", "to_control": "to_control"}
    by = ["order", "way", "sparsity", "bits", "rounds"]
    means = ("val_auc", "drop_val", "model_bytes", "params", "nonzero")
    how = {"p": {"drop": "drop_p"}, "sort": ["order"]}
    return summarise(rows, by, quantities, means, **how)


def stops(lines: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """Per source and way the smallest point that pays, shown and possible.

    lines: `table`. shown and possible say the point, `75 %, 8 bits`; drop is that of
    the point shown, of_fp32 its bytes as a share of the float32 student's. Empty where
    no point pays.
    """
    found = []
    for key, group in groups(lines, SETTING):
        whole = group.set_index("way").loc[START, "model_bytes"]
        for way, curve in groups(group[~group["way"].isin([START, CONTROL])], ["way"]):
            line = {**key, **way, "n": int(curve["n"].max())}
            for name, point in _paying(curve, tolerance).items():
                line[name] = said(point) if point else ""
                line[f"{name}_bytes"] = point.get("model_bytes", np.nan)
                if name == "shown":
                    line["of_fp32"] = line["shown_bytes"] / whole
                    ends = ("drop", "drop_low", "drop_high")
                    line |= {end: point.get(end, np.nan) for end in ends}
            found.append(line)
    return pd.DataFrame(found)


def said(point: dict) -> str:
    """What is left out of a point: `75 %, 32 bits`; bits alone where no weight is."""
    share = f"{100 * point['sparsity']:g} %, " if point["sparsity"] else ""
    return f"{share}{point['bits']:g} bits"


def versus(rows: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """Two ways at equal shares taken away: paired AUC, one minus other, and bytes."""
    mine, theirs = (rows[rows["way"] == way] for way in (one, other))
    more = delta(mine, theirs, "test_auc", ["sparsity"])
    sizes = mine["model_bytes"] - delta(mine, theirs, "model_bytes", ["sparsity"])
    mine = mine.assign(difference=more, other_bytes=sizes)[more.notna()]
    means = {"one_bytes": "model_bytes", "other_bytes": "other_bytes"}
    table = summarise(mine, ["sparsity"], ["difference"], means)
    return table.assign(one=one, other=other)


@style.styled
def curve(lines: pd.DataFrame, ways: list[str], tolerance: float) -> Figure:
    """Change in AUC of `table` against model bytes (log): a line per way, with band.

    Full dots: shown within the tolerance (grey); a ring: the smallest point that may be
    within it, as far as its interval tells.
    """
    told = []
    for source, _, group in style.sources(lines):
        best = stops(group, tolerance)
        best = best[best["way"].isin(ways) & best["shown_bytes"].notna()]
        told.append(f"nothing shown on {style.called(source)}")
        if len(best):
            row = best.loc[best["shown_bytes"].idxmin()]
            told[-1] = f"{row['way']} ({row['shown']}) to {row['shown_bytes']:,.0f} "
            told[-1] += f"bytes on {style.called(source)}"
    title = f"Within {tolerance:g} AUC of float32: {'; '.join(told)}"
    looks = dict(zip(ways, style.LOOKS, strict=False))
    figure, panels = style.across(lines, 3.3, title, sharey=True)
    for ax, _, group in panels:
        _frame(ax, tolerance)
        start = group[group["way"] == START].iloc[0]
        ax.plot(start["model_bytes"], 0, "*", ms=9, color=style.BLACK, zorder=4)
        for row, (way, look) in enumerate(looks.items()):
            _line(ax, _from(group, way), look, tolerance, row)
    panels[0][0].set_ylabel("change in AUC, points")
    style.legend(figure, looks | {START: (style.BLACK, "*")}, ls="-")
    return figure


def routes(
    ladder: pd.DataFrame,
    nets: pd.DataFrame | None,
    files: pd.DataFrame,
    published: pd.DataFrame,
) -> pd.DataFrame:
    """What `figures.pareto` draws: our route, the files to ship, the published ones.

    ladder, nets: `tables.ladder`, `images.ladder`; files: `ship.table`; published:
    `tables.claimed`. Columns `ROUTE`; value is empty where no score is comparable.
    """
    frame = ladder.assign(model="", quality="AUC")
    if nets is not None:
        names = {"kept": "auc", "weight_bytes": "shipped_bytes", "val": "val_auc"}
        names |= {f"kept_{end}": f"auc_{end}" for end in ("low", "high")}
        precision = nets["bits"].map(lambda b: f"{'fp' if b == 32 else 'int'}{b:g}")
        nets = nets.rename(columns=names).assign(precision=precision)
        frame = pd.concat([frame, nets])
    found = []
    for (source, _), steps in frame.groupby(["source", "model"], sort=False):
        same = steps.iloc[0][["source", "kind", "model", "quality"]].to_dict()
        found += [same | line for line in _route(steps.reset_index(drop=True))]
        for line in files[files["data"] == source].to_dict("records"):
            group = "ships" if line["decision"] == "Ship" else "does not ship"
            named = {"group": f"our file, {group}", "step": line["file"]}
            found.append({**line, **same, **named})
        wide = published[published["system"].str.startswith(f"{source}/student")]
        wide = wide.pivot(index="system", columns="metric", values="claimed")
        wide = wide.reindex(columns=["bytes", "accuracy"]).dropna(subset="bytes")
        for line in wide.itertuples():
            known = line.accuracy == line.accuracy
            group = "published" if known else "published bytes, score of other data"
            named = {"group": group, "step": line.Index}
            found.append(same | named | {"bytes": line.bytes, "value": line.accuracy})
    return pd.DataFrame(found).reindex(columns=ROUTE)


def _route(steps: pd.DataFrame) -> list[dict]:
    """Our steps in order, the published recipe run here, and the teacher's level."""
    alone = [row for _, row in steps[steps["step"] == f"label-only {START}"].iterrows()]
    chain = [*alone, *path(steps)]
    bits = {"fp32": "+prune", "int8": "+int8", "int4": "4 bits"}
    tags = ["student"] * len(alone) + ["+KD"]
    tags += [bits[step["precision"]] for step in chain[len(tags) :]]
    named = [("ours", tag, step) for tag, step in zip(tags, chain, strict=True)]
    recipe = steps[steps["step"] == "published: pruned + dynamic int8"]
    named += [("published recipe, run here", "", row) for _, row in recipe.iterrows()]
    level = chain[len(alone)]["auc"] - chain[len(alone)].get("to_teacher", np.nan)
    teacher = steps.loc[steps["step"] == "teacher", "auc"]
    level = teacher.iloc[0] if len(teacher) else level
    lines = [
        {"group": group, "step": row["step"], "tag": tag, "bytes": row["shipped_bytes"]}
        | {"value": row["auc"], "low": row["auc_low"], "high": row["auc_high"]}
        | {"n": row["n"]}
        for group, tag, row in named
    ]
    return [*lines, {"group": "teacher", "step": "teacher", "value": level}]


def _paying(curve: pd.DataFrame, tolerance: float) -> dict[str, dict]:
    """The smallest point within the tolerance, shown and possible; {} if none is."""
    points = curve.sort_values("model_bytes", kind="stable")
    fits = {"shown": points["drop_low"] >= -tolerance}
    fits["possible"] = ~(points["drop_high"] < -tolerance)
    return {
        name: next(iter(points[mask].to_dict("records")), {})
        for name, mask in fits.items()
    }


def _from(group: pd.DataFrame, way: str) -> pd.DataFrame:
    """The points of a way, largest first, with the dense student that it leaves."""
    curve = group[group["way"] == way]
    dense = group[(group["sparsity"] == 0) & group["way"].isin([START, "QAT"])]
    if (curve["sparsity"] > 0).any():
        dense = dense[dense["bits"] == curve["bits"].iloc[0]]
        curve = pd.concat([dense, curve])
    return curve.sort_values("model_bytes", ascending=False)


def _line(ax: Axes, curve: pd.DataFrame, look: tuple, tolerance: float, row: int):
    """A way with its band, full dots where it is shown to pay."""
    color, marker = look
    size, drop = curve["model_bytes"], 100 * curve["drop"]
    ax.plot(size, drop, color=color)
    ax.plot(size, drop, marker, color=color, mfc="white")
    shown = curve["drop_low"] >= -tolerance
    ax.plot(size[shown], drop[shown], marker, color=color)
    if curve["drop_low"].notna().any():
        ends = 100 * curve["drop_low"], 100 * curve["drop_high"]
        ax.fill_between(size, *ends, color=color, alpha=0.15, lw=0)
    last = _paying(curve, tolerance)["possible"]
    if last:
        place = (last["model_bytes"], 100 * last["drop"])
        ax.plot(*place, "o", ms=10, mfc="none", color=color)
        text = said(last).removesuffix(" bits").removesuffix(f", {last['bits']:g}")
        look = {"transform": ax.transAxes, "fontsize": 6.5, "color": color}
        ax.text(0.98, 0.03 + 0.055 * row, text, ha="right", **look)


def _frame(ax: Axes, tolerance: float) -> None:
    """Log bytes; points linear within the tolerance, logarithmic beyond."""
    edge = 100 * tolerance
    ax.axhspan(-edge, edge, color="#f2f2f2", lw=0)
    ax.axhline(0, color=style.BLACK, lw=0.8)
    ax.set_yscale("symlog", linthresh=edge, linscale=0.8)
    at = sorted([*TICKS, -edge, edge])
    style.log(ax.yaxis, lambda value: style.signed(value, 1), at)
    style.bytes_x(ax, "bytes of the model part (log)", BYTES)
    ax.margins(x=0.1, y=0.1)

"""watcher: what became of every lot of a shift, and where the milliseconds went.

Counts are of `recipes.edge_watcher`, summed over seeds; times of a report's measured/
files, which no two machines share and no claim reads.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from kdutils import paths
from kdutils.views import style
from kdutils.views.names import NAMES, label, ordered
from kdutils.views.summary import SETTING, groups, summarise

COUNTS = ["lots", "judged", "refused", "right", "lost", "doubled", "wrong", "devices"]
BAD = ("lost", "doubled", "wrong")  # what must not be
FAULTS = [fault for fault in NAMES["fault"] if fault not in ("good", "rows")]
WAYS = ("int8", "xgboost", "watcher")
SAID = ("pass", "fail", "refused")


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without the student's bytes; counts stay whole beside empty cells."""
    return rows.drop(columns="bundle").convert_dtypes()


def lots(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and fault: what became of the lots, summed over n shifts.

    The growing file is the fault `rows`: its lots are its appended rows. stray: files
    that nothing accounts for, counted once a shift, on the source's first line.
    """
    rows, lines = ordered(rows[rows["part"].isin(["lots", "growing"])], ["fault"]), []
    for setting, every in groups(rows, SETTING):
        shifts = every.drop_duplicates("run")
        kills, stray = (int(shifts[name].sum()) for name in ("kills", "stray"))
        for key, group in groups(every, ["part", "fault"]):
            line = {**setting, **key, **group[COUNTS].sum().astype(int)}
            lines.append(line | {"stray": stray, "kills": kills, "n": len(shifts)})
            stray = 0
    return pd.DataFrame(lines)


def outliers(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and outlier: what each way says of it, over n seeds."""
    rows = rows[rows["part"] == "outlier"].drop(columns="reading", errors="ignore")
    rows = rows.rename(columns={"fault": "reading"})

    def cell(group: pd.DataFrame) -> dict:
        first, told = group.iloc[0], {way: _tally(group[way]) for way in WAYS}
        line = {"cell": first["cell"], **told, "reason": first["reason"]}
        return line | {"n": len(group)}

    return summarise(rows, ["reading"], (), extra=cell, sort=())


def noticed(rows: pd.DataFrame) -> pd.DataFrame:
    """Per source and reading: shifts of 1 sd, those noticed, after how many devices.

    alarms: in so many devices without drift, the same in every line of a source.
    """
    steady, shift = (rows[rows["part"] == part] for part in ("steady", "shift"))
    columns, lines = [*SETTING, "reading", "trials", "noticed", "after"], []
    for key, group in groups(shift, columns[:3] if len(shift) else SETTING):
        line = key | group[["trials", "noticed"]].sum().astype(int).to_dict()
        line["after"] = float(group["after"].astype(float).median())
        own = steady[steady["source"] == key["source"]]
        lines.append(line | own[["alarms", "devices"]].sum().astype(int).to_dict())
    return pd.DataFrame(lines, columns=[*columns, "alarms", "devices"])


def ramp(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and block of devices while a reading drifts, over n seeds.

    shift: in spreads; alarm: share of the time with one; lost: AUC against the same
    devices without drift; reading: the one that drifts, for each seed.
    """
    rows, means = rows[rows["part"] == "ramp"], ["shift", "alarm", "auc"]
    how = {"extra": lambda group: {"reading": ", ".join(group["reading"])}, "sort": ()}
    return summarise(rows, ["devices"], ["lost"], means, **how)


def whole(table: pd.DataFrame) -> pd.DataFrame:
    """One line per source of `lots`: sums over lots and appended rows alike."""
    how = dict.fromkeys([*COUNTS, "stray"], "sum") | {"kills": "max"}
    return table.groupby("source", sort=False).agg(how).reset_index()


def latest(what: str) -> pd.DataFrame | None:
    """The newest measured/<what>-*.csv of the profile's own report, or None."""
    folder = paths.reports(paths.profile()) / "measured"
    found = [pd.read_csv(path) for path in sorted(folder.glob(f"{what}-*.csv"))]
    return max(found, key=lambda frame: str(frame["date"].max()), default=None)


@style.styled
def fates(table: pd.DataFrame) -> Figure:
    """What became of each lot and appended row of `lots`: one bar a fate."""
    most = table.groupby("source")["lots"].sum().max()
    bad = int(table[[*BAD]].to_numpy().sum())
    kills = int(whole(table)["kills"].sum())
    title = f"{table['lots'].sum():,} lots and rows, {kills:,} kills: "
    title += f"{bad:,} lost, doubled or wrong"
    named = {f: label("fault", f) for f in FAULTS if f in set(table["fault"])}
    names = ["judged", *named.values(), "rows refused", *BAD]
    look = {"axis": "lots and appended rows", "rows": names, "sharex": True}
    figure, panels = style.across(table, 1.1 + 0.21 * len(names), title, **look)
    for ax, source, group in panels:
        refused = group.groupby("fault")["refused"].sum()
        counts = [group["judged"].sum(), *(refused.get(fault, 0) for fault in named)]
        counts += [refused.get("rows", 0), *group[[*BAD]].sum()]
        colors = [style.BLUE] + [style.GREY] * (len(named) + 1)
        colors += [style.ORANGE] * len(BAD)
        ax.barh(range(len(counts)), counts, color=colors, height=0.7)
        for y, count in enumerate(counts):
            look = {"color": style.BLACK if count else style.GREY, "fontsize": 7}
            ax.annotate(f" {count:,}", (count, y), va="center", **look)
        ax.set_xlim(0, 1.2 * most)
        ax.set_title(f"{style.called(source)}, n = {style.counts(group)}")
    style.note(
        figure,
        "Blue: a verdict, once. Grey: quarantined, by reason. Orange: what must not "
        "be. n: shifts, each with its own lots.",
    )
    return figure


@style.styled
def parts(table: pd.DataFrame) -> Figure:
    """Median and 99th percentile, ms, of a lot's parts: measured/edge-latency-*.csv."""
    by, first = table.set_index("part"), table.iloc[0]
    there = set(by.index) - {"above"}  # a difference of percentiles is none itself
    steps = {part: look for part, look in NAMES["part"].items() if part in there}
    p50, own = (f"{by.loc[part, 'p50_ms']:.1f} ms" for part in ("whole", "fsyncs"))
    title = f"A verdict takes {p50} (median); the disk's fsyncs alone take {own}"
    figure, axes = style.page(1, 1, 1.1 + 0.24 * len(steps), title)
    ax = axes[0, 0]
    drawn = by.loc[[*steps]].assign(ms=by["p50_ms"], ms_low=by["p50_ms"])
    drawn["ms_high"] = by["p99_ms"]
    colors = [color for _, color, _ in steps.values()]
    style.dots(ax, drawn, "ms", range(len(drawn)), color=colors)
    for y, (low, high) in enumerate(drawn[["ms_low", "ms_high"]].to_numpy()):
        ax.annotate(f" {low:.2f} to {high:.2f}", (high, y), va="center", fontsize=7)
    ax.set_xscale("log")
    ax.set_xlim(right=4 * by["p99_ms"].max())
    ax.set_xlabel("ms: the dot is the median, the line ends at the 99th percentile")
    style.names(ax, [label("part", part) for part in steps])
    style.note(
        figure,
        f"{first['lots']:,} lots of one row, {first['rate']:g} a second, watched by "
        f"{first['events']}, on {first['disk']}; processor {first['cpu']}, measured "
        f"{first['date']}. Times of one machine.",
    )
    return figure


def _tally(said: pd.Series) -> str:
    """`pass`, or where seeds differ `3 pass, 2 fail`."""
    counts = said.value_counts()
    there = [word for word in SAID if word in counts]
    alone = len(there) == 1
    return there[0] if alone else ", ".join(f"{counts[w]} {w}" for w in there)

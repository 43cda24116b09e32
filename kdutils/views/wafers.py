"""wafers: rows of the wafer recipes in, tidy tables out.

Quantities stand as in `images`; exact is the share of test maps whose whole set of
patterns is right. Nothing is chosen by a label: `val_fidelity`, the share of validation
maps on which a student repeats its teacher's verdict, chooses, and `int8_fidelity` does
where the student is a file of eight-bit weights. A site stands in the column source.
"""

from __future__ import annotations

import ast

import numpy as np
import pandas as pd

from kdutils.views import style
from kdutils.views.images import each, plain
from kdutils.views.spread import SETTING, groups, holm, means, numbers
from kdutils.views.waferclaims import PUBLISHED, official

CELL = ["labels", "alpha", "beta", "T", "real"]
COUNTED = ["n_train", "n_val", "n_test"]
COPIES = ("exact_across", "symmetric_across", "labels_differ", "within", "dropped")
MEANS = ("val_fidelity", "int8_fidelity", "test_fidelity", "val_exact", "macro_f1")
MEANS += ("teacher_exact", "params", "torch_bytes", "int8_bytes", "copied")
MEANS += ("error_teacher_right", "error_teacher_wrong")


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with their site as source, nets by name and size, and NaN for None."""
    rows = plain(rows).rename(columns={"source": "file"})
    rows["source"] = rows["site"]
    if "sizes" in rows:
        pairs = zip(rows["net"], rows["sizes"], strict=True)
        rows["model"] = [called(*pair) for pair in pairs]
    for column in rows.columns[rows.map(type).eq(list).any()]:
        rows[column] = [_whole(cell) for cell in rows[column]]
    return rows


def called(net: str, sizes: dict | str) -> str:
    """A net in a word: `student1`, `8-16-24 x2 +32`; `dw 8-16-24` if separable."""
    sizes = ast.literal_eval(sizes) if isinstance(sizes, str) else sizes
    if not sizes:
        return net
    name = "-".join(f"{width:g}" for width in sizes["widths"])
    name = f"dw {name}" if net == "separable" else name
    name += f" x{sizes['depth']}" if sizes.get("depth") else ""
    return name + (f" +{sizes['head']}" if sizes.get("head") else "")


def data(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per site: its maps, and the copies that were found and left out.

    rows: those of `wafer_data`. commonest: the share of test maps with the commonest
    set of patterns, what a constant predictor would reach.
    """
    lines = []
    for name, sets in rows.groupby("site", sort=False):
        line = {"source": name, **sets.iloc[0][["kind", *COUNTED]]}
        line["commonest"] = sets["count"].max() / sets["n_test"].iloc[0]
        lines.append(line | {key: sets.iloc[0].get(key) for key in COPIES})
    return pd.DataFrame(lines)


def teachers(rows: pd.DataFrame, told: pd.DataFrame) -> pd.DataFrame:
    """One line per site, teacher and copies of a map that it is asked about (views).

    told: rows of the answers; those of several teachers together have lines of their
    own, and those of teachers `moved` to another site. asked: how the line is called.
    The published value stands beside the real data alone.
    """
    told = told[(told["members"] > 1) | (told["answers"] == "moved")]
    told = told[told["simulated"] == 0].rename(columns={"answers": "teacher"})
    lines = []
    for frame in (rows.assign(members=1), told):
        for key, group in groups(frame, [*SETTING, "teacher", "views", "members"]):
            line = {**key, **each(group, "exact", "test_exact")}
            of = f" of {key['members']}" if key["members"] > 1 else ""
            line["asked"] = f"{key['teacher']}{of}, {key['views']} ×"
            line |= {"published_exact": np.nan, **each(group, "macro_f1")}
            if official(key) and (key["teacher"], key["views"]) == ("published", 1):
                line["published_exact"] = PUBLISHED["teacher"][0]
            line |= means(group, ("val_exact", "train_exact", "params", "torch_bytes"))
            for name in ("ece", "entropy", "pseudo_error", "pseudo_error_pattern"):
                line |= each(group, name)
            lines.append(line)
    return pd.DataFrame(lines)


def students(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per site, group, net and setting: quality, fidelity, sizes.

    int8, turned: exact match of the eight-bit file, asked once and about all eight
    copies of a map.
    """
    lines = []
    for key, group in groups(rows, [*SETTING, "group", "model", *CELL]):
        line = {**key, **each(group, "exact", "test_exact")}
        line |= each(group, "int8", "int8_exact") | means(group, MEANS)
        line |= each(group, "turned", "int8_views")
        known = official(key) and key["group"] == "published"
        claim = PUBLISHED.get(key["model"]) if known else None
        names = ("published_exact", "published_bytes")
        lines.append(line | dict(zip(names, claim or (np.nan, np.nan), strict=True)))
    return pd.DataFrame(lines)


def against(
    rows: pd.DataFrame, pairs: dict[str, list[str]], column: str = "test_exact"
) -> pd.DataFrame:
    """What groups gain over their base, paired: same site, net and seed.

    pairs: base -> the groups that are compared with it. value is the column itself.
    p_holm adjusts for the lines of one site.
    """
    where, lines = [*SETTING, "model", "seed"], []
    for base, others in pairs.items():
        theirs = rows[rows["group"] == base].set_index(where)[column]
        mine = rows[rows["group"].isin(others)].set_index(where)
        mine = mine.assign(gain=mine[column] - theirs.reindex(mine.index)).reset_index()
        paired = groups(mine[mine["gain"].notna()], [*SETTING, "model", "group"])
        for key, group in paired:
            line = {**key, "over": base, **each(group, "value", column)}
            lines.append(line | _gain(group))
    return holm(pd.DataFrame(lines), SETTING)


def surface(rows: pd.DataFrame, base: str) -> pd.DataFrame:
    """One line per α and β: fidelity, and what is gained over labels alone.

    base: the group that learns the same net from labels, paired by seed. chosen: the
    cell of the best mean fidelity to the teacher's verdicts on validation maps.
    """
    where = [*SETTING, "model", "seed"]
    theirs = rows[rows["group"] == base].set_index(where)["test_exact"]
    mine = rows[rows["group"] == "surface"].set_index(where)
    mine["gain"] = mine["test_exact"] - theirs.reindex(mine.index)
    lines = []
    for key, group in groups(mine.reset_index(), [*SETTING, "model", "alpha", "beta"]):
        line = {**key, **each(group, "exact", "test_exact"), **_gain(group)}
        lines.append(line | each(group, "val_fidelity"))
    frame = holm(pd.DataFrame(lines), [*SETTING, "model"])
    best = frame.groupby([*SETTING, "model"])["val_fidelity"].idxmax()
    return frame.assign(chosen=frame.index.isin(best))


def patterns(rows: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    """Precision, recall and F1 of each pattern, over the seeds of one student."""
    lines = []
    for k, name in enumerate(names):
        line = {"pattern": name}
        for column in ("precision", "recall", "f1"):
            values = np.array([numbers(cell)[k] for cell in rows[column]], float)
            known = rows.assign(value=values)[~np.isnan(values)]
            line |= each(known, column, "value") if len(known) else {}
        lines.append(line)
    return pd.DataFrame(lines)


def said(line: pd.Series, name: str) -> str:
    """`98.12 % [97.90, 98.34], n = 3`, or of a gain `+0.20 points [−0.10, +0.50]`.

    Without an interval where a single seed has none.
    """
    gain = name == "gain"
    ends = [100 * line[f"{name}{end}"] for end in ("", "_low", "_high")]
    mean, *rest = [style.signed(v, 2) if gain else f"{v:.2f}" for v in ends]
    interval = "" if np.isnan(ends[1]) else f" [{', '.join(rest)}]"
    return f"{mean} {'points' if gain else '%'}{interval}, n = {line['n']:.0f}"


def _gain(group: pd.DataFrame) -> dict:
    return each(group, "gain", p="p")


def _whole(cell: object) -> object:
    """A list with NaN for what is not there."""
    if not isinstance(cell, list):
        return cell
    return [np.nan if value is None else value for value in cell]

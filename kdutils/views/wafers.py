"""wafers: rows of the wafer recipes in, tidy tables out (`summary` says how).

exact is the share of test maps whose whole set of patterns is right. Nothing is chosen
by a label: `val_fidelity`, the share of validation maps on which a student repeats its
teacher's verdict, chooses, and `int8_fidelity` does where the student is a file of
eight-bit weights. A site stands in the column source.

Published numbers are of MixedWM38 and stand beside its real maps alone. Of ours, no
label and no test map has a say in which student answers a claim: it answers with its
eight-bit file, the best of those that fit at repeating its teacher's verdicts on
validation maps; a teacher is chosen by its labelled validation maps.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from kdutils.views import summary
from kdutils.views.scoreboard import AGAIN, part
from kdutils.views.summary import SETTING, delta, groups, holm, long, picked, summarise

CELL = ["labels", "alpha", "beta", "T", "real"]
COUNTED = ["n_train", "n_val", "n_test"]
COPIES = ("exact_across", "symmetric_across", "labels_differ", "within", "dropped")
MEANS = ("val_fidelity", "int8_fidelity", "test_fidelity", "val_exact", "macro_f1")
MEANS += ("teacher_exact", "params", "torch_bytes", "int8_bytes", "copied")
MEANS += ("error_teacher_right", "error_teacher_wrong", "epochs")
TRUST = ("ece", "entropy", "pseudo_error", "pseudo_error_pattern")
SHARES = ("precision", "recall", "f1")
ERRORS = {"teacher": "teacher_error", "student": "student_error"}


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with their site as source; what was read stands in the column file.

    Ensembles of all teachers but one share all members but one: of n of them the mean
    has the jackknife's variance (n - 1)^2 / n, as a rho of members - 1 gives it.
    """
    rows = rows.reset_index(drop=True).rename(columns={"source": "file"})
    if "members" in rows:
        rows = rows.assign(rho=rows["rho"] + rows["members"] - 1)
    return rows.assign(source=rows["site"])


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

    def beside(group: pd.DataFrame) -> dict:
        first = group.iloc[0]
        of = f" of {first['members']}" if first["members"] > 1 else ""
        known = official(first) and first["teacher"] == "published"
        known = known and first["views"] == 1
        asked = f"{first['teacher']}{of}, {first['views']} ×"
        published = PUBLISHED["teacher"][0] if known else np.nan
        return {"asked": asked, "published_exact": published}

    quantities = {"exact": "test_exact", "macro_f1": "macro_f1"}
    quantities |= dict(zip(TRUST, TRUST, strict=True))
    means = ("val_exact", "train_exact", "params", "torch_bytes")
    by, how = ["teacher", "views", "members"], {"extra": beside, "sort": ()}
    frames = (rows.assign(members=1), told)
    frames = [summarise(frame, by, quantities, means, **how) for frame in frames]
    return pd.concat([one for one in frames if len(one)], ignore_index=True)


def students(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per site, group, net and setting: quality, fidelity, sizes.

    int8, views8: exact match of the eight-bit file, asked once and with all eight
    copies of a map; to_teacher: int8 minus its teacher's, seed by seed.
    """
    rows = rows.assign(to_teacher=rows["int8_exact"] - rows["teacher_exact"])

    def published(group: pd.DataFrame) -> dict:
        first = group.iloc[0]
        known = official(first) and first["group"] == "published"
        claim = PUBLISHED.get(first["model"]) if known else None
        names = ("published_exact", "published_bytes")
        return dict(zip(names, claim or (np.nan, np.nan), strict=True))

    quantities = {"exact": "test_exact", "int8": "int8_exact", "views8": "int8_views"}
    quantities |= {"to_teacher": "to_teacher"}
    by, how = ["group", "model", *CELL], {"extra": published, "sort": ()}
    return summarise(rows, by, quantities, MEANS, **how)


def against(
    rows: pd.DataFrame, pairs: dict[str, list[str]], column: str = "test_exact"
) -> pd.DataFrame:
    """What groups gain over their base, paired: same site, net and seed.

    pairs: base -> the groups that are compared with it. value is the column itself.
    p_holm adjusts for the lines of one site.
    """
    lines = []
    for base, others in pairs.items():
        mine, theirs = rows[rows["group"].isin(others)], rows[rows["group"] == base]
        gain = delta(mine, theirs, column, ["model"])
        mine = mine.assign(gain=gain, over=base)
        mine, by = mine[mine["gain"].notna()], ["model", "group", "over"]
        lines.append(summarise(mine, by, {"value": column, "gain": "gain"}, sort=()))
    lines = [line for line in lines if len(line)] or lines[:1]
    return holm(pd.concat(lines, ignore_index=True))


def surface(rows: pd.DataFrame, base: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One line per α and β: fidelity, and what is gained over labels; and one per net.

    base: the group that learns the same net from labels, paired by seed. Every seed
    takes its own cell of the best fidelity to the teacher's verdicts on validation
    maps: chosen counts them, and the net's line is of these choices.
    """
    mine, theirs = (rows[rows["group"] == name] for name in ("surface", base))
    mine = mine.assign(gain=delta(mine, theirs, "test_exact", ["model"]))
    what, by = {"exact": "test_exact", "gain": "gain"}, ["model"]
    what["val_fidelity"] = best = "val_fidelity"
    cells = summary.surface(mine, by, ["alpha", "beta"], best, what, sort=())
    return cells, summarise(picked(mine, by, best), by, what, sort=())


def patterns(rows: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    """Precision, recall and F1 of each pattern, over the seeds of one student."""
    rows = long(rows, SHARES, names, "pattern")
    return summarise(rows, ["pattern"], SHARES, sort=()).drop(columns=SETTING)


def reliability(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per site, teacher, views and bin of probability, summed over seeds.

    p: mean probability; share: of those answers, where the pattern is there; answers:
    how many there are, one per map, pattern and seed.
    """
    columns = ("reliability_p", "reliability_share", "reliability_n")
    rows, lines = long(rows, columns, _items(rows, columns[-1]), "bin"), []
    for key, group in groups(rows, [*SETTING, "teacher", "views", "bin"]):
        p, share, n = (pd.to_numeric(group[column]) for column in columns)
        if n.sum():
            line = {"p": (p * n).sum() / n.sum(), "share": (share * n).sum() / n.sum()}
            lines.append({**key, **line, "answers": int(n.sum())})
    return pd.DataFrame(lines)


def by_entropy(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per site, group, net and fifth of the test maps, from sure to torn.

    entropy: the teacher's entropy in nats, summed over patterns; teacher, student: the
    share of maps that each gets wrong, over seeds.
    """
    fifths = _items(rows, ERRORS["teacher"])
    rows = long(rows, ("entropy", *ERRORS.values()), fifths, "bin")
    return summarise(rows, ["group", "model", "bin"], ERRORS, ("entropy",), sort=())


def _items(rows: pd.DataFrame, column: str) -> list[int]:
    """The numbers k of the columns `column_k`."""
    found = (name.removeprefix(f"{column}_") for name in rows)
    return sorted(int(item) for item in found if item.isdecimal())


# arXiv 2303.13974 v1, withdrawn by an author: exact match, bytes; 'about 98 %', 248 KB
# and 21 KB.
PUBLISHED = {
    "teacher": (0.98, np.nan),
    "student1": (0.9333, 248 * 1024),
    "student2": (0.7711, 21 * 1024),
}
SYSTEMS = {"student1": "mixedwm38/student-60k", "student2": "mixedwm38/student-4k"}
TEACHER = "mixedwm38/teacher"
FILES = {  # how bytes are counted: the columns of bytes, quality and what chooses
    "int8 file": ("int8_bytes", "int8", "int8_fidelity"),
    "torch.save": ("torch_bytes", "exact", "val_fidelity"),
}


def official(rows: pd.DataFrame | pd.Series) -> pd.Series | bool:
    """Whether a row, or each of several, is of the real maps of MixedWM38."""
    return (rows["source"] == "mixedwm38") & (rows["kind"] == "real")


def within(table: pd.DataFrame, limits: dict[str, int]) -> pd.DataFrame:
    """Ours of the best fidelity within the bytes of each published student.

    table: `wafers.students` of one site; limits: published net -> bytes. The published
    nets of this run are there as lines too. counted: as the eight-bit file, or as
    `torch.save` has it.
    """
    lines = []
    for net, limit in limits.items():
        theirs = table[(table["group"] == "published") & (table["model"] == net)]
        for counted, (size, quality, fidelity) in FILES.items():
            fits = fitting(table[table["group"] == "ours"], size, limit, limits)
            best = fits.sort_values(fidelity, kind="stable").tail(1)
            for _, row in pd.concat([theirs, best]).iterrows():
                line = {"limit_bytes": limit, "counted": counted}
                line |= {key: row[key] for key in ("source", "kind", "group", "model")}
                line |= {"file_bytes": row[size], "val_fidelity": row[fidelity]}
                for end in ("", "_sd", "_low", "_high"):
                    line[f"exact{end}"] = row[quality + end]
                    line[f"to_teacher{end}"] = row[f"to_teacher{end}"]
                lines.append(line | {"n": row["n"]})
    return pd.DataFrame(lines)


def fitting(
    table: pd.DataFrame, size: str, limit: int, limits: dict[str, int]
) -> pd.DataFrame:
    """The lines within a limit of bytes; if some are, those above the next smaller."""
    least = max((other for other in limits.values() if other < limit), default=0)
    fits = table[table[size] <= limit]
    return fits[fits[size] > least] if (fits[size] > least).any() else fits


def scored(
    teachers: pd.DataFrame | None,
    told: pd.DataFrame | None,
    students: pd.DataFrame | None,
) -> list[pd.DataFrame]:
    """What stage 05 measured of claims: `more` of `scoreboard`; tidy rows, or None."""
    if teachers is None:
        return []
    return [*_teachers(teachers, told), *_students(students)]


def _teachers(rows: pd.DataFrame, told: pd.DataFrame) -> list[pd.DataFrame]:
    told = told[(told["members"] > 1) & (told["simulated"] == 0)]
    told = told.drop(columns="teacher", errors="ignore")
    every = pd.concat([rows, told.rename(columns={"answers": "teacher"})])
    every = every[official(every)]
    if every.empty:
        return []
    keys = every.groupby(["teacher", "views"], sort=False)
    chosen, parts = keys["val_exact"].mean().idxmax(), []
    for end, key in (("", chosen), (AGAIN, ("published", 1))):
        if key in keys.groups:
            what = f"teacher '{key[0]}', asked {key[1]} x"
            rows = keys.get_group(key)
            parts.append(part(rows, f"{TEACHER}{end}", "accuracy", "test_exact", what))
    return parts


def _students(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Ours and the published students; what the paper leaves open, fidelity chooses."""
    rows, parts = rows[official(rows)], []
    limits = {net: PUBLISHED[net][1] for net in SYSTEMS}
    published = rows[rows["group"].isin(["published", "surface"])]
    left = published[["alpha", "beta", *({"epochs"} & set(rows))]]
    cell = [
        " ".join(f"{name} {value:g}" for name, value in row.items())
        for row in left.to_dict("records")
    ]
    published = published.assign(cell=cell)
    for net, system in SYSTEMS.items():
        theirs = published[published["model"] == net]
        if len(theirs):
            cells = theirs.groupby(["group", "cell"])
            fidelity = cells["val_fidelity"].mean().sort_values(ascending=False)
            best, *others = fidelity.index
            what = f"net '{net}', label-free; open in the paper: {best[1]}"
            if others:
                what += f", the best of {len(fidelity)} on validation fidelity; next: "
                what += others[0][1]
            theirs, named = cells.get_group(best), system + AGAIN
            parts.append(part(theirs, named, "accuracy", "test_exact", what))
            parts.append(part(theirs, named, "bytes", "torch_bytes", what))
        ours = rows[rows["group"] == "ours"]
        if len(fits := fitting(ours, "int8_bytes", limits[net], limits)):
            best = fits.groupby("model")["int8_fidelity"].mean().idxmax()
            mine, what = fits[fits["model"] == best], f"eight-bit file of '{best}'"
            parts.append(part(mine, system, "accuracy", "int8_exact", what))
            parts.append(part(mine, system, "bytes", "int8_bytes", what))
    return parts

"""waferclaims: which of our teachers and students of wafer maps answers a claim.

Published numbers are of MixedWM38 and stand beside its real maps alone. The recipe as
published is the group of that name, counted as `torch.save` does. Of ours, no label and
no test map has a say: a student answers with its eight-bit file, the best of those that
fit at repeating its teacher's verdicts on validation maps; a teacher is chosen by its
labelled validation maps.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

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


def official(line: dict | pd.Series) -> bool:
    """Whether a line is of the real maps of MixedWM38."""
    return (line["source"], line["kind"]) == ("mixedwm38", "real")


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
            fits = table[(table["group"] == "ours") & (table[size] <= limit)]
            best = fits.sort_values(fidelity, kind="stable").tail(1)
            for _, row in pd.concat([theirs, best]).iterrows():
                line = {"limit_bytes": limit, "counted": counted}
                line |= {key: row[key] for key in ("source", "kind", "group", "model")}
                line |= {"file_bytes": row[size], "val_fidelity": row[fidelity]}
                ends = ("", "_sd", "_low", "_high")
                line |= {f"exact{end}": row[quality + end] for end in ends}
                lines.append(line | {"n": row["n"]})
    return pd.DataFrame(lines)


def scored(
    teachers: pd.DataFrame | None,
    told: pd.DataFrame | None,
    students: pd.DataFrame | None,
    others: pd.DataFrame | None = None,
) -> pd.DataFrame | None:
    """What stage 05 says to the claims, after `others`: `more` of `scoreboard`.

    Tidy rows of teachers, answers and students, or None; None where nothing is said.
    """
    parts = [] if others is None else [others]
    if teachers is not None:
        parts += [*_teachers(teachers, told), *_students(students)]
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else None


def _teachers(rows: pd.DataFrame, told: pd.DataFrame) -> list[pd.DataFrame]:
    told = told[(told["members"] > 1) & (told["simulated"] == 0)]
    told = told.drop(columns="teacher", errors="ignore")
    every = pd.concat([_real(rows), _real(told.rename(columns={"answers": "teacher"}))])
    if every.empty:
        return []
    keys = every.groupby(["teacher", "views"], sort=False)
    chosen, parts = keys["val_exact"].mean().idxmax(), []
    for end, key in (("", chosen), ("/as-published", ("published", 1))):
        if key in keys.groups:
            what = f"teacher '{key[0]}', asked {key[1]} x"
            rows = keys.get_group(key)
            parts.append(_part(rows, f"{TEACHER}{end}", "accuracy", "test_exact", what))
    return parts


def _students(rows: pd.DataFrame) -> list[pd.DataFrame]:
    rows, parts = _real(rows), []
    ours = rows[rows["group"] == "ours"]
    for net, system in SYSTEMS.items():
        theirs = rows[(rows["group"] == "published") & (rows["model"] == net)]
        named, what = f"{system}/as-published", f"net '{net}', label-free"
        parts.append(_part(theirs, named, "accuracy", "test_exact", what))
        parts.append(_part(theirs, named, "bytes", "torch_bytes", what))
        fits = ours[ours["int8_bytes"] <= PUBLISHED[net][1]]
        if len(fits):
            best = fits.groupby("model")["int8_fidelity"].mean().idxmax()
            mine, what = fits[fits["model"] == best], f"eight-bit file of '{best}'"
            parts.append(_part(mine, system, "accuracy", "int8_exact", what))
            parts.append(_part(mine, system, "bytes", "int8_bytes", what))
    return parts


def _real(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["source"] == "mixedwm38") & (rows["kind"] == "real")]


def _part(rows: pd.DataFrame, system: str, metric: str, column: str, what: str):
    line = {"system": system, "metric": metric, "data": "real", "basis": what}
    return rows[["seed"]].assign(value=rows[column], **line)

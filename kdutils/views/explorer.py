"""explorer: every swept cell of a report, its interval and seeds, as one small JSON."""

from __future__ import annotations

import csv
import html
import json
from collections import defaultdict
from pathlib import Path

from kdutils import paths
from kdutils.views.names import label
from kdutils.views.render import TEMPLATE

METRICS = {
    "gain": "Gain over the label-only student, test",
    "gain_val": "Gain over the label-only student, validation",
    "score": "Score, test",
    "score_val": "Score, validation",
    "ece": "Calibration error (ECE), test",
    "agreement": "Agreement with the teacher, test",
}
SCORES = {  # a score's name: its column in a sweep, in its rows, and on validation
    "AUC": ("auc", "test_auc", "val_auc"),
    "accuracy": ("acc", "test_acc", "val_acc"),
    "exact match": ("exact", "test_exact", "val_fidelity"),
}
KINDS = {  # kind of data: its sweep, its rows, the score's name, what α meets
    "table": ("sweep", "rows-02_kd_tabular", "AUC", "T"),
    "image": ("image-sweep", "rows-03_kd_images", "accuracy", "T"),
    "photograph": ("cifar10-sweep", "rows-08_kd_cifar10", "accuracy", "T"),
    "sentence": ("text-sweep", "rows-11_kd_text", "accuracy", "T"),
    "wafer": ("wafer-surface", "rows-05_wafer_students", "exact match", "beta"),
}


def collect(tables: Path) -> dict:
    """What the explorer shows: metrics, and each data set's cells by method."""
    surfaces = [one for kind in KINDS for one in surfaces_of(tables, kind)]
    return {"metrics": METRICS, "surfaces": surfaces}


def surfaces_of(tables: Path, kind: str) -> list[dict]:
    """One surface per data set and student of a kind; none where it was not swept."""
    sweep, rows, score, across = KINDS[kind]
    lines = read(tables / f"{sweep}.csv")
    seeds = defaultdict(list)
    for row in read(tables / f"{rows}.csv") if lines else []:
        if row.get("group", "surface") == "surface":
            seeds[_cell(row, across)].append(row)
    found: dict[tuple, dict] = {}
    for line in lines:
        student = line.get("student") or line.get("model") or "two-layer student"
        place = line["source"], student
        if place not in found:
            data = {"data": label("source", line["source"]), "kind": line["kind"]}
            shown = {"score": score, "across": {"T": "T", "beta": "β"}[across]}
            found[place] = {**data, "student": student, **shown}
            found[place]["methods"] = defaultdict(list)
        own = cell(line, seeds[_cell(line, across)], score, across)
        found[place]["methods"][_method(line)].append(own)
    return list(found.values())


def cell(line: dict, rows: list[dict], score: str, across: str) -> dict:
    """A cell: α, what it meets, n, and by metric [mean, low, high, seeds ...]."""
    shown = {"a": float(line["alpha"]), "t": float(line[across]), "n": int(line["n"])}
    test, own_test, val = SCORES[score]
    columns = {"score": (test, own_test), "score_val": (val, val)}
    for key in METRICS:
        column, own = columns.get(key, (key, key))
        value = _number(line.get(column))
        if value is not None:
            ends = [_number(line.get(f"{column}_{end}")) for end in ("low", "high")]
            dots = [_number(row.get(own)) for row in rows]
            dots = dots if len(dots) == shown["n"] and None not in dots else []
            shown[key] = [value, *ends, *dots]
    return shown


def read(path: Path) -> list[dict]:
    """A CSV's rows by column; none where the report has no such table."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def script(data: dict) -> str:
    """What `collect` gave, as JSON that may stand inside a script element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("</", "<\\/")


def body(data: dict) -> str:
    """The explorer itself, of what `collect` gave: a page's HTML without its head."""
    text = (TEMPLATE / "explorer.html").read_text("utf-8")
    return text.replace("{{data}}", script(data))


class Shown(str):
    """HTML that Lab shows as such."""

    def _repr_html_(self) -> str:
        return str(self)


def show(height: int = 900) -> Shown:
    """The explorer of the tables that this report has now, to be used in Lab."""
    style = (TEMPLATE / "style.css").read_text("utf-8")
    page = f"<style>{style}</style>{body(collect(paths.tables()))}"
    size = f"width: 100%; height: {height}px"
    frame = f'<iframe title="Explorer" style="{size}" srcdoc="{html.escape(page)}">'
    return Shown(f"{frame}</iframe>")


def _cell(row: dict, across: str) -> tuple:
    """What a sweep's line and the rows of its seeds have in common."""
    names = ("source", "student", "model", "method", "coefficient")
    numbers = (_number(row.get("alpha")), _number(row.get(across)))
    return (*(row.get(name) or "" for name in names), *numbers)


def _method(line: dict) -> str:
    method = label("method", line.get("method") or "label-free")
    coefficient = line.get("coefficient")
    return f"{method}, coefficient {coefficient}" if coefficient else method


def _number(text: str | None) -> float | None:
    return round(float(text), 5) if text else None

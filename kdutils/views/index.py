"""index: a report's first page: question, answer, what to ship, provenance."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from kdutils import paths
from kdutils.views import names
from kdutils.views.explorer import read

ANSWER = "answer"  # the id of the computed cell that answers a notebook's question
QUESTION = "How small and fast can a classifier get before it stops being as good as "
QUESTION += "its teacher?"
SAVED = re.compile(r'\.save\([^"]*"([\w-]+)"\)')
OVERVIEW = "pareto"
HEADS = "data", "decision", "score", "bytes", "escapes", "overkill", "file"
SHIP = {  # column of tables/ship.csv -> its head on the page
    name: "score [95 %]" if name == "score" else name for name in HEADS
}
DATA = {"name": "data set", "modality": "of", "kind": "kind", "licence": "licence"}


def contents(report: Path, notebooks: dict[str, dict], markdown: Callable) -> dict:
    """What `report.html` shows; notebooks: executed, by stage; markdown: to HTML."""
    tables, figures, alts = report / "tables", report / "figures", described(notebooks)
    drawn = (figures / f"{OVERVIEW}.png").exists()
    cards = []
    for stage, notebook in notebooks.items():
        name = lead(report, stage, notebook)
        card = {"stage": stage, "title": heading(notebook) or stage, "figure": name}
        card |= {"alt": alts.get(name, name), "answer": answer(notebook, markdown)}
        cards.append(card)
    files = [*(report / "ship").glob("*"), *tables.glob("*")]
    return {
        "question": QUESTION,
        "closing": answer(list(notebooks.values())[-1], markdown),
        "OVERVIEW": OVERVIEW,
        "overview": alts.get(OVERVIEW, OVERVIEW) if drawn else None,
        "ships": _ship(tables),
        "SHIP": SHIP,
        "cards": cards,
        "data": _data(tables),
        "DATA": DATA,
        "provenance": _provenance(report),
        "files": sorted(path.relative_to(report).as_posix() for path in files),
    }


def called(report: Path) -> str:
    """A report's name, that of the first where this is the run that verifies it."""
    return report.name.removeprefix("verify-")


def answer(notebook: dict, markdown: Callable) -> str:
    """What a notebook's answer cell displays, as HTML; empty where it has none."""
    for cell in notebook.get("cells", []):
        if cell.get("id") == ANSWER:
            data = [output.get("data", {}) for output in cell.get("outputs", [])]
            text = ["".join(one.get("text/markdown", "")) for one in data]
            return "".join(markdown(one) for one in text if one)
    return ""


def lead(report: Path, stage: str, notebook: dict) -> str | None:
    """The name of a stage's lead figure: the one named, else the first it saved."""
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    found = [names.LEAD.get(stage)]
    found += [name for source in sources for name in SAVED.findall(source)]
    figures = report / "figures"
    return next((name for name in found if (figures / f"{name}.png").exists()), None)


def described(notebooks: dict[str, dict]) -> dict[str, str]:
    """What each figure shows in words, by its name, as its notebook keeps them."""
    found = {}
    for cell in (cell for book in notebooks.values() for cell in book["cells"]):
        for name in SAVED.findall("".join(cell["source"])):
            for output in cell.get("outputs", []):
                if alt := output.get("metadata", {}).get("image/png", {}).get("alt"):
                    found[name] = alt
    return found


def _ship(tables: Path) -> list[dict]:
    rows = read(tables / "ship.csv")
    for row in rows:
        ends = [f"{float(row[key]):.4f}" for key in ("value", "low", "high")]
        row["score"] = "{} {} [{}, {}]".format(row["metric"], *ends)
        row["bytes"] = f"{float(row['bytes']):,.0f}"
        for count, of in (("escapes", "fails"), ("overkill", "passes")):
            if row[count]:
                row[count] = f"{float(row[count]):,.0f} of {float(row[of]):,.0f}"
    return rows


def _data(tables: Path) -> list[dict]:
    """The registry's rows of those data sets that a row of this report comes from."""
    every = tables.glob("rows-*.csv")
    sources = {row.get("source") or "" for path in every for row in read(path)}
    sources |= {source.split("-")[0] for source in sources}  # secom-time is secom
    return [row for row in read(tables / "data.csv") if row["name"] in sources]


def heading(notebook: dict) -> str | None:
    """The first heading of a notebook."""
    for cell in notebook["cells"]:
        found = re.search(r"^# +(.+)", "".join(cell["source"]), re.M)
        if cell["cell_type"] == "markdown" and found:
            return found[1].strip()
    return None


def _provenance(report: Path) -> list[str]:
    """Runs, code and machines of the ledger, and the digest of the lock file."""
    lines = [
        json.loads(line)
        for path in sorted((report / "ledger").glob("*.jsonl"))
        for line in path.read_text("utf-8").splitlines()
    ]
    lock = hashlib.sha256((paths.ROOT / "requirements.txt").read_bytes())
    found = f"Profile {called(report)}, lock file {lock.hexdigest()[:12]}"
    if lines:
        codes = len({line["code"] for line in lines})
        found += f", {len(lines):,} runs in the ledger, of {codes} versions of code"
    about = (sorted(line.get("machine", {}).items()) for line in lines)
    machines = Counter(", ".join(f"{k} {v}" for k, v in some) for some in about)
    counted = (f"{count:,} runs: {one}." for one, count in sorted(machines.items()))
    return [f"{found}.", *counted]

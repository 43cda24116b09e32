"""pages: a report's executed notebooks as pages that load nothing from elsewhere."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from kdutils import paths
from kdutils.views import explorer, names
from kdutils.views.explorer import read
from kdutils.views.render import TEMPLATE, converter, markdown

EXPLORER, OVERVIEW = "explorer", "pareto"  # a page; the figure that opens the first
ANSWER = "answer"  # the id of the computed cell that answers a notebook's question
SAVED = re.compile(r'\.save\([^"]*"([\w-]+)"\)')


def write(report: Path) -> list[Path]:
    """Write a page for each executed notebook, an index and the explorer; the paths."""
    from jinja2 import Environment, FileSystemLoader

    convert, notebooks = converter(), {}
    for path in sorted(report.glob("notebooks/*.ipynb")):
        if "." not in path.stem:  # neither half of one nor a failed one
            notebooks[path.stem] = json.loads(path.read_text("utf-8"))
    titles = {stem: heading(book) or stem for stem, book in notebooks.items()}
    sweeps = explorer.collect(report / "tables")
    stems = [*titles, *([EXPLORER] if sweeps["surfaces"] else [])]
    folder = FileSystemLoader(TEMPLATE)
    known = Environment(autoescape=True, trim_blocks=True, loader=folder)
    style = (TEMPLATE / "style.css").read_text("utf-8")
    name, pages = called(report), []
    shared = {"style": style, "stems": stems, "titles": titles, "report": name}
    shared["again"] = f"PROFILE={name}"  # what make is told, beside the stage
    if name.startswith("csv-"):
        shared["again"] = f"DATA={name[4:]}.csv TARGET=…"

    def page(stem: str, title: str, template: str = "page.html", **own: object) -> None:
        own |= {"stem": stem, "title": title, **shared}
        text = known.get_template(template).render(**own)
        pages.append(report / f"{stem}.html")
        paths.write(pages[-1], linked(text, titles).encode())

    for stem, notebook in notebooks.items():
        page(stem, titles[stem], body=convert(notebook))
    if EXPLORER in stems:
        page(EXPLORER, "Explorer: α and T", body=explorer.body(sweeps))
    else:
        (report / f"{EXPLORER}.html").unlink(missing_ok=True)
    page("index", f"Report: {name}", "report.html", **index(report, notebooks))
    return pages


def linked(body: str, stems: Iterable[str]) -> str:
    """A page whose links to notebooks lead to their pages; no link where none is."""

    def link(match: re.Match) -> str:
        page = f'<a href="{match[1]}.html">{match[2]}</a>'
        return page if match[1] in stems else match[2]

    return re.sub(r'<a href="(\w+)\.ipynb">(.*?)</a>', link, body, flags=re.S)


def index(report: Path, notebooks: dict[str, dict]) -> dict:
    """What `template/report.html` shows of a report, of notebooks executed by stage."""
    alts, cards = described(notebooks), []
    drawn = (report / f"figures/{OVERVIEW}.png").exists()
    for stage, notebook in notebooks.items():
        name = lead(report, stage, notebook)
        card = {"stage": stage, "title": heading(notebook) or stage, "figure": name}
        cards.append(card | {"alt": alts.get(name, name), "answer": answer(notebook)})
    files = [*report.glob("ship/*"), *report.glob("tables/*")]
    return {
        "closing": cards[-1]["answer"],
        "overview": alts.get(OVERVIEW, OVERVIEW) if drawn else None,
        "leading": OVERVIEW,
        "ships": _ship(report / "tables"),
        "cards": cards,
        "data": _data(report / "tables"),
        "provenance": _provenance(report),
        "files": sorted(path.relative_to(report).as_posix() for path in files),
    }


def called(report: Path) -> str:
    """A report's name, that of the first where this is the run that verifies it."""
    return report.name.removeprefix("verify-")


def answer(notebook: dict) -> str:
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

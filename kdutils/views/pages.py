"""pages: a report's executed notebooks as pages that load nothing from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from kdutils import paths
from kdutils.views import explorer, index
from kdutils.views.index import called
from kdutils.views.render import TEMPLATE, converter, markdown

EXPLORER = "explorer"


def write(report: Path) -> list[Path]:
    """Write a page for each executed notebook, an index and the explorer; the paths."""
    from jinja2 import Environment, FileSystemLoader

    convert, notebooks = converter(), {}
    for path in executed(report):
        notebooks[path.stem] = json.loads(path.read_text("utf-8"))
    titles = {stem: index.heading(book) or stem for stem, book in notebooks.items()}
    sweeps = explorer.collect(report / "tables")
    stems = [*titles, *([EXPLORER] if sweeps["surfaces"] else [])]
    folder = FileSystemLoader(TEMPLATE)
    known = Environment(autoescape=True, trim_blocks=True, loader=folder)
    style = (TEMPLATE / "style.css").read_text("utf-8")
    shared = {"style": style, "stems": stems, "titles": titles, "again": _again(report)}
    shared["report"] = called(report)
    pages = []

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
    contents = index.contents(report, notebooks, markdown)
    page("index", f"Report: {called(report)}", "report.html", **contents)
    return pages


def executed(report: Path) -> list[Path]:
    """The executed notebooks of a report; neither parts nor failed ones."""
    every = (report / "notebooks").glob("*.ipynb")
    return sorted(path for path in every if "." not in path.stem)


def linked(body: str, stems: Iterable[str]) -> str:
    """A page whose links to notebooks lead to their pages; no link where none is."""

    def link(match: re.Match) -> str:
        page = f'<a href="{match[1]}.html">{match[2]}</a>'
        return page if match[1] in stems else match[2]

    return re.sub(r'<a href="(\w+)\.ipynb">(.*?)</a>', link, body, flags=re.S)


def _again(report: Path) -> str:
    """What `make` is told, beside the stage, to make a page again."""
    if called(report).startswith("csv-"):
        return f"DATA={called(report)[4:]}.csv TARGET=…"
    return f"PROFILE={called(report)}"

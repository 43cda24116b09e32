"""pages: a report's executed notebooks as pages that load nothing from elsewhere."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from pathlib import Path
from string import Template

from kdutils import paths
from kdutils.views import explorer, index
from kdutils.views.index import called
from kdutils.views.render import TEMPLATE, converter, markdown

EXPLORER = "explorer"


def write(report: Path) -> list[Path]:
    """Write a page for each executed notebook, an index and the explorer; the paths."""
    convert = converter()
    notebooks = {
        path.stem: json.loads(path.read_text("utf-8")) for path in executed(report)
    }
    titles = {stem: index.heading(book) or stem for stem, book in notebooks.items()}
    sweeps = explorer.collect(report / "tables")
    stems = [*titles, *([EXPLORER] if sweeps["surfaces"] else [])]
    pages = []
    for stem, notebook in notebooks.items():
        body = linked(convert(notebook), titles)
        foot = _ends(stem, titles) + _footer(report, stem)
        pages.append(_page(report, stem, titles[stem], stems, body, foot))
    if EXPLORER in stems:
        body = (TEMPLATE / "explorer.html").read_text("utf-8")
        body = body.replace("{{data}}", explorer.script(sweeps))
        pages.append(_page(report, EXPLORER, "Explorer: α and T", stems, body))
    else:
        (report / f"{EXPLORER}.html").unlink(missing_ok=True)
    body = linked(index.body(report, notebooks, markdown), titles)
    pages.append(_page(report, "index", f"Report: {called(report)}", stems, body))
    return pages


def executed(report: Path) -> list[Path]:
    """The executed notebooks of a report; neither parts nor failed ones."""
    return sorted(
        path for path in (report / "notebooks").glob("*.ipynb") if "." not in path.stem
    )


def linked(body: str, stems: Iterable[str]) -> str:
    """A page whose links to notebooks lead to their pages; no link where none is."""

    def link(match: re.Match) -> str:
        page = f'<a href="{match[1]}.html">{match[2]}</a>'
        return page if match[1] in stems else match[2]

    return re.sub(r'<a href="(\w+)\.ipynb">(.*?)</a>', link, body, flags=re.S)


def _page(
    report: Path, stem: str, name: str, stems: list[str], body: str, foot: str = ""
) -> Path:
    links = "".join(
        f'<a href="{one}.html"{_current(one, stem)}>{_words(one)}</a>' for one in stems
    )
    page = Template((TEMPLATE / "page.html").read_text("utf-8")).substitute(
        title=html.escape(name),
        style=(TEMPLATE / "style.css").read_text("utf-8"),
        report=html.escape(called(report)),
        here=_current("index", stem),
        stages=links,
        body=body,
        foot=foot,
    )
    path = report / f"{stem}.html"
    paths.write(path, page.encode())
    return path


def _current(stem: str, here: str) -> str:
    return ' aria-current="page"' if stem == here else ""


def _words(stem: str) -> str:
    return html.escape(stem.replace("_", " "))


def _ends(stem: str, titles: dict[str, str]) -> str:
    """Links to the stage before and the stage after."""
    stems = list(titles)
    place = stems.index(stem)
    before, after = stems[:place][-1:], stems[place + 1 :][:1]
    links = [f'<a href="{s}.html">←&nbsp;{html.escape(titles[s])}</a>' for s in before]
    links += [f'<a href="{s}.html">{html.escape(titles[s])}&nbsp;→</a>' for s in after]
    return f'<nav class="ends">{"".join(links)}</nav>\n'


def _footer(report: Path, stem: str) -> str:
    again = f"make {stem} PROFILE={called(report)}"
    if called(report).startswith("csv-"):
        again = f"make {stem} DATA={called(report)[4:]}.csv TARGET=…"
    notebook = f'<a href="notebooks/{stem}.ipynb">the notebook</a>'
    return f"<footer>This page is {notebook} as it ran: <code>{again}</code></footer>"

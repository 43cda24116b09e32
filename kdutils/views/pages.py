"""pages: a report's executed notebooks as plain pages that ask no other host."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from pathlib import Path
from string import Template

from kdutils import paths
from kdutils.views.render import TEMPLATE, converter


def write(report: Path) -> list[Path]:
    """Write a page for each executed notebook of a report, and an index; the paths."""
    convert = converter()
    sources = executed(report)
    titles = {source.stem: title(source) for source in sources}
    pages = []
    for source in sources:
        body = linked(convert(json.loads(source.read_text("utf-8"))), titles)
        foot = _ends(source.stem, titles) + _footer(report, source.stem)
        pages.append(report / f"{source.stem}.html")
        _page(pages[-1], titles[source.stem], report, titles, body, foot)
    index, name = report / "index.html", f"Report: {called(report)}"
    _page(index, name, report, titles, _index(report, titles), "")
    return [*pages, index]


def called(report: Path) -> str:
    """A report's name, that of the first where this is the run that verifies it."""
    return report.name.removeprefix("verify-")


def executed(report: Path) -> list[Path]:
    """The executed notebooks of a report; neither parts nor failed ones."""
    return sorted(
        path for path in (report / "notebooks").glob("*.ipynb") if "." not in path.stem
    )


def title(notebook: Path) -> str:
    """The first heading of a notebook, or its file's name."""
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        found = re.search(r"^# +(.+)", "".join(cell["source"]), re.M)
        if cell["cell_type"] == "markdown" and found:
            return found[1].strip()
    return notebook.stem


def linked(body: str, stems: Iterable[str]) -> str:
    """A page whose links to notebooks lead to their pages; no link where none is."""

    def link(match: re.Match) -> str:
        page = f'<a href="{match[1]}.html">{match[2]}</a>'
        return page if match[1] in stems else match[2]

    return re.sub(r'<a href="(\w+)\.ipynb">(.*?)</a>', link, body, flags=re.S)


def _page(path, name, report, titles, body, foot) -> None:
    links = "".join(
        f'<a href="{stem}.html"{_current(stem, path)}>{_words(stem)}</a>'
        for stem in titles
    )
    page = Template((TEMPLATE / "page.html").read_text("utf-8")).substitute(
        title=html.escape(name),
        style=(TEMPLATE / "style.css").read_text("utf-8"),
        report=html.escape(called(report)),
        stages=links,
        body=body,
        foot=foot,
    )
    paths.write(path, page.encode())


def _current(stem: str, path: Path) -> str:
    return ' aria-current="page"' if stem == path.stem else ""


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


def _index(report: Path, titles: dict[str, str]) -> str:
    pages = "".join(
        f'<li><a href="{stem}.html">{html.escape(name)}</a>'
        for stem, name in titles.items()
    )
    files = "".join(
        f'<li><a href="{folder}/{path.name}">{html.escape(path.name)}</a>'
        for folder in ("ship", "tables")
        for path in sorted((report / folder).glob("*"))
    )
    files = f'<h2>Files</h2><ul class="files">{files}</ul>' if files else ""
    head = f"<h1>Report: {html.escape(called(report))}</h1>"
    return f'<main>{head}<ol class="pages">{pages}</ol>{files}</main>'

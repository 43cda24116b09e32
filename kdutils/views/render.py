"""render: one executed notebook becomes the body of a page, formulas as MathML."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

TEMPLATE = Path(__file__).parent / "template"
INJECTED = "injected-parameters"
PLUS_MINUS = ("<mi>&#x000B1;</mi>", "<mo>±</mo>")  # latex2mathml takes it for a name


def markdown(source: str) -> str:
    """Markdown as HTML: formulas as MathML, wide tables and formulas in a frame."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return mathml(body)

        def block_math(self, body: str) -> str:
            return scrolled(mathml(body, "block"), "Formula")

        def table(self, text: str) -> str:
            return scrolled(f"<table>\n{text}</table>\n", "Table")

        def heading(self, text: str, level: int, **attrs) -> str:
            words = re.findall(r"\w+", re.sub(r"<[^>]+>", "", text).lower())
            return f'<h{level} id="{"-".join(words)}">{text}</h{level}>\n'

    renderer = Renderer(escape=False, exclude_anchor_links=True)
    return MarkdownWithMath(renderer=renderer).render(source)


def scrolled(inner: str, label: str) -> str:
    """HTML in a frame that scrolls sideways where it is wider than the page."""
    frame = f'<div class="scroll" tabindex="0" role="group" aria-label="{label}">'
    return f"{frame}{inner}</div>\n"


def converter() -> Callable[[dict], str]:
    """A function from a notebook's JSON to the body of its page."""
    import nbformat
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    shown = "text/html image/png text/markdown text/plain"
    exporter = HTMLExporter(
        template_name=TEMPLATE.name,
        extra_template_basedirs=[str(TEMPLATE.parent)],
        config=Config({"NbConvertBase": {"display_data_priority": shown.split()}}),
        filters={
            "markdown2html": markdown,
            "is_claims": is_claims,
            "bare_html": bare_html,
        },
    )

    def convert(notebook: dict) -> str:
        cells = notebook["cells"]
        tags = [cell["metadata"].get("tags", []) for cell in cells]
        hidden = "parameters" if any(INJECTED in tag for tag in tags) else ""
        both = zip(cells, tags, strict=True)
        kept = [cell for cell, tag in both if hidden not in tag]
        node = nbformat.reads(json.dumps({**notebook, "cells": kept}), as_version=4)
        body, _ = exporter.from_notebook_node(node)
        body = body.replace('hl-ipython3"><pre>', 'hl-ipython3"><pre tabindex="0">')
        return re.sub(r"\n{3,}", "\n\n", body).strip()

    return convert


def mathml(tex: str, display: str = "inline") -> str:
    """A TeX formula as MathML, which browsers draw without a script.

    Raises ValueError naming the formula if it holds a command that is not known.
    """
    from latex2mathml.converter import convert

    found = convert(tex.strip(), display=display).replace(*PLUS_MINUS)
    if "\\" in found:
        raise ValueError(f"no MathML for the formula ${tex.strip()}$: write it simpler")
    return found


def is_claims(text: str) -> bool:
    """Whether every printed line is a claim: it holds (✓), is open (○), refuted (✗)."""
    lines = text.strip().splitlines()
    return bool(lines) and all(line[:1] in {*"✓○✗"} for line in lines)


def bare_html(text: str) -> str:
    """A table's HTML in a frame, without pandas' style; columns of words are marked."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(text, "html.parser")
    for style in soup.find_all("style", scoped=True):
        style.decompose()
    for table in soup.find_all("table"):
        table.attrs.pop("border", None)
        rows = [row.find_all(["td", "th"]) for row in table.find_all("tr")]
        for column in zip_longest(*rows):
            cells = [cell for cell in column if cell]
            inside = [c.get_text() for c in cells if not c.find_parent("thead")]
            words = (re.sub("NaN|nan", "", text) for text in inside)
            if any(re.search(r"[^\W\d_]{2}", text) for text in words):
                long = ["long"] * (max(map(len, inside)) > 20)
                for cell in cells:
                    cell["class"] = [*cell.get("class", []), "text", *long]
    for row in soup.find_all("tr", style="text-align: right;"):
        del row["style"]
    for head in soup.find_all("th"):
        head.name = "th" if head.get_text(strip=True) else "td"
    return scrolled(str(soup), "Table")

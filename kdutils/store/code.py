"""code: the digest of the modules that one module reaches: results know their code."""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def _path(module: str) -> Path | None:
    base = PACKAGE.joinpath(*module.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.exists():
            return path
    return None


def imports(path: Path) -> set[str]:
    """The kdutils modules that a file imports, those inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            found.add(node.module)
    return {name for name in found if name.split(".")[0] == "kdutils" and _path(name)}


def reached(module: str) -> set[str]:
    """`module` and the kdutils modules that it imports, directly or through another."""
    seen, todo = set(), {module}
    while todo:
        name = todo.pop()
        seen.add(name)
        todo |= imports(_path(name)) - seen
    return seen - {"kdutils"}


def substance(text: str) -> str:
    """A module's text without docstrings, blank lines and lines of comment alone."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            continue
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            for number in range(first.lineno - 1, first.end_lineno):
                lines[number] = ""
    kept = (line.rstrip() for line in lines if not line.lstrip().startswith("#"))
    return "\n".join(filter(None, kept))


@functools.cache
def digest(module: str) -> str:
    """16 hex digits over the substance of every module that `module` reaches."""
    whole = hashlib.sha256()
    for name in sorted(reached(module)):
        whole.update(f"{name}\n{substance(_path(name).read_text())}\n".encode())
    return whole.hexdigest()[:16]

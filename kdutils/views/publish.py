"""publish: what make calls to check, normalise, render, sum and compare."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from kdutils import paths, ranges
from kdutils.views import claims, pages, sums
from kdutils.views.pages import ANSWER
from kdutils.views.render import INJECTED

WIDGET = "application/vnd.jupyter.widget-view+json"
COMMANDS = "check normalise error copy html sums verify readme"
KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text"}
KINDS |= {list: "a list"}
# By the last word of a name: what is expected of every number it holds.
RANGES = dict.fromkeys(("alpha", "alphas"), ranges.SHARE)
RANGES |= dict.fromkeys(("T", "temperature", "temperatures"), ranges.POSITIVE)
# Sizes of nets, in lists.
SIZES = {"widths", "depth", "head", "channels", "width", "gelu", "pixels"}


def check(notebook: Path, yaml_file: Path, given: Iterable[str] = ()) -> None:
    """Refuse a parameter that is unknown, missing, of another type or impossible.

    Keys inside a list's entries are SIZES, those of the notebook's default, or one of
    its parameters or its last word, such as `lr`. Raises ValueError naming the key and
    the file; papermill would only warn and go on.
    """
    import yaml

    defaults = declares(notebook)
    declared = set(defaults)
    named = yaml.safe_load(yaml_file.read_text("utf-8"))
    if not isinstance(named, dict):
        raise ValueError(f"{yaml_file} must be a list of `name: value` lines")
    for key, value in named.items():
        if isinstance(value, dict):
            raise ValueError(f"{yaml_file}: {key} holds a mapping; parameters are flat")
    for source, keys in ((yaml_file, named), ("the command line", given)):
        if unknown := sorted(set(keys) - declared):
            raise ValueError(
                f"{source}: {notebook} has no parameter {', '.join(unknown)}"
            )
    if missing := sorted(declared - set(named)):
        raise ValueError(
            f"{yaml_file} lacks {', '.join(missing)}, which {notebook} asks for"
        )
    known = SIZES | declared | {name.rsplit("_", 1)[-1] for name in declared}
    for key, value in named.items():
        if expected := impossible(key, value, defaults[key]):
            raise ValueError(f"{yaml_file}: {key} is {value!r}: expected {expected}")
        if odd := _keys(value) - known - _keys(defaults[key]):
            raise ValueError(f"{yaml_file}: {key} has no key {min(odd)}")


def impossible(key: str, value: object, default: object) -> str | None:
    """What is expected where a parameter's type or number cannot be; null fits any."""
    kinds = KINDS.get(type(default)), KINDS.get(type(value), "another type")
    if None not in (default, value) and default != "" and kinds[0] != kinds[1]:
        return kinds[0]
    if key == "device" and value not in ranges.DEVICES:
        return " or ".join(ranges.DEVICES)
    for name, number in _leaves(key, value):
        words, fits = RANGES.get(name.rsplit("_", 1)[-1], ("", None))
        if fits is None:
            continue
        if KINDS.get(type(number)) != "a number" or not fits(number):
            what = "numbers" if isinstance(value, list) else "a number"
            return f"{what if name == key else name} {words}"
    return None


def _leaves(name: str, value: object) -> Iterator[tuple[str, object]]:
    """What a parameter holds, however deep, each with the name nearest to it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(str(key), inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(name, inner)
    else:
        yield name, value


def _keys(value: object) -> set[str]:
    """The keys of the mappings in a parameter, however deep."""
    inner = value.values() if isinstance(value, dict) else value
    own = {str(key) for key in value} if isinstance(value, dict) else set()
    return own.union(*map(_keys, inner)) if isinstance(value, dict | list) else own


def declares(notebook: Path) -> dict[str, object]:
    """The names that a notebook's `parameters` cell assigns, and their values."""
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            values = {}
            exec("".join(cell["source"]), {}, values)  # as papermill will
            return {k: v for k, v in values.items() if not k.startswith("__")}
    raise ValueError(f"{notebook} has no cell tagged parameters")


def normalise(notebook: dict) -> dict:
    """An executed notebook without what differs from one run to the next.

    Goes: papermill's and the clock's metadata, widgets, stderr, memory addresses, the
    folder of the checkout, random cell ids, the patch version of Python. Pieces of one
    printed text, which arrive as the clock has it, are joined. The computed answer
    stands right under the title.
    """
    metadata = notebook["metadata"]
    for key in ("papermill", "widgets"):
        metadata.pop(key, None)
    language = metadata.get("language_info", {})
    if "version" in language:
        language["version"] = ".".join(language["version"].split(".")[:2])
    for cell in notebook["cells"]:
        for key in ("papermill", "execution"):
            cell["metadata"].pop(key, None)
        if INJECTED in cell["metadata"].get("tags", []):
            cell["id"] = INJECTED
        if cell["cell_type"] == "code":
            cell["outputs"] = _outputs(cell["outputs"])
    answer = [cell for cell in notebook["cells"] if cell.get("id") == ANSWER]
    rest = [cell for cell in notebook["cells"] if cell.get("id") != ANSWER]
    notebook["cells"] = [*rest[:1], *answer, *rest[1:]]
    here = json.dumps(str(Path.cwd()), ensure_ascii=False).strip('"')
    text = json.dumps(notebook, ensure_ascii=False)
    text = text.replace(here + "/", "").replace(here, ".")
    text = text.replace("reports/verify-", "reports/")
    return json.loads(re.sub(r" at 0x[0-9a-f]+", "", text))


def _outputs(outputs: list[dict]) -> list[dict]:
    kept: list[dict] = []
    for output in outputs:
        if output.get("name") == "stderr" or WIDGET in output.get("data", {}):
            continue
        if output["output_type"] == "stream" and kept[-1:] and kept[-1].get("name"):
            text = "".join([*kept[-1]["text"], *output["text"]])
            kept[-1]["text"] = text.splitlines(keepends=True)
        else:
            kept.append(output)
    return kept


def failure(notebook: dict) -> str | None:
    """In one sentence, what stopped a notebook; unless a table did, in which cell."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                name, text = output["ename"], output["evalue"].strip()
                if name == "TableError":
                    return text
                text = text if name == "ValueError" else f"{name}: {text}"
                return f"{text} (cell {cell.get('id', '?')})"
    return None


def copy(report: Path, scratch: Path) -> None:
    """Let `scratch` start from a report's tables and runs; finished ones are linked."""
    for folder in ("tables", "ledger"):
        shutil.rmtree(scratch / folder, ignore_errors=True)
        if (report / folder).exists():
            shutil.copytree(report / folder, scratch / folder)
    for path in (report / "runs").rglob("*"):
        target = scratch / path.relative_to(report)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif path.suffix == ".json" and path.name != "record.json":
            shutil.copy(path, target)
        elif not target.exists():
            os.link(path, target)


def readme(*, only_check: bool) -> None:
    """Fill the tables of README.md; or raise ValueError where one is out of date."""
    path = Path("README.md")
    text = path.read_text("utf-8")
    filled = sums.fill(text, Path("reports"))
    if filled != text and only_check:
        raise ValueError(
            "README.md's tables are not those of reports/: run make report"
        )
    if filled != text:
        path.write_text(filled, "utf-8")


def run(argv: list[str]) -> int:
    """Run one command of make's; its exit status."""
    match argv:
        case ["check", notebook, yaml_file, *flags]:
            check(Path(notebook), Path(yaml_file), flags[1::3])
        case ["normalise", source, target]:
            notebook = normalise(json.loads(Path(source).read_text("utf-8")))
            text = json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False)
            paths.write(Path(target), f"{text}\n".encode())
            Path(source).unlink()
            claims.accept(Path(target).stem)
        case ["error", part, failed]:
            claims.refuse(Path(part).name.split(".")[0])
            if not Path(part).exists():
                return 1
            Path(part).replace(failed)
            print(f"{failed} holds what ran before it stopped", file=sys.stderr)
            sentence = failure(json.loads(Path(failed).read_text("utf-8")))
            if sentence is None:
                return 1
            print(sentence, file=sys.stderr)
        case ["copy", report, scratch]:
            copy(Path(report), Path(scratch))
        case ["html", report]:
            pages.write(Path(report))
        case ["sums", report]:
            print(sums.write(Path(report)))
        case ["verify", report, again]:
            same, lines = sums.compare(Path(report), Path(again))
            print("\n".join(lines))
            return int(not same)
        case ["readme", *check_only]:
            readme(only_check=check_only == ["--check"])
        case _:
            raise ValueError(f"publish knows {COMMANDS}, not {' '.join(argv)!r}")
    return 0


def main() -> int:
    """The command line: a ValueError becomes one sentence on stderr and status 1."""
    try:
        return run(sys.argv[1:])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

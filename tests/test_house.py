"""The house rules: who imports whom, what a notebook may hold, what a profile names."""

from __future__ import annotations

import ast
import functools
import json
import re
from pathlib import Path

import pytest

from kdutils.store import code
from kdutils.views import publish

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "kdutils"
MODULES = sorted(PACKAGE.rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
YAMLS = sorted((ROOT / "params").glob("*/*.yaml"))

OPENING = ("**Question", "**Method")
CLOSING = ("## What it means", "## Limits", "## Next")
REFUSED = ("%run", "sys.path", 'filterwarnings("ignore")', "tqdm.auto")
# Not on every machine that imports kdutils: only inside functions.
LAZY = {"xgboost", "pytorch_tabnet", "statsmodels", "joblib", "yaml", "distributed"}
LAZY |= {"papermill", "nbformat", "nbconvert", "latex2mathml"}


def dotted(path: Path) -> str:
    """`kdutils/data/tables.py` as `kdutils.data.tables`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def names(tree: ast.AST, *, outside: bool = False) -> set[str]:
    """The modules that a file imports; with `outside`, only those outside functions."""
    found, todo = set(), list(ast.iter_child_nodes(tree))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
        if not (outside and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            todo += ast.iter_child_nodes(node)
    return found


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def imports(path: Path, *, outside: bool = False) -> set[str]:
    return names(parsed(path), outside=outside)


def packages(path: Path, *, outside: bool = False) -> set[str]:
    """The top-level packages that a file imports."""
    return {name.split(".")[0] for name in imports(path, outside=outside)}


def inside(path: Path) -> set[str]:
    """The parts of kdutils that a file imports: `data`, `losses`, `views`, ..."""
    own = {name for name in imports(path) if name.startswith("kdutils.")}
    return {name.split(".")[1] for name in own} - {"__version__"}


def part(path: Path) -> str:
    """The part of kdutils that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def modules(*parts: str) -> list[Path]:
    """The files of some parts of kdutils; a part without a file would test nothing."""
    found = [path for path in MODULES if part(path) in parts]
    assert {part(path) for path in found} == set(parts)
    return found


# Who may import whom: each part's own modules, and those of the parts named here.
GROUND = {"paths": set(), "stats": set(), "models": {"deploy"}, "losses": {"ranges"}}
GROUND |= {"metrics": set(), "deploy": {"paths"}, "ranges": set()}
MAY = GROUND | {
    "store": {"paths", "ranges"},
    "data": {"paths"},
    "train": {"losses", "models", "metrics", "ranges"},
    "compress": {"models", "deploy"},
    "edge": {"deploy"},
    "views": {"paths", "ranges", "stats"},
}
CORE = {*MAY} - {"views"}
MAY |= {"bench": CORE | {"recipes"}, "recipes": CORE, "__init__": set()}
MAY["distill"] = CORE | {"recipes", "views"}


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_module_imports_only_what_its_part_may(path):
    assert inside(path) <= MAY[part(path)] | {part(path)}


def test_nothing_is_at_the_top_but_words_of_the_field():
    assert {part(path) for path in MODULES} == {*MAY}
    assert len({*MAY} - {"__init__"}) <= 16


def test_imports_have_no_circle():
    needs = {dotted(path): imports_of(path) - {dotted(path)} for path in MODULES}
    while free := {name for name, others in needs.items() if not others & {*needs}}:
        needs = {name: others for name, others in needs.items() if name not in free}
    assert not needs, "each of these imports another, around"


def imports_of(path: Path) -> set[str]:
    """The modules of kdutils that a file imports, those inside functions too."""
    found = code.imports(path)
    packages = {name for name in found if any(o.startswith(f"{name}.") for o in found)}
    return found - packages


def test_views_bring_no_training_library():
    for path in modules("views"):
        assert not packages(path) & {"torch", "xgboost", "sklearn", "joblib"}, path


def test_the_device_needs_no_training_library():
    reached = code.reached("kdutils.deploy.__main__")
    paths = [path for path in MODULES if dotted(path) in reached]
    paths += [path for path in MODULES if part(path) == "edge"]
    assert PACKAGE / "deploy/bundle.py" in paths and len(paths) == len(set(paths))
    for path in paths:
        assert not packages(path) & {"torch", "sklearn", "pandas", "scipy"}, path


def test_a_recipe_reaches_what_its_results_depend_on_and_no_view():
    for recipe in ("teachers", "kd_tabular", "kd_labels", "prune_quantize"):
        reached = code.reached(f"kdutils.recipes.{recipe}")
        assert not {name for name in reached if name.startswith("kdutils.views")}
        assert "kdutils.data.simulate.tester" in reached
    reached = code.reached("kdutils.recipes.teachers")
    others = {"kdutils.train.grid", "kdutils.compress", "kdutils.compress.quantize"}
    assert not reached & others
    assert {"train.teachers", "train", "deploy.prepare"} <= {
        name.removeprefix("kdutils.") for name in reached
    }


def test_substance_is_what_python_runs_and_no_comment_or_docstring():
    bare = "def f(x):\n    return x + 1"
    dressed = '"""D."""\n\n# c\ndef f(x):\n    """M.\n\n    W."""\n\n    return x + 1\n'
    assert code.substance(dressed) == code.substance(bare)
    assert code.substance("x = 1") != code.substance("x = 2")


def test_losses_metrics_and_stats_touch_nothing():
    for path in modules("losses", "metrics", "stats"):
        assert not packages(path) & {"os", "pathlib", "io", "shutil", "tempfile"}, path
        calls = {ast.unparse(node.func) for node in nodes(path, ast.Call)}
        assert not calls & {"open", "print", "torch.manual_seed", "np.random.seed"}


def nodes(path: Path, kind: type) -> list:
    return [node for node in ast.walk(parsed(path)) if type(node) is kind]


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_every_module(path):
    assert not packages(path) & {"papermill", "ipywidgets", "IPython", "notebooks"}
    assert not packages(path, outside=True) & LAZY, "import it inside a function"
    if path.stem not in ("publish", "pages", "render"):
        assert not packages(path) & {"nbformat", "nbconvert"}
    tree = parsed(path)
    text = (ast.get_docstring(tree) or "").splitlines()
    assert text and re.match(r"[\w.]+: ", text[0]), "its sentence"
    assert path.name != "utils.py"
    for node in tree.body:
        assert not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)), (
            "nothing happens at import"
        )


def test_there_are_notebooks_and_parameters():
    assert NOTEBOOKS and YAMLS
    titles = [cells(path)[0]["source"] for path in NOTEBOOKS]
    assert len({"".join(title).splitlines()[0] for title in titles}) == len(NOTEBOOKS)


def cells(path: Path, kind: str | None = None) -> list[dict]:
    found = json.loads(path.read_text("utf-8"))["cells"]
    return [cell for cell in found if kind in (None, cell["cell_type"])]


def lines(cell: dict) -> list[str]:
    return "".join(cell["source"]).splitlines()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_opens_with_its_question_and_closes_with_what_it_means(path):
    first, *_ = prose = ["".join(cell["source"]) for cell in cells(path, "markdown")]
    assert first.startswith("# ")
    for words, where in ((OPENING, first), (CLOSING, "\n".join(prose[-3:]))):
        places = [where.find(word) for word in words]
        assert places[0] >= 0 and places == sorted(set(places)), words


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_short_cells_without_outputs(path):
    whole = json.loads(path.read_text("utf-8"))
    assert whole["metadata"]["kernelspec"]["name"] == "python3"
    assert whole["metadata"]["kernelspec"]["language"] == "python"
    ids = [cell["id"] for cell in whole["cells"]]
    assert len(set(ids)) == len(ids)
    for id in ids:
        assert re.fullmatch(r"[a-z]+[a-z0-9]*(-[a-z0-9]+)*", id), "a word, not a number"
    for cell in cells(path, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None
        tags = cell["metadata"].get("tags", [])
        assert len(lines(cell)) <= 15 or "parameters" in tags, cell["id"]
        assert max(map(len, lines(cell)), default=0) <= 88, cell["id"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_defines_nothing(path):
    for cell in cells(path, "code"):
        source = "".join(cell["source"])
        for word in REFUSED:
            assert word not in source, cell["id"]
        kept = [line for line in source.splitlines() if not line.startswith(("%", "!"))]
        tree = ast.parse("\n".join(kept))
        for node in ast.walk(tree):
            assert not isinstance(node, ast.FunctionDef | ast.ClassDef), cell["id"]
        known = {name.split(".")[0] for name in names(tree)}
        assert "notebooks" not in known, cell["id"]


@pytest.mark.parametrize("path", NOTEBOOKS[1:], ids=lambda path: path.stem)
def test_a_notebook_computes_its_answer_and_keeps_its_claims_short(path):
    code = {cell["id"]: lines(cell) for cell in cells(path, "code")}
    assert any("claims.answer(" in line for line in code["answer"])
    claims = sum(len(code[id]) for id in code if id.startswith("claim-"))
    assert claims <= 0.15 * sum(map(len, code.values()))


@pytest.mark.parametrize("path", NOTEBOOKS[2:7], ids=lambda path: path.stem)
def test_a_study_of_students_calls_a_loss_and_fits_a_student_in_sight(path):
    code = "\n".join(line for cell in cells(path, "code") for line in lines(cell))
    assert "train.fit(" in code and "losses." in code


@pytest.mark.parametrize(
    "path", YAMLS, ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_a_profile_names_exactly_the_parameters_of_its_notebooks(path):
    publish.check(ROOT / "notebooks" / f"{path.stem}.ipynb", path)
    assert path.read_text().startswith(f"# {path.parent.name}: "), "purpose and cost"

"""make reruns what changed in content, and nothing else: on three tiny notebooks."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE = ("__init__.py", "claims.py", "explorer.py", "names.py", "pages.py")
CODE += ("publish.py", "render.py", "sums.py", "matplotlibrc", "template")
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebook(path: Path, *cells: str) -> None:
    """Write a notebook: a heading, a parameters cell, then code cells."""
    texts = [("heading", "markdown", [], "# What comes out?")]
    texts += [("parameters", "code", ["parameters"], cells[0])]
    texts += [(f"cell-{n}", "code", [], text) for n, text in enumerate(cells[1:])]
    made = []
    for id, kind, tags, source in texts:
        cell = {"id": id, "cell_type": kind, "metadata": {"tags": tags}}
        cell |= {"source": source}
        empty = {"outputs": [], "execution_count": None} if kind == "code" else {}
        made.append(cell | empty)
    meta = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    text = {"cells": made, "metadata": meta, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(text))


WRITES = """from pathlib import Path
import os, sys
folder = Path("reports", os.environ["KD_REPORT"], "tables")
folder.mkdir(parents=True, exist_ok=True)
moved = Path("moved").exists()
(folder / "numbers.csv").write_text(f"name,value\\nseed,{seed + moved}\\n")
print("object", object(), sys.executable, os.environ["OMP_NUM_THREADS"])
print("half way", file=sys.stderr)"""
HANGS = """from pathlib import Path
import os, time
tables = Path("reports", os.environ["KD_REPORT"], "tables")
(tables / "numbers.csv.1.part").write_text("name,va")
while Path("hang").exists():
    Path("hang").write_text(str(os.getpid()))
    time.sleep(0.05)
(tables / "numbers.csv").write_text("name,value\\nseed,7\\n")
print("finished")"""
RUNS = """from pathlib import Path
import os
folder = Path("reports", os.environ["KD_REPORT"], "runs", "STAGE")
folder.mkdir(parents=True, exist_ok=True)
(folder / "toy.json").write_text(os.environ["KD_FRESH"])  # as runs.map( does
"""
CLAIMS = """import pandas as pd
from kdutils.views import claims
claims.begin("01_teachers")
line = {"source": "toy", "gain": 1.0, "gain_low": 1.0, "gain_high": 1.0}
claims.above(pd.DataFrame([line]), "it works")"""
WHERE = 'test "$1" = lab && echo "works on $KD_REPORT"'
TABLE = "own = [target, group, time, drop, fail, onehot, na, sep, budget]\n"
TABLE += "print(table.upper(), repr(own))"
KEYS = ("table", "target", "group", "time", "drop", "fail")
KEYS += ("onehot", "na", "decimal", "sep", "encoding")
STAGES = ["00_overview", "01_teachers", "02_kd_tabular"]
EMPTY = "".join(f'{key}: ""\n' for key in KEYS)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A project of three notebooks, the default report made once."""
    here = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "Makefile", here)
    (here / "requirements.txt").write_text("uv==1\n")
    (here / "README.md").write_text("<!-- table: numbers -->\n<!-- end -->\n")
    views = here / "kdutils" / "views"
    views.mkdir(parents=True)
    for name in ("__init__.py", "paths.py", "ranges.py"):
        shutil.copy(ROOT / "kdutils" / name, views.parent)
    for name in CODE:
        source = ROOT / "kdutils" / "views" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, views / name)
    shutil.copytree(ROOT / "kdutils/data", here / "kdutils/data")
    # What checks addresses in a notebook's schema costs each process a second.
    (here / "rfc3987_syntax.py").write_text("raise ImportError")
    for folder in ("notebooks", "params/default", "params/csv"):
        (here / folder).mkdir(parents=True)
    notebook(here / "notebooks/00_overview.ipynb", "profile = ''", "print(profile)")
    keys = re.sub(r": (.*)", r" = \1", EMPTY)
    for stage, given, *texts in (
        ("01_teachers", "seed = 0", CLAIMS, WRITES),
        ("02_kd_tabular", f"alphas = []\nbudget = 1.0\n{keys}", TABLE),
    ):
        runs = RUNS.replace("STAGE", stage)
        notebook(here / f"notebooks/{stage}.ipynb", given, runs, *texts)
    params = here / "params"
    (params / "claimed.csv").write_text("id\n")
    (params / "default/00_overview.yaml").write_text("profile: default\n")
    (params / "default/01_teachers.yaml").write_text("seed: 1\n")
    for profile in ("default", "csv"):
        file = params / profile / "02_kd_tabular.yaml"
        file.write_text(f"alphas: [0.5]\nbudget: 10.0\n{EMPTY}")
    run = make(here, "report", "-j2")
    assert run.returncode == 0, run.stderr
    assert sorted(executed(run)) == STAGES
    assert "half way" in run.stdout, "progress must come to the terminal"
    return here


@pytest.fixture
def project(built, tmp_path) -> Path:
    """A copy of the built project, times of the files kept."""
    return shutil.copytree(built, tmp_path / "a copy", symlinks=True)


def make(here: Path, *words: str) -> subprocess.CompletedProcess:
    """Run make there, with this environment's Python and none of our variables."""
    return subprocess.run(
        **call(here, *words), capture_output=True, text=True, timeout=600
    )


def call(here: Path, *words: str) -> dict:
    """What starts make there: arguments of subprocess.run and Popen."""
    ours = ("MAKE", "MFLAGS", "KD_", "PROFILE", "DATA", "TARGET", "GROUP", "TIME")
    ours += ("DROP", "FAIL", "FRESH", "VERIFY", "WORKERS", "DASK", "ONEHOT", "NA")
    ours += ("DECIMAL", "SEP", "ENCODING")
    env = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return {"args": ["make", f"VENV={sys.prefix}", *words], "cwd": here, "env": env}


def executed(run: subprocess.CompletedProcess) -> list[str]:
    """The stages that a make ran."""
    return re.findall(r"^[\w-]+: (\d\d_\w+)$", run.stdout, re.M)


def planned(here: Path, *words: str) -> list[str]:
    """The stages that a make would run, sorted."""
    shown = make(here, "-n", *words).stdout
    return sorted(re.findall(r'echo "[\w.-]+: (\d\d_\w+)"', shown))


def output(here: Path, stage: str, report: str = "default") -> str:
    """What the last cell of an executed notebook printed."""
    path = here / "reports" / report / "notebooks" / f"{stage}.ipynb"
    return "".join(json.loads(path.read_text())["cells"][-1]["outputs"][0]["text"])


def test_parameters_environment_pages_and_readme_arrive(built):
    report = built / "reports/default"
    printed = output(built, "01_teachers").split()
    assert printed[:2] == ["object", "<object"]
    assert Path(printed[-2]).samefile(sys.executable)
    assert printed[-1] == "1"
    assert (report / "tables/numbers.csv").read_text() == "name,value\nseed,1\n"
    assert "| seed | 1 |" in (built / "README.md").read_text()
    assert {p.name for p in report.glob("*.html")} == {
        *(f"{stage}.html" for stage in STAGES),
        "index.html",
    }
    assert "tables/numbers.csv" in (report / "SHA256SUMS").read_text()


def test_nothing_runs_twice_nor_after_touch(project):
    before = {path: path.stat().st_mtime_ns for path in project.rglob("reports/**/*")}
    for folder in ("kdutils", "notebooks", "params"):
        for path in (project / folder).rglob("*.*"):
            path.touch()
    run = make(project, "report")
    assert run.stdout == "reports/default/index.html\n", run.stdout
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_the_look_of_the_pages_reruns_no_notebook_a_yaml_those_that_need_it(project):
    style = project / "kdutils/views/template/style.css"
    style.write_text(style.read_text() + "\nh1 { color: teal; }\n")
    run = make(project, "report")
    assert executed(run) == [], run.stderr
    assert "teal" in (project / "reports/default/00_overview.html").read_text()
    (project / "params/default/01_teachers.yaml").write_text("seed: 2\n")
    assert planned(project, "report") == ["01_teachers", "02_kd_tabular"]


def test_runs_are_forgotten_stage_by_stage_and_computed_again(project):
    runs = project / "reports/default/runs"
    for stage in ("01_teachers", "02_kd_tabular"):
        assert (runs / stage / "toy.json").read_text() == ""
        (runs / stage / "old").write_text("")
    run = make(project, "02_kd_tabular", "FRESH=1")
    assert executed(run) == ["02_kd_tabular"], run.stderr
    assert (runs / "02_kd_tabular/toy.json").read_text() == "02_kd_tabular"
    assert (runs / "01_teachers/old").exists()
    assert not (runs / "02_kd_tabular/old").exists()
    shown = make(project, "-n", "report", "FRESH=1").stdout
    assert all(f"rm -rf reports/default/runs/{stage}\n" in shown for stage in STAGES)
    assert planned(project, "report", "FRESH=1") == STAGES
    assert make(project, "clean-runs").returncode == 0
    assert not runs.exists()
    assert planned(project, "report") == ["01_teachers", "02_kd_tabular"]


def test_a_table_that_is_not_the_reports_own_is_noticed(project):
    table = project / "reports/default/tables/numbers.csv"
    right = table.read_text()
    for text in (None, "a\n"):
        table.write_text(text) if text else table.unlink()
        noticed = make(project, "-n", "report").stdout.splitlines()[0]
        assert "tables/numbers.csv" in noticed
        assert planned(project, "report") == STAGES
    table.write_text(right)
    assert planned(project, "report") == []


def test_the_lab_works_on_a_copy_of_the_report(project):
    for name, text in (("python", f'exec {sys.executable} "$@"'), ("jupyter", WHERE)):
        file = project / "other/bin" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
    run = make(project, "lab", "VENV=other")
    assert "works on scratch-default" in run.stdout, run.stderr
    for name in ("tables/numbers.csv", "runs/01_teachers/toy.json"):
        copy = project / "reports/scratch-default" / name
        assert copy.read_text() == (project / "reports/default" / name).read_text()
        copy.write_text("an exercise")
    assert planned(project, "report") == []


def test_a_failed_notebook_is_kept_and_leaves_the_claims_as_they_were(project):
    path, before = (
        project / "notebooks/01_teachers.ipynb",
        output(project, "01_teachers"),
    )
    claims = project / "reports/default/tables/claims.csv"
    assert "it works" in (kept := claims.read_text())
    stops = CLAIMS.replace("it works", "not yet")
    stops += "\nraise ValueError(\"my.csv has no column 'fail'\")"
    notebook(path, "seed = 0", stops)
    run = make(project, "report")
    assert run.returncode != 0
    assert "my.csv has no column 'fail' (cell cell-0)" in run.stderr.splitlines()
    assert "Traceback" not in run.stdout + run.stderr
    assert claims.read_text() == kept
    assert [path.name for path in claims.parent.glob("claims*")] == ["claims.csv"]
    folder = project / "reports/default/notebooks"
    assert (folder / "01_teachers.failed.ipynb").exists()
    assert not (folder / "01_teachers.part.ipynb").exists()
    assert output(project, "01_teachers") == before, "the last good one stays"
    notebook(path, "seed = 0", "print(7)")
    assert make(project, "01_teachers").returncode == 0
    assert not (folder / "01_teachers.failed.ipynb").exists()


def test_unknown_and_missing_parameters_are_refused_before_anything_runs(project):
    yaml = project / "params/default/01_teachers.yaml"
    yaml.write_text("seed: 1\nseeds: 3\n")
    run = make(project, "01_teachers")
    assert run.returncode != 0 and executed(run) == []
    assert str(yaml.relative_to(project)) in run.stderr and " seeds\n" in run.stderr
    yaml.write_text("# nothing\nsed: 1\n")
    run = make(project, "01_teachers")
    assert run.returncode != 0 and " sed\n" in run.stderr


CURSED = "a`b` \"c' (d) | e; f & <g> * #h \\i"


def test_a_table_of_ones_own(project):
    """Any name of the table and of a column reaches the notebook."""
    table = project / "it's (1)/a`b&.csv"
    words = ["02_kd_tabular", "DATA=it's (1)/a`b&.csv"]
    words += [f"TARGET={CURSED}", "FAIL=it's", "DROP=a,b", "NA=-,9 9", "SEP=;"]
    words += ["BUDGET=.5"]
    assert "is not a readable file" in make(project, *words).stderr
    table.parent.mkdir()
    rows = [["x", "a", "b", CURSED]]
    rows += [[i * i % 61, "y", "-", ["ok", "it's"][i % 4 == 0]] for i in range(60)]
    with table.open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    assert "TARGET=fail" in make(project, *words[:2]).stderr
    run = make(project, *words)
    assert run.returncode == 0, run.stderr
    values = repr([CURSED, "", "", "a,b", "it's", "", "-,9 9", ";", 0.5])
    printed = output(project, "02_kd_tabular", "csv-a-b-")
    assert printed == f"IT'S (1)/A`B&.CSV {values}\n"
    assert planned(project, *words) == []
    assert planned(project, *words[:4]) == ["02_kd_tabular"]
    assert planned(project, "report") == []


def test_a_table_with_faults_is_refused_before_any_notebook(project):
    """The report names each, and ends with a command that makes the report."""
    rows = [f"{i * i % 61},{'AB'[i % 2]},{i % 4 == 0:d}" for i in range(60)]
    rows[7] = "-,A,0"
    (project / "my $.csv").write_text("\n".join(["x,site,fail", *rows]) + "\n")
    words = ["02_kd_tabular", "DATA=my $$.csv", "TARGET=fial"]
    run = make(project, *words)
    assert run.returncode != 0 and executed(run) == []
    assert "Traceback" not in run.stdout + run.stderr
    options = ("TARGET=fail", "NA=-", "DROP=site")
    *report, ready = run.stdout.splitlines()
    for option in options:
        assert sum(line.endswith(f"  {option}") for line in report) == 1
    pasted = call(project)
    pasted["args"] = ["bash", "-c", f"{ready} -n VENV={sys.prefix}"]
    run = subprocess.run(**pasted, capture_output=True, text=True)
    assert 'echo "csv-my--: 02_kd_tabular"' in run.stdout, run.stderr
    stamp = (project / ".stamps/csv-my--").read_text()
    assert " csv-my-- fail; ; ; site; ; ; -; ;" in stamp


def test_check_says_what_a_table_lacks(project):
    assert "make check needs a table" in make(project, "check").stderr
    rows = [f"{i * 7 % 61 / 2},{i % 4 == 0:d}" for i in range(60)]
    (project / "my.csv").write_text("\n".join(["x,fail", *rows]) + "\n")
    run = make(project, "check", "DATA=my.csv", "TARGET=fail")
    assert run.returncode == 0 and "Nothing stands in the way" in run.stdout


NAMES = {"my (1).csv": "csv-my--1-", "it's.csv": "csv-it-s", "a&b.csv": "csv-a-b"}
NAMES |= {"dir with space/x.csv": "csv-x", "a.b;c`d.csv": "csv-a.b-c-d"}


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_table_gives_a_plain_report(built, name):
    (built / name).parent.mkdir(exist_ok=True)
    (built / name).write_text(f"{name}\n")
    words = [f"{key}={key} {CURSED}" for key in ("TARGET", "GROUP", "DROP", "FAIL")]
    for goal, report in (("report", NAMES[name]), ("verify", f"verify-{NAMES[name]}")):
        run = make(built, "-n", goal, f"DATA={name}", *words)
        assert run.returncode == 0 and run.stderr == "", run.stderr
        assert f'echo "{report}: 02_kd_tabular"' in run.stdout
        checked = subprocess.run(["bash", "-n"], input=run.stdout, text=True)
        assert checked.returncode == 0, "what make would run is not for the shell"
        size = len(f"{name}\n".encode())
        stamp = (built / ".stamps" / report).read_text()
        assert f" {size} {report} TARGET {CURSED}; GROUP {CURSED}; ;" in stamp


WRONG = ["VENV=a b", "PROFILE=it's", "PROFILE=default csv"]
WRONG += ["PROFILE=nope", "PROFILE=csv"]
WRONG += ["WORKERS=abc", "WORKERS=0", "WORKERS=-1", "WORKERS=2 3", "WORKERS=it's"]
WRONG += ["TARGET=fail", "GROUP=lot", "TIME=at", "DROP=a,b", "FAIL=it's"]
WRONG += ["ONEHOT=site", "NA=-", "DECIMAL=,", "SEP=;", "ENCODING=latin-1"]
WRONG += ["BUDGET=5", "MAX_BYTES=2000", "ESCAPE_COST=20", "BUDGET=ten", "budget=5"]
WRONG += [f"{key}=1" for key in ("na", "profile", "workers", "dask", "fresh", "verify")]


@pytest.mark.parametrize("word", WRONG)
def test_a_word_that_make_cannot_follow_is_refused_in_one_sentence(built, word):
    run = make(built, "report", word)
    assert run.returncode != 0 and run.stdout == ""
    assert word in run.stderr and len(run.stderr.splitlines()) == 1


def test_what_the_shell_has_of_its_own_does_not_count(built, monkeypatch):
    for key in ("profile", "data", "target", "workers"):
        monkeypatch.setenv(key, "mine")
    run = call(built, "-n", "report", "WORKERS=2")
    run["env"] |= {"TARGET": "mine", "GROUP": "mine"}
    assert subprocess.run(**run, capture_output=True).returncode == 0


def test_a_report_killed_in_a_notebook_goes_on_from_there(project):
    """`kill -9` of all of make: the notebook before is kept, the one inside is not."""
    report = project / "reports/default"
    half = report / "notebooks/01_teachers.part.ipynb"
    (project / "params/default/02_kd_tabular.yaml").unlink()
    for name in ("01_teachers", "02_kd_tabular"):
        (report / f"notebooks/{name}.ipynb").unlink()
    for path in (report / "SHA256SUMS", project / ".stamps/sums-default"):
        path.unlink()
    notebook(project / "notebooks/01_teachers.ipynb", "seed = 0", HANGS)
    (project / "hang").touch()
    run = subprocess.Popen(
        **call(project, "report"), start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        for _ in range(6000):
            if kernel := (project / "hang").read_text():
                break
            assert run.poll() is None, "make ended before it was killed"
            time.sleep(0.05)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    os.kill(int(kernel), signal.SIGKILL)
    (project / "hang").unlink()
    assert half.exists(), "the kill came inside the notebook"
    assert not (report / "notebooks/01_teachers.ipynb").exists()
    assert not (report / "SHA256SUMS").exists()
    before = (report / "notebooks/00_overview.ipynb").stat().st_mtime_ns

    run = make(project, "report")
    assert run.returncode == 0, run.stderr
    assert executed(run) == ["01_teachers"]
    assert (report / "notebooks/00_overview.ipynb").stat().st_mtime_ns == before
    assert output(project, "01_teachers") == "finished\n"
    assert "| seed | 7 |" in (project / "README.md").read_text()
    listed = (report / "SHA256SUMS").read_text()
    assert "notebooks/01_teachers.ipynb" in listed and "tables/numbers.csv" in listed
    assert ".part" not in listed and not half.exists()
    assert planned(project, "report") == []


def test_verify_reruns_all_and_names_the_one_row_that_differs(project):
    (project / "moved").touch()
    run = make(project, "verify", "-j2")
    assert run.returncode != 0
    assert sorted(executed(run)) == STAGES
    rows = run.stdout.partition("tables/numbers.csv differs\n")[2]
    assert rows.startswith("  - row 1: seed,1\n  + row 1: seed,2\n")
    assert run.stdout.count(" differs\n") == 1, "all else has the same bytes"


def test_help_names_every_target(built):
    phony = re.search(r"\.PHONY: (.*?)FORCE", (ROOT / "Makefile").read_text(), re.S)[1]
    assert "-m kdutils.bench --write" in make(built, "-n", "bench").stdout
    shown = make(built).stdout
    for target in phony.replace("\\", "").split():
        assert target == "help" or f"make {target} " in shown

"""The run store: found again, resumed after a kill, never half-written; its ledger."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest

from kdutils import paths
from kdutils.store import code, config, ledger, runs, schedule
from kdutils.store.__main__ import again
from kdutils.store.config import Count, Natural, Positive, Share

TESTS = Path(__file__).resolve().parent
STAGE = "00_toy"


@pytest.fixture
def toy(tmp_path, monkeypatch):
    import toy_recipe

    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setenv("TOY_TRACE", str(tmp_path / "trace"))
    monkeypatch.setenv("KD_REPORT", "toy")
    monkeypatch.delenv("KD_FRESH", raising=False)
    # the package reads its modules as text; the toy is not one of them
    monkeypatch.setattr(code, "digest", lambda name: "toy-code")
    return toy_recipe


def traced(tmp_path):
    path = tmp_path / "trace"
    return path.read_text().split() if path.exists() else []


def test_a_finished_run_is_found_not_repeated(toy, tmp_path):
    configs = [{"seed": seed} for seed in range(3)]
    runs.map(STAGE, toy, configs, workers=1)
    rows = runs.map(STAGE, toy, configs)
    assert rows["value"].tolist() == [0, 1, 4]
    runs.map(STAGE, toy, configs, workers=1)
    assert traced(tmp_path) == ["0", "1", "2"]


@pytest.mark.parametrize("workers", ["abc", "0", "-1", "1.5"])
def test_a_number_of_workers_that_cannot_be_is_refused(toy, monkeypatch, workers):
    monkeypatch.setenv("KD_WORKERS", workers)
    said = f"KD_WORKERS is '{workers}': expected a whole number above 0"
    with pytest.raises(ValueError, match=said):
        runs.map(STAGE, toy, [{"seed": 8}])


def test_a_device_that_is_not_there_is_refused(toy, tmp_path):
    with pytest.raises(ValueError, match="'gpu': expected auto, cpu or cuda"):
        runs.map(STAGE, toy, [{"seed": 1}], device="gpu")
    assert traced(tmp_path) == []


def test_two_stages_use_one_recipe_and_a_run_is_found_by_its_id(toy, tmp_path):
    (first,) = runs.map(STAGE, toy, [{"seed": 1}], workers=1)["run"]
    (other,) = runs.map("09_toy", toy, [{"seed": 1}], workers=1)["run"]
    assert first != other and traced(tmp_path) == ["1", "1"]
    run = runs.open(toy, other)
    assert run.stage == "09_toy" and run.need(toy, first).stage == STAGE
    assert runs.collect("09_toy", toy)["run"].tolist() == [other]
    with pytest.raises(ValueError, match="run abc of toy_recipe is not there"):
        runs.open(toy, "abc")


def test_a_config_that_cannot_be_is_refused_before_anything_runs(toy, tmp_path):
    with pytest.raises(ValueError, match="toy_recipe: seed is -1: expected a whole"):
        runs.map(STAGE, toy, [{"seed": 1}, {"seed": -1}], workers=1)
    assert traced(tmp_path) == []


def test_another_config_is_another_run(toy):
    ids = {
        runs.identify(STAGE, toy, {"seed": 0, "x": x})[0] for x in (1, 1.5, "1", True)
    }
    assert len(ids) == 4
    first = runs.identify(STAGE, toy, {"a": 1, "b": 2})
    assert first == runs.identify(STAGE, toy, {"b": 2, "a": 1})


def test_a_run_without_done_is_resumed_from_its_steps(toy, tmp_path):
    one = {"seed": 3}
    id, *_ = runs.identify(STAGE, toy, one)
    run = runs.Run(STAGE, id, one)
    calls = []
    run.step("value", lambda: calls.append(1) or {"value": 9})
    run.step("value", lambda: calls.append(2) or {"value": 8})
    assert calls == [1]
    assert not run.done
    runs.map(STAGE, toy, [one], workers=1)
    assert run.done
    assert runs.map(STAGE, toy, [one])["value"].tolist() == [9]


def test_a_half_written_step_does_not_count(toy):
    run = runs.Run(STAGE, "abc", {"seed": 2})
    run.folder.mkdir(parents=True)
    (run.folder / "value.123.part").write_bytes(b"half")
    assert int(run.step("value", lambda: {"value": 4})["value"]) == 4


def test_collect_before_any_run_says_so(toy):
    with pytest.raises(ValueError, match="00_toy has no runs in toy"):
        runs.collect(STAGE, toy)


def test_collect_computes_what_is_missing(toy, tmp_path):
    rows = runs.map(STAGE, toy, [{"seed": 0}, {"seed": 1}], workers=1)
    shutil.rmtree(paths.runs(STAGE) / rows["run"][1])
    pd.testing.assert_frame_equal(runs.collect(STAGE, toy), rows)


def test_collect_refuses_runs_of_other_parameters(toy, tmp_path):
    yaml = paths.params(STAGE)
    yaml.parent.mkdir(parents=True)
    yaml.write_text("seeds: 1\n")
    runs.map(STAGE, toy, [{"seed": 0}], workers=1)
    assert len(runs.collect(STAGE, toy)) == 1
    yaml.write_text("seeds: 2\n")
    with pytest.raises(ValueError, match=r"00_toy\.yaml has changed since 00_toy ran"):
        runs.collect(STAGE, toy)


def test_what_make_does_not_run_has_a_report_of_its_own(monkeypatch):
    monkeypatch.delenv("KD_REPORT", raising=False)
    monkeypatch.delenv("KD_PROFILE", raising=False)
    assert paths.tables().parent.name == "scratch-default"


def test_the_ledger_rebuilds_rows_without_computing(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("KD_REPORT", "paper")
    configs = [{"seed": seed} for seed in (5, 6)]
    runs.map(STAGE, toy, configs, workers=1)
    before = runs.map(STAGE, toy, configs)
    for file in sorted(paths.runs(STAGE).rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    monkeypatch.setattr(code, "digest", lambda name: "newer-code")
    after = runs.map(STAGE, toy, configs)
    assert traced(tmp_path) == ["5", "6"]
    assert after["value"].tolist() == before["value"].tolist() == [25, 36]
    assert after["older_code"].all() and not before["older_code"].any()
    lines = paths.ledger(STAGE).read_text().splitlines()
    assert [json.loads(line)["config"]["seed"] for line in lines].count(5) == 1


def test_the_ledger_is_read_once(toy, monkeypatch):
    monkeypatch.setenv("KD_REPORT", "paper")
    every, read = ledger.every, []
    monkeypatch.setattr(ledger, "every", lambda stage: read.append(1) or every(stage))
    for _ in range(2):
        runs.map(STAGE, toy, [{"seed": 1}], workers=1)
    assert len(read) == 2


def test_fresh_ignores_the_ledger(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("KD_REPORT", "paper")
    runs.map(STAGE, toy, [{"seed": 1}], workers=1)
    runs.map(STAGE, toy, [{"seed": 1}])
    monkeypatch.setenv("KD_FRESH", "01_teachers")
    assert len(ledger.read(STAGE)) == 1
    monkeypatch.setenv("KD_FRESH", f"01_teachers {STAGE}")
    assert ledger.read(STAGE) == {}
    assert len(ledger.every(STAGE)) == 1


def test_a_row_of_the_scoreboard_is_computed_again_and_compared(
    toy, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "kdutils.recipes.toy_recipe", toy)
    monkeypatch.setenv("KD_REPORT", "paper")
    ids = runs.map(STAGE, toy, [{"seed": 2}, {"seed": 3}], workers=1)["run"].tolist()
    board = f"system,runs\na/b,{' '.join(ids)}\na/b,{ids[0]}\nc/d,\n"
    paths.write(paths.tables() / "scoreboard.csv", board.encode())
    assert again("a/b") == [f"{id} is the same" for id in ids]
    assert traced(tmp_path) == ["2", "3"] * 2, "each once more"
    monkeypatch.setenv("KD_REPORT", "paper")
    path = paths.ledger(STAGE)
    path.write_text(path.read_text().replace('"value":9', '"value":8'))
    assert again("a/b")[1] == f"{ids[1]} differs in value"
    monkeypatch.setenv("KD_REPORT", "paper")
    path.write_text(path.read_text().replace('"rows":[', '"rows":[{"value":4},'))
    assert again("a/b")[0] == f"{ids[0]} has 1 rows where 2 are committed"
    monkeypatch.setenv("KD_REPORT", "paper")
    for system in ("c/d", "nobody/here"):
        with pytest.raises(ValueError, match=f"no committed run of '{system}'"):
            again(system)


def test_the_seconds_of_a_run_are_those_of_all_that_it_needs(toy):
    needs = {"a" * 12: [], "b" * 12: ["a" * 12], "c" * 12: ["a" * 12, "b" * 12]}
    for n, (id, others) in enumerate(needs.items()):
        line = {"id": id, "config": {"teachers": others}, "seconds": 10.0**n}
        paths.write(paths.ledger(f"0{n}"), ledger.canonical(line).encode())
    assert ledger.seconds(["b" * 12]) == 11
    assert ledger.seconds(["c" * 12, "b" * 12]) == 111
    assert ledger.seconds(["f" * 12]) == 0


def line(stage, recipe, seconds, *needs):
    config = {"teachers": list(needs)}
    return {"stage": stage, "recipe": recipe, "seconds": seconds, "config": config}


def test_more_workers_take_as_long_as_what_waits_lets_them():
    a, b, c, d, e = (letter * 12 for letter in "abcde")
    alone = {a: line("01", "x", 3.0), b: line("01", "x", 2.0), c: line("01", "x", 2.0)}
    assert [schedule.duration(alone, n) for n in (1, 2, 3, 9)] == [7, 4, 3, 3]
    assert [schedule.enough(alone, 9), schedule.enough(alone, 2)] == [3, 2]
    referring = alone | {d: line("01", "x", 1.0, b)}
    assert schedule.duration(referring, 3) == 3, "b's follower waits for b alone"
    mapped = alone | {d: line("01", "y", 1.0, b)}
    assert schedule.duration(mapped, 3) == 4, "a map that needs another waits for it"
    staged = alone | {d: line("02", "y", 1.0, b), e: line("02", "z", 9.0)}
    assert schedule.duration(staged, 4) == 9, "what refers to nothing starts at once"
    assert schedule.duration(staged | {e: line("02", "z", 9.0, c)}, 4) == 12
    with pytest.raises(ValueError, match="wait for each other"):
        schedule.duration({a: line("01", "x", 1.0, b), b: line("01", "x", 1.0, a)}, 2)


def test_where_more_workers_stop_paying_for_the_paper_profile(monkeypatch, capsys):
    monkeypatch.setenv("KD_REPORT", "paper")
    assert schedule.main() == 0
    lines = {line["id"]: line for line in LINES}
    total = sum(line["seconds"] for line in LINES)
    took = [schedule.duration(lines, n) for n in (1, 4, 64, 1000)]
    assert took[0] == pytest.approx(total) and took == sorted(took, reverse=True)
    assert max(line["seconds"] for line in LINES) < took[-1] < total / 4
    few = schedule.enough(lines)
    assert schedule.duration(lines, few) <= 1.05 * took[-1]
    assert schedule.duration(lines, few - 1) > 1.05 * took[-1]
    shown = capsys.readouterr().out
    assert f"{len(lines)} runs of paper" in shown and "enough: " in shown
    monkeypatch.setenv("KD_REPORT", "nothing-here")
    assert schedule.main() == 1


def test_only_what_is_delivered_last_is_shipped(toy, capsys):
    runs.deliver({"student-a.kdb": b"12345"})
    runs.deliver({"student-b.kdb": b"123"})
    assert [path.name for path in paths.ship().iterdir()] == ["student-b.kdb"]
    assert "ship/student-b.kdb 3 bytes" in capsys.readouterr().out


def test_kill_9_repeats_at_most_one_run(tmp_path):
    """Six runs, killed in the middle, started again: one at most is computed twice."""
    program = (
        f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"
        "from pathlib import Path\n"
        "from kdutils import paths\nfrom kdutils.store import code, runs\n"
        f"paths.ROOT = Path({str(tmp_path)!r})\n"
        "code.digest = lambda name: 'toy'\n"
        "import toy_recipe\n"
        "configs = [{'seed': s, 'seconds': 0.15} for s in range(6)]\n"
        "rows = runs.map('00_toy', toy_recipe, configs, workers=1)\n"
        "print(rows['value'].tolist())\n"
    )
    env = {**os.environ, "TOY_TRACE": str(tmp_path / "trace"), "KD_REPORT": "toy"}
    env["PYTHONPATH"] = str(TESTS.parent)
    first = subprocess.Popen([sys.executable, "-c", program], env=env)
    deadline = time.monotonic() + 60
    while len(traced(tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    finished = len(list((tmp_path / "reports/toy/runs/00_toy").glob("*/DONE")))
    assert finished < 6
    again = subprocess.run(
        [sys.executable, "-c", program],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stdout.strip() == "[0, 1, 4, 9, 16, 25]"
    counts = Counter(traced(tmp_path))
    assert set(counts) == set("012345")
    assert sum(counts.values()) <= 7


# --- configs ----------------------------------------------------------------------

LEDGER = sorted((TESTS.parent / "reports/paper/ledger").glob("*.jsonl"))
LINES = [json.loads(line) for path in LEDGER for line in path.read_text().splitlines()]


@dataclass(frozen=True)
class Sizes:
    widths: list[Count]
    depth: Natural = 0


@dataclass(frozen=True)
class Config:
    alpha: Share
    T: Positive
    epochs: Count
    bf16: bool
    way: Literal["ours", "published"]
    sizes: Sizes
    tries: dict[str, Count]
    maps: list[Count] | None = None


GOOD = {"alpha": 1, "T": 4.0, "epochs": 1, "bf16": True, "way": "ours"}
GOOD |= {"sizes": {"widths": [4]}, "tries": {"mlp": 2}}


def test_a_config_that_fits_is_taken():
    config.check(Config, GOOD, "toy")
    config.check(Config, GOOD | {"maps": None}, "toy")
    config.check(Config, GOOD | {"maps": [3]}, "toy")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("alpha", 1.2, "alpha is 1.2: expected a number from 0 to 1"),
        ("alpha", "1", "alpha is '1': expected a number"),
        ("alpha", float("nan"), "alpha is nan: expected a number"),
        ("T", 0, "T is 0: expected a number above 0"),
        ("epochs", 0, "epochs is 0: expected a whole number of at least 1"),
        ("epochs", 1.5, "epochs is 1.5: expected a whole number"),
        ("epochs", True, "epochs is True: expected a whole number"),
        ("epochs", None, "epochs is None: expected a whole number"),
        ("bf16", 1, "bf16 is 1: expected true or false"),
        ("way", "other", "way is 'other': expected ours or published"),
        ("sizes", {}, "sizes lacks widths"),
        ("sizes", [], "sizes is []: expected a mapping"),
        ("sizes", {"width": [4]}, "sizes has no key width: expected widths, depth"),
        ("sizes", {"widths": [4, 0]}, "sizes: widths[1] is 0: expected a whole number"),
        ("tries", {"mlp": 0}, "tries[mlp] is 0: expected a whole number of at least 1"),
        ("maps", [0], "maps[0] is 0: expected a whole number of at least 1"),
        ("alfa", 1, "toy has no key alfa: expected alpha, T, epochs"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence_that_names_the_key(key, value, said):
    with pytest.raises(ValueError) as caught:
        config.check(Config, GOOD | {key: value}, "toy")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_key_is_named():
    with pytest.raises(ValueError, match=r"^toy lacks T$"):
        config.check(Config, {k: v for k, v in GOOD.items() if k != "T"}, "toy")


@pytest.mark.parametrize("name", sorted({line["recipe"] for line in LINES}))
def test_every_line_of_the_ledger_fits_its_recipe(name):
    module = name.partition("-")[0]  # what follows is the part of a stage
    recipe = importlib.import_module(f"kdutils.recipes.{module}")
    for line in LINES:
        if line["recipe"] == name:
            config.check(recipe.Config, line["config"], name)

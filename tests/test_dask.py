"""Runs on a Dask cluster: equal to those made here, also where a worker is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import toy_recipe

from kdutils import paths
from kdutils.store import code, runs

STAGE = "00_toy"
TESTS = Path(__file__).resolve().parent
CONFIGS = [{"seed": seed, "seconds": 0.4} for seed in range(14)]


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path / "cluster")
    monkeypatch.setenv("TOY_TRACE", str(tmp_path / "trace"))
    monkeypatch.setenv("KD_REPORT", "toy")
    monkeypatch.setattr(code, "digest", lambda name: "toy-code")
    return toy_recipe


def test_a_package_that_is_absent_is_named_in_one_sentence(toy, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setenv("KD_DASK", "tcp://127.0.0.1:1")
    with pytest.raises(ValueError, match="needs the package distributed"):
        runs.map(STAGE, toy, [{"seed": 1}])


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere", "http://x", ""])
def test_an_address_that_does_not_answer_is_named(toy, monkeypatch, address):
    pytest.importorskip(
        "distributed", reason="distributed is not installed: extra dask"
    )
    listens = socket.create_server(("127.0.0.1", 0))  # and never says a word
    address = address or f"tcp://127.0.0.1:{listens.getsockname()[1]}"
    monkeypatch.setattr(runs, "CONNECT", 2)
    monkeypatch.setenv("KD_DASK", address)
    with pytest.raises(ValueError, match=f"^DASK={address} does not answer") as refused:
        runs.map(STAGE, toy, [{"seed": 1}])
    assert "\n" not in str(refused.value)
    listens.close()


@pytest.fixture
def cluster(tmp_path):
    """The address of a scheduler and two workers of one thread, each a process."""
    distributed = pytest.importorskip(
        "distributed", reason="distributed is not installed: extra dask"
    )
    file = tmp_path / "scheduler.json"
    env = {k: v for k, v in os.environ.items() if not k.startswith("KD_")}
    env |= {"PYTHONPATH": os.pathsep.join((str(TESTS.parent), str(TESTS)))}
    env |= {"TOY_TRACE": str(tmp_path / "trace")}
    common = ["--scheduler-file", str(file), "--no-dashboard"]

    def start(*words):
        command = [sys.executable, "-m", *words, *common]
        log = (tmp_path / "log").open("a")
        return subprocess.Popen(command, env=env, cwd=tmp_path, stderr=log, stdout=log)

    begin = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    worker = ["distributed.cli.dask_worker", "--nthreads", "1", "--no-nanny"]
    started = [start(*begin), start(*worker), start(*worker)]
    try:
        with distributed.Client(scheduler_file=str(file), timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
            address = client.scheduler.address
        yield address, started[1:]
    finally:
        for process in started:
            process.kill()
            process.wait()


def records(folder):
    """The record of each run by its config, without what only time or place decides."""
    found = [json.loads(path.read_text()) for path in folder.glob("*/record.json")]
    free = ("seconds", "machine")
    return {
        line["id"]: {k: v for k, v in line.items() if k not in free} for line in found
    }


def test_a_worker_killed_loses_no_run_and_repeats_none_that_was_finished(
    toy, tmp_path, monkeypatch, cluster
):
    address, workers = cluster
    monkeypatch.setenv("KD_DASK", address)
    trace, finished = tmp_path / "trace", []

    def kill():
        while not trace.exists() or len(trace.read_text().split()) < 5:
            time.sleep(0.01)
        time.sleep(0.1)
        os.kill(workers[0].pid, signal.SIGKILL)
        for record in records(paths.runs(STAGE)).values():
            finished.append(str(record["config"]["seed"]))

    killer = threading.Thread(target=kill)
    killer.start()
    rows = runs.map(STAGE, toy, CONFIGS)
    killer.join()
    assert workers[0].wait() == -signal.SIGKILL and workers[1].poll() is None
    counts = Counter(trace.read_text().split())
    assert set(counts) == {str(config["seed"]) for config in CONFIGS}
    assert 2 <= len(finished) < len(CONFIGS)
    assert all(counts[seed] == 1 for seed in finished), "a finished run ran again"
    assert sum(counts.values()) <= len(CONFIGS) + 1, "only the run of the killed one"
    there = records(paths.runs(STAGE))
    assert len(list(paths.runs(STAGE).glob("*/DONE"))) == len(CONFIGS)

    monkeypatch.delenv("KD_DASK")
    assert runs.map(STAGE, toy, CONFIGS).equals(rows)
    assert Counter(trace.read_text().split()) == counts
    monkeypatch.setattr(paths, "ROOT", tmp_path / "here")
    assert runs.map(STAGE, toy, CONFIGS, workers=1).equals(rows)
    assert records(paths.runs(STAGE)) == there

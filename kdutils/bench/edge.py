"""bench_edge: the watcher's latency, its student's, its throughput and its start.

`python -m kdutils.bench.edge` asks a shipped student. What is compared takes turns; a
ratio or rate is the geometric mean over turns with its 95 % t interval. Durable means
fsynced, so the fsyncs of the same disk are measured between the lots.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from kdutils import paths
from kdutils.bench import grid as bench
from kdutils.bench.student import answers, python, start
from kdutils.bench.wafers import mean
from kdutils.deploy.bundle import BundleError
from kdutils.edge import model, simulate, verdicts

PERCENTILES = (50, 95, 99)
WARMING = 10  # lots before those that count
SHOWN = re.compile(r'verdict "([^"]+)".* ms \((.*)\)$')


class Watching(NamedTuple):
    """A watcher at work: its inbox, the lines that it logs, its process, its start."""

    inbox: Path
    lines: Iterator[str]
    pid: int
    said: str


@contextmanager
def watching(path: str, folder: str) -> Iterator[Watching]:
    """A watcher's process over new folders; ValueError if it does not start."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        inbox, outbox = Path(place, "inbox"), Path(place, "outbox")
        inbox.mkdir()
        words = ["--bundle", path, "--inbox", str(inbox), "--outbox", str(outbox)]
        with python("-m", "kdutils.edge", "watch", *words) as child:
            try:
                said = child.stdout.readline()
                if " watching " not in said:
                    raise ValueError(f"no watcher: {child.stderr.read().strip()}")
                yield Watching(inbox, child.stdout, child.pid, said)
            finally:
                child.terminate()
                child.communicate()


def latency(
    path: str, folder: str, *, lots: int = 400, rate: float = 40.0
) -> list[dict]:
    """A row for the whole way, for each part, for the fsyncs, for what is `above` them.

    whole: from just before a lot of one row is closed until the watcher's line that its
    verdict is durable comes out of a pipe. event: until it is claimed; rest: what the
    watcher does not count, such as moving the lot behind its verdict, and the pipe.
    fsyncs: ours, of a file and its folder on the same disk, between the lots; above:
    whole less fsyncs, by percentile.
    """
    student, rng, took = model.load(path), np.random.default_rng(0), []
    with watching(path, folder) as at:
        own = at.inbox.parent / "own"
        own.mkdir()
        begin = time.perf_counter()
        for number in range(WARMING + lots):
            time.sleep(max(0.0, begin + number / rate - time.perf_counter()))
            content = simulate.joined(simulate.content(student, rng, 1))
            start = put(at.inbox / f"{number}.csv", content)
            parts = verdict(at.lines, f"{number}.csv")
            whole = time.perf_counter() - start
            parts["rest"] = whole - sum(parts.values())
            took.append({"whole": whole, **parts, "fsyncs": fsyncs(own, content)})
    how = {"lots": lots, "rate": rate, "disk": disk(folder)}
    how["events"] = "watchdog" if "watchdog" in at.said else "timer"
    found = {
        part: 1000 * np.percentile([one[part] for one in took[WARMING:]], PERCENTILES)
        for part in took[0]
    }
    found["above"] = found["whole"] - found["fsyncs"]
    return [
        {"part": part}
        | {f"p{p}_ms": v for p, v in zip(PERCENTILES, values, strict=True)}
        | how
        for part, values in found.items()
    ]


def throughput(
    path: str, folder: str, *, files: int = 50, rows: int = 1000, rounds: int = 10
) -> list[dict]:
    """One row: rows a second, of wall and of CPU time; the watcher keeps to one core.

    The files are there before a round begins and are renamed into the inbox.
    """
    student, rng, took = model.load(path), np.random.default_rng(0), []
    with watching(path, folder) as at:
        core = {max(os.sched_getaffinity(0))}
        for task in os.listdir(f"/proc/{at.pid}/task"):
            os.sched_setaffinity(int(task), core)
        for number in range(rounds + 1):  # the first one warms
            names = [f"{number}-{i}.csv" for i in range(files)]
            for name in names:
                content = simulate.joined(simulate.content(student, rng, rows))
                put(at.inbox / f".{name}", content)
            start = time.perf_counter(), spent(at.pid)
            for name in names:
                os.rename(at.inbox / f".{name}", at.inbox / name)
            for _ in names:
                verdict(at.lines)
            end = time.perf_counter(), spent(at.pid)
            took.append(np.subtract(end, start))
    wall, cpu = files * rows / np.array(took[1:]).T
    how = {"files": files, "rows": rows, "rounds": rounds, "disk": disk(folder)}
    return [mean("per_second", wall) | mean("per_cpu_second", cpu) | how]


BENCHES = {"latency": latency, "model": answers, "throughput": throughput}
BENCHES["start"] = start


def put(path: Path, content: bytes) -> float:
    """Write a file and close it; the time just before it is closed."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(fd, content)
    now = time.perf_counter()
    os.close(fd)
    return now


def verdict(lines: Iterator[str], name: str = "") -> dict[str, float]:
    """The parts of the next verdict in seconds; ValueError if it is no other's."""
    line = lines.readline().rstrip("\n")
    shown = SHOWN.search(line)
    if shown is None or name not in ("", shown[1]):
        raise ValueError(f"expected a verdict of {name or 'a lot'}, found {line!r}")
    words = shown[2].split()
    pairs = zip(words[::2], words[1::2], strict=True)
    return {part: float(ms) / 1000 for part, ms in pairs}


def fsyncs(folder: Path, content: bytes) -> float:
    """Seconds that a verdict's fsyncs take here: of a new file, then of its folder."""
    fd = os.open(folder / "part", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(fd, content)
    start = time.perf_counter()
    os.fsync(fd)
    end = time.perf_counter()
    os.close(fd)
    verdicts.link(folder / "part", folder / f"{time.monotonic_ns()}")
    os.unlink(folder / "part")
    again = time.perf_counter()
    verdicts.sync(folder)
    return end - start + time.perf_counter() - again


def disk(folder: str) -> str:
    """The kind of file system that a folder lies on, such as ext4."""
    at = os.path.realpath(folder)
    mounts = [
        line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()
    ]
    over = [pair for pair in mounts if f"{at}/".startswith(pair[0].rstrip("/") + "/")]
    return max(over, key=lambda pair: len(pair[0]))[1]


def spent(pid: int) -> float:
    """Seconds of CPU that a process's threads have taken."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def shipped() -> str:
    """The first student of the simulated tester that the profile ships."""
    for path in sorted(paths.ship().glob("student-tester*")):
        with suppress(BundleError):
            model.load(path)
            return str(path)
    raise ValueError(f"no bundle in {paths.ship()}: run make 06_prune_quantize first")


def main(words: list[str] | None = None) -> dict[str, list[dict]]:
    """The command line; the only place of this module that prints."""
    import pandas as pd

    parser = argparse.ArgumentParser(
        prog="python -m kdutils.bench.edge", conflict_handler="resolve"
    )  # the benches share some settings
    parser.add_argument("what", nargs="?", choices=list(BENCHES), help="all, if none")
    parser.add_argument("--bundle", help="a student; the shipped one of the tester")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="on which disk")
    for way in BENCHES.values():
        bench.options(parser, way)
    given = vars(parser.parse_args(words))
    path = str(Path(given["bundle"] or shipped()).resolve())
    torch.set_num_threads(1)
    found, today = {}, datetime.date.today().isoformat()
    for what, way in BENCHES.items():
        if given["what"] not in (None, what):
            continue
        own = {key: given[key] for key in way.__kwdefaults__}
        rows = way(path, given["folder"], **own)
        print(pd.DataFrame(rows).to_string(index=False, float_format="{:,.3f}".format))
        same = {"date": today, "cpu": bench.cpu(), "threads": 1}
        found[what] = [{**row, **same} for row in rows]
        if given["write"]:
            print(bench.keep(found[what], f"edge-{what}"))
    return found


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as problem:
        sys.exit(str(problem))

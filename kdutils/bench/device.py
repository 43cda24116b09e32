"""device: the watcher's latency, throughput and start, and its student in every way.

What is measured is a shipped student. Durable means fsynced, so the fsyncs of the same
disk are measured between the lots. All ways to score take one thread and,
XGBoost aside, one shape; torch and XGBoost have untrained or simulated weights, on
which times do not depend.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch

from kdutils import bench, models, paths
from kdutils.bench import Way, tester_rows, timed
from kdutils.deploy.bundle import BundleError
from kdutils.edge import model, simulate, verdicts

WARMING = 10  # lots before those that count
QUIET = 10.0  # seconds without a verdict
SHOWN = re.compile(r'verdict "([^"]+)".* ms \((.*)\)$')
RAPL = Path("/sys/class/powercap")
FIRST = "numpy int8, bundle"
WATTS = 15.0  # of a processor that does not count its joules: stated, not measured
REPEATED = 100  # C answers faster than a clock: so many calls are timed at once
TIMED = """
#include "student.h"
void repeat(int n) {
    volatile float sink, zero = 0.0f;
    float x[KD_FEATURES] = {0};
    for (int k = 0; k < n; k++, sink = kd_logit(x)) x[k % KD_FEATURES] += zero;
    (void)sink;
}
"""
PLAIN = """
from kdutils.edge import model
student = model.load({path!r})
student.judge(student.bundle.prepare.center[None])
"""
TORCH = """
import torch
from kdutils.models import Student
torch.set_num_threads(1)
student = Student({d}, {h})
student.load_state_dict(torch.load({path!r}))
with torch.inference_mode():
    student(torch.zeros(1, {d}))
"""
SCRIPT = """
import os
import pandas
import torch
from pathlib import Path
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer
from kdutils.models import Student
torch.set_num_threads(1)
outbox, student = Path({outbox!r}), Student({d}, {h})
class Judge(FileSystemEventHandler):
    def on_closed(self, event):
        path = Path(event.src_path)
        lot = pandas.read_csv(path)
        with torch.inference_mode():
            readings = torch.tensor(lot.iloc[:, 1:].to_numpy(), dtype=torch.float32)
            lot["score"] = student(readings).numpy().ravel()
        part = outbox / path.name
        with open(part, "w") as file:
            lot[["id", "score"]].to_csv(file, index=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, outbox / "verdicts" / path.name)
        os.replace(path, outbox / "done" / path.name)
        folder = os.open(outbox / "verdicts", os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
for name in ("verdicts", "done"):
    (outbox / name).mkdir(parents=True)
observer = Observer()
observer.schedule(Judge(), {inbox!r})
observer.start()
print("it is watching now", flush=True)
observer.join()
"""
HIGHEST = """
lines = open("/proc/self/status").readlines()
print(next(line for line in lines if line.startswith("VmHWM")).split()[1])
"""


@contextmanager
def watching(path: str, folder: str, script: str = "") -> Iterator[tuple]:
    """A watcher's (or script's) inbox, process, first line; ValueError without one."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        inbox, outbox = Path(place, "inbox"), Path(place, "outbox")
        inbox.mkdir()
        words = ["--bundle", path, "--inbox", str(inbox), "--outbox", str(outbox)]
        words += ["--shift", "inf"]  # simulated devices are none of the training's
        words = ["-m", "kdutils.edge", "watch", *words]
        if script:
            d, h = shape(model.load(path).bundle)
            own = {"inbox": str(inbox), "outbox": str(outbox), "d": d, "h": h}
            words = ["-c", script.format(**own)]
        with python(*words) as child:
            try:
                printed = child.stdout.readline()
                if " watching " not in printed:
                    raise ValueError(f"no watcher: {child.stderr.read().strip()}")
                yield inbox, child, printed
            finally:
                child.terminate()
                child.communicate()


def latency(path: str, folder: str, *, lots=400, rate=40.0) -> list[dict]:
    """Milliseconds from a closed lot to its durable verdict: the watcher, part by part.
    Baseline: the same disk's fsyncs alone; `above` is what is above them.

    whole: from just before a lot of one row is closed until the watcher's line that its
    verdict is durable comes out of a pipe. event: until it is claimed; rest: what the
    watcher does not count, such as moving the lot behind its verdict, and the pipe.
    fsyncs: ours, of a lot, a verdict and its folder on the same disk, between the lots;
    above: whole less fsyncs, by percentile. On ext4 thousands of files that were just
    removed, as at the end of this, slow what makes files for minutes: let it rest.
    """
    student, rng, took = model.load(path), np.random.default_rng(0), []
    with watching(path, folder) as (inbox, child, printed):
        own = inbox.parent / "own"
        own.mkdir()
        begin = time.perf_counter()
        for number in range(WARMING + lots):
            time.sleep(max(0.0, begin + number / rate - time.perf_counter()))
            content = simulate.joined(simulate.content(student, rng, 1))
            start = put(inbox / f"{number}.csv", content)
            parts = verdict(child.stdout, f"{number}.csv")
            whole = time.perf_counter() - start
            parts["rest"] = whole - sum(parts.values())
            took.append({"whole": whole, **parts, "fsyncs": fsyncs(own, content)})
    how = {"lots": lots, "rate": rate, "disk": disk(folder)}
    how["events"] = "watchdog" if "watchdog" in printed else "timer"
    found = {
        part: bench.percentiles([one[part] for one in took[WARMING:]])
        for part in took[0]
    }
    whole, own = found["whole"], found["fsyncs"]
    found["above"] = {key: whole[key] - own[key] for key in whole}
    return [{"part": part, **values, **how} for part, values in found.items()]


def throughput(path, folder: str, *, files=50, rows=1000, rounds=10) -> list[dict]:
    """Rows a second of wall and of CPU time: the watcher, kept to one core.
    No baseline.

    The files are there before a round begins and are renamed into the inbox.
    """
    student, rng, took = model.load(path), np.random.default_rng(0), []
    with watching(path, folder) as (inbox, child, _):
        core = {max(os.sched_getaffinity(0))}
        for task in os.listdir(f"/proc/{child.pid}/task"):
            os.sched_setaffinity(int(task), core)
        for number in range(rounds + 1):  # the first one warms
            names = [f"{number}-{i}.csv" for i in range(files)]
            for name in names:
                content = simulate.joined(simulate.content(student, rng, rows))
                put(inbox / f".{name}", content)
            start = time.perf_counter(), spent(child.pid)
            for name in names:
                os.rename(inbox / f".{name}", inbox / name)
            for _ in names:
                verdict(child.stdout)
            end = time.perf_counter(), spent(child.pid)
            took.append(np.subtract(end, start))
    wall, cpu = files * rows / np.array(took[1:]).T
    how = {"files": files, "rows": rows, "rounds": rounds, "disk": disk(folder)}
    return [bench.mean("per_second", wall) | bench.mean("per_cpu_second", cpu) | how]


def burst(path: str, folder: str, *, burst: int = 10_000) -> list[dict]:
    """Durable verdicts a second of a burst of lots of one row, and lots without one.
    Baseline (`times`): a plain script of watchdog's observer, pandas and torch.

    From before the first lot is written, without a pause, until the last verdict; lots
    are unjudged if nothing came for QUIET seconds. Either way a verdict is fsynced, and
    its folder.
    """
    student, rng, rows = model.load(path), np.random.default_rng(0), []
    cells = [simulate.content(student, rng, 1) for _ in range(burst)]
    lots = [simulate.joined(lot) for lot in cells]
    for way, script in (("watchdog, pandas, torch", SCRIPT), ("watcher", "")):
        with watching(path, folder, script) as (inbox, *_):
            place, found = inbox.parent / "outbox" / "verdicts", 0
            begin = time.perf_counter()
            for number, content in enumerate(lots):
                put(inbox / f"{number}.csv", content)
            last = time.perf_counter()
            while found < burst and time.perf_counter() - last < QUIET:
                time.sleep(0.05)
                if (now := len(os.listdir(place))) > found:
                    found, last = now, time.perf_counter()
        row = {"way": way, "unjudged": burst - found, "seconds": last - begin}
        rows.append(row | {"per_second": found / row["seconds"], "lots": burst})
    for row in rows:
        row["times"] = row["per_second"] / rows[0]["per_second"]
    return [row | {"disk": disk(folder)} for row in rows]


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
    """Seconds that a verdict's fsyncs take here: of a lot and a verdict, both new, at
    the same time, then of the verdict's folder.
    """
    fds, number = [], time.monotonic_ns()
    for name in ("lot", "part"):  # not removed: ext4 goes round what it just removed
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        fds.append(os.open(folder / f"{name}{number}", flags, 0o644))
        os.write(fds[-1], content)
    first, _ = bench.clock(verdicts.fsync_all, fds)
    for fd in fds:
        os.close(fd)
    os.rename(folder / f"part{number}", folder / f"{number}")
    return first + bench.clock(verdicts.sync, folder)[0]


def disk(folder: str) -> str:
    """The kind of file system that a folder lies on, such as ext4."""
    at = os.path.realpath(folder)
    lines = Path("/proc/mounts").read_text().splitlines()
    mounts = (line.split()[1:3] for line in lines)
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


def answers(path, folder: str, *, rounds=10, calls=200, watts=WATTS) -> list[dict]:
    """Microseconds for one device: the student in numpy, torch, ONNX and C; XGBoost.
    Baseline (`times`): the numpy bundle, which reads raw readings.
    """
    with tempfile.TemporaryDirectory(dir=folder) as place:
        found = ways(path, Path(place))
        own, how = {name: way for name, (_, way) in found.items()}, (rounds, calls)
        rows = metered(own, "us", *how, watts=watts, times=FIRST)
    how = {"rounds": rounds, "calls": calls}
    return [{"way": k, "reads": found[k][0], **row, **how} for k, row in rows.items()]


def metered(
    ways: dict[str, Way],
    unit: str,
    rounds: int,
    calls: int,
    *,
    watts=WATTS,
    **baselines,
) -> dict[str, dict]:
    """The `bench.latency` of each way, and the microjoules that one call takes.

    Those are of the processor's own counter (RAPL) where it may be read; otherwise the
    time times `watts`, which ranks nothing that time does not. `energy` says which.
    """
    both = bench.alternated(ways, rounds, calls, energy)
    took = {name: seconds for name, (seconds, _) in both.items()}
    found = bench.latency(took, unit, **baselines)
    for name, row in found.items():
        joule, known = np.median(both[name][1]) / calls, "measured, RAPL"
        if np.isnan(joule):
            joule = np.median(took[name]) * watts
            known = f"estimated, {watts:g} W stated"
        row |= {"energy_uj": 1e6 * joule, "energy": known}
    return found


def start(path: str, folder: str, *, starts: int = 10) -> list[dict]:
    """Seconds from a new process to a first verdict, and peak memory: numpy bundle.
    Baseline (`times`): eager torch.
    """
    d, h = shape(model.load(path).bundle)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        weights = str(Path(place, "weights"))
        torch.save(models.Student(d, h).state_dict(), weights)
        codes = {"numpy bundle": PLAIN.format(path=path)}
        codes["torch eager"] = TORCH.format(path=weights, d=d, h=h)
        way = {name: partial(began, name, code) for name, code in codes.items()}
        both = bench.alternated(way, starts)
    took = {name: of[:, 0].T for name, (of, _) in both.items()}
    return [
        {"way": name, "peak_mb": np.median(peak), "starts": starts}
        | bench.mean("seconds", seconds)
        | bench.mean("times", took["torch eager"][0] / seconds)
        for name, (seconds, peak) in took.items()
    ]


def began(name: str, code: str, calls: int) -> np.ndarray:
    """Seconds of a Python process that runs the code, and its peak MB: (1, 2)."""
    begin = time.perf_counter()
    child = python("-c", code + HIGHEST)
    printed, wrong = child.communicate()
    seconds = time.perf_counter() - begin
    if child.returncode:
        raise ValueError(f"{name}: {wrong.strip().splitlines()[-1]}")
    return np.array([[seconds, int(printed) / 1000]])


def ways(path: str, folder: Path) -> dict[str, tuple[str, Way]]:
    """Name -> what it reads, raw or prepared readings, and the way itself."""
    student = model.load(path).bundle
    x = np.asarray(student.prepare.center, np.float32)[None]
    z = student.prepare.transform(x)
    found = {FIRST: ("raw", timed(partial(student.score, x)))}
    net, tensor = models.Student(*shape(student)), torch.from_numpy(z)
    found["torch eager"] = ("prepared", timed(torch.inference_mode()(net), tensor))
    for name, reads, make in (
        ("onnxruntime fp32", "raw", partial(onnx, student, x)),
        ("XGBoost, 300 trees", "prepared", boosted),
        ("C", "raw", partial(compiled, student, folder)),
    ):
        try:
            found[name] = (reads, make())
        except (ImportError, OSError, ValueError) as problem:
            print(f"{name} is left out: {problem}")
    return found


def shape(student) -> tuple[int, int]:
    """Readings and hidden units of a bundle's student."""
    weights = student.student
    W1 = weights["W1"] if isinstance(weights, dict) else weights.W1
    return W1.shape[1], W1.shape[0]


def onnx(student, x: np.ndarray) -> Way:
    """The graph of `onnxfile.exact`, which holds the scaler too."""
    from kdutils.deploy import onnxfile

    one = session(onnxfile.exact(student))
    return timed(one.run, None, {one.get_inputs()[0].name: x})


def session(file: bytes):
    """ONNX Runtime with a file's graph, on one thread of the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    own = {"sess_options": options, "providers": ["CPUExecutionProvider"]}
    return onnxruntime.InferenceSession(file, **own)


def boosted(rows: int = 2000, trees: int = 300) -> Way:
    """A booster of rows of the simulated tester."""
    import xgboost

    data = tester_rows(rows)
    how = {"objective": "binary:logistic", "nthread": 1, "verbosity": 0, "seed": 0}
    matrix = xgboost.DMatrix(data.X, label=data.y)
    booster = xgboost.train(how, matrix, num_boost_round=trees)
    return timed(booster.inplace_predict, data.X_val[:1])


def compiled(student, folder: Path) -> Way:
    """The C header's function, mean seconds of REPEATED calls from a library."""
    from kdutils.deploy import cheader

    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise OSError("no C compiler")
    (folder / "student.h").write_text(cheader.header(student))
    (folder / "timed.c").write_text(TIMED)
    words = [compiler, "-std=gnu99", "-O3", "-ffp-contract=off", "-shared", "-fPIC"]
    words += ["timed.c", "-o", "timed.so", "-lm"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{compiler} refused the header: {done.stderr.splitlines()[0]}")

    way = timed(ctypes.CDLL(str(folder / "timed.so")).repeat, REPEATED)
    return lambda calls: way(calls) / REPEATED


def python(*words: str) -> subprocess.Popen:
    """A Python of its own on one thread; its output is read through pipes."""
    env = {"PYTHONPATH": str(paths.ROOT), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *words], env=os.environ | env, **pipes)


def energy() -> float:
    """Joules that the processors count, from 0 now and then; NaN if unreadable."""
    counters = RAPL.glob("intel-rapl:?/energy_uj")
    readable = [path for path in counters if os.access(path, os.R_OK)]
    if not readable:
        return float("nan")
    return sum(int(path.read_text()) for path in readable) / 1e6

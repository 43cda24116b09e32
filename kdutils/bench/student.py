"""bench_student: one device asked of a student in every way there is; a fresh start.

A part of `bench_edge`. All ways take one thread and, XGBoost aside, one shape; torch
and XGBoost have untrained or simulated weights, on which times do not depend.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from kdutils import models, paths
from kdutils.bench import grid as bench
from kdutils.bench.wafers import mean
from kdutils.edge import model

RAPL = Path("/sys/class/powercap")
FIRST = "numpy int8, bundle"
REPEATED = 100  # C answers faster than a clock: so many calls are timed at once
TIMED = """
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "student.h"
int main(int argc, char **argv) {
    volatile float sink, zero = 0.0f;
    float x[KD_FEATURES] = {0};
    struct timespec a, b;
    for (long n = argc > 1 ? atol(argv[1]) : 1; n > 0; n--) {
        clock_gettime(CLOCK_MONOTONIC, &a);
        for (int k = 0; k < REPEATED; k++) {
            x[k % KD_FEATURES] += zero;
            sink = kd_logit(x);
        }
        clock_gettime(CLOCK_MONOTONIC, &b);
        double s = (b.tv_sec - a.tv_sec) + 1e-9 * (b.tv_nsec - a.tv_nsec);
        printf("%.9e\\n", s / REPEATED);
    }
    (void)sink;
    return 0;
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
HIGHEST = """
lines = open("/proc/self/status").readlines()
print(next(line for line in lines if line.startswith("VmHWM")).split()[1])
"""
Way = Callable[[int], np.ndarray]  # calls -> seconds of each


def answers(
    path: str, folder: str, *, rounds: int = 10, calls: int = 200, watts: float = 15.0
) -> list[dict]:
    """A row for each way; times: as fast as the numpy bundle, which reads raw readings.

    energy: microjoules a call, of the processor's own counter (RAPL) where it may be
    read; otherwise the time times `watts`, which ranks nothing that time does not.
    """
    took, joules = {}, {}
    with tempfile.TemporaryDirectory(dir=folder) as place:
        found = ways(path, Path(place))
        for number in range(rounds + 1):  # the first one warms
            for name, (_, way) in found.items():
                before = energy()
                seconds = way(calls)
                spent = energy() - before
                if number:
                    took.setdefault(name, []).append(seconds)
                    joules.setdefault(name, []).append(spent / calls)
    first = np.median(took[FIRST], axis=1)
    rows = []
    for name, seconds in took.items():
        row = {"way": name, "reads": found[name][0]}
        row |= {f"p{p}_us": 1e6 * np.percentile(seconds, p) for p in (50, 99)}
        row |= mean("times", first / np.median(seconds, axis=1))
        joule, known = np.median(joules[name]), "measured, RAPL"
        if np.isnan(joule):
            joule, known = np.median(seconds) * watts, f"estimated, {watts:g} W stated"
        row |= {"energy_uj": 1e6 * joule, "energy": known}
        rows.append(row | {"rounds": rounds, "calls": calls})
    return rows


def start(path: str, folder: str, *, starts: int = 10) -> list[dict]:
    """A row for each way: seconds from nothing to a first verdict, peak memory."""
    d, h = shape(model.load(path).bundle)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        weights = str(Path(place, "weights"))
        torch.save(models.Student(d, h).state_dict(), weights)
        codes = {"numpy bundle": PLAIN.format(path=path)}
        codes["torch eager"] = TORCH.format(path=weights, d=d, h=h)
        took = {name: np.empty((starts + 1, 2)) for name in codes}
        for number in range(starts + 1):  # the first one warms
            for name, code in codes.items():
                begin = time.perf_counter()
                child = python("-c", code + HIGHEST)
                said, wrong = child.communicate()
                if child.returncode:
                    raise ValueError(f"{name}: {wrong.strip().splitlines()[-1]}")
                took[name][number] = time.perf_counter() - begin, int(said) / 1000
    seconds = {name: of[1:, 0] for name, of in took.items()}
    return [
        {"way": name, "peak_mb": np.median(took[name][1:, 1]), "starts": starts}
        | mean("seconds", of)
        | mean("times", seconds["torch eager"] / of)
        for name, of in seconds.items()
    ]


def ways(path: str, folder: Path) -> dict[str, tuple[str, Way]]:
    """Name -> what it reads, raw or prepared readings, and how it is asked."""
    student = model.load(path).bundle
    x = np.asarray(student.prepare.center, np.float32)[None]
    z = student.prepare.transform(x)
    found = {FIRST: ("raw", timed(partial(student.score, x)))}
    if getattr(student.student, "s_in", None) is not None:
        found["numpy int8, one row"] = ("prepared", timed(student.student.one(), z[0]))
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


def timed(call: Callable, *given) -> Way:
    """The seconds of each call of a function."""

    def way(calls: int) -> np.ndarray:
        took = np.empty(calls)
        for i in range(calls):
            start = time.perf_counter()
            call(*given)
            took[i] = time.perf_counter() - start
        return took

    return way


def onnx(student, x: np.ndarray) -> Way:
    """The graph of `onnxfile.fp32`, which holds the scaler too."""
    import onnxruntime

    from kdutils.deploy import onnxfile

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        onnxfile.fp32(student), options, providers=["CPUExecutionProvider"]
    )
    return timed(session.run, None, {session.get_inputs()[0].name: x})


def boosted(rows: int = 2000, trees: int = 300) -> Way:
    """A booster of rows of the simulated tester."""
    import xgboost

    data = bench.tester_rows(rows)
    how = {"objective": "binary:logistic", "nthread": 1, "verbosity": 0, "seed": 0}
    matrix = xgboost.DMatrix(data.X, label=data.y)
    booster = xgboost.train(how, matrix, num_boost_round=trees)
    return timed(booster.inplace_predict, data.X_val[:1])


def compiled(student, folder: Path) -> Way:
    """The C header's function, in a process of its own that times itself."""
    from kdutils.deploy import cheader

    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise OSError("no C compiler")
    (folder / "student.h").write_text(cheader.header(student))
    (folder / "timed.c").write_text(TIMED)
    words = [compiler, "-std=gnu99", "-O3", "-ffp-contract=off"]
    words += [f"-DREPEATED={REPEATED}", "timed.c", "-o", "timed", "-lm"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{compiler} refused the header: {done.stderr.splitlines()[0]}")

    def way(calls: int) -> np.ndarray:
        said = subprocess.check_output([str(folder / "timed"), str(calls)], text=True)
        return np.array(said.split(), float)

    return way


def python(*words: str) -> subprocess.Popen:
    """A Python of its own on one thread; its output is read through pipes."""
    env = {"PYTHONPATH": str(paths.ROOT), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *words], env=os.environ | env, **pipes)


def energy() -> float:
    """Joules that the processors have taken, as they count; NaN where nobody may ask.

    The counters begin again at 0 now and then: a median over rounds does not mind.
    """
    counters = sorted(RAPL.glob("intel-rapl:?/energy_uj")) if RAPL.exists() else []
    readable = [path for path in counters if os.access(path, os.R_OK)]
    if not readable:
        return float("nan")
    return sum(int(path.read_text()) for path in readable) / 1e6

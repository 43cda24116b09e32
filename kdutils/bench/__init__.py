"""bench: training, inference and watcher, side by side in one run.

What is compared alternates on one thread of one machine; a ratio or rate is the
geometric mean over rounds with its 95 % t interval. Only ratios mean something on
another machine.
"""

from __future__ import annotations

import re
import time
from collections import namedtuple
from collections.abc import Callable

import numpy as np

from kdutils import paths, stats
from kdutils.store import ledger

PERCENTILES = (50, 95, 99)
UNITS = {"ms": 1e3, "us": 1e6}  # in a second
Way = Callable[[int], np.ndarray]  # calls -> what is measured of each: its seconds


def clock(call: Callable, *given) -> tuple:
    """Seconds that a call takes, and what it returns."""
    start = time.perf_counter()
    found = call(*given)
    return time.perf_counter() - start, found


def timed(call: Callable, *given) -> Way:
    """The seconds of each call of a function."""
    return lambda calls: np.array([clock(call, *given)[0] for _ in range(calls)])


def alternated(ways: dict[str, Way], rounds: int, calls: int = 1, meter=float) -> dict:
    """What each way measured, (rounds, calls, ...), a meter's rise; one round warms."""
    took = {name: ([], []) for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            before = meter()
            took[name][0].append(way(calls))
            took[name][1].append(meter() - before)
    return {name: tuple(np.array(a[1:]) for a in two) for name, two in took.items()}


def taken(ways: dict[str, Callable], rounds: int, calls: int = 1) -> dict:
    """Seconds (rounds, calls) of each way; a first round, untimed, loads and warms."""
    own = {name: timed(way) for name, way in ways.items()}
    return {name: two[0] for name, two in alternated(own, rounds, calls).items()}


def latency(took: dict, unit: str, **baselines: str) -> dict[str, dict]:
    """Percentiles of each way, and under each name how often as fast as its baseline.

    took: seconds (rounds, calls) of each way; a ratio is one of medians of a round.
    """
    middle = {name: np.median(seconds, axis=1) for name, seconds in took.items()}
    found = {name: percentiles(seconds, unit) for name, seconds in took.items()}
    for column, first in baselines.items():
        for name, row in found.items():
            row |= mean(column, middle[first] / middle[name])
    return found


def percentiles(seconds, unit: str = "ms") -> dict[str, float]:
    """Percentiles of seconds: `p50_ms`, `p95_ms`, `p99_ms`; or of another unit."""
    values = UNITS[unit] * np.percentile(seconds, PERCENTILES)
    return {f"p{p}_{unit}": v for p, v in zip(PERCENTILES, values, strict=True)}


def mean(name: str, values: np.ndarray) -> dict[str, float]:
    """The geometric mean of numbers above 0 as `name`, and its interval's ends."""
    ends = np.exp(stats.mean_interval(np.log(np.ravel(values))))
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends.tolist(), strict=True))


def cpu() -> str:
    """The processor's name as a file may carry it: 'amd-epyc'."""
    name = ledger.machine()["cpu"]
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def keep(rows: list[dict], what: str) -> str:
    """Write rows, each with `cpu` and `threads`, under measured/; returns the path."""
    import pandas as pd

    path = paths.measured() / f"{what}-{rows[0]['cpu']}-t{rows[0]['threads']}.csv"
    text = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
    return str(paths.write(path, text.encode()))


Rows = namedtuple("Rows", "X y teacher X_val y_val")


def tester_rows(n: int, seed: int = 0) -> Rows:
    """About n training and n / 3 validation rows of the simulated tester, whole lots.

    X: float32 (n, d), prepared; y: (n,), 0 or 1; teacher: float32 (n,), the truth, the
    logit of P(fail | x): none has to be trained.
    """
    from kdutils.data.simulate import tester
    from kdutils.deploy.prepare import Prepare

    lots = max(3, n // 200)
    counts = {"train_lots": lots, "val_lots": lots // 3, "test_lots": 1}
    split = next(tester.splits(seed=seed, **counts))
    train, val = split.train, split.val
    prepare = Prepare.fit(train.X, train.y, split.features)
    p = np.clip(train.p, 1e-6, 1 - 1e-6)
    teacher = (np.log(p) - np.log1p(-p)).astype(np.float32)
    X, X_val = prepare.transform(train.X), prepare.transform(val.X)
    return Rows(X, train.y, teacher, X_val, val.y)

"""bench: training, inference and watcher, side by side in one run.

What is compared takes turns on one thread of one machine; a ratio or rate is the
geometric mean over turns with its 95 % t interval. Only ratios mean something on
another machine.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kdutils import paths, stats
from kdutils.store import ledger


def taken(ways: dict[str, Callable], rounds: int, calls: int = 1) -> dict:
    """Seconds (rounds, calls) of each way; a first round, untimed, loads and warms."""
    took = {name: np.empty((rounds + 1, calls)) for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            for call in range(calls):
                start = time.perf_counter()
                way()
                took[name][number, call] = time.perf_counter() - start
    return {name: seconds[1:] for name, seconds in took.items()}


def mean(name: str, values: np.ndarray) -> dict[str, float]:
    """The geometric mean of numbers above 0 as `name`, and its interval's ends."""
    ends = np.exp(stats.mean_interval(np.log(np.ravel(values))))
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends.tolist(), strict=True))


def cpu() -> str:
    """The processor's name as a file may carry it: 'amd-epyc'."""
    name = ledger.machine()["cpu"]
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def keep(rows: list[dict], what: str) -> str:
    """Write measured rows to measured/<what>-<cpu>-t<threads>.csv; returns the path.

    Each row has `cpu` and `threads`.
    """
    import pandas as pd

    path = paths.measured() / f"{what}-{rows[0]['cpu']}-t{rows[0]['threads']}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False, lineterminator="\n")
    return str(path)


@dataclass(frozen=True)
class Rows:
    """What both train on: X (n, d), y (n,), teacher logits (n,), validation rows."""

    X: np.ndarray
    y: np.ndarray
    teacher: np.ndarray
    X_val: np.ndarray
    y_val: np.ndarray


def tester_rows(n: int, seed: int = 0) -> Rows:
    """About n training and n / 3 validation rows of the simulated tester, whole lots.

    The teacher knows the truth, the logit of P(fail | x): none has to be trained.
    """
    from kdutils.data.simulate import tester
    from kdutils.deploy.prepare import Prepare

    lots = max(3, n // 200)
    split = next(
        tester.splits(seed=seed, train_lots=lots, val_lots=lots // 3, test_lots=1)
    )
    train, val = split.train, split.val
    prepare = Prepare.fit(train.X, train.y, split.features)
    p = np.clip(train.p, 1e-6, 1 - 1e-6)
    teacher = (np.log(p) - np.log1p(-p)).astype(np.float32)
    X, X_val = prepare.transform(train.X), prepare.transform(val.X)
    return Rows(X, train.y, teacher, X_val, val.y)

"""bench: latency and energy, measured side by side.

`python -m kdutils.bench grid` trains an alpha x T x seed grid with `grid.fit` and, in
the same run, on one thread of the same machine, the usual way: a DataLoader, autograd
and one student after another, from the same initial weights, with the same batches,
optimizer, schedule and validation epochs. Only the ratio means something elsewhere.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.utils.data import DataLoader, Sampler, TensorDataset

from kdutils import models
from kdutils.store import ledger
from kdutils.train import grid

TOLERANCE = 0.001  # largest difference of validation AUC between the two ways


@dataclass(frozen=True)
class Rows:
    """What both train on: X (n, d), y (n,), teacher logits (n,), validation rows."""

    X: np.ndarray
    y: np.ndarray
    teacher: np.ndarray
    X_val: np.ndarray
    y_val: np.ndarray


class Shuffled(Sampler):
    """Row numbers in the order that `grid` takes under a seed, epoch after epoch."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.generator = n, torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(self.n, generator=self.generator).tolist())


def tester_rows(n: int, seed: int = 0) -> Rows:
    """About n training and n / 3 validation rows of the simulated tester, whole lots.

    The teacher knows the truth, the logit of P(fail | x): none has to be trained.
    """
    from kdutils.data import tester
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


def one_student(
    rows: Rows, cell: grid.Cell, seed: int, *, epochs: int, batch: int, lr: float
) -> float:
    """Best validation AUC over the epochs of one 'kd' student, the usual way."""
    torch.manual_seed(seed)
    student = models.Student(rows.X.shape[1])
    arrays = (torch.from_numpy(a) for a in (rows.X, rows.y, rows.teacher))
    data = TensorDataset(*arrays)
    loader = DataLoader(data, batch_size=batch, sampler=Shuffled(len(data), seed))
    X_val, found, T = torch.from_numpy(rows.X_val), [0.0], cell.T

    def loss(z, y, t):
        soft = cross_entropy(z / T, torch.sigmoid(t / T))
        return (1 - cell.alpha) * cross_entropy(z, y) + cell.alpha * T**2 * soft

    def judge() -> None:
        with torch.no_grad():
            found.append(roc_auc_score(rows.y_val, student(X_val).numpy()))

    usual(student, loader, loss, epochs=epochs, lr=lr, after=judge)
    return max(found)


def usual(
    net, loader: DataLoader, loss: Callable, *, epochs: int, lr: float, after=None
) -> None:
    """Train a net the usual way: AdamW without decay, a cosine to 0, batch by batch.

    loader: batches (x, *targets); loss: (net(x), *targets) -> scalar; after: called at
    the end of each epoch.
    """
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=0.0)
    steps = epochs * len(loader)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for x, *targets in loader:
            value = loss(net(x), *targets)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
        if after is not None:
            after()


def grid_against_loop(
    *,
    alphas: int = 7,
    temperatures: int = 7,
    seeds: int = 5,
    rows: int = 6000,
    epochs: int = 10,
    batch: int = 256,
    lr: float = 1e-3,
    baseline_cells: int = 10,
) -> list[dict]:
    """Two rows, the usual way and the grid: students, seconds, students per second.

    `times` is their ratio; `auc_difference` the largest difference of validation AUC
    over the `baseline_cells` students, evenly chosen, that were trained the usual way
    as well; a ValueError beyond TOLERANCE. Both ways first train for an epoch untimed,
    which loads libraries and makes kernels.
    """
    data = tester_rows(rows)
    cells = [
        grid.Cell("kd", alpha, T)
        for alpha in np.linspace(0.1, 1, alphas)
        for T in np.linspace(1, 10, temperatures)
    ]
    how = {"batch": batch, "lr": lr}
    pairs = [(s, c) for s in range(seeds) for c in range(len(cells))]
    chosen = np.linspace(0, len(pairs) - 1, min(baseline_cells, len(pairs))).astype(int)
    sample = [pairs[i] for i in chosen]

    def whole(epochs: int, cells: list[grid.Cell], seeds: int) -> grid.Grid:
        own = {"seeds": range(seeds), "X_val": data.X_val, "y_val": data.y_val}
        return grid.fit(
            data.X, data.y, data.teacher, cells, **own, epochs=epochs, **how
        )

    whole(1, cells, 1)
    one_student(data, cells[0], 0, epochs=1, **how)
    start = time.perf_counter()
    trained = whole(epochs, cells, seeds)
    middle = time.perf_counter()
    usual = [one_student(data, cells[c], s, epochs=epochs, **how) for s, c in sample]
    end = time.perf_counter()

    difference = max(
        abs(trained.val_auc[at] - a) for at, a in zip(sample, usual, strict=True)
    )
    if difference > TOLERANCE:
        raise ValueError(
            f"grid and loop differ by {difference:.5f} in validation AUC, "
            f"expected at most {TOLERANCE}"
        )
    shared = {
        "rows": len(data.X), "epochs": epochs, "batch": batch,
        "cpu": cpu(), "threads": torch.get_num_threads(), "auc_difference": difference,
    }  # fmt: skip
    found = [
        {"way": "one after another", "students": len(sample), "seconds": end - middle},
        {"way": "grid", "students": len(pairs), "seconds": middle - start},
    ]
    return compared(found, shared)


def compared(found: list[dict], shared: dict) -> list[dict]:
    """The ways with their students per second, as `times` the first way's too."""
    for row in found:
        row["per_second"] = row["students"] / row["seconds"]
        row["times"] = row["per_second"] / found[0]["per_second"]
    return [{**row, **shared} for row in found]


def options(parser: argparse.ArgumentParser, way: Callable) -> None:
    """A flag for each setting of a comparison, with its default."""
    for name, default in way.__kwdefaults__.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true", default=default)
        else:
            parser.add_argument(flag, type=type(default), default=default)
    parser.add_argument("--write", action="store_true", help="keep it under measured/")


def cpu() -> str:
    """The processor's name as a file may carry it: 'amd-epyc'."""
    name = ledger.machine()["cpu"]
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def keep(rows: list[dict], what: str) -> str:
    """Write measured rows to measured/<what>-<cpu>-t<threads>.csv; returns the path.

    Each row has `cpu` and `threads`.
    """
    import pandas as pd

    from kdutils import paths

    path = paths.measured() / f"{what}-{rows[0]['cpu']}-t{rows[0]['threads']}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False, lineterminator="\n")
    return str(path)


def main(words: list[str] | None = None) -> list[dict]:
    """The command line; the only place of this module that prints."""
    parser = argparse.ArgumentParser(prog="python -m kdutils.bench")
    parser.add_argument("what", nargs="?", choices=["grid"], default="grid")
    options(parser, grid_against_loop)
    given = vars(parser.parse_args(words))
    del given["what"]
    write = given.pop("write")
    torch.set_num_threads(1)
    found = grid_against_loop(**given)
    for row in found:
        print(
            f"{row['way']:>17}: {row['students']:4d} students in "
            f"{row['seconds']:6.2f} s, {row['per_second']:8.2f} a second, "
            f"{row['times']:6.1f} x"
        )
    print(f"largest difference of validation AUC: {found[0]['auc_difference']:.1e}")
    if write:
        print(keep(found, "grid"))
    return found


if __name__ == "__main__":
    main()

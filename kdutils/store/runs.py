"""runs: one config, one directory: open, resume, finish, collect, map in parallel.

A run's id is the first 12 hex digits of the sha256 over {stage, config, data digest,
digest of the kdutils modules that the recipe reaches}. A directory without DONE never
counts: it is resumed from the steps that it finished. One with DONE is never
overwritten. A recipe is a module with STAGE, `digest(config) -> str` and
`compute(config, run) -> dict`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

from kdutils import paths
from kdutils.store import code, ledger

RECORD, DONE, LOCK = "record.json", "DONE", ".lock"
# What a progress line says of a config.
NAMES = ("source", "rows", "site", "group", "student", "way", "net", "seed")


@dataclass(frozen=True)
class Run:
    """One config's directory."""

    stage: str
    id: str
    config: dict

    @property
    def folder(self) -> Path:
        return paths.runs(self.stage) / self.id

    @property
    def done(self) -> bool:
        return (self.folder / DONE).exists()

    def step(self, name: str, compute: Callable[[], dict]) -> dict[str, np.ndarray]:
        """The arrays that `compute` returns, computed once and kept as <name>.npz.

        A run that was killed starts again after the last step that it finished.
        """
        path = self.folder / f"{name}.npz"
        if not path.exists():
            arrays = compute()
            self.folder.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{name}.{os.getpid()}.part")
            with part.open("wb") as file:
                np.savez_compressed(file, **arrays)
            os.replace(part, path)
        return self.arrays(name)

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays that the step `name` kept."""
        with np.load(self.folder / f"{name}.npz") as stored:
            return {key: stored[key] for key in stored.files}

    def checkpoint(self, name: str) -> Path:
        """Where a training keeps its state until the run is done."""
        return self.folder / f"{name}.checkpoint"

    def need(self, recipe: ModuleType, id: str) -> Run:
        """Another run whose arrays this reads; recomputed if only a record is kept."""
        return open(recipe, id)


def open(recipe: ModuleType, id: str) -> Run:
    """A finished run with its arrays; recomputed here if only its record was kept."""
    line = _record(recipe.STAGE, id) or ledger.read(recipe.STAGE).get(id)
    if line is None:
        raise ValueError(f"run {id} of {recipe.STAGE} is not there: run it first")
    run = Run(recipe.STAGE, id, line["config"])
    if not run.done:
        _execute(recipe.__name__, run, line["data"], code.digest(recipe.__name__))
    return run


def deliver(files: dict[str, bytes]) -> None:
    """Let `files` be what the report's ship folder holds for an engineer to take."""
    for old in paths.ship().glob("*"):
        if old.name not in files:
            old.unlink()
    for name, content in files.items():
        paths.write(paths.ship() / name, content)
        print(paths.ship().name + "/" + name, f"{len(content):,} bytes")


def identify(recipe: ModuleType, config: dict) -> tuple[str, str, str]:
    """(run id, data digest, code digest) of a config."""
    data, program = recipe.digest(config), code.digest(recipe.__name__)
    text = ledger.canonical(
        {"stage": recipe.STAGE, "config": config, "data": data, "code": program}
    )
    return hashlib.sha256(text.encode()).hexdigest()[:12], data, program


def map(
    recipe: ModuleType, configs: Iterable[dict], *, workers: int | None = None
) -> pd.DataFrame:
    """Compute, resume or look up every config; one row per item of each record's rows.

    workers: processes at once, each with one thread; by default KD_WORKERS or the
    number of processors. Each finished run prints one line on stderr.
    """
    configs = [json.loads(ledger.canonical(config)) for config in configs]
    runs = _found(recipe, configs, workers)
    manifest = {"params": _params(recipe), "configs": configs}
    paths.write(_manifest(recipe), ledger.canonical(manifest).encode())
    if paths.reports().name == "paper":
        _keep(recipe, runs)
    return _rows(recipe, runs)


def collect(recipe: ModuleType) -> pd.DataFrame:
    """The rows of the last `map` of this recipe: config columns, record columns, `run`.

    What is missing of them is computed again. Raises ValueError where there was no map
    or where the parameters of its stage have changed since.
    """
    if not _manifest(recipe).exists():
        raise ValueError(
            f"{recipe.STAGE} has no runs in {paths.reports().name}: run it first"
        )
    manifest = json.loads(_manifest(recipe).read_text())
    if manifest["params"] != _params(recipe):
        raise ValueError(
            f"{paths.params(recipe.STAGE)} has changed since {recipe.STAGE} ran in "
            f"{paths.reports().name}: run it first"
        )
    return _rows(recipe, _found(recipe, manifest["configs"], None))


def _found(recipe: ModuleType, configs: list[dict], workers: int | None) -> list[Run]:
    """The finished run of every config; what the ledger knows is not computed."""
    kept = {
        _key(line["config"], line["data"]): line
        for line in ledger.read(recipe.STAGE).values()
    }
    runs, todo = [], []
    for config in configs:
        id, data, program = identify(recipe, config)
        run = Run(recipe.STAGE, id, config)
        if not run.done and (line := kept.get(_key(config, data))):
            run = Run(recipe.STAGE, line["id"], config)
        elif not run.done:
            todo.append((run, data, program))
        runs.append(run)
    _compute(recipe, todo, workers)
    return runs


def _rows(recipe: ModuleType, runs: list[Run]) -> pd.DataFrame:
    """One row per item of each record's rows.

    A row whose record was made by other code than today's has `older_code` True.
    Where no record has a row, the columns of the configs are there.
    """
    kept, program = ledger.read(recipe.STAGE), code.digest(recipe.__name__)
    rows, base = [], {}
    for run in runs:
        line = kept.get(run.id) or _record(recipe.STAGE, run.id)
        base = {"run": run.id, "older_code": line["code"] != program, **line["config"]}
        rows += [{**base, **row} for row in line["record"]["rows"]]
    return pd.DataFrame(rows, columns=None if rows else list(base))


def _manifest(recipe: ModuleType) -> Path:
    """Where a recipe's last `map` keeps what it was asked for."""
    return paths.runs(recipe.STAGE) / f"{_name(recipe)}.json"


def _params(recipe: ModuleType) -> str:
    """sha256 of the parameters that the profile gives to a recipe's stage."""
    path = paths.params(recipe.STAGE)
    return hashlib.sha256(path.read_bytes() if path.exists() else b"").hexdigest()


def _name(recipe: ModuleType) -> str:
    return recipe.__name__.rsplit(".", 1)[-1]


def _key(config: dict, data: str) -> str:
    return ledger.canonical([config, data])


def _record(stage: str, id: str) -> dict | None:
    folder = paths.runs(stage) / id
    return (
        json.loads((folder / RECORD).read_text()) if (folder / DONE).exists() else None
    )


def _compute(
    recipe: ModuleType, todo: list[tuple[Run, str, str]], workers: int | None
) -> None:
    if not todo:
        return
    import joblib

    given = os.environ.get("KD_WORKERS") or str(os.cpu_count() or 1)
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"KD_WORKERS is {given!r}: expected a whole number above 0")
    workers = workers or int(given)
    start = time.perf_counter()
    jobs = (joblib.delayed(_execute)(recipe.__name__, *one) for one in todo)
    pool = joblib.Parallel(
        n_jobs=min(workers, len(todo)), return_as="generator_unordered"
    )
    for count, (label, seconds) in enumerate(pool(jobs), start=1):
        left = (time.perf_counter() - start) / count * (len(todo) - count)
        print(
            f"{recipe.STAGE} {count}/{len(todo)} {label} {seconds:.1f} s, "
            f"{left / 60:.1f} min left",
            file=sys.stderr,
            flush=True,
        )


def _execute(recipe_name: str, run: Run, data: str, program: str) -> tuple[str, float]:
    import torch

    torch.set_num_threads(1)
    recipe = importlib.import_module(recipe_name)
    label = " ".join(
        f"{key}={value}"
        for key, value in run.config.items()
        if key in NAMES and not isinstance(value, dict)
    )
    start = time.perf_counter()
    with _locked(run.folder), warnings.catch_warnings():
        # what is wrong with a table is said once, by the notebook that reads it first
        warnings.filterwarnings("ignore", module=r"kdutils\.data\.")
        # images as read are kept for the process's next run, so they are read-only
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        if not run.done:
            record = recipe.compute(run.config, run)
            line = {
                "id": run.id,
                "stage": run.stage,
                "config": run.config,
                "data": data,
                "code": program,
                "record": record,
                "machine": ledger.machine(),
                "seconds": round(time.perf_counter() - start, 1),
            }
            text = json.dumps(line, sort_keys=True, indent=1, allow_nan=False)
            paths.write(run.folder / RECORD, text.encode())
            for path in run.folder.glob("*.checkpoint*"):
                path.unlink()
            paths.write(run.folder / DONE, b"")
    return label, time.perf_counter() - start


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time in a run's directory, also after a kill left an orphan."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        with contextlib.suppress(ImportError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _keep(recipe: ModuleType, runs: list[Run]) -> None:
    kept = ledger.read(recipe.STAGE)
    lines = [kept.get(run.id) or _record(run.stage, run.id) for run in runs]
    ledger.keep(recipe.STAGE, _name(recipe), lines)

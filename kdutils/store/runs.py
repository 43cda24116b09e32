"""runs: one config, one directory: open, resume, finish, collect, map in parallel.

A run's id is the first 12 hex digits of the sha256 over {stage, config, data digest,
digest of the kdutils modules that the recipe reaches}. A directory without DONE never
counts: it is resumed from the steps that it finished. One with DONE is never
overwritten. A recipe is a module with `Config`, a dataclass that its configs fit,
`digest(config) -> str` and `compute(config, run) -> dict`; any stage may use it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import re
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

from kdutils import paths, ranges
from kdutils.store import code, ledger
from kdutils.store import config as settings

CONNECT = 10  # seconds that a Dask scheduler has to answer
RECORD, DONE, LOCK = "record.json", "DONE", ".lock"
# What a progress line says of a config.
NAMES = ("source", "rows", "site", "group", "student", "method", "way", "net", "seed")


@dataclass(frozen=True)
class Run:
    """One config's directory; device: where its nets are trained, 'cpu' or 'cuda'."""

    stage: str
    id: str
    config: dict
    device: str = "cpu"

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

    def training(self, name: str) -> dict:
        """Where `train.fit` trains a step's net, and the file of its checkpoint."""
        own = self.folder / f"{name}.checkpoint"
        return {"device": self.device, "checkpoint": own}

    def need(self, recipe: ModuleType, id: str) -> Run:
        """Another run whose arrays this reads; recomputed if only a record is kept."""
        return open(recipe, id, self.device)


def open(recipe: ModuleType, id: str, device: str = "cpu") -> Run:
    """A finished run of any stage; recomputed here if only its record was kept."""
    done = next(paths.runs("").glob(f"*/{id}/{DONE}"), None)
    line = _record(done.parent.parent.name, id) if done else ledger.find(id)
    if line is None:
        raise ValueError(f"run {id} of {_name(recipe)} is not there: run it first")
    run = Run(line["stage"], id, line["config"], device)
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


def identify(stage: str, recipe: ModuleType, config: dict) -> tuple[str, str, str]:
    """(run id, data digest, code digest) of a config in a stage."""
    data, program = recipe.digest(config), code.digest(recipe.__name__)
    named = {"stage": stage, "config": config, "data": data, "code": program}
    text = ledger.canonical(named)
    return hashlib.sha256(text.encode()).hexdigest()[:12], data, program


def map(
    stage: str,
    recipe: ModuleType,
    configs: Iterable[dict],
    *,
    part: str = "",
    device: str = "auto",
    workers: int | None = None,
) -> pd.DataFrame:
    """Compute, resume or look up every config; one row per item of each record's rows.

    part: a word for these configs, where a stage maps one recipe more than once.
    device: where nets are trained: auto, cpu or cuda; workers: processes at once, each
    with one thread; by default KD_WORKERS or the number of processors. Where KD_DASK
    is the address of a Dask scheduler, its workers compute, in this same folder. Each
    finished run prints one line on stderr. Raises ValueError, before anything is
    computed, for a config that does not fit `recipe.Config`.
    """
    configs = [json.loads(ledger.canonical(config)) for config in configs]
    for config in configs:
        settings.check(recipe.Config, config, _name(recipe))
    old = ledger.every(stage)
    kept = {} if ledger.fresh(stage) else old
    runs = _found(stage, recipe, configs, kept, ranges.device(device), workers)
    manifest = {"params": _params(stage), "configs": configs}
    paths.write(_manifest(stage, recipe, part), ledger.canonical(manifest).encode())
    if paths.reports().name == "paper":
        lines = [kept.get(run.id) or _record(stage, run.id) for run in runs]
        ledger.keep(stage, _name(recipe, part), lines, old)
    return _rows(stage, recipe, runs, kept)


def collect(stage: str, recipe: ModuleType, *, part: str = "") -> pd.DataFrame:
    """The rows of a stage's last `map` of a recipe: config and record columns, `run`.

    What is missing of them is computed again. Raises ValueError where there was no map
    or where the parameters of the stage have changed since.
    """
    manifest = _manifest(stage, recipe, part)
    if not manifest.exists():
        raise ValueError(f"{stage} has no runs in {paths.reports().name}: run it first")
    manifest = json.loads(manifest.read_text())
    if manifest["params"] != _params(stage):
        raise ValueError(
            f"{paths.params(stage)} has changed since {stage} ran in "
            f"{paths.reports().name}: run it first"
        )
    kept, device = ledger.read(stage), ranges.device("auto")
    found = _found(stage, recipe, manifest["configs"], kept, device, None)
    return _rows(stage, recipe, found, kept)


def _found(
    stage: str,
    recipe: ModuleType,
    configs: list[dict],
    kept: dict[str, dict],
    device: str,
    workers: int | None,
) -> list[Run]:
    """The finished run of every config; what the ledger knows is not computed."""
    known = {_key(line["config"], line["data"]): line for line in kept.values()}
    runs, todo = [], []
    for config in configs:
        id, data, program = identify(stage, recipe, config)
        run = Run(stage, id, config, device)
        if not run.done and (line := known.get(_key(config, data))):
            run = Run(stage, line["id"], config, device)
        elif not run.done:
            todo.append((run, data, program))
        runs.append(run)
    _compute(stage, recipe, todo, workers)
    return runs


def _rows(
    stage: str, recipe: ModuleType, runs: list[Run], kept: dict[str, dict]
) -> pd.DataFrame:
    """One row per item of each record's rows.

    A row whose record was made by other code than today's has `older_code` True.
    Where no record has a row, the columns of the configs are there.
    """
    program, rows, base = code.digest(recipe.__name__), [], {}
    for run in runs:
        line = kept.get(run.id) or _record(stage, run.id)
        base = {"run": run.id, "older_code": line["code"] != program, **line["config"]}
        rows += [{**base, **row} for row in line["record"]["rows"]]
    return pd.DataFrame(rows, columns=None if rows else list(base))


def _manifest(stage: str, recipe: ModuleType, part: str) -> Path:
    """Where a recipe's last `map` in a stage keeps its configs."""
    return paths.runs(stage) / f"{_name(recipe, part)}.json"


def _params(stage: str) -> str:
    """sha256 of the parameters that the profile gives to a stage."""
    path = paths.params(stage)
    return hashlib.sha256(path.read_bytes() if path.exists() else b"").hexdigest()


def _name(recipe: ModuleType, part: str = "") -> str:
    return recipe.__name__.rsplit(".", 1)[-1] + (f"-{part}" if part else "")


def _key(config: dict, data: str) -> str:
    return ledger.canonical([config, data])


def _record(stage: str, id: str) -> dict | None:
    folder = paths.runs(stage) / id
    done = (folder / DONE).exists()
    return json.loads((folder / RECORD).read_text()) if done else None


def _compute(
    stage: str, recipe: ModuleType, todo: list[tuple], workers: int | None
) -> None:
    if not todo:
        return
    import joblib

    given = os.environ.get("KD_WORKERS") or str(os.cpu_count() or 1)
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"KD_WORKERS is {given!r}: expected a whole number above 0")
    workers = workers or int(given)
    start = time.perf_counter()
    place = str(paths.ROOT), {k: v for k, v in os.environ.items() if k[:3] == "KD_"}
    jobs = (joblib.delayed(_there)(*place, recipe.__name__, *one) for one in todo)
    with _backend(min(workers, len(todo))) as backend:
        pool = joblib.Parallel(**backend, return_as="generator_unordered")
        for count, (label, seconds) in enumerate(pool(jobs), start=1):
            left = (time.perf_counter() - start) / count * (len(todo) - count)
            told = f"{stage} {count}/{len(todo)} {label} {seconds:.1f} s"
            print(f"{told}, {left / 60:.1f} min left", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _backend(workers: int) -> Iterator[dict]:
    """Where joblib computes: so many processes here, or the Dask cluster at KD_DASK.

    ValueError, one sentence, if Dask is not installed or the address does not answer.
    """
    if not (address := os.environ.get("KD_DASK", "")):
        yield {"n_jobs": workers}
        return
    import joblib

    try:
        import distributed
    except ImportError:
        raise ValueError(
            f"DASK={address} needs the package distributed: "
            "python -m pip install distributed"
        ) from None
    form = re.fullmatch(r"(?:tcp|tls)://(.+):(\d+)", address)
    try:
        if not form:
            raise OSError("no address of a scheduler")
        # a scheduler speaks first; a client would wait for ever for one that does not
        place = form[1].strip("[]"), int(form[2])
        with socket.create_connection(place, CONNECT) as plain:
            if address.startswith("tcp") and not plain.recv(1):
                raise OSError("closed")
        client = distributed.Client(address, timeout=CONNECT, set_as_default=False)
        client.wait_for_workers(1, timeout=CONNECT)
    except (OSError, OverflowError) as problem:  # a timeout is an OSError
        raise ValueError(
            f"DASK={address} does not answer as a Dask scheduler with a worker within "
            f"{CONNECT} s: expected an address such as tcp://10.0.0.1:8786"
        ) from problem
    with client, joblib.parallel_config("dask", client=client):
        yield {"n_jobs": -1, "pre_dispatch": "all", "batch_size": 1}


def _there(root: str, variables: dict[str, str], *one) -> tuple[str, float]:
    """`_execute` in another process, with the caller's folder and KD_ variables."""
    paths.ROOT = Path(root)
    os.environ.update(variables)
    return _execute(*one)


def _execute(recipe_name: str, run: Run, data: str, program: str) -> tuple[str, float]:
    import torch

    torch.set_num_threads(1)
    recipe = importlib.import_module(recipe_name)
    named = ((key, run.config[key]) for key in run.config if key in NAMES)
    label = " ".join(f"{k}={value}" for k, value in named if type(value) is not dict)
    start = time.perf_counter()
    with _locked(run.folder), warnings.catch_warnings():
        # what is wrong with a table is shown once, by the notebook that reads it first
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

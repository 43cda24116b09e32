"""recipes.edge_watcher: a simulated shift, its watcher killed now and then.

Only counts are kept, which are the same on every run: lots and appended rows that were
judged, refused, lost, doubled or wrong. What it took is for `bench_edge` to say. Of the
simulated tester, whose truth is known: what drift is noticed, and what it costs.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdutils import metrics
from kdutils.data.simulate import tester
from kdutils.deploy import drift
from kdutils.edge import model, simulate, torture
from kdutils.store.config import Count, Natural

GARBAGE, CRASH = 0.09, 0.01  # shares of lots
COUNTS = ("lots", "judged", "refused", "right", "lost", "doubled", "wrong", "devices")
UNITS = 1000.0  # a reading in mV instead of V
STEADY, TRIALS, WITHIN = 500, 10, 500  # lots without drift; shifts; devices of each
RAMP, BLOCK, FURTHEST = 40_000, 4_000, 3.0  # devices; a row's; spreads at the end
VERDICTS = ("pass", "fail")
CELLS = {"no number": "NaN", "infinite": "inf", "too large": "1e400", "empty": ""}


@dataclass(frozen=True)
class Config:
    """One shift: a bundle as base64, and what happens to its lots."""

    source: str
    seed: Natural
    bundle: str
    lots: Count
    rows: Count
    kills: Natural


def plan(students: dict[str, bytes], *, seeds: int, **settings) -> list[dict]:
    """One config per student and seed.

    students: source -> the bundle that stage 06 ships; settings: `lots` of which one in
    ten is malformed, `rows` of each second lot (the others have one), `kills`.
    """
    return [
        {"source": source, "seed": seed, "bundle": base64.b64encode(file).decode()}
        | settings
        for source, file in students.items()
        for seed in range(seeds)
    ]


def digest(config: dict) -> str:
    """The student's bytes are all that it reads."""
    return hashlib.sha256(base64.b64decode(config["bundle"])).hexdigest()[:16]


def compute(config: dict, run) -> dict:
    """A row per kind of lot (`part` lots), one for the growing file, one per outlier.

    Of the simulated tester also those of `drifts`.
    fault: `good`, or the kind of Malformed. right: refused with the right kind, row and
    column. wrong: another verdict or reason than the same bytes have without a watcher.
    RuntimeError where the shift could not be played.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "student"
        file.write_bytes(base64.b64decode(config["bundle"]))
        words = [sys.executable, "-m", __name__, str(file), folder]
        asked = {k: v for k, v in config.items() if k != "bundle"}
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        how = {"env": env, "capture_output": True, "text": True}
        played = subprocess.run([*words, json.dumps(asked)], **how)
        if played.returncode:
            said = played.stderr.strip().splitlines() or ["no reason given"]
            raise RuntimeError(f"the shift of {config['source']} ended: {said[-1]}")
        rows, student = json.loads(played.stdout), model.load(file)
        rows += outliers(student, config["seed"], Path(folder))
        if config["source"] == "tester":
            rows += drifts(student, config["seed"])
    return {"rows": [{"kind": "simulated", **row} for row in rows]}


def shift(file: str, folder: Path, config: dict) -> list[dict]:
    """Write lots while watchers live and die; a last one finishes; count."""
    student, rng = model.load(file), np.random.default_rng(config["seed"])
    inbox, outbox = folder / "inbox", folder / "outbox"
    inbox.mkdir()
    lots = written(student, rng, config)
    line = torture.Line(student, inbox, rng)
    stray = torture.shift(file, outbox, lots, line, config["kills"])
    rows = counted(student, lots, outbox, folder)
    rows.append(appended(student, line, inbox, outbox, folder))
    stray += torture.compare(student, lots, outbox, folder)
    return [{**row, "stray": len(stray)} for row in rows]


def written(student, rng: np.random.Generator, config: dict) -> list[simulate.Lot]:
    """The lots of a shift in their order: one row, many rows, one row, ..."""
    options = {name: default for name, _, default, _ in simulate.OPTIONS}
    options |= {"garbage": GARBAGE, "crash": CRASH}
    sizes = [{"rows": 1}, {"rows": config["rows"]}]
    number = range(config["lots"])
    return [simulate.one(student, rng, i, options | sizes[i % 2]) for i in number]


def counted(student, lots, outbox: Path, folder: Path) -> list[dict]:
    """COUNTS by kind of lot, from what lies in done/, quarantine/ and verdicts/."""
    there = defaultdict(list)
    for path in (outbox / "verdicts").iterdir():
        there[path.name.partition(".")[0]].append(path)
    found = defaultdict(Counter)
    for lot in lots:
        judged = torture.judge(student, lot.content, folder / "lot", lot.name)
        kept = torture.verdicts.kept(judged.digest, lot.name)
        places = [outbox / name / kept for name in ("done", "quarantine")]
        said, row = there[judged.digest[:32]], found[lot.kind]
        outcomes = len(said) + places[1].exists()
        row.update({"lots": 1, "lost": outcomes == 0, "doubled": outcomes > 1})
        wanted = torture.undated(judged.content)
        found_there = said and torture.undated(said[0].read_bytes())
        if said and (lot.kind != "good" or found_there != wanted):
            row["wrong"] += 1
        elif said:
            row.update({"judged": places[0].exists(), "devices": lot.rows})
        if places[1].exists():
            right = reason(places[1]) == (lot.kind, lot.row, lot.column)
            row.update({"refused": 1, "right": right, "wrong": not right})
    return [
        {"part": "lots", "fault": kind, **{name: int(row[name]) for name in COUNTS}}
        for kind, row in sorted(found.items())
    ]


def reason(path: Path) -> tuple:
    """Kind, row and column of the reason beside a quarantined lot, or None thrice."""
    file = path.with_name(path.name + torture.verdicts.REASON)
    said = json.loads(file.read_text()) if file.exists() else {}
    return tuple(said.get(name) for name in ("kind", "row", "column"))


def appended(student, line, inbox: Path, outbox: Path, folder: Path) -> dict:
    """COUNTS of the growing file, whose lots are its rows."""
    true = {}
    for path in inbox.glob(f"{torture.GROWING}*"):
        head, *rows = path.read_bytes().splitlines(keepends=True)
        whole = head + b"".join(row for row in rows if b"NaN" not in row)
        for one in torture.judge(student, whole, folder / "lot").content.splitlines():
            id, *cells = one.decode().split(",")[:3]
            true[id] = [id, *cells]
    found = []
    for path in (outbox / "verdicts").glob(f"{torture.GROWING}.*.csv"):
        with open(path, newline="") as file:
            found += list(csv.reader(file))[1:]
    wanted, ids = Counter(line.ids), Counter(row[1] for row in found)
    refused = [row for row in found if row[3] == "refused"]
    judged = [row for row in found if row[3] != "refused"]
    right = sum("expected a finite decimal number" in row[-1] for row in refused)
    good = sum(row[1:4] == true.get(row[1]) for row in judged)
    counts = [len(line.ids), len(judged), len(refused), right]
    counts += [(wanted - ids).total(), (ids - wanted).total()]
    counts += [len(found) - good - right, good]
    row = dict(zip(COUNTS, counts, strict=True))
    return {"part": "growing", "fault": "rows", **row}


def outliers(student: model.Model, seed: int, folder: Path) -> list[dict]:
    """What three ways say to a good row of which one cell is not what it should be.

    int8: the student alone; xgboost: a booster that learnt the student's logits on
    rows in range, under the same threshold; watcher: the whole way of a lot.
    """
    rng = np.random.default_rng(seed)
    (_, cells) = simulate.content(student, rng, 1)
    column, booster = misread(student), boosted(student, rng)
    cases = {"as measured": cells[column + 1], **CELLS}
    cases["another unit"] = f"{UNITS * float(cells[column + 1]):.6g}"
    rows = []
    for case, text in cases.items():
        cells[column + 1] = text
        X = np.array([[float(cell or "nan") for cell in cells[1:]]])
        lot = simulate.joined([["id", *student.features], cells])
        said = torture.judge(student, lot, folder / "outlier")
        row = {"part": "outlier", "fault": case, "cell": text}
        row["column"] = student.features[column]
        row["int8"] = VERDICTS[bool(student.judge(X)[1][0])]
        row["xgboost"] = booster(X)
        row["watcher"] = (
            "refused" if said.wrong is not None else VERDICTS[said.fails > 0]
        )
        rows.append(row | {"reason": str(said.wrong or "")})
    return rows


def misread(student: model.Model) -> int:
    """The column whose reading stands for all: bounded on both sides, if there is one.

    Of those the one that is farthest from 0, in the scaler's unit: another unit shows.
    """
    far = np.abs(student.bundle.prepare.center * student.bundle.prepare.scale)
    bounded = (student.high < model.LARGEST) & (student.low > -model.LARGEST)
    return int(np.argmax(far * bounded if bounded.any() else far))


def boosted(student: model.Model, rng, *, rows: int = 4000, trees: int = 100):
    """X (1, d) -> pass, fail or refused, said by a booster that the student taught."""
    import xgboost

    X = student.typical(rng, rows)
    how = {"max_depth": 4, "nthread": 1, "verbosity": 0, "seed": 0}
    data = xgboost.DMatrix(X, label=student.judge(X)[0])
    booster = xgboost.train(how, data, num_boost_round=trees)

    def say(X: np.ndarray) -> str:
        try:
            score = booster.inplace_predict(X)[0]
        except (ValueError, xgboost.core.XGBoostError):
            return "refused"
        return VERDICTS[bool(score > student.bundle.threshold)]

    return say


def drifts(student: model.Model, seed: int) -> list[dict]:
    """What is noticed of a shift of 1 sd, by reading; and AUC as one reading drifts.

    Part `steady`: alarms in lots without drift; `shift`: how often each reading's shift
    is noticed within WITHIN devices, and after how many; `ramp`: block by block, a slow
    drift of the reading that costs most, in spreads as the scaler has them. No row of a
    bundle that knows nothing of its lots.
    """
    if student.lots is None:
        return []
    rng = np.random.default_rng([seed, 7])
    X, failed = tester.produce(rng, lots=STEADY, devices=200)[:2]
    names = [tester.ph.NAMES.index(name) for name in student.features]
    X = X[:, names].astype(np.float32)
    spread, before = np.nanstd(X, axis=0), drift.WINDOW
    found = np.diff(alarms(student, X).astype(int), prepend=0)
    rows = [{"part": "steady", "devices": len(X), "alarms": int((found > 0).sum())}]
    for j, name in enumerate(student.features):
        after = []
        for sign in TRIALS // 2 * (-1, 1):
            start = int(rng.integers(before, len(X) - WITHIN))
            some = X[start - before : start + WITHIN].copy()
            some[before:, j] += sign * spread[j]
            late = np.flatnonzero(alarms(student, some)[before // drift.STEP :])
            after += [drift.STEP * (1 + late[0])] if len(late) else []
        row = {"part": "shift", "reading": name, "trials": TRIALS}
        row |= {"noticed": len(after), "after": float(np.median(after or [np.nan]))}
        rows.append(row)
    X, failed = X[:RAMP], failed[:RAMP]
    moves = np.diag(1 / student.bundle.prepare.scale)
    costs = [metrics.auc(failed, student.judge(X + move)[0]) for move in moves]
    worst = int(np.argmin(costs))
    shift = FURTHEST * np.arange(RAMP, dtype=np.float32) / RAMP
    ramp = X + shift[:, None] * moves[worst]
    scores = [student.judge(some)[0] for some in (X, ramp)]
    seen = np.repeat(alarms(student, ramp), drift.STEP)
    for start in range(0, RAMP, BLOCK):
        part = slice(start, start + BLOCK)
        steady, auc = (metrics.auc(failed[part], s[part]) for s in scores)
        row = {"part": "ramp", "reading": student.features[worst]}
        row |= {"devices": start + BLOCK, "shift": float(shift[part].mean())}
        row |= {"alarm": float(seen[part].mean()), "auc": auc, "lost": steady - auc}
        rows.append(row)
    return rows


def alarms(student: model.Model, X: np.ndarray) -> np.ndarray:
    """Whether there is an alarm after each STEP of devices (n, d): (n / STEP,)."""
    watched = drift.Drift(student.bundle, student.lots, far=drift.SHIFT)
    found = []
    for some in np.split(X, len(X) // drift.STEP):
        watched.add(some, np.zeros(len(some), np.float32))
        found.append(watched.alarm() != "")
    return np.array(found)


if __name__ == "__main__":
    print(json.dumps(shift(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))))

"""edge.torture: kill -9 at random moments; is any verdict lost, doubled or wrong?

    python -m kdutils.edge.torture --bundle FILE --files 20000 --kills 500
        [--user 65534] [--other BUNDLE]

Writes lots (one in ten malformed) and rows of a growing file that is rotated now and
then, while a watcher is started and killed; lets the last one finish; compares all that
it left with what it had to leave. Prints one JSON object; exit code 1 if they differ.
--user: the watcher is not root and owns no file, so nobody grants it leases. --other:
the bundle is replaced by this one and back, with SIGHUP, and a shadow judges too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from kdutils.edge import __main__ as command
from kdutils.edge import claim, model, reader, simulate, verdicts

GROWING = "grow.csv"
LIFE = 0.1  # seconds that a watcher lives on average
QUIET = 0.1  # seconds after which a file counts as closed where there are no leases


def start(bundle: str, inbox: Path, outbox: Path, *options: str, user: int = 0) -> int:
    """Fork a watcher, a user's or ours, that logs beside the outbox; its process id."""
    child = os.fork()
    if child:
        return child
    code = 3
    try:
        with open(f"{outbox}.log", "a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            if user:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
                options = (*options, "--settle", str(QUIET))
            folders = ["--inbox", str(inbox), "--outbox", str(outbox)]
            arguments = ["watch", "--bundle", bundle, *folders, *options]
            code = command.main([*arguments, "--patience", "0.2", "--grow", GROWING])
    finally:
        os._exit(code)


class Line:
    """The growing file's tester: appends in pieces, rotates; remembers all rows."""

    def __init__(self, student, inbox: Path, rng):
        self.student, self.path, self.rng = student, inbox / GROWING, rng
        self.ids, self.refused, self.rotated = [], 0, 0

    def add(self, rows: int) -> None:
        """Append rows, now and then a bad one, the last in two pieces."""
        cells = simulate.content(self.student, self.rng, rows)
        data = b"" if self.path.exists() else simulate.joined(cells[:1])
        for row in cells[1:]:
            row[0] = f"g{len(self.ids):07d}"
            good = self.rng.random() >= 0.1
            row[1] = row[1] if good else "NaN"
            self.refused += not good
            self.ids.append(row[0] if good else "")
            data += simulate.joined([row])
        with open(self.path, "ab", buffering=0) as file:
            file.write(data[:-9])
            file.write(data[-9:])
        if self.rng.random() < 0.05:
            self.rotated += 1
            os.rename(self.path, f"{self.path}.{self.rotated}")

    def check(self, outbox: Path) -> list[str]:
        """What differs: every row once, in the order in which it was written."""
        found = []
        for path in (outbox / "verdicts").glob(f"{GROWING}.*.csv"):
            rows = path.read_text().splitlines()[1:]
            place = int(path.name.split(".")[-2])
            found.append((place, [row.split(",")[1] for row in rows]))
        ids = [id for _, part in sorted(found) for id in part]
        return [] if ids == self.ids else [f"grow: {len(ids)} of {len(self.ids)} rows"]


def run(bundle: str, folder: Path, *, files, kills, seed=0, user=0, other="") -> dict:
    """Write, kill, drain, compare. `wrong` lists what differs, at most 20 sentences."""
    rng = np.random.default_rng(seed)
    inbox, outbox, served = (folder / name for name in ("inbox", "outbox", "served"))
    for place in (inbox, outbox):
        place.mkdir(parents=True)
        os.chown(place, user or -1, -1)
    paths = [folder / f"bundle-{number}" for number in range(1 + bool(other))]
    for path, file in zip(paths, (bundle, other), strict=False):
        path.write_bytes(Path(file).read_bytes())
    served.write_bytes(paths[0].read_bytes())
    student, *others = [model.load(path) for path in paths]
    how = {"files": files, "rows": 1, "rate": 0, "garbage": 0.09, "crash": 0.01}
    lots = list(simulate.lots(student, seed=seed, **how))
    line, began = Line(student, inbox, rng), time.time()
    wrong = shift(str(served), outbox, lots, line, kills + 1, user, paths)
    wrong += compare(student, lots, outbox, folder, *others) + line.check(outbox)
    names = os.listdir(outbox / "verdicts")
    judged = [sum(one.key[:12] in n for n in names) for one in (student, *others)]
    bad = sum(lot.kind != "good" for lot in lots)
    found = {"files": files, "kills": kills + 1, "malformed": bad}
    found |= {"verdicts of each bundle": judged, "rows appended": len(line.ids)}
    found |= {"rotated": line.rotated, "seconds": round(time.time() - began, 1)}
    began = Path(f"{outbox}.log").read_text().count(" watching ")
    return found | {"began to watch": began, "wrong": wrong[:20]}


def shift(bundle, outbox: Path, lots, line, kills: int, user=0, paths=()) -> list[str]:
    """Write lots and rows while one watcher after another dies; `drain` the rest.

    The line's generator says when each of the `kills` watchers dies, and how many rows
    are appended meanwhile. paths: whose content the bundle's file has in turn.
    """
    options = ["--timer", *(("--shadow", str(paths[1])) if paths[1:] else ())]
    inbox, rng = line.path.parent, line.rng
    cuts = np.sort(rng.integers(0, len(lots) + 1, kills - 1))
    for turn, part in enumerate(np.split(np.arange(len(lots)), cuts)):
        child = start(bundle, inbox, outbox, *options, user=user)
        until = time.monotonic() + rng.exponential(LIFE + 3 * QUIET * bool(user))
        for i in part:
            simulate.write(inbox, lots[i])
        line.add(int(rng.integers(1, 4)))
        time.sleep(max(0.0, until - time.monotonic()) / 2)
        if paths[1:]:
            Path(f"{bundle}.part").write_bytes(paths[turn % 2].read_bytes())
            os.replace(f"{bundle}.part", bundle)
            os.kill(child, signal.SIGHUP)  # dies of it where it has only begun
        time.sleep(max(0.0, until - time.monotonic()))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    line.add(1)
    while not line.path.exists():  # what was rotated is ended once there is a new one
        line.add(1)
    return drain(bundle, inbox, outbox, line, user)


def drain(bundle, inbox: Path, outbox: Path, line, user=0, limit=600.0) -> list[str]:
    """A last watcher until nothing is left, then SIGTERM; what was not as it should."""
    child, end = start(bundle, inbox, outbox, user=user), time.monotonic() + limit
    while time.monotonic() < end:
        left = [name for name in os.listdir(inbox) if not name.startswith(GROWING)]
        if not left and not claim.names(outbox / "work") and not line.check(outbox):
            break
        time.sleep(0.05)
    os.kill(child, signal.SIGTERM)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [f"exit code {code} after SIGTERM"] if code else []


def compare(student, lots, outbox: Path, folder: Path, *others) -> list[str]:
    """Every lot against what is in done/, quarantine/ and verdicts/.

    others: models one of which may have judged a lot in the first one's place.
    """
    wrong, wanted = [], {"done": set(), "quarantine": set(), "verdicts": set()}
    for lot in lots:
        judged = judge(student, lot.content, folder / "lot", lot.name)
        kept = verdicts.kept(judged.digest, lot.name)
        if lot.kind == "good":
            wanted["done"].add(kept)
            for one in (*others, student):  # the others' only if it is there
                name = verdicts.key(judged.digest, one.digest) + ".csv"
                path = outbox / "verdicts" / name
                if path.exists():
                    break
            wanted["verdicts"].add(name)
            content = judge(one, lot.content, folder / "lot", lot.name).content
            if not path.exists() or undated(path.read_bytes()) != undated(content):
                wrong.append(f"{lot.name}: verdict lost or wrong")
        else:
            wanted["quarantine"] |= {kept, kept + verdicts.REASON}
            path = outbox / "quarantine" / (kept + verdicts.REASON)
            reason = json.loads(path.read_text()) if path.exists() else {}
            place = tuple(reason.get(name) for name in ("kind", "row", "column"))
            if place != (lot.kind, lot.row, lot.column):
                wrong.append(f"{lot.name}: {place} instead of {lot.kind}")
    for name, names in wanted.items():
        there = {entry for entry in os.listdir(outbox / name) if GROWING not in entry}
        wrong += [f"{name}/{entry} is too much" for entry in there - names]
        wrong += [f"{name}/{entry} is missing" for entry in names - there]
    return wrong + [f"tmp/{name}" for name in os.listdir(outbox / "tmp")]


def undated(content: bytes) -> bytes:
    """A verdict without the time in its rows, which no second run repeats."""
    return re.sub(rb",[0-9]{4}-[-0-9:.T]+Z,", b",,", content)


def judge(student, content: bytes, path: Path, name: str = "") -> reader.Lot:
    """The same bytes without a watcher."""
    path.write_bytes(content)
    fd = os.open(path, os.O_RDONLY)
    try:
        return reader.judge(fd, student, reader.Limits(), name=name)
    finally:
        os.close(fd)


def main(arguments: list[str] | None = None) -> int:
    """The command line; everything lies in a temporary folder, or in --folder."""
    parser = argparse.ArgumentParser(prog="python -m kdutils.edge.torture")
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--folder", help="where, e.g. on the disk to be tried")
    for name, default in {"files": 20_000, "kills": 500, "seed": 0, "user": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--other", default="")
    how = vars(parser.parse_args(arguments))
    with tempfile.TemporaryDirectory(dir=how.pop("folder")) as folder:
        os.chmod(folder, 0o755)
        found = run(how.pop("bundle"), Path(folder), **how)
    print(json.dumps(found, indent=1))
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())

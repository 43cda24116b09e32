"""A student of three readings as a bundle, and a watcher without a process."""

import io
import time
from pathlib import Path

import numpy as np

from kdutils.deploy import bundle
from kdutils.deploy.bundle import Schema
from kdutils.deploy.prepare import Prepare
from kdutils.deploy.runtime import SCALES, Int8
from kdutils.edge import claim, model, verdicts
from kdutils.edge.growing import Growing
from kdutils.edge.status import Status
from kdutils.edge.watcher import Alarm, Watcher

FEATURES = ("vdd_mV", "idd_uA", "leak_nA")
QUOTED = ("Freq Trim, MHz", '5" pipe', "it's $1")
HEADER = b"id,vdd_mV,idd_uA,leak_nA\n"


def save(folder: Path, ranges=None, names=FEATURES) -> Path:
    """Write the bundle; returns its path."""
    rng = np.random.default_rng(0)
    center, scale = np.float32([400, 5, 0.1]), np.float32([0.1, 1, 20])
    student = Int8(
        rng.integers(-127, 128, (8, 3)).astype(np.int8),
        np.full(8, SCALES[106]),
        rng.normal(0, 0.1, 8).astype(np.float16),
        rng.choice([-1, 1], 8).astype(np.int8),
        np.float32(0.7),
        np.float32(0.1),
        np.float32(3 / 127),
        np.float32(0.05),
    )
    path = folder / "student.kdb"
    prepare = Prepare(np.arange(3), names, center, scale)
    path.write_bytes(bundle.packed(student, prepare, 0.05, Schema(ranges=ranges)))
    return path


class Place:
    """An inbox, an outbox and a watcher whose scans the test calls.

    columns: `id` and `extra`, as the model loads them.
    """

    def __init__(self, folder: Path, bundle_path: Path, grow=(), columns=(), **chosen):
        self.inbox, self.outbox = folder / "inbox", folder / "outbox"
        self.inbox.mkdir(exist_ok=True)
        self.student = model.load(bundle_path, **dict(columns))
        self.log = io.StringIO()
        self.status = Status(self.outbox, self.student.digest, log=self.log)
        self.alarm = Alarm(self.inbox, events=False)
        self.folders = (self.inbox, self.outbox)
        growing = [Growing(g, *self.folders, self.student, self.status) for g in grow]
        self.watcher = Watcher(
            self.student,
            *self.folders,
            self.status,
            self.alarm,
            growing=growing,
            **chosen,
        )
        verdicts.folders(self.outbox)
        verdicts.sweep(self.outbox)

    def drop(self, name: str, content: bytes) -> Path:
        """Put a closed file into the inbox.

        A process that another thread forks meanwhile holds it for a moment: its lease
        is waited for.
        """
        path, until = self.inbox / name, time.monotonic() + 5
        path.write_bytes(content)
        with path.open("rb") as file:
            while claim.leased(file.fileno()) is False and time.monotonic() < until:
                time.sleep(0.001)
        return path

    def names(self, folder: str) -> list[str]:
        """What lies in a folder of the outbox, sorted."""
        return sorted(path.name for path in (self.outbox / folder).iterdir())

    def counts(self) -> tuple[int, ...]:
        """How many verdicts, done lots and quarantined things there are."""
        found = [len(self.names(name)) for name in ("verdicts", "done")]
        whole = [n for n in self.names("quarantine") if not n.endswith(".reason.json")]
        return (*found, len(whole))


def lot(*rows: str) -> bytes:
    """A lot of rows without their id, which is r1, r2, ..."""
    lines = [f"r{i},{row}\n" for i, row in enumerate(rows or ("400,5,.1",), 1)]
    return HEADER + "".join(lines).encode()

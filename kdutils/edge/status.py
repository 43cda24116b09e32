"""edge.status: how the watcher is: log lines, health and counters."""

from __future__ import annotations

import errno
import json
import math
import os
import select
import socket
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from kdutils.deploy.bundle import BundleError
from kdutils.deploy.drift import Drift
from kdutils.edge import verdicts

PARTS = ("event", "read", "parse", "model", "publish")
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)
EVERY = 1.0
SCARCE = 0.02  # the share of a disk below which free room is a trouble


class Status:
    """Counts what happens and shows it: `health.json`, `metrics.prom`, lines.

    log: a text file that is already open. A line for which a pipe or a terminal has no
    room is counted as unshown: a log that nobody reads stops no lot; alarm: seconds
    after which a lot that waits in the inbox is a trouble; drift, shift: of a reading,
    above which it is one; shadow: a model that judges beside the first, to be counted.
    """

    def __init__(self, outbox: Path, digest: str, *, log=None, **chosen):
        self.outbox, self.digest, self.log = outbox, digest, log
        self.counts: Counter = Counter()
        self.seconds: Counter = Counter()
        self.troubles: dict[str, str] = {}
        self.waiting = self.ignored = 0
        self.oldest, self.alarm = 0.0, chosen.get("alarm", math.inf)
        self.limits = [chosen.get(name, math.inf) for name in ("drift", "shift")]
        self.shadow = chosen.get("shadow")
        self.drift: Drift | None = None
        self.started, self.shown = time.time(), 0.0
        self.buckets: Counter = Counter()
        self.room = None
        with suppress(AttributeError, OSError):  # no file of the system
            fd, self.room = log.fileno(), select.poll()
            self.room.register(fd, select.POLLOUT)

    def serve(self, model) -> None:
        """Verdicts come from this model now; BundleError if the shadow reads more."""
        reads = self.shadow.features if self.shadow else ()
        if more := {*reads} - {*model.features}:
            known = f"expected readings of bundle {model.digest[:12]} only"
            raise BundleError(f"the shadow reads {min(more)!r}, {known}")
        self.places = [model.features.index(name) for name in reads]
        self.digest = model.digest
        self.drift = Drift(model.bundle, model.lots, *self.limits)

    def observe(self, judged: list[tuple]) -> None:
        """Readings and logits whose verdicts are published, for `Drift.add`."""
        before, at = self.drift.alarm(), self.drift.bundle.threshold
        names = ("pass", "fail")
        for X, scores in judged:
            self.drift.add(X, scores)
            if self.shadow is not None:
                other = self.shadow.judge(X[:, self.places])[1]
                both = zip((scores > at).tolist(), other.tolist(), strict=True)
                for (first, second), count in Counter(both).items():
                    words = f'first="{names[first]}",second="{names[second]}"'
                    self.counts[f"shadow{{{words}}}"] += count
        now = self.drift.alarm()
        if now and not before:
            self.line(f"drift: {now}")

    def verdict(self, name: str, lot, seconds: Counter) -> None:
        """A lot was judged; seconds by part, from the event to the durable verdict."""
        self.counts.update(verdicts=1, rows=lot.rows, fails=lot.fails)
        total = self._spent(seconds)
        parts = " ".join(f"{part} {1e3 * seconds[part]:.2f}" for part in PARTS)
        self.line(
            f"verdict {json.dumps(name)} rows {lot.rows} fails {lot.fails}"
            f" lot {lot.digest[:16]} latency {1e3 * total:.2f} ms ({parts})"
        )
        self.observe(lot.judged)

    def grown(self, name: str, rows: int, fails: int, end: int, seen: list) -> None:
        """Rows of a growing file were judged, up to byte `end`."""
        self.counts.update(rows=rows, fails=fails)
        self.line(f"grown {json.dumps(name)} rows {rows} fails {fails} end {end}")
        self.observe(seen)

    def refused(self, name: str, wrong, digest: str) -> None:
        """A lot or a row went into quarantine."""
        self.counts[f'refused{{kind="{wrong.kind}"}}'] += 1
        reason = json.dumps(str(wrong))
        self.line(f"refused {json.dumps(name)} lot {digest[:16]} {reason}")

    def trouble(self, name: str, problem: OSError, pause: float) -> None:
        """Something could not be read or written and is tried again."""
        code = errno.errorcode.get(problem.errno, "other")
        self.counts[f'retries{{error="{code}"}}'] += 1
        self.troubles[name] = f"{code}: {problem.strerror or problem}"
        self.line(f"retry {json.dumps(name)} in {pause:.1f} s: {self.troubles[name]}")

    def line(self, text: str) -> None:
        """One line of the log, with the time in UTC."""
        if self.log is None:
            return
        try:
            if self.room is not None and not self.room.poll(0):
                raise BlockingIOError
            self.log.write(f"{verdicts.utc()} {text}\n")
            self.log.flush()
        except (OSError, ValueError):
            self.counts["unshown"] += 1

    def show(self, *, now: bool = False) -> None:
        """Rewrite the health and counter files, once a second."""
        if not now and time.monotonic() - self.shown < EVERY:
            return
        self.shown = time.monotonic()
        notify("WATCHDOG=1")
        texts = {"health.json": self.health(), "metrics.prom": self.prom()}
        for name, text in texts.items():
            part = self.outbox / f".{name}.part"
            try:
                part.write_text(text)
                os.replace(part, self.outbox / name)
            except OSError:
                self.counts["unshown"] += 1

    def health(self) -> str:
        """JSON for a person or a supervisor: alive means `time` is recent."""
        troubles = self.troubles | self._standing()
        record = {"ok": not troubles, "time": time.time(), "started": self.started}
        record |= {"pid": os.getpid(), "bundle": self.digest, "waiting": self.waiting}
        record |= {"oldest_waiting_s": round(self.oldest, 1)}
        record |= {"ignored_names": self.ignored, "free_bytes": self._free()[0]}
        record |= {"counts": dict(sorted(self.counts.items()))}
        record["troubles"] = dict(list(troubles.items())[:20])
        return json.dumps(record, indent=1) + "\n"

    def _standing(self) -> dict[str, str]:
        """What no lot's own trouble says: nothing moves, or there is no room left."""
        found, (free, share) = {}, self._free()
        if self.oldest > self.alarm:
            waits = f"a file of the inbox waits for {self.oldest:.0f} s"
            found["inbox"] = f"{waits}, expected at most {self.alarm:g}"
        if self.drift and (drift := self.drift.alarm()):
            found["drift"] = drift
        if share < SCARCE:
            found["disk"] = f"{free:,} bytes are free, {100 * share:.1f} % of the disk"
        return found

    def _free(self) -> tuple[int, float]:
        """Bytes that are free for the outbox, and their share of its disk."""
        try:
            seen = os.statvfs(self.outbox)
        except (OSError, AttributeError):
            return 0, 1.0
        return seen.f_bavail * seen.f_frsize, seen.f_bavail / max(seen.f_blocks, 1)

    def prom(self) -> str:
        """All that is counted in Prometheus' text format; latency in seconds."""
        found: dict[tuple[str, str], dict] = {}
        counts = dict.fromkeys(("verdicts", "rows", "fails"), 0) | dict(self.counts)
        for name, value in sorted(counts.items()):
            bare, brace, labels = name.partition("{")
            found.setdefault((f"{bare}_total", "counter"), {})[brace + labels] = value
        gauges = {"waiting": self.waiting, "oldest_waiting_seconds": self.oldest}
        gauges |= {"ignored_names": self.ignored, "free_bytes": self._free()[0]}
        found |= {(name, "gauge"): {"": value} for name, value in gauges.items()}
        parts = {f'{{part="{part}"}}': self.seconds[part] for part in PARTS}
        found["part_seconds_total", "counter"] = parts
        latency = {f'_bucket{{le="{edge}"}}': self.buckets[edge] for edge in BUCKETS}
        latency['_bucket{le="+Inf"}'] = latency["_count"] = self.buckets["count"]
        latency["_sum"] = self.seconds["total"]
        found["latency_seconds", "histogram"] = latency
        for name, kind, values in self.drift.metrics() if self.drift else ():
            found[name, kind] = values
        lines = []
        for (name, kind), values in found.items():
            lines.append(f"# TYPE kd_edge_{name} {kind}")
            lines += [f"kd_edge_{name}{k} {value:.12g}" for k, value in values.items()]
        return "\n".join(lines) + "\n"

    def _spent(self, seconds: Counter) -> float:
        total = sum(seconds[part] for part in PARTS)
        self.seconds.update(seconds)
        self.seconds["total"] += total
        self.buckets["count"] += 1
        self.buckets.update(edge for edge in BUCKETS if total <= edge)
        return total


def notify(state: str) -> None:
    """Say READY=1, WATCHDOG=1 or STOPPING=1 to systemd, where it has started us."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(state.encode(), address.replace("@", "\0", 1))

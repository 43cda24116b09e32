"""edge.watcher: the loop: look at the folders and settle what is due.

Events are an alarm clock, not a queue: whatever one says, the inbox is scanned. So a
lost event costs half a second and never a lot.

Level-triggered: each scan starts from what lies in work/ (a killed run's lots too) and
then in the inbox, so there is no recovery beside the ordinary way.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from time import monotonic, perf_counter
from typing import NamedTuple

from kdutils.edge import claim, reader, verdicts
from kdutils.edge.reader import Limits, Lot, Malformed

TICK, FIRST, LONGEST = 0.5, 0.25, 30.0  # seconds
LATE = 600.0  # seconds for which a lot in done/ is looked at, where leases are missing
HOUR = 3600.0
CLOSED, MOVED_IN = 0x8, 0x80  # inotify(7): IN_CLOSE_WRITE, IN_MOVED_TO
REMEMBERED = 100_000  # events
BATCH, BATCH_BYTES = 32, 4 << 20  # verdicts that become durable at once, their bytes
PASS, SHARE = 0.25, 4  # seconds until the inbox is listed anew; times the listing's
WAIT = 0.5  # seconds that a lot which is judged waits for others


class Refused(Exception):
    """The watcher cannot start: one sentence."""


class Stalled(Exception):
    """Nothing can be published now; its cause is the OSError."""


class Alarm:
    """A timer, and inotify where watchdog is; follows an inbox that is replaced.

    watchdog's thread that reads inotify calls `on_event` itself: its observer hands an
    event through two more threads, and holds those behind a rename for half a second.
    """

    def __init__(self, inbox: Path, *, events: bool = True):
        self.inbox, self.seen, self.watch = inbox, None, None
        self.rung = threading.Event()
        self.when: dict[str, float] = {}
        self.inotify = self._started() if events else None

    def attend(self) -> None:
        """Watch the inbox that is there now, if it is another one than before."""
        if self.inotify is None:
            return
        try:
            now = os.stat(self.inbox)
            here = (now.st_dev, now.st_ino)
        except OSError:
            here = None
        if here == self.seen:
            return
        if self.seen is not None:
            self.inotify.remove_callbacks([(self.watch, id(self))])
        self.seen = None
        with suppress(OSError):  # no watches left, or gone again: the timer carries on
            if here is not None:
                how = os.fsencode(self.inbox), CLOSED | MOVED_IN, self, id(self)
                self.watch, self.seen = self.inotify.add_callback(*how), here

    def on_event(self, event) -> None:
        """Called by watchdog, in its thread, for a file that was closed or came in."""
        if len(self.when) < REMEMBERED:
            self.when[os.fsdecode(event.name)] = monotonic()
        self.rung.set()

    def on_queue_overflow(self, *_) -> None:
        """Called by watchdog where events were lost, or the folder is gone: scan."""
        self.rung.set()

    on_watch_deleted = on_queue_overflow

    def closed(self, name: str) -> float | None:
        """When (monotonic) the event of a file came, once; None if none did."""
        return self.when.pop(name, None)

    def wait(self, seconds: float) -> None:
        """Until an event, or for so long; at once if one came since the last call."""
        self.rung.wait(seconds)
        self.rung.clear()

    def close(self) -> None:
        """End watchdog's thread."""
        if self.inotify is not None:
            self.inotify.stop()
            self.inotify.join()

    def _started(self):
        if sys.platform != "linux":
            return None
        with suppress(ImportError, OSError):  # no watchdog, or no instances left
            from watchdog.observers.inotify_c import InotifyFD

            inotify = InotifyFD()
            inotify.start()
            return inotify


class Retries(dict):
    """What failed -> when to try it again (monotonic), the pause: .25 to 30 s."""

    def due(self, name: str) -> bool:
        """Whether a name may be tried now."""
        return self.get(name, (0.0, 0.0))[0] <= monotonic()

    def failed(self, name: str) -> float:
        """Note a failure; returns the pause in seconds."""
        pause = min(LONGEST, 2 * self.get(name, (0.0, FIRST / 2))[1])
        self[name] = monotonic() + pause, pause
        return pause


class Judged(NamedTuple):
    """A lot of work/ whose verdict waits for its fsync.

    closed: whether leases say so, None without; waited: seconds from the event to the
    claim; ready: when it was judged (perf_counter).
    """

    name: str
    fd: int
    lot: Lot
    stamp: tuple
    closed: bool | None
    waited: float
    ready: float


class Watcher:
    """Serves one bundle to one inbox.

    settle, patience, min_age: seconds, see `claim`; empty: a cell may be empty;
    growing: objects with `name`, `step()` for files that are appended to; reload: gives
    the model that the bundle's file now holds; marker: a lot is whole once a file of
    its name and this ending lies beside it; keep_days: of lots, None for ever.
    """

    settle, patience, min_age, empty, marker = 2.0, 10.0, 0.0, False, ""
    keep_days, limits, growing, reload = None, Limits(), (), None

    def __init__(self, model, inbox, outbox, status, alarm, **chosen):
        self.model, self.status, self.alarm = model, status, alarm
        self.inbox, self.outbox = Path(inbox), Path(outbox)
        self.work = self.outbox / "work"
        for name, value in chosen.items():
            setattr(self, name, value)
        self.retries, self.stopped, self.removed = Retries(), False, -HOUR
        self.archived: dict[Path, tuple] = {}  # lots that a writer may still hold
        self.recovered: set[str] | None = None  # lots that a killed run had claimed
        self.since: dict[str, float] = {}  # when each waiting name was first seen
        self.reloading = False  # for another model
        self.batch: list[Judged] = []
        self.said: set[tuple] = set()  # (name, digest) of lots not archived yet
        status.serve(model)

    def stop(self, *_) -> None:
        """End after the file in hand; a signal handler, so it touches no lock."""
        self.stopped = True

    def reload_next(self, *_) -> None:
        """Take the bundle's new content after the lot in hand; a signal handler too."""
        self.reloading = True

    def _renew(self) -> None:
        """Serve the new model from the next lot on; the old one if it is refused."""
        self.reloading = False
        try:
            new = self.reload()
            self.status.serve(new)
        except (ValueError, OSError) as problem:
            self.status.line(f"bundle {self.model.digest[:12]} stays: {problem}")
            self.status.troubles["bundle"] = str(problem)
            return
        self.status.troubles.pop("bundle", None)
        self.status.line(f"bundle {new.digest[:12]} for {self.model.digest[:12]}")
        self.model = new
        for one in self.growing:
            one.renew(new)

    def run(self) -> None:
        """Scan at each alarm and every half second, until `stop`."""
        while not self.stopped:
            if self.reloading:
                self._renew()
            busy = self.scan()
            self.status.show()
            if not self.stopped and not busy:
                self.alarm.wait(TICK)
        self.status.show(now=True)

    def _remove_old(self) -> None:
        """Once an hour, remove what is older than `keep_days`."""
        if self.keep_days is None or monotonic() < self.removed + HOUR:
            return
        self.removed = monotonic()
        current = {one.verdicts.name for one in self.growing if one.state}
        count = verdicts.remove_old(self.outbox, self.keep_days, current)
        if count:
            self.status.line(
                f"removed {count} files older than {self.keep_days:g} days"
            )

    def scan(self) -> int:
        """Settle everything that is due; returns the number of lots settled."""
        self.alarm.attend()
        if not self.retries.due(""):
            return 0
        settled = 0
        try:
            if self.recovered is None or not self.work.is_dir():
                verdicts.folders(self.outbox)
            if self.recovered is None:
                self.recovered = set(claim.names(self.work))
                for name in self.recovered if self.marker else ():
                    (self.inbox / f"{name}{self.marker}").unlink(missing_ok=True)
            self._late()
            settled += self._folder(self.work)
            settled += self._folder(self.inbox)
            for one in self.growing:
                if self.retries.due(one.name) and not self.stopped:
                    settled += self._try(one.name, one.step)
            self._remove_old()
        except (Stalled, OSError) as problem:
            self._release()
            self.recovered = None  # what lies in work/ may have its verdict
            cause = problem.__cause__ if isinstance(problem, Stalled) else problem
            self.status.trouble("", cause, self.retries.failed(""))
        else:
            self._solved("")
        return settled

    def _folder(self, folder: Path) -> int:
        began, (names, ignored) = monotonic(), claim.listed(folder)
        if folder == self.inbox:
            self._forget(set(names))
            for one in self.growing:
                names = [name for name in names if not one.owns(name)]
            if self.marker:
                there, end = set(names), self.marker
                names = [n for n in names if n + end in there and not n.endswith(end)]
            now = monotonic()
            self.since = {name: self.since.get(name, now) for name in names}
            self.status.oldest = now - min(self.since.values(), default=now)
            self.status.ignored = ignored
            names = self._fair(names)
        settled, now = 0, monotonic()
        until = now + max(PASS, SHARE * (now - began))
        for place, name in enumerate(names):
            if self.stopped or self.reloading:
                break
            self.status.waiting = len(names) - place
            if self.retries.due(name):
                settled += self._try(name, lambda name=name: self._one(folder, name))
            content = sum(len(one.lot.content) for one in self.batch)
            full = len(self.batch) >= BATCH or content > BATCH_BYTES
            if full or (self.batch and perf_counter() > self.batch[0].ready + WAIT):
                settled += self._publish()
                if monotonic() > until:
                    break
            if not self.batch:  # a verdict waits for no counter
                self.status.show()
        settled += self._publish()
        self.status.waiting = len(names) - settled
        return settled

    def _fair(self, names: list[str]) -> list[str]:
        """The first that waits, the last that came, the second, the last but one, ...

        A new lot waits for no backlog, and a backlog gets half of the places.
        """
        if len(names) <= BATCH:
            return names
        names = sorted(names, key=lambda name: self.since.get(name, 0.0))
        pairs = zip(names, reversed(names), strict=True)
        return [name for pair in pairs for name in pair][: len(names)]

    def _forget(self, there: set[str]) -> None:
        """Drop the troubles of names that are gone."""
        for name in set(self.retries) - there - {""}:
            if not os.path.lexists(self.work / name):
                self._solved(name)

    def _solved(self, name: str) -> None:
        self.retries.pop(name, None)
        self.status.troubles.pop(name, None)

    def _try(self, name: str, step) -> int:
        try:
            done = step()
        except (claim.Busy, FileNotFoundError):
            return 0  # or withdrawn, or the inbox itself: the next scan sees
        except OSError as problem:
            self.status.trouble(name, problem, self.retries.failed(name))
            return 0
        self._solved(name)
        return done

    def _one(self, folder: Path, name: str) -> int:
        event = None
        if folder == self.inbox:
            how = self.settle, self.patience, self.min_age
            claim.take(f"{folder}/{name}", f"{self.work}/{name}", *how)
            if self.marker:
                (folder / f"{name}{self.marker}").unlink(missing_ok=True)
            event = self.alarm.closed(name)
        return self._judge(name, event)

    def _judge(self, name: str, event: float | None) -> int:
        """Take a lot of work/ in hand, 0, or refuse it, 1. Stalled, OSError or Busy."""
        path, start = self.work / name, monotonic()
        try:
            fd = claim.opened(path)
        except Malformed as wrong:
            return self._refuse(name, claim.identity(path), wrong)
        try:
            waited = max(0.0, start - event if event is not None else claim.written(fd))
            closed, stamp = claim.leased(fd), claim.stamp(fd)
            if closed is False or claim.written(fd) < self.settle * (closed is None):
                raise claim.Busy
            if stamp[1] > self.limits.bytes:
                wrong = reader.too_large(stamp[1], self.limits)
                lot = Lot(claim.identity(path), wrong=wrong)
            else:
                how = {"empty": self.empty, "name": name}
                lot = reader.judge(fd, self.model, self.limits, **how)
            one = Judged(name, fd, lot, stamp, closed, waited, perf_counter())
            if lot.wrong is None:
                self.batch.append(one)
                return 0
            try:
                os.fsync(fd)
            except OSError as problem:
                raise Stalled from problem
            if claim.stamp(fd) != stamp:
                raise claim.Busy
            return self._refuse(name, lot.digest, lot.wrong)
        finally:
            if not self.batch or self.batch[-1].fd != fd:
                os.close(fd)

    def _release(self) -> None:
        while self.batch:
            os.close(self.batch.pop().fd)

    def _publish(self) -> int:
        """Make lots and verdicts in hand durable, all at once, and archive the lots.

        The line of a verdict says that it is durable, its lot may still be moved. A lot
        that was written while it was read stays, and its verdict is left out.
        """
        if not self.batch:
            return 0
        lots, changed = list(self.batch), set()
        keys = {one.name: verdicts.key(one.lot.digest, self.model.key) for one in lots}
        contents = {
            f"{keys[one.name]}.csv": one.lot.content
            for one in lots
            if not (one.name in self.recovered and self._judged(one.lot.digest))
        }

        def left_out() -> set[str]:
            changed.update(o.name for o in lots if claim.stamp(o.fd) != o.stamp)
            kept = {key for name, key in keys.items() if name not in changed}
            return {f"{keys[name]}.csv" for name in changed if keys[name] not in kept}

        fds = [one.fd for one in lots]
        try:
            verdicts.publish(self.outbox, "verdicts", contents, fds, left_out)
            whole = [one for one in lots if one.name not in changed]
            for name, _, lot, _, _, waited, ready in whole:
                if (name, lot.digest) not in self.said:
                    lot.seconds.update(publish=perf_counter() - ready, event=waited)
                    self.status.verdict(name, lot, lot.seconds)
                    self.said.add((name, lot.digest))
            for name, _, lot, stamp, closed, *_ in whole:
                place = verdicts.move(self.outbox, name, "done", lot.digest)
                self.said.discard((name, lot.digest))
                if closed is None:
                    self.archived[place] = name, lot.digest, stamp, monotonic() + LATE
        except OSError as problem:
            raise Stalled from problem
        self._release()
        return len(lots) - len(changed)

    def _judged(self, digest: str) -> bool:
        """Whether a lot has a verdict, of this bundle or of the one before a kill."""
        return any(self.outbox.glob(f"verdicts/{verdicts.key(digest, '')}*.csv"))

    def _late(self) -> None:
        """Refuse what was written to a lot after it was judged: its rows are missing.

        Only where leases are missing can that happen.
        """
        for place, (name, digest, stamp, until) in list(self.archived.items()):
            now = claim.stamp(place) if place.exists() else None
            if now not in (None, stamp):
                found = f"{now[1]:,} bytes, {stamp[1]:,} of them judged"
                wrong = Malformed("late", None, None, found, "no writer any more")
                reason = verdicts.kept(digest, name) + verdicts.REASON
                verdicts.reason(self.outbox, reason, name, wrong)
                self.status.refused(name, wrong, digest)
                self.status.troubles[name] = f"{place.name}: {wrong}"
            if now != stamp or monotonic() > until:
                del self.archived[place]

    def _refuse(self, name: str, digest: str, wrong: Malformed) -> int:
        try:
            verdicts.refuse(self.outbox, name, digest, wrong)
        except OSError as problem:
            raise Stalled from problem
        self.status.refused(name, wrong, digest)
        return 1


def lock(path: Path) -> int:
    """Hold a file or folder against a second watcher; Refused if one is at work."""
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    fd = os.open(path, flags | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise Refused(f"another watcher is at work on {path.absolute()}") from None
    return fd

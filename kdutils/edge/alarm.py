"""edge.alarm: wakes the watcher when a file is closed or moved in, or after a while.

Events are an alarm clock, not a queue: whatever one says, the inbox is scanned. So a
lost event costs half a second and never a lot.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from time import monotonic

WAKING = ("closed", "moved", "created")
REMEMBERED = 100_000


class Alarm:
    """A timer, and watchdog where it is installed; follows an inbox that is replaced.

    events: False for the timer alone.
    """

    def __init__(self, inbox: Path, *, events: bool = True):
        self.inbox, self.seen = inbox, None
        self.rung = threading.Event()
        self.when: dict[str, float] = {}
        self.observer = self._observer() if events else None

    def attend(self) -> None:
        """Watch the inbox that is there now, if it is another one than before."""
        if self.observer is None:
            return
        try:
            now = os.stat(self.inbox)
            here = (now.st_dev, now.st_ino)
        except OSError:
            here = None
        if here == self.seen:
            return
        self.observer.unschedule_all()
        self.seen = None
        if here is not None:
            try:
                self.observer.schedule(self, str(self.inbox))
            except OSError:
                return  # no watches left, or gone again: the timer carries on
            self.seen = here

    def dispatch(self, event) -> None:
        """Called by watchdog for each event, in its own thread."""
        if event.event_type not in WAKING or event.is_directory:
            return
        if event.event_type != "created":
            path = getattr(event, "dest_path", "") or event.src_path
            if len(self.when) < REMEMBERED:
                self.when[os.path.basename(os.fsdecode(path))] = monotonic()
        self.rung.set()

    def closed(self, name: str) -> float | None:
        """When (monotonic) the event of a file came, once; None if none did."""
        return self.when.pop(name, None)

    def wait(self, seconds: float) -> None:
        """Until an event, or for so long; at once if one came since the last call."""
        self.rung.wait(seconds)
        self.rung.clear()

    def close(self) -> None:
        """End watchdog's threads."""
        if self.observer is not None:
            self.observer.stop()
            self.observer.join()

    def _observer(self):
        try:
            from watchdog.observers import Observer
        except ImportError:
            return None
        _undelayed()
        observer = Observer()
        observer.daemon = True
        observer.start()
        return observer


def _undelayed() -> None:
    """Let events through at once.

    Watchdog holds each rename out of the folder, and all events behind it, for .5 s to
    see whether it comes in again elsewhere; our claims are such renames.
    """
    try:
        from watchdog.observers.inotify_move_event_grouper import (
            InotifyMoveEventGrouper as Grouper,
        )
    except ImportError:
        return
    Grouper.delay = 0.0

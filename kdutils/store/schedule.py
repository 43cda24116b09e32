"""schedule: how long a report's runs would take on more workers, by their own seconds.

KD_REPORT=paper python -m kdutils.store.schedule
"""

from __future__ import annotations

import heapq
import sys
from collections import defaultdict, deque
from graphlib import CycleError, TopologicalSorter

from kdutils import paths
from kdutils.store import ledger

WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
NEAR = 1.05  # times the shortest duration; fewer workers that reach it are enough


def duration(lines: dict[str, dict], workers: int) -> float:
    """Seconds from the first run's start to the last one's end: list scheduling.

    lines: of a ledger, by run id. A worker that is free takes the first run in their
    order that may start (Graham 1969). One may when every run that it refers to has
    ended; and as a `runs.map` is planned from whole maps and stages, when all of those
    maps of its stage, and of those other stages, have ended. Stages that need nothing
    of each other run side by side. The seconds are as they were measured, on whichever
    machine. Raises ValueError where runs wait for each other.
    """
    waiting = TopologicalSorter(dict.fromkeys(lines, ()))  # all, in their order
    for id, others in _needs(lines).items():
        waiting.add(id, *others)
    try:
        waiting.prepare()
    except CycleError:
        raise ValueError("some runs wait for each other: no schedule ends") from None
    place = {id: i for i, id in enumerate(lines)}
    ready, running, now = deque(), [], 0.0
    while waiting.is_active():
        ready += waiting.get_ready()
        while ready and len(running) < workers:
            id = ready.popleft()
            heapq.heappush(running, (now + lines[id]["seconds"], place[id], id))
        now, _, id = heapq.heappop(running)
        waiting.done(id)
    return now


def _needs(lines: dict[str, dict]) -> dict[str, set[str]]:
    """The runs that must have ended before each run starts."""
    place = {id: (line["stage"], line["recipe"]) for id, line in lines.items()}
    runs = defaultdict(set)  # of a stage, and of a map
    for id, own in place.items():
        runs[own].add(id)
        runs[own[0]].add(id)
    named = {id: lines.keys() & ledger.refers(lines[id]["config"]) for id in lines}
    whole = defaultdict(set)  # what a map waits for
    for id, own in place.items():
        for other in (place[one] for one in named[id]):
            if other != own:
                whole[own] |= runs[other if other[0] == own[0] else other[0]]
    return {id: named[id] | whole[own] for id, own in place.items()}


def enough(lines: dict[str, dict], most: int = WORKERS[-1]) -> int:
    """The fewest workers whose duration is within 5 % of that with `most` of them."""
    least = NEAR * duration(lines, most)
    return next(n for n in range(1, most + 1) if duration(lines, n) <= least)


def main() -> int:
    """Print the duration by workers, and how many are enough; 1 without a ledger."""
    kept = ledger.every().items()
    lines = dict(sorted(kept, key=lambda one: (one[1]["stage"], one[0])))
    if not lines:
        print(f"{paths.reports().name} has no ledger: KD_REPORT=paper", file=sys.stderr)
        return 1
    total = sum(line["seconds"] for line in lines.values())
    print(
        f"{len(lines)} runs of {paths.reports().name}, {total / 3600:.1f} hours in all"
    )
    print("workers  hours  times as fast  share of the workers at work")
    for n in WORKERS:
        took = duration(lines, n)
        fast = total / took
        print(f"{n:7}  {took / 3600:5.2f}  {fast:13.1f}  {fast / n:28.0%}")
    print(f"enough: {enough(lines)} workers are within 5 % of {WORKERS[-1]:,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

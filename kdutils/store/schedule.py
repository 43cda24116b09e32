"""schedule: how long a report's runs would take on more workers, by their own seconds.

KD_REPORT=paper python -m kdutils.store.schedule
"""

from __future__ import annotations

import heapq
import re
import sys
from collections import defaultdict, deque

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
    needs = _needs(lines)
    waits = {id: len(others) for id, others in needs.items()}
    freed = defaultdict(list)
    for id, others in needs.items():
        for other in others:
            freed[other].append(id)
    place = {id: i for i, id in enumerate(lines)}
    ready = deque(id for id, count in waits.items() if not count)
    running: list[tuple[float, int, str]] = []
    now, ended = 0.0, 0
    while ready or running:
        while ready and len(running) < workers:
            id = ready.popleft()
            heapq.heappush(running, (now + lines[id]["seconds"], place[id], id))
        now, _, id = heapq.heappop(running)
        ended += 1
        for other in freed[id]:
            waits[other] -= 1
            if not waits[other]:
                ready.append(other)
    if ended < len(lines):
        raise ValueError("some runs wait for each other: no schedule ends")
    return now


def _needs(lines: dict[str, dict]) -> dict[str, set[str]]:
    """The runs that must have ended before each run starts."""
    maps, stages = defaultdict(set), defaultdict(set)
    for id, line in lines.items():
        maps[line["stage"], line["recipe"]].add(id)
        stages[line["stage"]].add(id)
    refers, whole = {}, defaultdict(set)
    for id, line in lines.items():
        named = re.findall(r"\b[0-9a-f]{12}\b", ledger.canonical(line["config"]))
        refers[id] = {other for other in named if other in lines}
        own = line["stage"], line["recipe"]
        for other in refers[id]:
            stage, recipe = lines[other]["stage"], lines[other]["recipe"]
            if stage != line["stage"]:
                whole[own] |= stages[stage]
            elif (stage, recipe) != own:
                whole[own] |= maps[stage, recipe]
    return {
        id: refers[id] | whole[line["stage"], line["recipe"]]
        for id, line in lines.items()
    }


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

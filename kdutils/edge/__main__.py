"""edge.__main__: the command line: watch an inbox, or simulate a tester."""

from __future__ import annotations

import argparse
import functools
import io
import json
import math
import os
import signal
import sys
import tomllib
from pathlib import Path

from kdutils.deploy.bundle import BundleError
from kdutils.deploy.drift import SHIFT
from kdutils.deploy.readings import RULE
from kdutils.edge import claim, model, simulate, verdicts
from kdutils.edge.growing import Growing
from kdutils.edge.reader import Limits
from kdutils.edge.status import Status, notify
from kdutils.edge.watcher import Alarm, Refused, Watcher, lock

OPTIONS = {
    "sha256": ("", "64 hex digits that the bundle's file must have"),
    "shadow": ("", "a bundle that judges too, to be counted in the metrics"),
    "marker": ("", "ending of the empty file that says a lot is whole, such as .done"),
    "settle": (2.0, "quiet seconds = closed, where nobody knows"),
    "min-age": (0.0, "quiet seconds before any lot"),
    "patience": (10.0, "seconds for a last line without an end"),
    "alarm": (300.0, "seconds that a file may wait before health says so"),
    "drift": (math.inf, "PSI of a reading above which health says so, such as .25"),
    "shift": (SHIFT, "the same for its shift in standard deviations, which needs lots"),
    "keep-days": (None, "days that lots and verdicts are kept (default: for ever)"),
    "max-bytes": (Limits.bytes, "of a lot"),
    "max-rows": (Limits.rows, "of a lot"),
}


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 once it is stopped, 2 and one sentence if it cannot start."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        chosen = parser().parse_args(configured(arguments))
        if not chosen.inbox.is_dir():
            raise Refused(f"the inbox {chosen.inbox} is not a folder")
        commands = {"watch": watch, "simulate": play, "requeue": requeue}
        return commands[chosen.command](chosen)
    except (BundleError, Refused, OSError) as problem:
        print(problem, file=sys.stderr)
        return 2


def configured(words: list[str]) -> list[str]:
    """The words of a command line, behind those of its --config FILE.

    Refused names a file that is no TOML.
    """
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--config")
    chosen, rest = own.parse_known_args(words)
    if chosen.config is None:
        return words
    try:
        table = tomllib.loads(Path(chosen.config).read_text("utf-8"))
    except ValueError as problem:
        raise Refused(f"{chosen.config} is no TOML: {problem}") from None
    found = rest[:1]
    for key, value in table.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not False:
                found.append(f"--{key}" if one is True else f"--{key}={one}")
    return found + rest[1:]


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    whole = argparse.ArgumentParser(prog="python -m kdutils.edge")
    commands = whole.add_subparsers(dest="command", required=True)
    about = f"Judge what the tester writes. The columns of a lot: {RULE}."
    one = commands.add_parser("watch", help=about.split(".")[0], description=about)
    other = commands.add_parser("simulate", help="write lots as a tester would")
    again = commands.add_parser("requeue", help="bring refused lots back to the inbox")
    again.add_argument("--outbox", required=True, type=Path)
    kinds = "only those that were refused for this, such as range (default: all)"
    again.add_argument("--kind", default="", help=kinds)
    for command in (one, other, again):
        command.add_argument("--inbox", required=True, type=Path)
    for command in (one, other):
        command.add_argument("--bundle", required=True, help="a student to serve")
        named = "the column that names the unit (default: id)"
        command.add_argument("--id", default="id", metavar="NAME", help=named)
    one.add_argument("--config", metavar="FILE", help="options as TOML, ruled by these")
    one.add_argument("--outbox", required=True, type=Path, help="on inbox' file system")
    growing = "a file that grows, judged row by row"
    one.add_argument(
        "--grow", action="append", default=[], metavar="NAME", help=growing
    )
    extra = "columns that are neither the id nor a reading (default: refuse)"
    ways = ("refuse", "ignore")
    one.add_argument("--extra", choices=ways, default="refuse", help=extra)
    empty, timer = "an empty cell is a test that was not run", "use no events"
    one.add_argument("--empty", action="store_true", help=empty)
    one.add_argument("--timer", action="store_true", help=timer)
    for name, (default, what) in OPTIONS.items():
        kind = float if default is None else type(default)
        one.add_argument(f"--{name}", type=kind, default=default, help=what)
    for name, kind, default, what in simulate.OPTIONS:
        other.add_argument(f"--{name}", type=kind, default=default, help=what)
    return whole


def watch(chosen) -> int:
    """Serve until SIGTERM or Ctrl-C; the file in hand is finished first.

    SIGHUP reads the bundle's file anew: what is refused there changes nothing.
    """
    named = {"id": chosen.id, "extra": chosen.extra}
    pinned = named | {"sha256": chosen.sha256}
    student = model.load(chosen.bundle, **pinned)
    shadow = model.load(chosen.shadow, **named) if chosen.shadow else None
    inbox, outbox = chosen.inbox, chosen.outbox
    for name in chosen.grow:
        if "/" in name or sum(other.startswith(name) for other in chosen.grow) > 1:
            raise Refused(f"--grow {name}: expected a name in the inbox, no path, once")
    verdicts.folders(outbox)
    folders = inbox.resolve(), outbox.resolve()
    if folders[0] in [folders[1], *folders[1].parents]:
        raise Refused(f"the outbox {outbox} must not be inside the inbox {inbox}")
    if folders[1] in folders[0].parents:
        raise Refused(f"the inbox {inbox} must not be inside the outbox {outbox}")
    leases = tried(inbox, outbox)
    held = [lock(outbox / "lock"), lock(inbox)]
    verdicts.sweep(outbox)
    # without a buffer: a line is there before the next lot
    log = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
    how = {name: getattr(chosen, name) for name in ("alarm", "drift", "shift")}
    how |= {"log": log, "shadow": shadow}
    status = Status(outbox, student.digest, **how)
    alarm = Alarm(inbox, events=not chosen.timer)
    how = {"empty": chosen.empty, "settle": chosen.settle}
    growing = [Growing(n, inbox, outbox, student, status, **how) for n in chosen.grow]
    how |= {name: getattr(chosen, name) for name in ("patience", "min_age", "marker")}
    how |= {"keep_days": chosen.keep_days, "growing": growing}
    how["limits"] = Limits(chosen.max_bytes, chosen.max_rows)
    how["reload"] = functools.partial(model.load, chosen.bundle, **pinned)
    watcher = Watcher(student, inbox, outbox, status, alarm, **how)
    signal.signal(signal.SIGTERM, watcher.stop)
    signal.signal(signal.SIGINT, watcher.stop)
    signal.signal(signal.SIGHUP, watcher.reload_next)
    events = "a timer" if alarm.inotify is None else "watchdog and a timer"
    status.line(f"watching {inbox} with {events}, bundle {student.digest[:12]}")
    if not leases:
        quiet = f"{chosen.settle:g} quiet seconds (--settle) stand for closed"
        status.line(f"nobody can tell here who has a file open: {quiet}")
    status.show(now=True)
    notify("READY=1")
    watcher.run()
    notify("STOPPING=1")
    alarm.close()
    status.line(f"ended after the files in hand, {len(held)} locks held")
    return 0


def tried(inbox: Path, outbox: Path) -> bool:
    """Rename a file from the inbox, as each lot is; whether leases are to be had.

    Refused where it cannot be done, as between two mounts of one file system.
    """
    part, target = inbox / ".watcher.part", outbox / "tmp" / "tried"
    try:
        verdicts.write(part, b"")
        os.rename(part, target)
    except OSError as problem:
        part.unlink(missing_ok=True)
        raise Refused(
            f"a file of {inbox} cannot be moved into {outbox} ({problem.strerror}): "
            "expected two folders of one file system, both writable"
        ) from None
    with open(target, "rb") as file:
        target.unlink()
        return claim.leased(file.fileno()) is not None


def requeue(chosen) -> int:
    """Move refused lots from quarantine/ into the inbox; print a line for each.

    A lot whose name is taken there stays; what came late of a judged lot is no lot.
    """
    for reason in sorted((chosen.outbox / "quarantine").glob(f"*{verdicts.REASON}")):
        why = json.loads(reason.read_text())
        lot = reason.with_name(reason.name.removesuffix(verdicts.REASON))
        target = chosen.inbox / why["file"]
        if not lot.exists() or chosen.kind not in ("", why["kind"]):
            continue
        if target.exists():
            print(f"stays {why['file']}: the inbox has one of that name")
            continue
        os.rename(lot, target)
        reason.unlink()
        print(f"requeued {why['file']}: {why['reason']}")
    return 0


def play(chosen) -> int:
    """Write simulated lots and print one line for each: name, kind, rows."""
    student = model.load(chosen.bundle, id=chosen.id)
    options = {name: getattr(chosen, name) for name, *_ in simulate.OPTIONS}
    print("name,kind,rows")
    for lot in simulate.lots(student, **options):
        simulate.write(chosen.inbox, lot)
        print(f"{lot.name},{lot.kind},{lot.rows}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

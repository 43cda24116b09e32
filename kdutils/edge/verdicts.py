"""edge.verdicts: what leaves the watcher, durable and exactly once.

    verdicts/KEY.csv        COLUMNS of each unit; KEY = content digest . `Model.key`
    done/KEY16-NAME         the lot as it came
    quarantine/KEY16-NAME   a refused lot, and KEY16-NAME.reason.json beside it

The same lot and bundle give the same name, so work that is done again after a crash
finds its verdict there and changes nothing. Each row says which lot it is of, when
(UTC), by which bundle and threshold: one `grep` of a unit's id answers all.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from pathlib import Path

COLUMNS = b"id,score,verdict,threshold,model,time,lot"
LONGEST, THREADS = 255, 4
REASON = ".reason.json"
FOLDERS = ("work", "done", "quarantine", "verdicts", "state", "tmp")


def folders(outbox: Path) -> None:
    """Make what is missing of the outbox."""
    for name in FOLDERS:
        (outbox / name).mkdir(parents=True, exist_ok=True)


def sweep(outbox: Path) -> None:
    """Remove what a killed run left half written."""
    for path in (outbox / "tmp").iterdir():
        path.unlink()


def remove_old(outbox: Path, days: float, kept: set[str]) -> int:
    """Remove lots, reasons and verdicts that were there so many days; how many.

    Days before the newest one of a folder, or before now if that is earlier: a clock
    that is wrong empties no folder. kept: names to leave.
    """
    count = 0
    for folder in ("done", "quarantine", "verdicts"):
        with os.scandir(outbox / folder) as there:
            found = [(e.stat(follow_symlinks=False).st_ctime, e) for e in there]
        latest = min(time.time(), max((since for since, _ in found), default=0.0))
        for since, entry in found:
            if since < latest - 86_400 * days and entry.name not in kept:
                remove = os.unlink
                if entry.is_dir(follow_symlinks=False):
                    remove = shutil.rmtree
                remove(entry.path)
                count += 1
    return count


def key(lot: str, model: str) -> str:
    """The name of a verdict, from two SHA-256 digests: 32 and 12 hex digits."""
    return f"{lot[:32]}.{model[:12]}"


def utc() -> str:
    """The time now, to the millisecond, such as 2026-01-02T03:04:05.678Z."""
    now = time.time()
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    return f"{whole}.{int(now % 1 * 1000):03d}Z"


def trace(model, lot: str) -> str:
    """The cells of a verdict behind its word: threshold, bundle, time, lot's name.

    The bundle is the first 12 hex digits of its SHA-256; a name is one line of CSV.
    """
    name = json.dumps(lot, ensure_ascii=False)[1:-1].replace('\\"', '""')
    name = os.fsencode(name).decode(errors="backslashreplace")
    name = f'"{name}"' if {*name} & {*',"'} else name
    return f"{model.bundle.threshold:.9g},{model.digest[:12]},{utc()},{name}"


def publish(outbox: Path, folder: str, contents: dict[str, bytes], fds=(), check=set):
    """Write, fsync and link each by its name; fsync their folder once for all.

    fds: open files that must be durable before a name is; check: gives the names to
    leave out, once they are. A name that is there already keeps what it has. OSError
    leaves half of none.
    """
    parts, place = {}, f"{outbox}/{folder}"
    try:
        with ExitStack() as opened:
            new = []
            for number, (name, content) in enumerate(contents.items()):
                if not os.path.exists(f"{place}/{name}"):
                    parts[name] = f"{outbox}/tmp/part{number}"
                    new.append(create(parts[name], content))
                    opened.callback(os.close, new[-1])
            fsync_all([*fds, *new])
        left_out = check()
        for name, part in parts.items():
            if name not in left_out:
                link(part, f"{place}/{name}")
        sync(place)
    finally:
        for part in parts.values():
            with suppress(FileNotFoundError):
                os.unlink(part)


def fsync_all(fds: list[int]) -> None:
    """fsync open files, the last of them here; a journal commits them together."""
    others = [_pool(os.getpid()).submit(os.fsync, fd) for fd in fds[:-1]]
    try:
        for fd in fds[-1:]:
            os.fsync(fd)
    finally:
        wait(others)
    for one in others:
        one.result()


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of a process, which its forks do not have."""
    return ThreadPoolExecutor(THREADS)


def replace(outbox: Path, folder: str, name: str, content: bytes) -> None:
    """The same for a file that may change: the old or the new, never half of one."""
    part = outbox / "tmp" / "state"
    write(part, content)
    os.replace(part, outbox / folder / name)
    sync(outbox / folder)


def write(path: Path, content: bytes) -> None:
    """All bytes on the disk, in a new file, or OSError; never through a link."""
    fd = create(path, content)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def create(path: Path | str, content: bytes) -> int:
    """A new file with these bytes, open and not yet durable; never through a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o644)
    except FileExistsError:
        os.unlink(path)
        fd = os.open(path, flags, 0o644)
    try:
        append(fd, content)
    except BaseException:
        os.close(fd)
        raise
    return fd


def append(fd: int, content: bytes) -> None:
    """Write all bytes at the descriptor's place."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def extend(path: Path, header: bytes, content: bytes) -> None:
    """Append to a file and fsync, all or nothing; a new one begins with the header."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    fd = os.open(path, flags, 0o644)
    try:
        size = os.fstat(fd).st_size
        try:
            append(fd, (b"" if size else header) + content)
            os.fsync(fd)
        except OSError:
            os.ftruncate(fd, size)
            raise
    finally:
        os.close(fd)
    if size == 0:
        sync(path.parent)


def link(part: Path | str, target: Path | str) -> None:
    """Give a written file its name, unless the name is taken."""
    try:
        os.link(part, target)
    except FileExistsError:
        return
    except OSError as problem:  # a file system without links, such as exFAT
        if problem.errno not in (errno.EPERM, errno.EOPNOTSUPP):
            raise
        os.rename(part, target)


def sync(folder: Path | str) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def kept(digest: str, name: str) -> str:
    """The name of a lot in done/ or quarantine/; a long one loses its beginning."""
    start = f"{digest[:16]}-"
    room = LONGEST - len(start) - len(REASON)
    return start + os.fsdecode(os.fsencode(name)[-room:])


def refuse(outbox: Path, name: str, digest: str, wrong) -> None:
    """Put a lot of work/ into quarantine/, its reason first."""
    reason(outbox, kept(digest, name) + REASON, name, wrong)
    move(outbox, name, "quarantine", digest)


def reason(outbox: Path, target: str, name: str, wrong) -> None:
    """Publish why a lot, or what came late of it, is refused."""
    text = json.dumps({"file": name} | wrong.record(), indent=1) + "\n"
    publish(outbox, "quarantine", {target: text.encode()})


def move(outbox: Path, name: str, folder: str, digest: str) -> Path:
    """Move a lot out of work/, returns where to; the same content again replaces."""
    place = outbox / folder / kept(digest, name)
    os.rename(outbox / "work" / name, place)
    return place

"""edge.claim: which file of the inbox is a whole lot, and making it ours.

A lot is whole when nobody has it open for writing and its last line is ended. The
kernel knows the first: it grants a read lease only where there is no writer (Linux, own
files or root). Elsewhere a file counts as closed once it has been quiet.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import signal
import stat
import time
from pathlib import Path

from kdutils.edge.reader import Malformed

UNFINISHED = (".part", ".tmp", ".partial", ".swp", "~")
FUTURE: dict[tuple, float] = {}  # files of a time to come, when they were first seen
SPECIAL = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Busy(Exception):
    """Not now: a writer has the file open, or its last line may still come."""


def names(folder: Path) -> list[str]:
    """What lies in a folder, sorted; hidden and unfinished names are not ours."""
    return listed(folder)[0]


def listed(folder: Path) -> tuple[list[str], int]:
    """The names of a folder, and how many others are hidden or unfinished."""
    try:
        found = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return [], 0
    ours = [n for n in found if not n.startswith(".") and not n.endswith(UNFINISHED)]
    return sorted(ours), len(found) - len(ours)


def opened(path: Path | str) -> int:
    """An open descriptor of a plain file; Malformed says what it is instead.

    Never follows a link and never waits for a FIFO. OSError where it cannot be opened.
    """
    kind = stat.S_IFMT(os.lstat(path).st_mode)
    if kind == stat.S_IFREG:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(path, flags)
        except OSError as problem:
            if problem.errno != errno.ELOOP:
                raise
            kind = stat.S_IFLNK
        else:
            kind = stat.S_IFMT(os.fstat(fd).st_mode)
            if kind == stat.S_IFREG:
                return fd
            os.close(fd)
    found = SPECIAL.get(kind, "something else")
    raise Malformed("file", None, None, found, "a plain file")


def leased(fd: int) -> bool | None:
    """Whether nobody has the open file open for writing; None where nobody can tell."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)  # ignored by default
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except AttributeError:
        return None
    except OSError as problem:
        return False if problem.errno in (errno.EAGAIN, errno.EBUSY) else None
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True


def unwritten(fd: int, settle: float) -> bool:
    """Whether nobody has the open file open for writing.

    settle: seconds without a change that stand for it where there are no leases.
    """
    free = leased(fd)
    return quiet(fd) >= settle if free is None else free


def quiet(fd: int) -> float:
    """Seconds since the file was last changed, by the kernel's own clock.

    Where that is a time to come, as after a step of the clock, since it was seen so.
    """
    seen, now = os.fstat(fd), time.monotonic()
    age = time.time() - seen.st_ctime
    if age >= 0:
        return age
    if len(FUTURE) > 10_000:
        FUTURE.clear()
    return now - FUTURE.setdefault((seen.st_dev, seen.st_ino, seen.st_ctime_ns), now)


def written(fd: int) -> float:
    """Seconds since its bytes last changed; a time to come is not believed."""
    age = time.time() - os.fstat(fd).st_mtime
    return age if age >= 0 else quiet(fd)


def stamp(file: int | Path) -> tuple[int, ...]:
    """Changes whenever bytes of the file, open or by its path, do."""
    seen = os.stat(file)
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


def ended(fd: int) -> bool:
    """Whether the last byte is a line feed; an empty file is not ended."""
    size = os.fstat(fd).st_size
    return size > 0 and os.pread(fd, 1, size - 1) == b"\n"


def take(
    path: str, target: str, settle: float, patience: float, age: float = 0.0
) -> None:
    """Rename a whole lot from the inbox to its place in work/; Busy if it must wait.

    age: seconds that it must have been there unchanged, for a tester that opens and
    closes it for every row; patience: seconds after which a file that nobody writes,
    and whose last line has no end, is taken as it is. What is no plain file is taken at
    once, to be refused.
    """
    try:
        fd = opened(path)
    except Malformed:
        fd = None
    try:
        if fd is not None and not unwritten(fd, settle):
            raise Busy
        if fd is not None and quiet(fd) < (age if ended(fd) else max(age, patience)):
            raise Busy
        if os.path.lexists(target):
            raise Busy  # the earlier one of that name first
        os.rename(path, target)
    finally:
        if fd is not None:
            os.close(fd)


def identity(path: Path) -> str:
    """A name for what is not read: the same until it changes, 64 hex digits."""
    seen = os.lstat(path)
    what = f"{seen.st_ino} {seen.st_mtime_ns} {seen.st_size}"
    return hashlib.sha256(what.encode()).hexdigest()

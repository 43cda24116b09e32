"""edge.growing: one file that the tester appends to, judged row by row.

Its verdicts grow beside it, one file for each generation of it: verdicts/NAME.G.csv
with `end`, the columns of a lot's verdict and `reason`, where `end` is the byte behind
the row in NAME. So the last whole line of the verdicts *is* the durable offset: a row
is judged once, and a killed run goes on behind it. A refused row has the verdict
`refused` and its reason.

A new generation begins when NAME is another file (rotated: the old one is first read to
its end, wherever in the inbox it was renamed to), when it became shorter or its
beginning changed (truncated), or when another bundle or --id reads it, or the verdicts
have other columns than ours.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
from collections import OrderedDict
from contextlib import suppress
from itertools import accumulate, islice
from pathlib import Path

from kdutils.edge import claim, reader, verdicts
from kdutils.edge.reader import Form, Malformed

HEAD, BLOCK, KEPT = 4096, 1 << 18, 100
COLUMNS = b"end,%s,reason\n" % verdicts.COLUMNS
REMEMBERED = 50_000  # ids


class Rows:
    """What was judged of one generation: how many rows and fails, and the last ids.

    An id that comes again among the last 50,000 is refused. name: of the file.
    """

    def __init__(self, model, name: str, *, empty: bool = False):
        self.model, self.name, self.empty = model, name, empty
        self.count = self.fails = 0
        self.seen: OrderedDict[str, None] = OrderedDict()
        # until shown: (first byte, what was wrong, SHA-256), (readings, logits)
        self.wrong, self.judged = [], []

    def remember(self, ids: list[str]) -> None:
        """Count rows; a refused one has no id."""
        self.count += len(ids)
        self.seen.update(dict.fromkeys(id for id in ids if id))
        while len(self.seen) > REMEMBERED:
            self.seen.popitem(last=False)

    def judge(self, data: bytes, at: int, form: Form) -> bytes:
        """Whole lines from byte `at` on -> lines of COLUMNS."""
        if not data:
            return b""
        try:
            return self._bulk(data, at, form)
        except Malformed:
            pieces = []
        for line in data.split(b"\n")[:-1]:
            whole = line + b"\n"
            try:
                pieces.append(self._bulk(whole, at, form))
            except Malformed as wrong:
                pieces.append(self._refuse(whole, at, wrong))
            at += len(whole)
        return b"".join(pieces)

    def cut_short(self, rest: bytes, at: int) -> bytes:
        """The refusal of a last line that will not be ended any more."""
        found, row = f"{len(rest)} bytes without a line end", self.count + 1
        wrong = Malformed("short", row, None, found, "a whole last line")
        return self._refuse(rest, at, wrong)

    def _bulk(self, data: bytes, at: int, form: Form) -> bytes:
        first, seen = self.count + 1, self.seen.keys()
        ids, X = reader.rows(data, first, self.model, seen, empty=self.empty, form=form)
        scores, fails = self.model.judge(X)
        self.remember(ids)
        self.judged.append((X, scores))
        self.fails += int(fails.sum())
        sizes = [len(line) + 1 for line in data.split(b"\n")[:-1]]
        ends = islice(accumulate(sizes, initial=at), 1, None)
        trace = verdicts.trace(self.model, self.name)
        lines = reader.lines(ids, scores, fails, self.model.classes, trace)
        lines = lines.split(b"\n")[:-1]
        return b"".join([b"%d,%s,\n" % pair for pair in zip(ends, lines, strict=True)])

    def _refuse(self, line: bytes, at: int, wrong: Malformed) -> bytes:
        self.wrong.append((at, wrong, hashlib.sha256(line).hexdigest()))
        self.remember([""])
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow([wrong])
        trace = verdicts.trace(self.model, self.name)
        return f"{at + len(line)},,,refused,{trace},{text.getvalue()}".encode()


class Growing:
    """A growing file of the inbox; `step` judges what was appended since."""

    def __init__(self, name: str, inbox, outbox, model, status, **how):
        self.name, self.inbox, self.outbox = name, Path(inbox), Path(outbox)
        self.model, self.status = model, status
        self.empty, self.settle = how.get("empty", False), how.get("settle", 2.0)
        self.state: dict | None = None
        self.fd, self.end, self.form, self.same_columns = None, 0, None, True

    def owns(self, name: str) -> bool:
        """Whether a name of the inbox is the file or one rotated away: NAME.1, NAME-a.

        What goes on with a letter or a digit is another name: `logistics` is no `log`.
        """
        rest = name.removeprefix(self.name)
        return name == self.name or (rest != name and not rest[0].isalnum())

    def renew(self, model) -> None:
        """Another bundle judges the rows that come: a new generation of verdicts."""
        self._close()
        self.model = model

    def step(self) -> int:
        """Judge the whole lines there are, at most a block; 1 if there were any.

        OSError where something cannot be read or written; nothing is then lost.
        """
        try:
            return self._step()
        except OSError:
            self._close()  # what is on the disk counts
            raise

    def _step(self) -> int:
        if self.fd is None and not self._open():
            return 0
        if self._replaced():
            self._begin(os.dup(self.fd))
        wrong = None
        try:
            if self._advance():
                return 1
        except Unreadable as problem:
            wrong = problem  # whoever mends it writes another file, or this one anew
        if self._rotated():
            if wrong is not None:
                self.status.trouble(self.name, wrong, 0.0)
            self._finish()
            self._close()
            return 1
        if wrong is not None:
            raise wrong
        return 0

    def _close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
        self.fd = None

    def _open(self) -> bool:
        """Go on with the file of the saved state, or begin; False if there is none."""
        path = self.outbox / "state" / f"{self.name}.json"
        if self.state is None and path.exists():
            self.state = _state(path)
        fd = self._find()
        if fd is None:
            return False
        if self.state is None or self.state["inode"] != _inode(fd):
            self._begin(fd)
            return True
        self.fd = fd
        self._resume()
        if self.state["model"] != self.model.key or not self.same_columns:
            self._begin(os.dup(fd), self.end)
        return True

    def _find(self) -> int | None:
        """The file of the state, else the oldest that was not read to its end."""
        found: dict[tuple, int] = {}
        for name in claim.names(self.inbox):
            if self.owns(name):
                with suppress(FileNotFoundError, Malformed):
                    fd = claim.opened(self.inbox / name)
                    age = (name == self.name, os.fstat(fd).st_mtime_ns, name)
                    found[age] = fd
        read = self.state["finished"] if self.state else []
        new = [age for age, fd in found.items() if _signature(fd) not in read]
        best = min(new, default=None)
        for age, fd in found.items():
            if self.state is not None and _inode(fd) == self.state["inode"]:
                best = age
        chosen = found.pop(best, None)
        for fd in found.values():
            os.close(fd)
        return chosen

    def _begin(self, fd: int, start: int = 0) -> None:
        """A new generation, read from byte `start`."""
        self._close()
        self.fd, self.end, self.form = fd, start, None
        self.rows = Rows(self.model, self.name, empty=self.empty)
        old = self.state or {"generation": -1, "finished": []}
        self.state = {
            "generation": old["generation"] + 1,
            "finished": old["finished"][-KEPT:],
            "inode": _inode(fd),
            "model": self.model.key,
            "start": start,
            "head": None,
        }
        while self.verdicts.exists():  # of a state that somebody removed
            self.state["generation"] += 1

    def _replaced(self) -> bool:
        """Whether the open file was truncated or written anew from its beginning."""
        if os.fstat(self.fd).st_size < self.end:
            return True
        head = self.state["head"]
        return head is not None and head != _head(self.fd, head[0])

    def _rotated(self) -> bool:
        """Whether NAME is another file now, and nobody writes to the open one."""
        try:
            now = os.lstat(self.inbox / self.name)
        except FileNotFoundError:
            return False
        other = [now.st_dev, now.st_ino] != _inode(self.fd)
        return other and claim.unwritten(self.fd, self.settle)

    @property
    def verdicts(self) -> Path:
        """The verdicts of this generation, which say how far the file was read."""
        name = f"{self.name}.{self.state['generation']}.csv"
        return self.outbox / "verdicts" / name

    def _advance(self) -> bool:
        at = self.end
        data = os.pread(self.fd, BLOCK, at)
        whole, newline, _ = data.rpartition(b"\n")
        if not newline:
            if len(data) == BLOCK:
                text = f"a line of {self.name} has no end in {BLOCK:,} bytes"
                raise Unreadable(errno.EFBIG, text)
            return False
        body, start = whole + newline, at
        if self.form is None:
            body, start = self._header(body, at)
        rows, fails = self.rows.count, self.rows.fails
        content = self.rows.judge(body, start, self.form)
        self._publish(content, at + len(whole) + 1)
        self._tell(rows, fails)
        return True

    def _tell(self, rows: int, fails: int) -> None:
        """Show what was published since there were so many rows and fails."""
        for place, wrong, digest in self.rows.wrong:
            self.status.refused(f"{self.name} byte {place}", wrong, digest)
        rows, fails = self.rows.count - rows, self.rows.fails - fails
        self.status.grown(self.name, rows, fails, self.end, self.rows.judged)
        self.rows.wrong, self.rows.judged = [], []

    def _header(self, data: bytes, at: int):
        """The bytes below the header, and where they begin."""
        first = data if at == 0 else os.pread(self.fd, BLOCK, 0)
        try:
            self.form, below = reader.head(first, self.model)
        except Malformed as wrong:
            raise Unreadable(errno.EINVAL, f"{self.name}, {wrong}") from None
        return (data, at) if at else (below, len(data) - len(below))

    def _publish(self, content: bytes, end: int) -> None:
        if self.state["head"] is None:
            self.state["head"] = _head(self.fd, min(end, HEAD))
            saved = json.dumps(self.state).encode()
            verdicts.replace(self.outbox, "state", f"{self.name}.json", saved)
        if content:
            verdicts.extend(self.verdicts, COLUMNS, content)
        self.end = end

    def _finish(self) -> None:
        """Note that a rotated file is read; refuse what has no line end behind it."""
        rest = os.pread(self.fd, BLOCK, self.end)
        if rest and self.form is not None:
            rows = self.rows.count
            content = self.rows.cut_short(rest, self.end)
            self._publish(content, self.end + len(rest))
            self._tell(rows, self.rows.fails)
        self.state["finished"].append(_signature(self.fd))
        self.state["inode"] = None

    def _resume(self) -> None:
        """Take the offset from the verdicts; a torn last line never was a verdict."""
        self.end, self.form, self.same_columns = self.state["start"], None, True
        self.rows = Rows(self.model, self.name, empty=self.empty)
        if not self.verdicts.exists():
            return
        verdicts.sync(self.verdicts.parent)
        with open(self.verdicts, "r+b") as file:
            whole = 0
            for line in file:
                whole += len(line) if line.endswith(b"\n") else 0
            file.truncate(whole)
        with open(self.verdicts, encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            names = next(lines, wanted := COLUMNS.decode().strip().split(","))
            self.same_columns = names == wanted
            for place, row in enumerate(lines, 2):
                if len(row) != len(names) or not row[0].isdecimal():
                    raise _damaged(
                        f"line {place} of {self.verdicts}",
                        f"expected {','.join(names)}; mend it, or move the file away, "
                        "and the rows are judged anew",
                    )
                self.end = int(row[0])
                self.rows.remember([row[1]])


class Unreadable(OSError):
    """Rows that cannot be told apart: of no use to try again as they are."""


def _state(path: Path) -> dict:
    """A saved state; OSError where it is damaged."""
    with suppress(ValueError, TypeError):
        found = json.loads(path.read_text())
        if {*found} == {"generation", "finished", "inode", "model", "start", "head"}:
            return found
    raise _damaged(f"{path}", "remove it, and the rows are judged anew")


def _damaged(what: str, then: str) -> OSError:
    return OSError(errno.EINVAL, f"{what} is damaged: {then}")


def _inode(fd: int) -> list[int]:
    seen = os.fstat(fd)
    return [seen.st_dev, seen.st_ino]


def _head(fd: int, size: int) -> list:
    """How many bytes, and the SHA-256 of so many from the beginning."""
    return [size, hashlib.sha256(os.pread(fd, size, 0)).hexdigest()]


def _signature(fd: int) -> list:
    """A file that is not written any more; an inode alone may be used again."""
    return [*_inode(fd), os.fstat(fd).st_size, *_head(fd, HEAD)]

"""edge.rows: rows of a growing file to verdicts; a bad one is refused alone."""

from __future__ import annotations

import csv
import hashlib
import io
from itertools import accumulate, islice

from kdutils.edge import parse, reader
from kdutils.edge.malformed import Malformed

REMEMBERED = 50_000


class Rows:
    """What was judged of one generation: how many rows and fails, and the last ids.

    An id that comes again among the last 50,000 is refused.
    """

    def __init__(self, model, *, empty: bool = False):
        self.model, self.empty = model, empty
        self.count = self.fails = 0
        self.seen: dict[str, None] = {}
        self.wrong: list[tuple[int, Malformed, str]] = []

    def remember(self, ids: list[str]) -> None:
        """Count rows; a refused one has no id."""
        self.count += len(ids)
        self.seen.update(dict.fromkeys(id for id in ids if id))
        while len(self.seen) > REMEMBERED:
            del self.seen[next(iter(self.seen))]

    def judge(self, data: bytes, at: int, form: parse.Form) -> bytes:
        """Whole lines from byte `at` on -> `end,id,score,verdict,reason` lines."""
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
        found = f"{len(rest)} bytes without a line end"
        row = self.count + 1
        wrong = Malformed("short", row, None, found, "a whole last line")
        return self._refuse(rest, at, wrong)

    def refused(self) -> list[tuple[int, Malformed, str]]:
        """Since the last call: (first byte, what was wrong, SHA-256 of the line)."""
        wrong, self.wrong = self.wrong, []
        return wrong

    def _bulk(self, data: bytes, at: int, form: parse.Form) -> bytes:
        first, seen = self.count + 1, self.seen.keys()
        ids, X = parse.rows(data, first, self.model, seen, empty=self.empty, form=form)
        scores, fails = self.model.judge(X)
        self.remember(ids)
        self.fails += int(fails.sum())
        sizes = [len(line) + 1 for line in data.split(b"\n")[:-1]]
        ends = islice(accumulate(sizes, initial=at), 1, None)
        lines = reader.lines(ids, scores, fails).split(b"\n")[:-1]
        return b"".join([b"%d,%s,\n" % pair for pair in zip(ends, lines, strict=True)])

    def _refuse(self, line: bytes, at: int, wrong: Malformed) -> bytes:
        self.wrong.append((at, wrong, hashlib.sha256(line).hexdigest()))
        self.remember([""])
        text = io.StringIO()
        row = (at + len(line), "", "", "refused", wrong)
        csv.writer(text, lineterminator="\n").writerow(row)
        return text.getvalue().encode()

"""The watcher: what it claims, publishes, refuses, retries and survives."""

import errno
import json
import os
import resource
import stat
import time

import numpy as np
import pytest
from toy_edge import HEADER, Place, lot, save

from kdutils.deploy import bundle
from kdutils.edge import __main__ as command
from kdutils.edge import claim, model, reader, verdicts, watcher
from kdutils.edge.reader import Limits
from kdutils.edge.status import Status


def test_a_lot_becomes_one_verdict_and_is_kept(place):
    place.drop("lot1.csv", lot("400,5,.1", "1,2,3"))
    assert place.watcher.scan() == 1
    assert place.counts() == (1, 1, 0) and os.listdir(place.inbox) == []
    (kept,), (name,) = place.names("done"), place.names("verdicts")
    assert kept.endswith("-lot1.csv") and name.startswith(kept[:16])
    text = (place.outbox / "verdicts" / name).read_text()
    assert text.startswith("id,score,verdict,") and text.count("\n") == 3
    (answer,) = [line for line in text.splitlines() if line.startswith("r1,")]
    assert answer.endswith(",lot1.csv") and place.student.digest[:12] in answer
    assert (place.outbox / "done" / kept).read_bytes() == lot("400,5,.1", "1,2,3")
    assert place.names("tmp") == place.names("work") == []
    log = place.log.getvalue()
    assert 'verdict "lot1.csv" rows 2' in log and "latency" in log
    assert all(f"{part} " in log for part in ("event", "read", "parse", "model"))


def test_a_lot_is_its_content_whatever_its_name(place):
    for name in ("a.csv", "b.csv", "a.csv"):
        place.drop(name, lot())
        place.watcher.scan()
    assert place.counts() == (1, 2, 0)
    for id, reading in (("x", "400"), ("x", "401"), ("../../etc/passwd", "402")):
        place.drop("lot.csv", HEADER + f"{id},{reading},5,.1\n".encode())
        place.watcher.scan()
    assert place.counts() == (4, 5, 0)


def test_the_same_content_names_other_units_in_another_verdict(tmp_path, path):
    data = b"id,serial,vdd_mV,idd_uA,leak_nA\na,1,400,5,.1\n"
    for column in ("id", "serial", "id"):
        names = {"id": column, "extra": "ignore"}
        place = Place(tmp_path, path, columns=names)
        place.drop("lot.csv", data)
        assert place.watcher.scan() == 1
    assert place.counts() == (2, 1, 0)
    lines = [p.read_text().split("\n")[1] for p in place.outbox.glob("verdicts/*")]
    assert sorted(line.partition(",")[0] for line in lines) == ["1", "a"]


def test_a_malformed_lot_lies_in_quarantine_with_its_reason_beside_it(place):
    place.drop("bad.csv", lot("1,2,3", "1,nan,3"))
    place.drop("good.csv", lot())
    assert place.watcher.scan() == 2
    assert place.counts() == (1, 1, 1)
    name, reason = place.names("quarantine")
    assert reason == name + ".reason.json" and name.endswith("-bad.csv")
    said = json.loads((place.outbox / "quarantine" / reason).read_text())
    assert (said["row"], said["column"], said["found"]) == (2, "idd_uA", "'nan'")
    assert "finite decimal" in said["expected"] and said["file"] == "bad.csv"


def special(kind, path):
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "symbolic link":
        path.symlink_to("/etc/passwd")
    elif kind == "dangling":
        path.symlink_to("/nowhere")
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    else:
        path.mkdir()
        (path / "inside.csv").write_bytes(lot())


@pytest.mark.parametrize(
    "kind", ["FIFO", "symbolic link", "dangling", "socket", "folder"]
)
def test_what_is_no_plain_file_is_refused_unread(place, kind):
    special(kind, place.inbox / "lot.csv")
    place.drop("lot2.csv", lot())
    place.watcher.scan()
    assert place.counts() == (1, 1, 1) and os.listdir(place.inbox) == []
    reason = place.names("quarantine")[1]
    said = json.loads((place.outbox / "quarantine" / reason).read_text())
    word = "symbolic link" if kind == "dangling" else kind
    assert word in said["found"] and said["expected"] == "a plain file"


def test_a_gigabyte_is_refused_without_being_read(place, monkeypatch):
    path = place.drop("huge.csv", HEADER)
    os.truncate(path, 1 << 30)
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\n")
    monkeypatch.setattr(reader, "judge", lambda *_, **__: pytest.fail("it was read"))
    place.watcher.scan()
    assert place.counts() == (0, 0, 1)
    assert "1,073,741,82" in place.log.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "two\nlines.csv",
        "a\\..\\..\\up.csv",
        "%2e%2e%2fup.csv",
        "-rf",
        "a b;$(x).csv",
        "\x1b[2J.csv",
        "é.csv",
        os.fsdecode(b"\xff\xfe.csv"),
        "n" * 251 + ".csv",
        "$",
    ],
)
def test_names_are_only_names(place, name):
    place.drop(name, lot())
    place.drop(name[:-4] + "!.csv" if len(name) < 250 else "short.csv", b"junk\n")
    place.watcher.scan()
    assert place.counts() == (1, 1, 1)
    (kept,) = place.names("done")
    assert kept.endswith(name[-200:])
    assert len(place.log.getvalue().splitlines()) == 2, "one line for each"
    assert place.log.getvalue().isprintable() or "\x1b" not in place.log.getvalue()


@pytest.mark.parametrize("name", [".lot.csv.part", "lot.csv.part", "lot.tmp", ".lot"])
def test_hidden_and_unfinished_names_are_left_alone(place, name):
    place.drop(name, lot())
    place.watcher.scan()
    assert os.listdir(place.inbox) == [name] and place.counts() == (0, 0, 0)
    os.rename(place.inbox / name, place.inbox / "lot.csv")
    place.watcher.scan()
    assert place.counts() == (1, 1, 0)


def test_a_lot_is_judged_when_its_writer_has_closed_it(place):
    with open(place.inbox / "lot.csv", "wb") as writer:
        writer.write(lot())
        writer.flush()
        assert place.watcher.scan() == 0
        assert os.listdir(place.inbox) == ["lot.csv"]
        writer.write(b"r2,1,2,3\n")
    if place.watcher.scan() == 0:
        pytest.skip("this file system grants no leases")
    assert "rows 2" in place.log.getvalue()


def test_a_writer_that_opened_it_before_the_claim_is_waited_for(place):
    place.drop("lot.csv", lot())
    take = claim.take

    def racing(path, target, *rest):
        take(path, target, *rest)
        place.writer = open(target, "ab")  # noqa: SIM115

    claim.take = racing
    try:
        assert place.watcher.scan() == 0
    finally:
        claim.take = take
    place.writer.write(b"r2,1,2,3\n")
    place.writer.close()
    place.watcher.scan()
    assert "rows 2" in place.log.getvalue() and place.counts() == (1, 1, 0)


def test_without_leases_a_file_is_closed_once_it_is_quiet(place, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EINVAL, "no leases here")

    monkeypatch.setattr(claim.fcntl, "fcntl", refuse)
    path = place.drop("lot.csv", lot())
    assert place.watcher.scan() == 0
    os.utime(path, (0, path.stat().st_mtime - 2.5))  # its claim is no change of it
    monkeypatch.setattr(claim, "quiet", lambda fd: 2.5)
    with open(path, "ab") as writer:  # who has it open all the while
        os.utime(path, (0, path.stat().st_mtime - 2.5))
        assert place.watcher.scan() == 1
        assert place.status.troubles == {}
        writer.write(b"r2,400,5,.1\n")
        writer.flush()
        assert place.watcher.scan() == 0
    (wrong,) = place.status.troubles.values()
    assert "bytes, 37 of them judged, expected no writer" in wrong
    (reason,) = place.names("quarantine")
    assert '"late"' in (place.outbox / "quarantine" / reason).read_text()
    assert '"ok": false' in place.status.health()


def test_a_file_that_changes_while_it_is_read_is_read_again(place, monkeypatch):
    place.drop("lot.csv", lot("1,2,3"))
    real, seen = reader.judge, []

    def judge(fd, *given, **named):
        found = real(fd, *given, **named)
        if not seen:
            (place.outbox / "work" / "lot.csv").write_bytes(lot("1,2,3", "4,5,6"))
        seen.append(found.rows)
        return found

    monkeypatch.setattr(reader, "judge", judge)
    assert place.watcher.scan() == 0 and place.names("verdicts") == []
    assert place.watcher.scan() == 1 and seen == [1, 2]


def test_a_lot_is_as_old_as_was_asked_for(tmp_path, path):
    place = Place(tmp_path, path, min_age=5.0)
    file = place.drop("lot.csv", lot())
    assert place.watcher.scan() == 0 and file.exists()


def test_a_lot_of_a_killed_run_keeps_its_verdict_of_the_bundle_before(
    place, tmp_path, path
):
    content = lot("1,2,3")
    place.drop("lot.csv", content)
    place.watcher.scan()
    (verdict,) = place.names("verdicts")
    (done,) = (place.outbox / "done").iterdir()
    os.rename(done, place.outbox / "work" / "lot.csv")  # killed before it was archived
    other = tmp_path / "other"
    other.mkdir()
    again = Place(tmp_path, save(other, names=("vdd_mV", "idd_uA", "leak_nA")))
    object.__setattr__(again.student, "digest", "f" * 64)
    assert again.watcher.scan() == 1
    assert again.names("verdicts") == [verdict] and again.names("work") == []
    again.drop("later.csv", content)  # brought again, it is judged by the new bundle
    assert again.watcher.scan() == 1 and len(again.names("verdicts")) == 2


def test_a_link_that_somebody_planted_is_not_followed(place, tmp_path):
    target = tmp_path / "precious"
    target.write_text("mine")
    (place.outbox / "tmp" / "part0").symlink_to(target)
    place.drop("lot.csv", lot())
    assert place.watcher.scan() == 1 and target.read_text() == "mine"
    assert place.counts() == (1, 1, 0)


def test_a_log_that_nobody_reads_stops_no_lot(tmp_path):
    ends = os.pipe()
    with open(ends[0]) as reader, open(ends[1], "w") as log:
        status = Status(tmp_path, "0" * 64, log=log)
        for number in range(5000):
            status.line(f"line {number}")
        assert (unshown := status.counts["unshown"]) > 0
        shown = os.read(ends[0], 1 << 20).decode()
        assert "line 0\n" in shown and shown.count("\n") == 5000 - unshown
        status.line("and on")
        assert reader.readline().endswith("Z and on\n")
        assert status.counts["unshown"] == unshown


def test_the_words_of_a_verdict_are_the_bundles(place, monkeypatch):
    words = bundle.Schema(classes=("gut", "a,b"))
    object.__setattr__(place.student.bundle, "schema", words)
    place.drop("lot.csv", lot("400,5,.1", "400,5,.2"))
    place.watcher.scan()
    (name,) = place.names("verdicts")
    text = (place.outbox / "verdicts" / name).read_text()
    found = {line.split(",")[2] for line in text.splitlines()[1:]}
    assert found <= {"gut", "fail"} and place.student.classes == ("gut", "fail")


def test_a_tester_that_died_within_a_row_is_waited_for_and_then_refused(
    place, monkeypatch
):
    path = place.drop("lot.csv", lot()[:-3])
    assert place.watcher.scan() == 0
    with open(path, "ab") as writer:
        writer.write(b",.1\n")
    assert place.watcher.scan() == 1
    place.drop("lot2.csv", lot()[:-3])
    monkeypatch.setattr(claim, "quiet", lambda fd: 11.0)
    assert place.watcher.scan() == 1
    assert place.counts() == (0, 0, 2) and "whole last line" in place.log.getvalue()


def test_a_durable_verdict_is_said_before_its_lot_is_moved_and_said_once(
    place, monkeypatch
):
    seen = []

    def stuck(*_):
        seen.append(place.log.getvalue().count("verdict"))
        raise OSError(errno.EIO, "no move")

    with monkeypatch.context() as patch:
        patch.setattr(verdicts, "move", stuck)
        place.drop("lot.csv", lot())
        place.watcher.scan()
        place.watcher.retries.clear()
        place.watcher.scan()
    assert seen == [1, 1] and place.names("work") == ["lot.csv"]
    place.watcher.retries.clear()
    assert place.watcher.scan() == 1 and place.counts() == (1, 1, 0)
    assert place.log.getvalue().count("verdict") == 1
    assert place.status.counts["verdicts"] == 1 and not place.watcher.said


def test_what_a_killed_run_left_in_work_is_done_first(place, tmp_path, path):
    place.drop("lot.csv", lot("1,2,3"))
    os.rename(place.inbox / "lot.csv", place.outbox / "work" / "lot.csv")
    (place.outbox / "tmp" / "part").write_bytes(b"half")
    place.drop("lot.csv", lot("4,5,6"))
    again = Place(tmp_path, path)
    assert again.watcher.scan() == 2
    assert again.counts() == (2, 2, 0) and again.names("tmp") == []


def test_verdicts_that_wait_share_one_fsync_of_their_folder(place, monkeypatch):
    monkeypatch.setattr(watcher, "BATCH", 4)
    monkeypatch.setattr(watcher, "PASS", 60.0)
    for number in range(10):
        place.drop(f"{number}.csv", lot(f"{number},2,3"))
    synced, sync, link = [], verdicts.sync, os.link

    def counted(folder):
        synced.append(len(place.names("verdicts")))
        sync(folder)

    def linked(part, target):
        assert os.stat(part).st_size and len(place.names("done")) == len(synced) * 4
        link(part, target)

    monkeypatch.setattr(verdicts, "sync", counted)
    monkeypatch.setattr(os, "link", linked)
    assert place.watcher.scan() == 10 and place.counts() == (10, 10, 0)
    assert synced == [4, 8, 10] and place.names("tmp") == []


def test_a_verdict_waits_for_no_backlog_of_malformed_lots(place, monkeypatch):
    monkeypatch.setattr(watcher, "WAIT", 0.0)
    place.drop("a.csv", lot())
    for number in range(5):
        place.drop(f"b{number}.csv", b"junk %d\n" % number)
    published = []
    publish = verdicts.publish
    monkeypatch.setattr(
        verdicts, "publish", lambda *a: (published.append(a[1]), publish(*a))
    )
    assert place.watcher.scan() == 6 and place.counts() == (1, 1, 5)
    assert published.index("verdicts") <= 1, "of six"


def test_a_new_lot_waits_for_no_backlog_and_the_backlog_for_no_new_lot(
    place, monkeypatch
):
    monkeypatch.setattr(watcher, "BATCH", 4)
    monkeypatch.setattr(watcher, "PASS", 0.0)
    monkeypatch.setattr(watcher, "SHARE", 0.0)
    for number in range(40):
        place.drop(f"m{number:02d}.csv", lot(f"{number},2,3"))
    assert place.watcher.scan() == 4
    for number, name in enumerate("az"):
        place.drop(f"{name}.csv", lot(f"{number},3,3"))
    assert place.watcher.scan() == 4
    assert not {"a.csv", "z.csv"} & {*os.listdir(place.inbox)}
    for number in range(8):  # new ones come as fast as lots are judged
        for more in range(4):
            place.drop(f"z{number}{more}.csv", lot(f"{number},{more},4"))
        assert place.watcher.scan() == 4
    assert not [name for name in os.listdir(place.inbox) if name < "m20"]
    while place.watcher.scan():
        pass
    assert place.counts() == (74, 74, 0)


def test_a_step_of_the_clock_back_holds_nothing_up_and_loses_nothing(
    place, monkeypatch
):
    def refuse(*_):
        raise OSError(errno.EINVAL, "no leases here")

    monkeypatch.setattr(claim.fcntl, "fcntl", refuse)
    now, clock, monotonic = [0.0], time.time, time.monotonic
    monkeypatch.setattr(time, "time", lambda: clock() - 3600 + now[0])
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + now[0])
    path = place.drop("lot.csv", lot())
    place.drop("half.csv", lot()[:-3])
    assert place.watcher.scan() == 0
    now[0] = 1.5
    assert place.watcher.scan() == 0
    with open(path, "ab") as writer:
        writer.write(b"r2,1,2,3\n")
    now[0] = 3.0
    assert place.watcher.scan() == 0, "it was written to meanwhile"
    now[0] = 12.0
    assert place.watcher.scan() == 0, "claimed, which is no change but of its name"
    now[0] = 15.0
    assert place.watcher.scan() == 2 and place.counts() == (1, 1, 1)
    assert "rows 2" in place.log.getvalue()


def test_of_a_batch_only_the_lot_that_changed_is_read_again(place, monkeypatch):
    for name in "abc":
        place.drop(f"{name}.csv", lot(f"{ord(name)},2,3"))
    fsync_all = verdicts.fsync_all

    def late(fds):
        monkeypatch.setattr(verdicts, "fsync_all", fsync_all)
        with open(place.outbox / "work" / "b.csv", "ab") as writer:
            writer.write(b"r2,1,2,3\n")
        fsync_all(fds)

    monkeypatch.setattr(verdicts, "fsync_all", late)
    assert place.watcher.scan() == 2 and place.names("work") == ["b.csv"]
    assert place.watcher.scan() == 1 and place.counts() == (3, 3, 0)
    assert "rows 2" in place.log.getvalue()


def test_what_is_older_than_its_days_is_removed_but_not_how_far_a_file_was_read(
    tmp_path, path
):
    place = Place(tmp_path, path, grow=["grow.csv"], keep_days=1 / 86_400)
    place.drop("grow.csv", lot("1,2,3"))
    place.drop("old.csv", lot())
    place.drop("bad.csv", b"junk\n")
    (place.inbox / "folder").mkdir()
    place.watcher.scan()
    assert place.counts() == (2, 1, 2), "the newest are kept, whatever the clock says"
    time.sleep(1.3)
    for name, content in (("new.csv", lot("2,2,3")), ("bad2.csv", b"junk 2\n")):
        place.drop(name, content)
        place.watcher.removed -= watcher.HOUR
        place.watcher.scan()
    place.watcher.removed -= watcher.HOUR
    place.watcher.scan()
    assert place.counts() == (2, 1, 1) and "removed" in place.log.getvalue()
    assert place.names("done")[0].endswith("-new.csv")
    assert "grow.csv.0.csv" in place.names("verdicts")
    assert len(place.names("quarantine")) == 2
    again = Place(tmp_path, path, grow=["grow.csv"])
    again.watcher.scan()
    assert again.names("verdicts") == place.names("verdicts")


def test_a_clock_far_ahead_removes_nothing(place, monkeypatch):
    place.watcher.keep_days = 1.0
    place.drop("a.csv", lot())
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 1e8)
    place.watcher.scan()
    assert place.counts() == (1, 1, 0)


def test_a_verdict_before_a_stall_is_the_lots_whatever_bundle_comes(
    place, tmp_path, monkeypatch
):
    other = tmp_path / "other"
    other.mkdir()
    place.watcher.reload = lambda: model.load(
        save(other, ranges=np.float32([[0, 900]] * 3))
    )
    place.drop("lot.csv", lot())

    def full(folder):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(verdicts, "sync", full)
        assert place.watcher.scan() == 0
    assert place.counts() == (1, 0, 0) and place.names("work") == ["lot.csv"]
    place.watcher._renew()
    place.watcher.retries.clear()
    assert place.watcher.scan() == 1 and place.counts() == (1, 1, 0)


class Killed(BaseException):
    """Not an Exception: nothing in the watcher may catch it."""


CALLS = ("rename", "link", "unlink", "fsync", "open", "write", "replace", "close")


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_each_system_call_loses_and_doubles_nothing(
    tmp_path, path, monkeypatch, after
):
    """Stop before (or after) the 1st, 2nd, ... call, start again, compare."""
    clean, real = None, {name: getattr(os, name) for name in CALLS}
    for stop in range(200):
        folder = tmp_path / str(stop)
        folder.mkdir()
        place = Place(folder, path, grow=["grow.csv"])
        place.drop("lot.csv", lot("1,2,3"))
        place.drop("lot2.csv", lot("1,2,4"))
        place.drop("bad.csv", lot("1,2,x"))
        place.drop("grow.csv", HEADER + b"a,1,2,3\nb,1,2,x\n")
        left = [stop]

        def counted(name, left=left):
            def call(*given, **named):
                if left[0] == 0 and not after:
                    left[0] = -1
                    raise Killed
                answer = real[name](*given, **named)
                if left[0] == 0 and after:
                    left[0] = -1
                    raise Killed
                left[0] -= 1
                return answer

            return call

        with monkeypatch.context() as patched:
            for name in CALLS:
                patched.setattr(os, name, counted(name))
            try:
                for _ in range(3):
                    place.watcher.scan()
                survived = True
            except Killed:
                survived = False
        again = Place(folder, path, grow=["grow.csv"])
        for _ in range(3):
            again.watcher.scan()
        found = {
            kind: {
                name: (again.outbox / kind / name).read_bytes()
                for name in again.names(kind)
            }
            for kind in ("verdicts", "done", "quarantine", "work", "tmp")
        }
        clean = clean or (found if survived else None)
        if survived:
            assert found == clean
            break
        sizes = [len(found[kind]) for kind in ("verdicts", "done", "quarantine")]
        assert sizes == [3, 2, 2], (stop, found)
        assert not found["work"] and not found["tmp"], stop
        rows = found["verdicts"]["grow.csv.0.csv"].decode().splitlines()
        assert [row.split(",")[1] for row in rows] == ["id", "a", ""], stop
    assert survived and stop > 25


@pytest.mark.parametrize(
    ("code", "call"),
    [
        (errno.ENOSPC, "write"),
        (errno.EIO, "fsync"),
        (errno.EDQUOT, "link"),
        (errno.EROFS, "open"),
    ],
)
def test_what_cannot_be_written_is_kept_shown_and_tried_again(
    place, monkeypatch, code, call
):
    for name in ("a.csv", "b.csv"):
        place.drop(name, lot(f"{ord(name[0])},2,3"))
    real = getattr(os, call)

    def full(*given, **named):
        if call == "open" and not given[1] & os.O_WRONLY:
            return real(*given, **named)
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        assert place.watcher.scan() == 0
    assert place.names("work") == ["a.csv", "b.csv"] and place.names("verdicts") == []
    place.drop("c.csv", lot("1,2,4"))
    word = errno.errorcode[code]
    assert word in place.status.health() and f'error="{word}"' in place.status.prom()
    assert place.watcher.scan() == 0, "not at once"
    assert os.listdir(place.inbox) == ["c.csv"], "those in hand, no more"
    place.watcher.retries.clear()
    assert place.watcher.scan() == 3
    assert place.counts() == (3, 3, 0) and json.loads(place.status.health())["ok"]


def test_a_real_full_disk_by_a_limit_on_file_size(place):
    place.drop("lot.csv", lot(*["1,2,3"] * 500))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        assert place.watcher.scan() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "EFBIG" in place.log.getvalue() and place.names("verdicts") == []
    place.watcher.retries.clear()
    assert place.watcher.scan() == 1 and place.counts() == (1, 1, 0)


def test_an_unreadable_file_holds_up_no_other(place, monkeypatch):
    """By the kernel where we are root and can become nobody, else by a stand-in."""
    place.drop("closed.csv", lot("1,2,3")).chmod(0)
    place.drop("open.csv", lot())
    opened = claim.opened

    def denied(path):
        if str(path).endswith("/closed.csv"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path)

    with monkeypatch.context() as patched:
        if os.geteuid() == 0:
            patched.setattr(claim, "opened", denied)
        assert place.watcher.scan() == 1
    assert place.counts() == (1, 1, 0) and os.listdir(place.inbox) == ["closed.csv"]
    assert "EACCES" in place.status.health()
    (place.inbox / "closed.csv").chmod(0o644)
    place.watcher.retries.clear()
    assert place.watcher.scan() == 1 and json.loads(place.status.health())["ok"]


def test_a_trouble_that_went_away_with_its_file_is_forgotten(place):
    place.status.trouble("x", OSError(errno.EACCES, "no"), 1.0)
    place.watcher.retries.failed("x")
    place.watcher.scan()
    assert not place.status.troubles and not place.watcher.retries


def test_pauses_double_up_to_half_a_minute():
    retries = watcher.Retries()
    pauses = [retries.failed("x") for _ in range(9)]
    assert pauses == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30] and not retries.due("x")
    retries.pop("x")
    assert retries.due("x") and retries.failed("x") == 0.25


def test_the_inbox_may_go_and_come_back_and_a_folder_of_the_outbox(place):
    (place.outbox / "done").rmdir()
    place.drop("a.csv", lot())
    place.watcher.scan()
    place.inbox.rmdir()
    assert place.watcher.scan() == 0 and not place.status.troubles
    place.inbox.mkdir()
    place.drop("b.csv", lot("1,2,3"))
    assert place.watcher.scan() == 1 and place.counts() == (2, 2, 0)


def test_stop_finishes_the_file_in_hand_and_takes_no_other(place, monkeypatch):
    for number in range(5):
        place.drop(f"{number}.csv", lot(f"{number},2,3"))
    judge = reader.judge

    def stopping(*given, **named):
        place.watcher.stop()
        return judge(*given, **named)

    monkeypatch.setattr(reader, "judge", stopping)
    place.watcher.run()
    assert place.counts() == (1, 1, 0) and len(os.listdir(place.inbox)) == 4
    assert place.names("work") == [] and (place.outbox / "health.json").exists()


def test_a_second_watcher_is_refused(place):
    held = watcher.lock(place.outbox / "lock"), watcher.lock(place.inbox)
    for what in (place.outbox / "lock", place.inbox):
        with pytest.raises(watcher.Refused, match="another watcher is at work"):
            watcher.lock(what)
    for fd in held:
        os.close(fd)
    os.close(watcher.lock(place.inbox))


def test_limits_are_the_watchers(tmp_path, path):
    place = Place(tmp_path, path, limits=Limits(bytes=100, rows=2))
    place.drop("long.csv", lot(*["1,2,3"] * 3))
    place.drop("large.csv", lot(*["1,2,3"] * 50))
    place.watcher.scan()
    kinds = [
        json.loads((place.outbox / "quarantine" / name).read_text())["kind"]
        for name in place.names("quarantine")
        if name.endswith(".json")
    ]
    assert kinds == ["size", "size"] and place.counts() == (0, 0, 2)


def test_what_waits_too_long_and_a_full_disk_are_in_health(place, monkeypatch):
    place.status.alarm = 60.0
    path = place.drop("lot.csv", lot())
    (place.inbox / "half.part").write_bytes(b"")
    with open(path, "ab"):  # somebody has it open
        place.watcher.scan()
        assert json.loads(place.status.health())["ok"]
        place.watcher.since["lot.csv"] -= 100
        place.watcher.scan()
    health = json.loads(place.status.health())
    assert not health["ok"] and health["ignored_names"] == 1
    assert health["troubles"]["inbox"].startswith("a file of the inbox waits for 10")
    assert "kd_edge_oldest_waiting_seconds 10" in place.status.prom()
    assert place.watcher.scan() == 1
    place.watcher.scan()
    assert json.loads(place.status.health())["ok"]
    monkeypatch.setattr(place.status, "_free", lambda: (5, 0.001))
    assert "disk" in json.loads(place.status.health())["troubles"]


def test_a_new_model_without_a_stop(place, tmp_path, path):
    other = tmp_path / "other"
    other.mkdir()
    new = model.load(save(other, ranges=np.float32([[0, 900]] * 3)))
    place.watcher.reload = lambda: new
    place.drop("a.csv", lot("1,2,3"))
    place.watcher.scan()
    place.drop("b.csv", lot("4,5,6"))
    place.watcher.reload_next()
    assert place.watcher.scan() == 0  # the model first
    place.watcher._renew()
    assert place.watcher.scan() == 1
    names = place.names("verdicts")
    assert sorted(name.split(".")[1] for name in names) == sorted(
        [place.student.key[:12], new.key[:12]]
    )
    assert json.loads(place.status.health())["bundle"] == new.digest

    def refused():
        raise bundle.BundleError("it is damaged")

    place.watcher.reload = refused
    place.watcher.reload_next()
    place.watcher._renew()
    assert place.watcher.model is new
    assert json.loads(place.status.health())["troubles"] == {"bundle": "it is damaged"}


def test_a_shadow_judges_beside_the_first_and_is_only_counted(tmp_path, path):
    plain = Place(tmp_path, path).student.bundle
    file = bundle.packed(plain.student, plain.prepare, 0.5, plain.schema)
    (tmp_path / "other.kdb").write_bytes(file)
    place = Place(tmp_path, path, grow=["grow.csv"])
    shadow = place.status.shadow = model.load(tmp_path / "other.kdb")
    place.status.serve(place.student)
    rows = [[400 + i, 5, 0.1] for i in range(-20, 20)]
    text = lot(*[",".join(map(str, row)) for row in rows])
    place.drop("a.csv", text)
    place.drop("grow.csv", text)
    place.watcher.scan()
    place.watcher.scan()
    first, second = (m.judge(np.array(rows))[1] for m in (place.student, shadow))
    assert (first != second).any()
    for one, a in (("pass", ~first), ("fail", first)):
        for other, b in (("pass", ~second), ("fail", second)):
            key = f'shadow{{first="{one}",second="{other}"}}'
            assert place.status.counts[key] == 2 * (a & b).sum()
    assert "kd_edge_shadow_total{first=" in place.status.prom()
    assert all(
        place.student.digest[:12] in name for name in place.names("verdicts")[:1]
    )
    names = tmp_path / "names"
    names.mkdir()
    place.status.shadow = model.load(save(names, names=("vdd_mV", "idd_uA", "other")))
    with pytest.raises(bundle.BundleError, match="the shadow reads 'other'"):
        place.status.serve(place.student)


def test_a_bundle_that_is_pinned_is_no_other(tmp_path, path):
    digest = model.load(path).digest
    assert model.load(path, sha256=digest.upper()).digest == digest
    with pytest.raises(bundle.BundleError, match=f"SHA-256 {digest}, expected 0"):
        model.load(path, sha256="0" * 64)


def test_a_lot_is_whole_once_its_marker_is_there(tmp_path, path):
    place = Place(tmp_path, path, marker=".done")
    place.drop("lot.csv", lot())
    assert place.watcher.scan() == 0
    place.drop("lot.csv.done", b"")
    place.drop("other.csv.done", b"")  # its lot may still come
    assert place.watcher.scan() == 1
    assert os.listdir(place.inbox) == ["other.csv.done"] and place.counts() == (1, 1, 0)


def test_refused_lots_are_brought_back(place, capsys):
    place.drop("a.csv", lot("400,nan,.1"))
    place.drop("b.csv", HEADER)
    assert place.watcher.scan() == 2 and place.counts() == (0, 0, 2)
    words = ["requeue", "--inbox", str(place.inbox), "--outbox", str(place.outbox)]
    assert command.main([*words, "--kind", "number"]) == 0
    assert "requeued a.csv: row 1, column 'idd_uA'" in capsys.readouterr().out
    assert os.listdir(place.inbox) == ["a.csv"]
    assert len(place.names("quarantine")) == 2  # the other lot and its reason
    place.drop("b.csv", lot())
    assert command.main(words) == 0 and "stays b.csv" in capsys.readouterr().out
    assert place.watcher.scan() == 2 and place.counts() == (1, 1, 2)

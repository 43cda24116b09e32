"""A growing file: every row once, whatever is cut, rotated, truncated or replaced."""

import csv
import json
import os

import numpy as np
import pytest
from toy_edge import HEADER, Place, lot

from kdutils.edge import growing, model, torture

NAME = "grow.csv"


@pytest.fixture
def place(tmp_path, path):
    return Place(tmp_path, path, grow=[NAME])


def append(place, *ids, end="\n", name=NAME):
    """Rows with these ids; `end` of the last may be missing."""
    text = "\n".join(f"{id},400,5,.1" for id in ids) + end
    with open(place.inbox / name, "ab") as file:
        file.write((b"" if file.tell() else HEADER) + text.encode())


def scan(place, times=3):
    for _ in range(times):
        place.watcher.scan()


def ids(place):
    """All ids that have a verdict, generation after generation."""
    found = []
    for name in sorted(place.names("verdicts"), key=lambda n: int(n.split(".")[-2])):
        text = (place.outbox / "verdicts" / name).read_text()
        assert text.startswith("end,id,score,verdict,")
        found.append([line.split(",")[1] for line in text.splitlines()[1:]])
    return found


def test_rows_are_judged_as_they_come_and_the_file_stays(place):
    append(place, "a", "b")
    scan(place)
    append(place, "c", end="")
    scan(place)
    assert ids(place) == [["a", "b"]]
    append(place, end="")
    with open(place.inbox / NAME, "ab") as file:
        file.write(b"\n")
    scan(place)
    assert ids(place) == [["a", "b", "c"]] and os.listdir(place.inbox) == [NAME]
    assert place.status.counts["rows"] == 3 and place.counts()[1:] == (0, 0)


def test_the_end_of_each_row_is_its_byte(place):
    append(place, "a", "bcd")
    scan(place)
    lines = (place.outbox / "verdicts" / f"{NAME}.0.csv").read_text().splitlines()
    data = (place.inbox / NAME).read_bytes()
    ends = [int(line.split(",")[0]) for line in lines[1:]]
    assert ends == [data.index(b"\nbcd") + 1, len(data)]
    wanted = place.student.bundle.score([[400, 5, 0.1]])[0]
    assert np.float32(lines[1].split(",")[2]) == wanted


@pytest.mark.parametrize("torn", [0, 1, 9])
def test_a_new_watcher_goes_on_behind_the_last_whole_verdict(
    place, tmp_path, path, torn
):
    append(place, "a", "b", "c")
    scan(place)
    file = place.outbox / "verdicts" / f"{NAME}.0.csv"
    whole = file.read_bytes()
    os.truncate(file, len(whole) - torn)
    append(place, "d", "a")
    again = Place(tmp_path, path, grow=[NAME])
    scan(again)
    assert ids(again) == [["a", "b", "c", "d", ""]], "an id twice is refused"
    assert torture.undated(file.read_bytes()).startswith(torture.undated(whole))


def test_a_bad_row_is_refused_alone_with_its_reason(place):
    append(place, "a", "b", end="")
    with open(place.inbox / NAME, "ab") as file:
        file.write(b"0\nx,1,NaN,3\n\xff\xfe\nq,1\n")
    append(place, "c", "a", "d")
    scan(place)
    assert ids(place) == [["a", "b", "", "", "", "c", "", "d"]]
    text = (place.outbox / "verdicts" / f"{NAME}.0.csv").read_text()
    for word in ("row 3, column 'idd_uA'", "UTF-8", "row 5: found 2 cells", "each id"):
        assert word in text
    assert sum("refused" in line for line in text.splitlines()) == 4
    assert place.log.getvalue().count("refused") == 4


def test_a_rotated_file_is_read_to_its_end_first(place):
    append(place, "a")
    scan(place)
    append(place, "b", "c", end="")
    os.rename(place.inbox / NAME, place.inbox / f"{NAME}.1")
    append(place, "d")
    scan(place, 6)
    assert ids(place) == [["a", "b", ""], ["d"]] and place.counts()[1:] == (0, 0)
    assert "whole last line" in place.log.getvalue()
    append(place, "e")
    scan(place)
    assert ids(place)[1] == ["d", "e"]


def test_a_rotated_file_that_is_still_written_is_waited_for(place):
    append(place, "a")
    scan(place)
    with open(place.inbox / NAME, "ab") as writer:
        os.rename(place.inbox / NAME, place.inbox / f"{NAME}.1")
        append(place, "c")
        scan(place)
        assert ids(place) == [["a"]]
        writer.write(b"b,1,2,3\n")
    scan(place, 6)
    assert ids(place) == [["a", "b"], ["c"]]


def test_rotated_twice_while_no_watcher_was_there(place, tmp_path, path):
    append(place, "a")
    scan(place)
    append(place, "b")
    for number, new in ((1, "c"), (2, "d")):
        os.rename(place.inbox / NAME, place.inbox / f"{NAME}.{number}")
        append(place, new)
        os.utime(place.inbox / f"{NAME}.{number}", (number, number))
    again = Place(tmp_path, path, grow=[NAME])
    scan(again, 9)
    assert ids(again) == [["a", "b"], ["c"], ["d"]]
    last = Place(tmp_path, path, grow=[NAME])
    scan(last, 9)
    assert ids(last) == [["a", "b"], ["c"], ["d"]], "finished ones stay finished"


@pytest.mark.parametrize("new", [["c"], ["c", "d", "e", "f"]])
def test_a_truncated_file_begins_again_even_if_it_is_longer(place, new):
    append(place, "a", "b")
    scan(place)
    os.truncate(place.inbox / NAME, 0)
    append(place, *new)
    scan(place)
    assert ids(place) == [["a", "b"], new]


def test_another_bundle_goes_on_where_the_first_one_stopped(place, tmp_path, path):
    append(place, "a")
    scan(place)
    append(place, "b")
    again = Place(tmp_path, path, grow=[NAME])
    other = model.Model(
        again.student.bundle, "f" * 64, again.student.low, again.student.high
    )
    again.watcher.growing[0].model = other
    scan(again)
    append(place, "c")
    scan(again)
    assert ids(again) == [["a"], ["b", "c"]]
    state = json.loads((place.outbox / "state" / f"{NAME}.json").read_text())
    assert state["model"] == "f" * 64


def test_columns_by_name_in_each_file_and_another_id(place, tmp_path, path):
    names = {"id": "serial", "extra": "ignore"}
    wide = Place(tmp_path, path, grow=[NAME], columns=names)
    head = b"note,serial,leak_nA,idd_uA,vdd_mV,id\n"
    (wide.inbox / NAME).write_bytes(head + b'"x, y",a,.1,5,400,1\n"x,b,.1,5,400,1\n')
    scan(wide)
    wide = Place(tmp_path, path, grow=[NAME], columns=names)
    with open(wide.inbox / NAME, "ab") as file:
        file.write(b",c,.1,5,400,1\n,a,.1,5,400,1\n")
    scan(wide)
    assert ids(wide) == [["a", "", "c", ""]]
    text = (wide.outbox / "verdicts" / f"{NAME}.0.csv").read_text()
    score = wide.student.bundle.score([[400, 5, 0.1]])[0]
    assert np.float32(text.splitlines()[1].split(",")[2]) == score
    os.rename(wide.inbox / NAME, wide.inbox / f"{NAME}.1")
    (wide.inbox / NAME).write_bytes(HEADER.replace(b"id,", b"serial,") + b"d,1,2,3\n")
    scan(wide, 6)
    assert ids(wide)[1:] == [["d"]]
    with open(wide.inbox / NAME, "ab") as file:
        file.write(b"e,1,2,3\n")
    scan(place)
    assert "column 'id': found no such column" in place.status.health()
    assert "EINVAL" in place.status.health() and ids(place)[2:] == []
    os.unlink(wide.inbox / NAME)
    append(place, "f")
    place.watcher.retries.clear()
    scan(place)
    assert ids(place)[-1] == ["f"] and not place.status.troubles


def test_a_full_disk_loses_no_row_and_doubles_none(place, monkeypatch):
    append(place, "a")
    scan(place)
    append(place, "b")
    written = os.write

    def full(fd, data):
        written(fd, bytes(data)[:5])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        scan(place)
    assert ids(place) == [["a"]] and "ENOSPC" in place.status.health()
    place.watcher.retries.clear()
    append(place, "c")
    scan(place)
    assert ids(place) == [["a", "b", "c"]]


def test_small_blocks_change_nothing(place, monkeypatch):
    monkeypatch.setattr(growing, "BLOCK", 64)
    names = [f"i{i}" for i in range(40)]
    append(place, *names)
    scan(place, 60)
    assert ids(place) == [names]


def test_ids_are_remembered_up_to_a_limit(place, monkeypatch):
    monkeypatch.setattr(growing, "REMEMBERED", 2)
    append(place, "a", "b", "c", "d")
    scan(place)
    append(place, "c", "b", "a")
    scan(place)
    assert ids(place) == [["a", "b", "c", "d", "", "b", "a"]]


def test_crlf_and_a_byte_order_mark(place):
    data = b"\xef\xbb\xbf" + HEADER + b"a,1,2,3\n"
    (place.inbox / NAME).write_bytes(data.replace(b"\n", b"\r\n"))
    scan(place)
    with open(place.inbox / NAME, "ab") as file:
        file.write(b"b,1,2,3\r\nc,1,2,3\n")
    scan(place)
    assert ids(place) == [["a", "b", ""]]


def test_a_lost_state_never_appends_to_old_verdicts(place, tmp_path, path):
    append(place, "a")
    scan(place)
    (place.outbox / "state" / f"{NAME}.json").unlink()
    again = Place(tmp_path, path, grow=[NAME])
    scan(again)
    assert ids(again) == [["a"], ["a"]]


def test_another_name_that_begins_the_same_is_a_lot_of_its_own(place):
    one = place.watcher.growing[0]
    others = [f"{NAME}.1", f"{NAME}-2026", f"{NAME}_old", NAME]
    assert all(map(one.owns, others)) and not one.owns(f"{NAME}x")
    log = growing.Growing("log", place.inbox, place.outbox, place.student, None)
    assert not log.owns("logistics-lot7.csv")


@pytest.mark.parametrize("wrong", [b"id,other\n", b"x" * (1 << 18)])
def test_what_cannot_be_read_is_left_behind_when_it_is_rotated(
    place, tmp_path, path, wrong
):
    (place.inbox / NAME).write_bytes(wrong)
    scan(place)
    assert NAME in place.status.troubles and place.names("verdicts") == []
    os.rename(place.inbox / NAME, place.inbox / f"{NAME}.1")
    append(place, "a", "b")
    again = Place(tmp_path, path, grow=[NAME])  # after a restart too
    scan(again, 6)
    assert ids(again)[-1] == ["a", "b"] and NAME not in again.status.troubles


@pytest.mark.parametrize("damaged", ["", "[]", '{"inode": 3}', "\x00"])
def test_a_damaged_state_is_named_and_stops_no_lot(place, tmp_path, path, damaged):
    append(place, "a")
    scan(place)
    (place.outbox / "state" / f"{NAME}.json").write_text(damaged)
    again = Place(tmp_path, path, grow=[NAME])
    again.drop("lot.csv", lot())
    scan(again)
    assert "is damaged: remove it" in again.status.troubles[NAME]
    assert again.counts()[1] == 1 and ids_of(again) == ["a"]
    (place.outbox / "state" / f"{NAME}.json").unlink()
    again.watcher.retries.pop(NAME, None)
    scan(again)
    assert NAME not in again.status.troubles


def test_each_row_says_which_file_model_and_threshold(place):
    append(place, "a", "b")
    with open(place.inbox / NAME, "ab") as file:
        file.write(b"c,1,NaN,3\n")
    scan(place)
    with open(place.outbox / "verdicts" / f"{NAME}.0.csv") as file:
        good, _, bad = csv.DictReader(file)
    for row in (good, bad):
        assert row["lot"] == NAME and row["model"] == place.student.digest[:12]
        assert np.float32(row["threshold"]) == np.float32(0.05)
        assert row["time"].endswith("Z")
    assert not good["reason"] and "finite decimal" in bad["reason"]


def test_verdicts_of_an_earlier_version_are_left_and_gone_on_behind(
    place, tmp_path, path
):
    append(place, "a", "b")
    scan(place)
    file = place.outbox / "verdicts" / f"{NAME}.0.csv"
    rows = [row.split(",") for row in file.read_text().splitlines()]
    old = "".join(",".join([*row[:4], row[-1]]) + "\n" for row in rows)
    file.write_text(old)
    append(place, "c")
    again = Place(tmp_path, path, grow=[NAME])
    scan(again)
    assert ids(again) == [["a", "b"], ["c"]] and file.read_text() == old


def ids_of(place):
    text = (place.outbox / "verdicts" / f"{NAME}.0.csv").read_text()
    return [line.split(",")[1] for line in text.splitlines()[1:]]


def test_a_line_of_verdicts_that_is_none_is_named(place, tmp_path, path):
    append(place, "a")
    scan(place)
    with open(place.outbox / "verdicts" / f"{NAME}.0.csv", "ab") as file:
        file.write(b"garbage\n")
    again = Place(tmp_path, path, grow=[NAME])
    again.drop("lot.csv", lot())
    scan(again)
    assert "line 3 of" in again.status.troubles[NAME] and again.counts()[1] == 1

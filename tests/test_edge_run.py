"""The watcher as a process: events, signals, memory, kill -9, its command line."""

import errno
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from toy_edge import QUOTED, lot, save

from kdutils.deploy import bundle, readings
from kdutils.edge import __main__ as command
from kdutils.edge import model, simulate, status, torture, watcher

ROOT = Path(__file__).parents[1]
DEVICE = """
import sys
names = "torch sklearn pandas scipy xgboost joblib matplotlib"
for name in names.split() + {more}:
    sys.modules[name] = None
import runpy
sys.argv = ["kdutils.edge", *sys.argv[1:]]
runpy.run_module("kdutils.edge", run_name="__main__")
"""
LIMIT = 120.0


@pytest.fixture
def start(tmp_path, path):
    """Start watchers; what still runs at the end is killed."""
    (tmp_path / "in").mkdir()
    running = []

    def begin(*options, more=(), bundle=path):
        folders = ["--inbox", tmp_path / "in", "--outbox", tmp_path / "out"]
        code = DEVICE.format(more=list(more))
        words = [sys.executable, "-c", code, "watch", "--bundle", bundle, *folders]
        log = open(tmp_path / "log", "a")  # noqa: SIM115
        child = subprocess.Popen(
            [*map(str, words), *options],
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        log.close()
        running.append(child)
        return child

    yield begin
    for child in running:
        child.kill()
        child.wait()


def until(true, what):
    """Wait for something that a slow machine may take its time for."""
    end = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def listed(folder):
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def memory(child):
    """Peak resident memory in MB."""
    text = Path(f"/proc/{child.pid}/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1000


@pytest.mark.parametrize("events", [True, False], ids=["watchdog", "timer"])
def test_a_whole_life(start, tmp_path, events):
    """Files before, during and after the inbox is replaced; then SIGTERM."""
    inbox, out = tmp_path / "in", tmp_path / "out"
    (inbox / "before.csv").write_bytes(lot("0,0,0"))
    child = start(more=() if events else ("watchdog",))
    until(lambda: len(listed(out / "done")) == 1, "files from before it began")
    word = "watchdog and a timer" if events else "with a timer"
    assert word in (tmp_path / "log").read_text()
    (inbox / ".hidden.part").write_bytes(lot("1,1,1"))
    os.rename(inbox / ".hidden.part", inbox / "renamed.csv")
    (tmp_path / "elsewhere.csv").write_bytes(lot("2,2,2"))
    os.rename(tmp_path / "elsewhere.csv", inbox / "moved.csv")
    until(lambda: len(listed(out / "done")) == 3, "renamed and moved in")
    inbox.rmdir()
    time.sleep(0.05)
    inbox.mkdir()
    (inbox / "after.csv").write_bytes(lot("3,3,3"))
    until(lambda: len(listed(out / "done")) == 4, "after the inbox was replaced")
    child.send_signal(signal.SIGTERM)
    assert child.wait(LIMIT) == 0
    health = json.loads((out / "health.json").read_text())
    assert health["ok"] and health["counts"]["verdicts"] == 4
    assert "kd_edge_verdicts_total 4" in (out / "metrics.prom").read_text()
    assert len(listed(out / "verdicts")) == 4
    assert "ended after the files in hand" in (tmp_path / "log").read_text()


def test_a_bundle_that_is_replaced_serves_from_the_next_lot_on(start, tmp_path, path):
    inbox, out = tmp_path / "in", tmp_path / "out"
    served = tmp_path / "served.kdb"
    served.write_bytes(path.read_bytes())
    child = start(bundle=served)
    (inbox / "a.csv").write_bytes(lot("1,2,3"))
    until(lambda: len(listed(out / "verdicts")) == 1, "the first model's verdict")
    other = save(tmp_path, ranges=np.float32([[0, 900]] * 3)).read_bytes()
    for content, says in ((b"junk", "stays"), (other, " for ")):
        served.write_bytes(content)
        child.send_signal(signal.SIGHUP)
        until(lambda: says in (tmp_path / "log").read_text(), says)  # noqa: B023
    (inbox / "b.csv").write_bytes(lot("4,5,6"))
    until(lambda: len(listed(out / "verdicts")) == 2, "the second model's verdict")
    digest = hashlib.sha256(other).hexdigest()[:12]
    assert any(f".{digest}." in name for name in listed(out / "verdicts"))


def test_a_student_of_quoted_names_is_served_by_its_own_tester(start, tmp_path, capsys):
    """Also a growing file, whose columns are another lot's, in another order."""
    quoted = save(tmp_path, names=QUOTED)
    student, inbox = model.load(quoted, id="unit no"), tmp_path / "in"
    out, words = tmp_path / "out", ["simulate", "--bundle", quoted, "--inbox", inbox]
    words += ["--files", 3, "--rate", 0, "--id", "unit no"]
    assert command.main([*map(str, words)]) == 0
    head, *rows = simulate.content(student, np.random.default_rng(0), 4)
    cells = [["note, if any", *head[::-1]], *(["a, b", *row[::-1]] for row in rows)]
    (inbox / "grow.csv").write_bytes(simulate.joined(cells))
    options = ("--id", "unit no", "--extra", "ignore", "--grow", "grow.csv")
    start(*options, bundle=quoted)
    until(lambda: len(listed(out / "verdicts")) == 4, "three lots, a growing file")
    grown = (out / "verdicts" / "grow.csv.0.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in grown[1:]] == [row[0] for row in rows]
    assert len(listed(out / "done")) == 3 and listed(out / "quarantine") == []


def test_a_burst_keeps_memory_below_100_mb(start, tmp_path):
    """1,000 files (EDGE_BURST=20000 for the whole demand) and one large one."""
    inbox, out = tmp_path / "in", tmp_path / "out"
    child = start("--max-rows", "1000000")
    count = int(os.environ.get("EDGE_BURST", "1000"))
    for number in range(count):
        (inbox / f"{number}.csv").write_bytes(lot(f"{number},2,3"))
    rows = [f"{number},2,3" for number in range(60_000)]
    (inbox / "large.csv").write_bytes(lot(*rows))
    end = LIMIT * max(1, count / 1000)
    began = time.monotonic()
    while len(listed(out / "done")) <= count and time.monotonic() < began + end:
        time.sleep(0.1)
    assert len(listed(out / "done")) == len(listed(out / "verdicts")) == count + 1
    assert memory(child) < 100


def test_kill_9_loses_doubles_and_garbles_nothing(path):
    """All of it: python -m kdutils.edge.torture (20,000 files, 500 kills)."""
    whole = os.environ.get("EDGE_TORTURE")
    how = [] if whole else ["--files", "250", "--kills", "20"]
    words = [sys.executable, "-m", "kdutils.edge.torture", "--bundle", str(path), *how]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["wrong"] == [], done.stdout + done.stderr
    assert found["kills"] > 20 and found["malformed"] > found["files"] / 15
    assert found["rows appended"] > 25


def mounted(*_):
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


def one_sentence(capsys, *arguments):
    assert command.main([str(word) for word in arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert said and "\n" not in said and "Traceback" not in said
    return said


def test_what_cannot_be_served_is_said_in_one_sentence(tmp_path, path, capsys):
    inbox, out = tmp_path / "in", tmp_path / "out"
    watch = ("watch", "--inbox", inbox, "--outbox", out, "--bundle")
    assert "is not a folder" in one_sentence(capsys, *watch, path)
    inbox.mkdir()
    assert "No such file" in one_sentence(capsys, *watch, tmp_path / "none")
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk")
    assert "not a student bundle" in one_sentence(capsys, *watch, junk)
    inside = ("watch", "--inbox", inbox, "--outbox", inbox / "out", "--bundle", path)
    assert "must not be inside" in one_sentence(capsys, *inside)
    (out / "done").mkdir(parents=True)
    loop = ("watch", "--inbox", out / "done", "--outbox", out, "--bundle", path)
    assert "must not be inside the outbox" in one_sentence(capsys, *loop)
    with pytest.MonkeyPatch.context() as patch:  # two mounts of one file system
        patch.setattr(os, "rename", mounted)
        said = one_sentence(capsys, *watch, path)
    assert "cannot be moved into" in said and "Invalid cross-device link" in said
    assert os.listdir(inbox) == ["out"]
    held = watcher.lock(out / "lock")
    assert "another watcher is at work on" in one_sentence(capsys, *watch, path)
    os.close(held)
    for names in (["a/b"], ["a", "a"], ["grow", "grow.csv"]):
        grow = [word for name in names for word in ("--grow", name)]
        assert "no path, once" in one_sentence(capsys, *watch, path, *grow)
    assert "has a reading named 'vdd_mV'" in one_sentence(
        capsys, *watch, path, "--id", "vdd_mV"
    )
    for flag in ("watch", "simulate"):
        with pytest.raises(SystemExit):
            command.main([flag])
    with pytest.raises(SystemExit):
        command.main(["watch", "--help"])
    assert readings.RULE in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("user", [0, 65534], ids=["leases", "no leases"])
def test_kills_with_reloads_and_a_shadow_lose_and_double_nothing(
    tmp_path, path, capsys, user
):
    if user and os.geteuid():
        pytest.skip("only root can become another user")
    plain = model.load(path).bundle
    other = tmp_path / "other.kdb"
    own = plain.student, plain.prepare, 1.5, plain.schema
    other.write_bytes(bundle.packed(*own))
    words = {"bundle": path, "other": other, "files": 40, "kills": 5, "user": user}
    arguments = [str(word) for k, v in words.items() for word in (f"--{k}", v)]
    assert torture.main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["wrong"] == [] and found["kills"] == 6
    judged = found["verdicts of each bundle"]
    assert sum(judged) == 40 - found["malformed"] and found["began to watch"] >= 1


def test_options_may_stand_in_a_file_which_the_command_line_overrules(tmp_path):
    config = tmp_path / "watcher.toml"
    folders = 'bundle = "a b"\ninbox = "in"\noutbox = "out"\n'
    rest = 'grow = ["a", "b"]\nempty = true\ntimer = false\nsettle = 1\nshift = inf\n'
    config.write_text(folders + rest + "min-age = -1.5\n")
    words = ["watch", "--config", str(config), "--settle", "3", "--grow", "c"]
    chosen = command.parser().parse_args(command.configured(words))
    assert (chosen.bundle, chosen.settle, chosen.min_age) == ("a b", 3.0, -1.5)
    assert chosen.grow == ["a", "b", "c"] and chosen.empty and not chosen.timer
    assert chosen.shift == float("inf") and chosen.inbox == Path("in")
    assert command.configured(["watch", "--help"]) == ["watch", "--help"]


@pytest.mark.parametrize(
    ("text", "wrong"), [("inbox = ", "is no TOML"), ('"inbox"', "is no TOML")]
)
def test_a_file_of_options_that_is_none_is_one_sentence(tmp_path, capsys, text, wrong):
    config = tmp_path / "watcher.toml"
    config.write_text(text)
    assert wrong in one_sentence(capsys, "watch", "--config", config)
    config.write_text('size = 1\nbundle = "b"\ninbox = "i"\noutbox = "o"')
    with pytest.raises(SystemExit):
        command.main(["watch", "--config", str(config)])
    assert "unrecognized arguments: --size=1" in capsys.readouterr().err


def test_the_shipped_files_name_every_option_and_each_other():
    folder = ROOT / "kdutils/edge/service"
    text = (folder / "watcher.toml").read_text()
    config = str(folder / "watcher.toml")
    chosen = command.parser().parse_args(
        command.configured(["watch", "--config", config])
    )
    named = {line.removeprefix("# ").split(" = ")[0] for line in text.splitlines()}
    options = {name.replace("_", "-") for name in vars(chosen)} - {"command", "config"}
    assert options <= named, "each with its default"
    plain = ["watch", "--bundle", "b", "--inbox", "i", "--outbox", "o"]
    usual = vars(command.parser().parse_args(plain))
    own = {"bundle", "inbox", "outbox", "keep_days", "config"}
    assert {k: v for k, v in vars(chosen).items() if k not in own} == {
        k: v for k, v in usual.items() if k not in own
    }
    unit = (folder / "kd-edge.service").read_text()
    assert "WatchdogSec=" in unit and "Type=notify" in unit
    log = unit.split("append:")[1].splitlines()[0]
    assert log in (folder / "kd-edge.logrotate").read_text()


def test_a_container_has_all_that_the_watcher_reads(tmp_path, path):
    """What the Containerfile copies starts where nothing else of kdutils is."""
    lines = (ROOT / "kdutils/edge/service/Containerfile").read_text().splitlines()
    steps = [line.split(" ", 1) for line in lines if line and line[0] not in "# "]
    places = {
        what.split()[0]: what.split()[1] for word, what in steps if word == "COPY"
    }
    config = places.pop("kdutils/edge/service/watcher.toml") + "watcher.toml"
    for source, target in places.items():
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        (tmp_path / "kdutils").mkdir(exist_ok=True)
        copy(ROOT / source, tmp_path / target.rstrip("/"))
    found = dict(steps)
    entry, check = (
        json.loads(found[word][found[word].index("[") :])
        for word in ("ENTRYPOINT", "HEALTHCHECK")
    )
    assert entry[0] == check[0] == "python" and config == entry[-1]
    assert int(found["USER"].split(":")[0]) > 0
    own = {"cwd": tmp_path, "env": {"PATH": os.environ["PATH"]}, "text": True}
    words = [sys.executable, *entry[1:-2], "--bundle", str(path)]
    words += ["--inbox", "none", "--outbox", "out"]
    said = subprocess.run(words, capture_output=True, **own)
    assert said.returncode == 2 and "inbox none is not a folder" in said.stderr
    health = tmp_path / "health.json"
    code = check[2].replace("/srv/tester/outbox/health.json", str(health))
    for ok, age, wanted in ((True, 0, 0), (False, 0, 1), (True, 90, 1)):
        health.write_text(json.dumps({"ok": ok, "time": time.time() - age}))
        done = subprocess.run([sys.executable, *check[1:2], code], **own)
        assert done.returncode == wanted
    health.unlink()
    assert subprocess.run(
        [sys.executable, "-c", code], **own, stderr=subprocess.DEVNULL
    ).returncode


def test_systemd_hears_that_it_is_ready_alive_and_stopping(
    start, tmp_path, monkeypatch
):
    name = f"\0kd-edge-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(name)
        ear.settimeout(LIMIT)
        monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))
        child, heard = start(), []
        while "READY=1" not in heard or heard.count("WATCHDOG=1") < 3:
            heard.append(ear.recv(100).decode())
        child.send_signal(signal.SIGTERM)
        while heard[-1] != "STOPPING=1":
            heard.append(ear.recv(100).decode())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        status.notify("READY=1")
        assert ear.recv(100) == b"READY=1"
    monkeypatch.delenv("NOTIFY_SOCKET")
    status.notify("READY=1")
    assert child.wait(LIMIT) == 0


def test_an_alarm_rings_for_closed_and_moved_but_not_for_reading(tmp_path):
    pytest.importorskip("watchdog")
    bell = watcher.Alarm(tmp_path)
    try:
        bell.attend()
        (tmp_path / "a").write_bytes(b"1")
        assert bell.rung.wait(LIMIT)
        until(lambda: "a" in bell.when, "the event that it was closed")
        assert bell.closed("a") <= time.monotonic() and bell.closed("a") is None
        time.sleep(0.2)
        bell.rung.clear()
        (tmp_path / "a").read_bytes()
        (tmp_path / "a").unlink()
        assert not bell.rung.wait(0.3)
        (tmp_path.parent / "b").write_bytes(b"1")
        os.rename(tmp_path.parent / "b", tmp_path / "b")
        assert bell.rung.wait(LIMIT)
    finally:
        bell.close()


def test_a_rename_out_of_the_inbox_delays_no_later_event(tmp_path, monkeypatch):
    """watchdog's own observer holds it: its thread that reads inotify is asked."""
    pytest.importorskip("watchdog")
    own, threads = watcher.Alarm.on_event, set()

    def told(bell, event):
        threads.add(threading.current_thread())
        own(bell, event)

    monkeypatch.setattr(watcher.Alarm, "on_event", told)
    bell = watcher.Alarm(tmp_path)
    try:
        bell.attend()
        for name in "abc":
            (tmp_path / name).write_bytes(b"1")
            until(lambda name=name: name in bell.when, "the event")
            os.rename(tmp_path / name, tmp_path.parent / name)
        assert [*bell.when] == ["a", "b", "c"], "none for a rename out"
        assert threads == {bell.inotify}
    finally:
        bell.close()


@pytest.mark.parametrize("platform", ["darwin", "linux"])
def test_without_inotify_the_timer_carries_on(tmp_path, monkeypatch, platform):
    inotify = pytest.importorskip("watchdog.observers.inotify_c")

    def none_left(self):
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(inotify.InotifyFD, "__init__", none_left)
    monkeypatch.setattr(watcher.sys, "platform", platform)
    bell = watcher.Alarm(tmp_path)
    bell.attend()
    start = time.monotonic()
    bell.wait(0.05)
    assert bell.inotify is None and time.monotonic() - start >= 0.05
    bell.close()


def test_an_alarm_follows_an_inbox_that_is_replaced(tmp_path):
    pytest.importorskip("watchdog")
    inbox, old = tmp_path / "inbox", tmp_path / "old"
    inbox.mkdir()
    bell = watcher.Alarm(inbox)
    try:
        bell.attend()
        for replace in (lambda: os.rename(inbox, old), lambda: os.rmdir(inbox)):
            replace()
            bell.attend()
            inbox.mkdir()
            bell.attend()
            (inbox / "a").write_bytes(b"1")
            until(lambda: "a" in bell.when, "the event")
            bell.when.clear()
            (inbox / "a").unlink()
        (old / "b").write_bytes(b"1")
        assert not bell.rung.wait(0.3) or "b" not in bell.when
    finally:
        bell.close()


def test_status_is_prometheus_text_and_json(tmp_path, path):
    shown = status.Status(tmp_path, "f" * 64)
    shown.serve(model.load(path))
    made = type("Lot", (), {"rows": 3, "fails": 1, "digest": "a" * 64, "judged": []})
    shown.verdict("x", made, status.Counter({"read": 0.003, "publish": 0.001}))
    shown.trouble("x", OSError(28, "No space left on device"), 0.5)
    shown.show(now=True)
    lines = (tmp_path / "metrics.prom").read_text().splitlines()
    assert 'kd_edge_latency_seconds_bucket{le="0.002"} 0' in lines
    assert 'kd_edge_latency_seconds_bucket{le="0.005"} 1' in lines
    assert 'kd_edge_retries_total{error="ENOSPC"} 1' in lines
    assert 'kd_edge_part_seconds_total{part="read"} 0.003' in lines
    for line in lines:
        assert (
            line.startswith("# TYPE kd_edge_") or not float(line.rsplit(" ", 1)[1]) < 0
        )
    assert len(lines) == len(set(lines))
    health = json.loads((tmp_path / "health.json").read_text())
    assert not health["ok"] and health["troubles"]["x"].startswith("ENOSPC")


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path):
    class Full:
        def write(self, text):
            raise OSError(28, "No space left on device")

    shown = status.Status(tmp_path / "gone", "f" * 64, log=Full())
    shown.line("x")
    shown.show(now=True)
    assert shown.counts["unshown"] == 3

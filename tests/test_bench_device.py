"""The watcher's bench measures what it says, on a real watcher, and keeps it."""

import io
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from toy_edge import save

from kdutils import models, paths
from kdutils.bench import __main__ as bench
from kdutils.bench import device
from kdutils.deploy.bundle import BundleError
from kdutils.edge import model
from kdutils.views import names

WORDS = ["--lots", "6", "--rate", "200", "--files", "2", "--rows", "9"]
WORDS += ["--rounds", "2", "--calls", "4", "--starts", "1"]
LIGHT = "import sys; assert {path!r} and ({d}, {h}) == (3, 8)"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return str(save(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A booster of few trees; a process without torch instead of one with it."""
    light = partial(device.boosted, rows=600, trees=3)
    monkeypatch.setattr(device, "boosted", light)
    monkeypatch.setattr(device, "TORCH", LIGHT)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_measurement_has_its_rows_and_keeps_them(path, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "measured", lambda: tmp_path)
    words = ["--bundle", path, "--folder", str(tmp_path), *WORDS, "--write"]
    found = bench.main([*(w for w in bench.BENCHES if w.startswith("edge")), *words])
    latency, answers, rates, starts = found.values()
    by = {row["part"]: row for row in latency}
    assert list(by) == [p for p in by if p in names.NAMES["part"] or p == "above"]
    assert set(by) == {*names.NAMES["part"], "above"}, "the figure knows every part"
    for key in ("p50_ms", "p95_ms", "p99_ms"):
        whole, fsyncs = by["whole"][key], by["fsyncs"][key]
        assert by["above"][key] == pytest.approx(whole - fsyncs)
        assert whole > by["publish"][key] > 0
    ways = {row["way"]: row for row in answers}
    assert ways[device.FIRST]["times"] == 1
    assert {"numpy int8, one row", "torch eager", "XGBoost, 300 trees"} <= set(ways)
    for row in answers:
        assert 0 < row["p50_us"] <= row["p99_us"] and row["energy_uj"] > 0
        assert row["times_low"] <= row["times"] <= row["times_high"]
    assert rates[0]["per_second"] > 0 and rates[0]["per_cpu_second"] > 0
    assert rates[0]["files"] == 2 and rates[0]["rows"] == 9
    assert [row["way"] for row in starts] == ["numpy bundle", "torch eager"]
    assert all(5 < row["peak_mb"] < 200 for row in starts)
    said = capsys.readouterr().out
    for what, rows in found.items():
        file = tmp_path / f"{what}-{rows[0]['cpu']}-t1.csv"
        assert str(file) in said and len(pd.read_csv(file)) == len(rows)
        assert all(row["date"] and row["threads"] == 1 for row in rows)


def test_every_way_answers_one_device(path, tmp_path):
    student = model.load(path).bundle
    assert device.shape(student) == (3, 8)
    arrays = models.Student(5, 7).arrays()
    assert device.shape(type("B", (), {"student": arrays})) == (5, 7)
    found = device.ways(path, tmp_path)
    assert {reads for reads, _ in found.values()} == {"raw", "prepared"}
    for _, way in found.values():
        seconds = way(3)
        assert seconds.shape == (3,) and (seconds > 0).all() and (seconds < 5).all()


def test_a_way_that_is_not_there_is_left_out_with_its_reason(
    path, tmp_path, monkeypatch
):
    def missing(*given):
        raise ImportError("No module named 'onnxruntime'")

    monkeypatch.setattr(device, "onnx", missing)
    monkeypatch.setattr(device.shutil, "which", lambda name: None)
    said = io.StringIO()
    monkeypatch.setattr("builtins.print", lambda text: said.write(f"{text}\n"))
    found = device.ways(path, tmp_path)
    assert not {"onnxruntime fp32", "C"} & set(found) and len(found) == 4
    assert "fp32 is left out: No module named 'onnxruntime'" in said.getvalue()
    assert "C is left out: no C compiler" in said.getvalue()


def test_each_call_is_timed_alone():
    way = device.timed(time.sleep, 0.002)
    seconds = way(3)
    assert seconds.shape == (3,) and seconds.min() >= 0.002


def test_energy_is_the_counters_where_there_are_some(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "RAPL", tmp_path)
    assert np.isnan(device.energy())
    for number, joules in enumerate((2, 3)):
        folder = tmp_path / f"intel-rapl:{number}"
        folder.mkdir()
        (folder / "energy_uj").write_text(f"{joules}000000\n")
    inside = tmp_path / "intel-rapl:0:0"  # a part of the first, not to be added
    inside.mkdir()
    (inside / "energy_uj").write_text("1000000\n")
    assert device.energy() == 5


@pytest.mark.parametrize("measured", [True, False])
def test_energy_says_how_it_is_known(path, tmp_path, monkeypatch, measured):
    joules = iter(range(1000))
    asked = (lambda: next(joules)) if measured else (lambda: float("nan"))
    monkeypatch.setattr(device, "energy", asked)
    own = {"a": ("raw", lambda calls: np.full(calls, 2e-6))}
    monkeypatch.setattr(device, "ways", lambda *_: own)
    monkeypatch.setattr(device, "FIRST", "a")
    rows = device.answers(path, str(tmp_path), rounds=2, calls=4, watts=10.0)
    said = (rows[0]["energy_uj"], rows[0]["energy"])
    known = (250_000, "measured, RAPL")  # one joule for four calls
    guessed = (pytest.approx(20), "estimated, 10 W stated")
    assert said == (known if measured else guessed)


LINE = '2026-01-01T00:00:00.000Z verdict "7.csv" rows 1 fails 0 lot ab latency 1.50 ms'
LINE += " (event 0.50 read 0.25 parse 0.25 model 0.25 publish 0.25)\n"


def test_a_line_of_the_log_is_read_and_another_lot_or_a_refusal_is_not():
    parts = device.verdict(io.StringIO(LINE), "7.csv")
    assert parts["event"] == 0.0005 and sum(parts.values()) == pytest.approx(0.0015)
    assert device.verdict(io.StringIO(LINE)) == parts
    for text, name in ((LINE, "8.csv"), ('refused "7.csv" lot a "b"', ""), ("", "")):
        with pytest.raises(ValueError, match="expected a verdict of"):
            device.verdict(io.StringIO(text), name)


def test_a_disk_is_known_by_the_longest_mount(monkeypatch, tmp_path):
    mounts = "a / ext4 rw 0 0\nb /x tmpfs rw 0 0\nc /x/data xfs rw 0 0\n"
    monkeypatch.setattr(device.Path, "read_text", lambda path: mounts)
    kinds = [device.disk(at) for at in ("/x/data/in", "/x/database", "/y", "/x")]
    assert kinds == ["xfs", "tmpfs", "ext4", "tmpfs"]


def test_what_cannot_be_benched_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "ship", lambda: tmp_path)
    (tmp_path / "student-tester.h").write_text("no bundle")
    with pytest.raises(ValueError, match="run make 06_prune_quantize"):
        bench.main(["edge-start"])
    with (
        pytest.raises(ValueError, match=r"no watcher: .*not a student bundle"),
        device.watching(str(tmp_path / "student-tester.h"), str(tmp_path)),
    ):
        pass
    with pytest.raises(BundleError):
        bench.main(["edge-latency", "--bundle", str(tmp_path / "student-tester.h")])
    with pytest.raises(SystemExit):
        bench.main(["speed"])
    assert "speed" in capsys.readouterr().err


def test_the_shipped_student_is_the_bundle_among_its_exports(
    path, tmp_path, monkeypatch
):
    monkeypatch.setattr(paths, "ship", lambda: tmp_path)
    (tmp_path / "student-tester.h").write_text("no bundle")
    (tmp_path / "student-tester.kdx").write_bytes(Path(path).read_bytes())
    assert device.shipped() == str(tmp_path / "student-tester.kdx")

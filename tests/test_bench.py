"""The benches compare like with like, measure what they say, and keep it."""

import io
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from torch import nn

from kdutils import bench as timing
from kdutils import models, paths
from kdutils.bench import __main__ as bench
from kdutils.bench import device
from kdutils.compress import convert
from kdutils.data import symmetry
from kdutils.data.simulate import wafersim
from kdutils.deploy.bundle import BundleError
from kdutils.edge import model
from kdutils.train import students
from kdutils.views import names

SMALL = {"widths": [4, 4], "depth": 1, "head": 0}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def maps():
    X, y = wafersim.draw(24, seed=3)
    return X, 6 * y.astype(np.float32) - 3


def rows(n=130, side=8):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (n, side, side), np.uint8)
    y = rng.integers(0, 4, n)
    return X, y, rng.normal(0, 3, (n, 4)).astype(np.float32)


@pytest.mark.parametrize("student", list(bench.STUDENTS))
def test_the_loops_train_the_same_students_as_the_stack(student):
    name, sizes, lr = bench.STUDENTS[student]
    X, y, t = rows()
    how = {"epochs": 2, "batch": 32, "lr": lr, "seed": 5}

    def fresh():
        torch.manual_seed(1)
        return models.build(name, 8, 4, **sizes)

    cells = [students.Cell("kd", 0.3, 1.0), students.Cell("kd", 1.0, 6.0)]
    weights = students.fit_stacked(fresh(), X, y, {"teacher": t}, cells, **how)
    stacked = students.predict_stacked(fresh(), weights, X)
    for data in (bench.Pictures(X, y, t), (X, y, t)):
        for cell, z in zip(cells, stacked, strict=True):
            net = bench.usual(fresh(), data, bench.distilled(cell), **how)
            usual = models.predict(net, X)
            assert np.abs(usual - z).mean() < 1e-3 * np.abs(z).mean()
    assert np.abs(stacked[0] - stacked[1]).mean() > 0.02 * np.abs(z).mean()


@pytest.mark.parametrize("planes", [1, 2, 3])
def test_an_image_is_what_the_nets_read_of_one_of_the_eight_copies(maps, planes):
    X, t = maps
    reader = models.wafers.Reader(planes, nn.Identity())
    data = bench.MapImages(X, t, planes)
    copies = reader(torch.from_numpy(symmetry.copies(X)[:, 5].copy()))
    drawn = set()
    for _ in range(80):
        x, z = data[5]
        assert x.is_contiguous() and x.dtype == torch.float32
        same = [k for k in range(8) if torch.equal(x, copies[k])]
        assert same and torch.equal(z, torch.from_numpy(t[5]))
        drawn.update(same)
    assert drawn == set(range(8)) and len(data) == 24


def test_the_loops_train_the_same_wafer_student(maps):
    X, t = maps
    X = symmetry.copies(X).max(0)  # no turn changes them
    first = models.predict(bench.fresh(**SMALL), X)
    said = {}
    for way, loop in bench.LOOPS.items():
        net = bench.fresh(**SMALL)
        loop(net, X, t, epochs=1, batch=5)
        said[way] = models.predict(net, X)
    usual, memory, ours, bf16 = said.values()
    moved = np.abs(usual - first).mean()
    assert moved > 0.02 * np.abs(usual).mean()
    assert np.abs(usual - memory).max() < 0.005 * moved
    assert np.abs(usual - ours).max() < 0.005 * moved
    assert np.abs(ours - bf16).max() > 0 and np.abs(ours - bf16).mean() < moved


def test_the_packed_student_is_the_student():
    net, held = bench.packed(SMALL)
    X, _ = wafersim.draw(40, seed=0)
    plain = models.predict(convert.folded(bench.fresh(**SMALL)), X)
    assert 0 < np.abs(models.predict(net, X) - plain).max() < 0.05 * np.abs(plain).max()
    assert held < convert.torch_bytes(net) / 2


def test_what_is_compared_alternates_after_one_untimed():
    order = []
    ways = {name: lambda name=name: order.append(name) for name in "ab"}
    took = timing.taken(ways, 2, calls=2)
    assert "".join(order) == "aabb" * 3
    assert took["a"].shape == took["b"].shape == (2, 2)


def test_a_mean_of_ratios_has_an_interval():
    found = timing.mean("times", np.array([[1.0], [2.0], [4.0]]))
    half = 4.302653 * np.log(2) / np.sqrt(3)  # t with two degrees of freedom
    assert found["times"] == pytest.approx(2)
    assert found["times_low"] == pytest.approx(2 * np.exp(-half), rel=1e-5)
    assert found["times_high"] == pytest.approx(2 * np.exp(half), rel=1e-5)


NETS = ["resnet18", "student1", "student2", "our teacher", "compact", "compact, packed"]
LITTLE = ["--rounds", "2", "--calls", "3", "--repeats", "2", "--batch", "4"]
LITTLE += ["--steps", "1", "--drawn", "8", "--widths", "4", "6", "--depth", "1"]
WAFERS = ["wafers-latency", "wafers-training", "wafers-maps"]


def measured(words, tmp_path, monkeypatch, capsys):
    """What a command returns, after a look at what it printed and wrote."""
    monkeypatch.setattr(paths, "measured", lambda: tmp_path)
    found = bench.main([*words, "--write"])
    said = capsys.readouterr().out
    for what, rows in found.items():
        path = tmp_path / f"{what}-{rows[0]['cpu']}-t1.csv"
        assert str(path) in said and len(pd.read_csv(path)) == len(rows)
        assert {row["threads"] for row in rows} == {1} and rows[0]["date"]
    return found


def test_wafer_nets_have_their_rows(tmp_path, monkeypatch, capsys):
    found = measured([*WAFERS, *LITTLE], tmp_path, monkeypatch, capsys)
    latency, training, maps = found.values()
    assert [row["net"] for row in latency] == NETS
    for row in latency:
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["times_low"] <= row["times"] <= row["times_high"]
    by = {row["net"]: row for row in latency}
    assert by["resnet18"]["times"] == by["our teacher"]["ours_times"] == 1
    assert by["student1"]["params"] == 60928 and by["student2"]["params"] == 4628
    assert by["compact, packed"]["params"] < 1500  # the sizes asked for
    ways = [(row["net"], row["way"]) for row in training]
    nets = ("resnet18", "compact")
    assert ways == [(net, way) for net in nets for way in bench.LOOPS]
    assert [row["times_dataloader"] for row in training[::4]] == [1, 1]
    assert [row["times_in_memory"] for row in training[1::4]] == [1, 1]
    assert len(maps) == 3 and all(row["maps_per_second"] > 0 for row in maps)


def test_nets_for_colour_images_have_their_rows(tmp_path, monkeypatch, capsys):
    words = ["photographs-training", "photographs-latency", "--nets", "airbench"]
    words += ["--rounds", "2", "--calls", "1", "--repeats", "2", "--batch", "2"]
    words += ["--together", "1", "2"]
    training, latency = measured(words, tmp_path, monkeypatch, capsys).values()
    assert training[0]["times_dataloader"] == 1
    assert [row["way"] for row in training][1:] == ["fit, float32", "fit, bf16"]
    assert all(row["images_per_second"] > 0 for row in training)
    assert all(0 < row["of_limit"] < 1 for row in training)
    assert [row["batch"] for row in latency[::3]] == [1, 2]
    assert {row["times"] for row in latency if row["way"] == "torch"} == {1}


def test_sentences_have_their_rows(tmp_path, monkeypatch, capsys):
    words = ["sentences-latency", "--nets", "textcnn", "--rounds", "2", "--calls", "1"]
    (rows,) = measured(words, tmp_path, monkeypatch, capsys).values()
    assert [row["way"] for row in rows] == ["torch", "numpy", "onnxruntime"]
    assert rows[0]["times"] == 1 and all(row["p50_ms"] > 0 for row in rows)
    assert all(row["energy_uj"] > 0 and row["energy"] for row in rows)


def test_an_exported_net_of_sentences_has_the_same_logits():
    known = ["a", "good", "film"]
    sizes = {"widths": [4, 5], "buckets": 64, "letters": [2, 3]}
    net = bench.models.build("textcnn", 3, 2, **sizes).spell(known).eval()
    torch.nn.init.normal_(net.embed.weight[1:])
    session = onnxruntime.InferenceSession(bench.exported(net, 3))
    for text in ("a good film", "good", "a film a good good film"):
        x = torch.tensor([[known.index(word) for word in text.split()]])
        z = bench.hashed_logits(session, net, text)[0]
        np.testing.assert_allclose(z, net(x).detach().numpy(), atol=1e-5)


def test_many_students_have_a_row_beside_each_loop(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "tester_rows", lambda n: timing.tester_rows(400))
    words = ["grid", "images", "--epochs", "1", "--batch", "64", "--students", "mlp"]
    words += ["--rows", "300", "--alphas", "2", "--temperatures", "3", "--seeds", "2"]
    found = measured([*words, "--baseline-cells", "2"], tmp_path, monkeypatch, capsys)
    for what, last in (("grid", 12), ("images", 6)):
        rows = found[what]
        assert [row["students"] for row in rows] == [2, 2, last]
        assert rows[0]["times_dataloader"] == rows[1]["times_in_memory"] == 1
        for row in rows:
            assert row["per_second"] == pytest.approx(row["students"] / row["seconds"])
    assert found["grid"][0]["auc_difference"] <= bench.TOLERANCE
    assert abs(found["images"][0]["accuracy_difference"]) < 0.01
    assert found["images"][0]["rows"] == 300


def test_effort_is_measured_on_tables(tmp_path, monkeypatch, capsys):
    words = ["own-table", "--tables", "wine", "--seeds", "1", "--efforts", "0"]
    (row,) = measured(words, tmp_path, monkeypatch, capsys)["own-table"]
    assert row["lost"] == 0 and row["auc"] > 0.9 and row["n"] == 1
    with pytest.raises(ValueError, match="expected tester, higgs, "):
        bench.spent(tables=("iris",), seeds=1, efforts=(0,))


def test_a_bench_that_is_not_there_is_refused(capsys):
    with pytest.raises(SystemExit):
        bench.main(["speed"])
    said = capsys.readouterr().err
    assert "speed" in said and all(what in said for what in bench.BENCHES)


# --- the watcher ------------------------------------------------------------------

WORDS = ["--lots", "6", "--rate", "200", "--files", "2", "--rows", "9"]
WORDS += ["--burst", "6", "--rounds", "2", "--calls", "4", "--starts", "1"]
LIGHT = "import sys; assert {path!r} and ({d}, {h}) == (3, 8)"


@pytest.fixture
def small(monkeypatch):
    """A booster of few trees; a process without torch instead of one with it."""
    light = partial(device.boosted, rows=600, trees=3)
    monkeypatch.setattr(device, "boosted", light)
    monkeypatch.setattr(device, "TORCH", LIGHT)


def test_a_watcher_has_its_rows(small, path, tmp_path, monkeypatch, capsys):
    words = ["--bundle", str(path), "--folder", str(tmp_path), *WORDS]
    words += [word for word in bench.BENCHES if word.startswith("edge")]
    found = measured(words, tmp_path, monkeypatch, capsys)
    latency, answers, rates, bursts, starts = found.values()
    assert [row["unjudged"] for row in bursts] == [0, 0]
    assert bursts[0]["times"] == 1 and bursts[1]["per_second"] > 0
    by = {row["part"]: row for row in latency}
    assert list(by) == [p for p in by if p in names.NAMES["part"] or p == "above"]
    assert set(by) == {*names.NAMES["part"], "above"}, "the figure knows every part"
    for key in ("p50_ms", "p95_ms", "p99_ms"):
        whole, fsyncs = by["whole"][key], by["fsyncs"][key]
        assert by["above"][key] == pytest.approx(whole - fsyncs)
        assert whole > by["publish"][key] > 0
    ways = {row["way"]: row for row in answers}
    assert ways[device.FIRST]["times"] == 1
    assert {"numpy int8, bundle", "torch eager", "XGBoost, 300 trees"} <= set(ways)
    for row in answers:
        assert 0 < row["p50_us"] <= row["p99_us"] and row["energy_uj"] > 0
        assert row["times_low"] <= row["times"] <= row["times_high"]
    assert rates[0]["per_second"] > 0 and rates[0]["per_cpu_second"] > 0
    assert rates[0]["files"] == 2 and rates[0]["rows"] == 9
    assert [row["way"] for row in starts] == ["numpy bundle", "torch eager"]
    assert all(5 < row["peak_mb"] < 200 for row in starts)


def test_every_way_answers_one_device(small, path, tmp_path):
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
    small, path, tmp_path, monkeypatch
):
    def missing(*given):
        raise ImportError("No module named 'onnxruntime'")

    monkeypatch.setattr(device, "onnx", missing)
    monkeypatch.setattr(device.shutil, "which", lambda name: None)
    said = io.StringIO()
    monkeypatch.setattr("builtins.print", lambda text: said.write(f"{text}\n"))
    found = device.ways(path, tmp_path)
    assert not {"onnxruntime fp32", "C"} & set(found) and len(found) == 3
    assert "fp32 is left out: No module named 'onnxruntime'" in said.getvalue()
    assert "C is left out: no C compiler" in said.getvalue()


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


def test_what_cannot_be_benched_is_said(tmp_path, monkeypatch):
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


def test_the_shipped_student_is_the_bundle_among_its_exports(
    path, tmp_path, monkeypatch
):
    monkeypatch.setattr(paths, "ship", lambda: tmp_path)
    (tmp_path / "student-tester.h").write_text("no bundle")
    (tmp_path / "student-tester.kdx").write_bytes(Path(path).read_bytes())
    assert device.shipped() == str(tmp_path / "student-tester.kdx")

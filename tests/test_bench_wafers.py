"""The bench of wafer nets compares like with like, and keeps what it measured."""

import time
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from kdutils import models, paths
from kdutils.bench import wafers as bench_wafers
from kdutils.data import symmetry, wafersim
from kdutils.deploy import waferpack
from kdutils.train import turns

SMALL = {"widths": [4, 4], "depth": 1, "head": 0}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def rows():
    X, y = wafersim.draw(24, seed=3)
    return X, 6 * y.astype(np.float32) - 3


@pytest.mark.parametrize("planes", [1, 2, 3])
def test_an_image_is_what_the_nets_read_of_one_of_the_eight_copies(rows, planes):
    X, told = rows
    reader = models.wafers.Reader(planes, nn.Identity())
    data = bench_wafers.MapImages(X, told, planes)
    copies = reader(torch.from_numpy(symmetry.turned(X)[:, 5].copy()))
    drawn = set()
    for _ in range(80):
        x, t = data[5]
        assert x.is_contiguous() and x.dtype == torch.float32
        same = [k for k in range(8) if torch.equal(x, copies[k])]
        assert same and torch.equal(t, torch.from_numpy(told[5]))
        drawn.update(same)
    assert drawn == set(range(8)) and len(data) == 24


def test_the_loops_train_the_same_student(rows):
    X, told = rows
    X = symmetry.turned(X).max(0)  # no turn changes them
    first = turns.ask(bench_wafers.fresh(**SMALL), X)
    said = {}
    for way, loop in bench_wafers.LOOPS.items():
        net = bench_wafers.fresh(**SMALL)
        loop(net, X, told, epochs=1, batch=5)
        said[way] = turns.ask(net, X)
    usual, ours, halved = said.values()
    moved = np.abs(usual - first).mean()
    assert moved > 0.02 * np.abs(usual).mean()
    assert np.abs(usual - ours).max() < 0.005 * moved
    assert np.abs(ours - halved).max() > 0 and np.abs(ours - halved).mean() < moved


@pytest.mark.parametrize("loop", bench_wafers.LOOPS.values(), ids=bench_wafers.LOOPS)
def test_a_loop_takes_all_its_epochs(rows, loop):
    seen = []
    net = bench_wafers.fresh(**SMALL)
    last = net.body[-1]
    last.register_forward_hook(lambda _, x, z: seen.append(len(z)))
    loop(net, *rows, epochs=3, batch=10)
    assert seen == [10, 10, 4] * 3


def test_the_packed_student_is_the_student():
    net, held = bench_wafers.packed(SMALL)
    X, _ = wafersim.draw(40, seed=0)
    plain = turns.ask(waferpack.folded(bench_wafers.fresh(**SMALL)), X)
    assert 0 < np.abs(turns.ask(net, X) - plain).max() < 0.05 * np.abs(plain).max()
    assert held < waferpack.torch_bytes(net) / 2


def test_what_is_compared_takes_turns_after_one_untimed():
    order = []

    def way(name, pause):
        order.append(name)
        time.sleep(0.2 if len(order) < 4 else pause)  # whoever begins is slow

    ways = {"a": partial(way, "a", 0.0), "b": partial(way, "b", 0.004)}
    took = bench_wafers.taken(ways, 2, calls=2)
    assert "".join(order) == "aabb" * 3
    assert took["a"].shape == took["b"].shape == (2, 2)
    assert took["b"].min() >= 0.004 and took["b"].max() < 0.2
    assert took["a"].max() < 0.2


def test_a_mean_of_ratios_has_an_interval():
    found = bench_wafers.mean("times", np.array([[1.0], [2.0], [4.0]]))
    half = 4.302653 * np.log(2) / np.sqrt(3)  # t with two degrees of freedom
    assert found["times"] == pytest.approx(2)
    assert found["times_low"] == pytest.approx(2 * np.exp(-half), rel=1e-5)
    assert found["times_high"] == pytest.approx(2 * np.exp(half), rel=1e-5)


NETS = ["resnet18", "student1", "student2", "our teacher", "compact", "compact, packed"]
WORDS = ["--rounds", "2", "--calls", "3", "--repeats", "2", "--batch", "4"]
WORDS += ["--steps", "1", "--drawn", "8", "--widths", "4", "6", "--depth", "1"]


def test_a_measurement_has_its_rows_and_keeps_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "measured", lambda: tmp_path)
    found = bench_wafers.main([*WORDS, "--write"])
    latency, training, maps = found.values()
    assert [row["net"] for row in latency] == NETS
    for row in latency:
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] < 1000
        assert row["times_low"] <= row["times"] <= row["times_high"]
    by = {row["net"]: row for row in latency}
    assert by["resnet18"]["times"] == by["our teacher"]["ours_times"] == 1
    assert by["compact"]["times"] > 2 and by["our teacher"]["times"] > 1
    assert by["student1"]["params"] == 60928 and by["student2"]["params"] == 4628
    assert by["compact, packed"]["params"] < 1500  # the sizes asked for
    ways = [(row["net"], row["way"]) for row in training]
    nets = ("resnet18", "compact")
    assert ways == [(net, way) for net in nets for way in bench_wafers.LOOPS]
    assert [row["times"] for row in training[::3]] == [1, 1]
    for row in training:
        usual = training[0 if row["net"] == "resnet18" else 3]
        rate = row["images_per_second"]
        assert row["times"] == pytest.approx(rate / usual["images_per_second"])
    assert len(maps) == 3 and all(row["maps_per_second"] > 0 for row in maps)
    said = capsys.readouterr().out
    for what, rows in found.items():
        path = tmp_path / f"wafers-{what}-{rows[0]['cpu']}-t1.csv"
        assert str(path) in said and len(pd.read_csv(path)) == len(rows)
        assert {row["threads"] for row in rows} == {1}


def test_one_part_can_be_asked_for_and_none_that_is_not_there(capsys):
    assert list(bench_wafers.main(["maps", *WORDS])) == ["maps"]
    with pytest.raises(SystemExit):
        bench_wafers.main(["speed"])
    said = capsys.readouterr().err
    assert "speed" in said and all(what in said for what in bench_wafers.BENCHES)

"""The watcher's stage counts what is there: a loss, a doubling, a wrong reason too."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from toy_edge import Place

from kdutils import paths
from kdutils.data.simulate import tester
from kdutils.deploy import bundle, drift
from kdutils.deploy.prepare import Prepare
from kdutils.edge import model, torture, verdicts
from kdutils.recipes import edge_watcher
from kdutils.store import runs
from kdutils.views import names, watcher

TINY = {"lots": 40, "rows": 5, "kills": 2}


@pytest.fixture(scope="module")
def rows(apart, path):
    """One shift through runs.map, as the notebook asks for it."""
    configs = edge_watcher.plan({"toy": path.read_bytes()}, seeds=1, **TINY)
    return watcher.tidy(runs.map("07_edge_watcher", edge_watcher, configs, workers=1))


def test_a_plan_is_a_config_for_each_student_and_seed():
    made = edge_watcher.plan({"a": b"one", "b": b"two"}, seeds=2, **TINY)
    assert [(c["source"], c["seed"]) for c in made] == [
        ("a", 0), ("a", 1), ("b", 0), ("b", 1),
    ]  # fmt: skip
    digests = [edge_watcher.digest(config) for config in made]
    assert digests[0] == digests[1] != digests[2]
    assert all(config["kills"] == 2 for config in made)


def test_a_shift_loses_doubles_and_garbles_nothing(rows):
    table = watcher.lots(rows)
    whole = watcher.whole(table).iloc[0]
    assert whole[["lost", "doubled", "wrong", "stray"]].eq(0).all()
    assert whole["lots"] == whole["judged"] + whole["refused"] > TINY["lots"]
    lots = table[table["part"] == "lots"]
    assert lots["lots"].sum() == TINY["lots"] and whole["kills"] == 2
    good = lots.set_index("fault").loc["good"]
    assert good["judged"] == good["lots"] < good["devices"]
    bad = lots[lots["fault"] != "good"]
    assert len(bad) and bad["right"].eq(bad["lots"]).all()
    assert table["n"].eq(1).all()


def test_the_same_seed_counts_the_same(rows, path, tmp_path):
    config = {"seed": 0, **TINY}
    again = edge_watcher.shift(str(path), tmp_path, config)
    first = rows[rows["part"] != "outlier"][["fault", *edge_watcher.COUNTS]]
    assert [{k: row[k] for k in first} for row in again] == first.to_dict("records")


@pytest.fixture(scope="module")
def drifting(tmp_path_factory):
    """Rows of two seeds of a student of the tester that knows 40 lots."""
    split = next(tester.splits(seed=0, train_lots=40, val_lots=1, test_lots=1))
    X, y = split.train.X, split.train.y
    prepare = Prepare.fit(X, y, split.features)
    Z = np.nan_to_num(prepare.transform(X))
    w = np.linalg.lstsq(np.column_stack((Z, np.ones(len(Z)))), y, rcond=None)[0]
    student = {"W1": np.stack((w[:-1], -w[:-1])), "b1": np.zeros(2)}
    student |= {"w2": np.array([1.0, -1.0]), "b2": w[-1]}
    file = bundle.packed(student, prepare, 0.3)
    path = tmp_path_factory.mktemp("drift") / "student"
    path.write_bytes(file)
    assert edge_watcher.drifts(model.load(path), 0) == []
    path.write_bytes(drift.kept(file, drift.known(X, split.train.group, prepare)))
    every = [edge_watcher.drifts(model.load(path), seed) for seed in (0, 1)]
    named = {"source": "tester", "kind": "simulated"}
    return pd.DataFrame([named | row for rows in every for row in rows])


def test_shifts_are_noticed_and_steady_lots_are_not(drifting):
    table = watcher.noticed(drifting)
    assert len(table) == 28 and table["trials"].eq(20).all()
    assert table["noticed"].sum() >= 0.99 * table["trials"].sum()
    assert table["after"].between(100, 500).all()
    assert table["alarms"].max() <= 2 and table["devices"].eq(200_000).all()
    assert watcher.noticed(drifting[drifting["part"] == "ramp"]).empty


def test_a_slow_drift_is_noticed_while_it_costs_little(drifting):
    table = watcher.ramp(drifting)
    blocks = table.groupby("devices")[["alarm", "lost", "shift"]].mean()
    assert blocks["shift"].is_monotonic_increasing and len(blocks) == 10
    assert blocks["alarm"].iloc[0] < 0.5 and blocks["alarm"].iloc[-1] > 0.9
    first = blocks[blocks["alarm"] > 0].iloc[0]
    assert first["lost"] < blocks["lost"].iloc[-1] / 3


@pytest.fixture
def served(path, tmp_path):
    """Four lots that a watcher has settled: two good, two malformed."""
    place = Place(tmp_path, path)
    rng, config = np.random.default_rng(5), {"lots": 60, "rows": 3}
    made = edge_watcher.written(place.student, rng, config)
    good = [one for one in made if one.kind == "good"][:2]
    bad = [one for one in made if one.kind == "number"][:2]
    for one in (*good, *bad):
        place.drop(one.name, one.content)
    assert place.watcher.scan() == 4
    return place, [*good, *bad]


def spoil(place, lots, what):
    """Do to the outbox what a watcher must never do."""
    digests = [
        torture.judge(place.student, one.content, place.inbox / ".lot").digest
        for one in lots
    ]
    said = place.outbox / "verdicts"
    quarantine = place.outbox / "quarantine"
    first = said / f"{verdicts.key(digests[0], place.student.digest)}.csv"
    if what == "lost":
        first.unlink()
    if what == "doubled":
        (said / f"{digests[0][:32]}.other.csv").write_bytes(first.read_bytes())
    if what == "doubled by quarantine":
        (quarantine / verdicts.kept(digests[0], lots[0].name)).write_bytes(b"")
    if what == "garbled":
        first.write_bytes(first.read_bytes().replace(b"fail", b"pass") + b"x")
    if what == "another reason":
        kept = verdicts.kept(digests[2], lots[2].name) + verdicts.REASON
        record = json.loads((quarantine / kept).read_text())
        (quarantine / kept).write_text(json.dumps(record | {"row": 99}))
    if what == "judged although malformed":
        (said / f"{digests[2][:32]}.x.csv").write_bytes(b"id,score,verdict\n")


@pytest.mark.parametrize(
    ("what", "lost", "doubled", "wrong", "right"),
    [
        ("nothing", 0, 0, 0, 2),
        ("lost", 1, 0, 0, 2),
        ("doubled", 0, 1, 0, 2),
        ("doubled by quarantine", 0, 1, 1, 2),
        ("garbled", 0, 0, 1, 2),
        ("another reason", 0, 0, 1, 1),
        ("judged although malformed", 0, 1, 1, 2),
    ],
)
def test_what_must_not_be_is_counted(
    served, tmp_path, what, lost, doubled, wrong, right
):
    place, lots = served
    spoil(place, lots, what)
    found = edge_watcher.counted(place.student, lots, place.outbox, tmp_path)
    total = sum(
        map(Counter, ({k: r[k] for k in edge_watcher.COUNTS} for r in found)), Counter()
    )
    assert total["lots"] == 4 and total["right"] == right
    assert (total["lost"], total["doubled"], total["wrong"]) == (lost, doubled, wrong)


@pytest.mark.parametrize("what", ["nothing", "lost", "doubled", "garbled"])
def test_appended_rows_are_counted_one_by_one(path, tmp_path, what):
    place = Place(tmp_path, path, grow=[torture.GROWING])
    line = torture.Line(place.student, place.inbox, np.random.default_rng(1))
    for _ in range(4):
        line.add(5)
        place.watcher.scan()
    assert line.refused
    file = next((place.outbox / "verdicts").glob(f"{torture.GROWING}.*.csv"))
    rows = file.read_text().splitlines(keepends=True)
    place_of = next(i for i, row in enumerate(rows) if i and "refused" not in row)
    if what == "lost":
        del rows[place_of]
    if what == "doubled":
        rows.insert(place_of, rows[place_of])
    if what == "garbled":
        end, id, _, *rest = rows[place_of].split(",")
        rows[place_of] = ",".join([end, id, "9.75", *rest])
    file.write_text("".join(rows))
    folders = (place.inbox, place.outbox, tmp_path)
    row = edge_watcher.appended(place.student, line, *folders)
    assert row["refused"] == row["right"] == line.refused
    expected = [int(what == word) for word in ("lost", "doubled", "garbled")]
    assert [row["lost"], row["doubled"], row["wrong"]] == expected


def test_a_reading_that_is_none_is_refused_and_otherwise_answered(rows):
    table = watcher.outliers(rows).set_index("reading")
    assert table.loc["as measured", "watcher"] in ("pass", "fail")
    for case in edge_watcher.CELLS:
        assert table.loc[case, "watcher"] == "refused" and table.loc[case, "reason"]
        assert table.loc[case, "int8"] in ("pass", "fail"), "plausible, and wrong"
    assert (table["reason"] != "").sum() == (table["watcher"] == "refused").sum()
    drift = rows.assign(reading="vth_n").iloc[:1].assign(part="shift")
    beside = watcher.outliers(pd.concat([rows, drift])).set_index("reading")
    pd.testing.assert_frame_equal(beside, table)


def test_another_unit_is_refused_where_there_is_a_range(path, tmp_path):
    student = model.load(path)
    for high, said in ((model.LARGEST, ("pass", "fail")), (2000.0, ("refused",))):
        bounded = model.Model(
            student.bundle, student.digest, student.low * 0, student.high * 0 + high
        )
        rows = edge_watcher.outliers(bounded, 0, tmp_path)
        assert {row["column"] for row in rows} == {"vdd_mV"}
        assert rows[-1]["fault"] == "another unit" and rows[-1]["watcher"] in said


def test_a_shift_that_cannot_be_played_says_why():
    config, *_ = edge_watcher.plan({"toy": b"junk"}, seeds=1, **TINY)
    with pytest.raises(RuntimeError, match=r"toy ended: .*not a student bundle"):
        edge_watcher.compute(config, None)


def test_the_figures_say_what_the_tables_say(rows):
    table = watcher.lots(rows)
    assert "0 lost, doubled or wrong" in repr(watcher.fates(table))
    table.loc[0, "lost"] = 3
    assert "3 lost, doubled or wrong" in repr(watcher.fates(table))
    parts = [*names.NAMES["part"], "above"]
    times = pd.DataFrame({"part": parts, "p50_ms": 1.25, "p99_ms": 7.5})
    same = {"lots": 9, "rate": 5.0, "events": "timer", "disk": "ext4"}
    figure = watcher.parts(times.assign(cpu="one-cpu", date="2026-01-02", **same))
    assert "takes 1.2 ms (median); the disk's fsyncs alone take" in repr(figure)
    assert (
        "one-cpu" in figure.get_supxlabel() and "2026-01-02" in figure.get_supxlabel()
    )


def test_the_newest_measurement_is_shown_and_none_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setenv("KD_PROFILE", "smoke")
    monkeypatch.setenv("KD_REPORT", "verify-smoke")
    assert watcher.latest("edge-latency") is None
    folder = tmp_path / "reports" / "smoke" / "measured"
    folder.mkdir(parents=True)
    for cpu, date in (("a", "2026-02-01"), ("b", "2026-03-01"), ("c", "2025-12-31")):
        frame = pd.DataFrame({"cpu": [cpu], "date": [date]})
        frame.to_csv(folder / f"edge-latency-{cpu}-t1.csv", index=False)
    assert watcher.latest("edge-latency")["cpu"].tolist() == ["b"]

"""Drift: a shift in one reading is noticed soon, and nothing is noticed for nothing."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from toy_edge import HEADER, Place

from kdutils.data.simulate import tester
from kdutils.deploy import bundle, container, drift
from kdutils.deploy.prepare import Prepare
from kdutils.edge import model

NAMES = tuple(f"reading {i}" for i in range(28))
LIMIT = 0.25


def devices(rng, n):
    """Normal, skewed, rounded and hardly varying readings, some of them missing."""
    X = rng.normal(0, 1, (n, 28))
    X[:, 7:14] = np.exp(X[:, 7:14])
    X[:, 14:21] = (X[:, 14:21] * 1.5).round()
    X = 100 + X * np.logspace(-3, 3, 28)
    X[rng.random(X.shape) < 0.006] = np.nan
    return X


@pytest.fixture(scope="module")
def known():
    """What a bundle knows of 6,000 training rows, and their standard deviations."""
    rng = np.random.default_rng(99)
    X = devices(rng, 6000)
    prepare = Prepare.fit(X, (rng.random(6000) < 0.5).astype(float), NAMES)
    kept = np.rint(255 * bundle.shares((X - prepare.center) * prepare.scale)) / 255
    made = {"prepare": prepare, "shares": kept, "threshold": 0.0, "features": NAMES}
    return SimpleNamespace(**made), np.nanstd(X, axis=0)


def test_there_is_no_alarm_in_100_000_devices_that_do_not_drift(known):
    rng, watched = np.random.default_rng(0), drift.Drift(known[0], limit=LIMIT)
    for _ in range(1000):
        watched.add(devices(rng, 100), np.zeros(100, np.float32))
        assert watched.alarm() == ""
    assert watched.count == 100_000 and np.isfinite(watched.psi).all()
    assert 0.004 < watched.missing.sum() / 2_800_000 < 0.008


def test_a_shift_of_one_reading_is_noticed_within_500_devices(known):
    student, spread = known
    for column in range(28):
        rng = np.random.default_rng([0, column])
        watched = drift.Drift(student, limit=LIMIT)
        before = int(rng.integers(400, 900))
        for device in devices(rng, before).reshape(before, 1, -1):
            watched.add(device, np.zeros(1, np.float32))
        X = devices(rng, 500)
        X[:, column] += spread[column] * (1 if column % 2 else -1)
        watched.add(X[:250], np.zeros(250, np.float32))
        watched.add(X[250:], np.zeros(250, np.float32))
        assert watched.alarm().startswith(f"{NAMES[column]!r} has PSI")


def line(seed, lots=500):
    """A student with what it knows of 40 lots, the sd of each reading, and devices."""
    split = next(tester.splits(seed=seed, train_lots=40, val_lots=1, test_lots=1))
    X, prepare = (
        split.train.X,
        Prepare.fit(split.train.X, split.train.y, tester.ph.NAMES),
    )
    known = drift.Lots(drift.known(X, split.train.group, prepare), 28)
    made = {"prepare": prepare, "shares": None, "threshold": 0.0}
    student = SimpleNamespace(**made, features=prepare.names)
    rng = np.random.default_rng([seed, 1])
    X = tester.produce(rng, lots=lots, devices=200)[0].astype(np.float32)
    return (student, known), np.nanstd(split.train.X, axis=0), X


def alarms(known, X, before=()):
    """The sentences of each 100 devices of X, behind others."""
    watched, found = drift.Drift(*known, far=drift.SHIFT), []
    for some in (before, *np.split(X, len(X) // 100)):
        if len(some):
            watched.add(some, np.zeros(len(some), np.float32))
            found.append(watched.alarm())
    return found[bool(len(before)) :]


def test_lots_that_differ_give_less_than_an_alarm_in_100_000_devices():
    known, _, X = line(0)
    found = alarms(known, X)
    assert len(found) == 1000
    begun = [bool(b) and not a for a, b in zip(["", *found], found, strict=False)]
    assert sum(begun) <= 1


def test_a_shift_of_one_reading_among_lots_is_noticed_within_500_devices():
    noticed, named = [], []
    for seed in range(5):
        known, spread, X = line(seed, 40)
        for column in range(28):
            start = 400 + 233 * column
            shifted = X[start : start + 500].copy()
            shifted[:, column] += spread[column] * (1 if (column + seed) % 2 else -1)
            found = [s for s in alarms(known, shifted, X[start - 400 : start]) if s]
            noticed.append(bool(found))
            named += [s.startswith(repr(known[0].features[column])) for s in found[:1]]
    assert np.mean(noticed) >= 0.99 and np.mean(named) >= 0.98


def test_a_reading_that_is_a_component_of_its_own_cannot_be_told():
    """Its lots differ by more than its devices: a shift of 1 sd is one more lot."""
    rng, lots = np.random.default_rng(0), np.repeat(np.arange(40), 100)
    X = rng.normal(0, 1, (4000, 8))
    X[:, 0] += rng.normal(0, 3, 40)[lots]
    X[:, 1] += rng.normal(0, 3, 40)[lots]
    prepare = Prepare.fit(X, (rng.random(4000) < 0.5).astype(float), tuple("abcdefgh"))
    known = drift.Lots(drift.known(X, lots, prepare), 8)
    assert known.basis.shape == (8, 2)
    for column in range(8):
        moved = X[:400] + np.where(np.arange(8) == column, X[:, column].std(), 0)
        found = known.shift((moved - prepare.center) * prepare.scale)
        if column < 2:
            assert np.abs(found).max() < drift.SHIFT
        else:
            assert found.argmax() == column and 0.8 < found[column] < 1.2


def test_few_lots_or_rows_are_none():
    X, ones = np.random.default_rng(0).normal(0, 1, (1200, 3)), np.ones(1200)
    prepare = Prepare.fit(X, ones, tuple("abc"))
    for group in (np.arange(1200), np.arange(1200) % 29, np.zeros(1200)):
        assert drift.known(X, group, prepare) is None
    assert len(drift.known(X, np.arange(1200) % 30, prepare)) == 3 + 2


def test_a_bundle_keeps_its_lots_in_place_of_its_shares(path, tmp_path):
    plain, rng = model.load(path), np.random.default_rng(0)
    own, X = plain.bundle, plain.typical(rng, 2000)
    X[::7, 1] = np.nan
    lots = np.arange(2000) // 50
    file = bundle.packed(own.student, own.prepare, own.threshold, own.schema, X)
    known = drift.known(X, lots, own.prepare)
    assert drift.kept(file, None) == file
    (tmp_path / "lots").write_bytes(kept := drift.kept(file, known))
    loaded = model.load(tmp_path / "lots")
    assert loaded.bundle.shares is None and len(kept) < len(file)
    assert np.array_equal(loaded.judge(X)[0], plain.judge(X)[0])
    assert plain.lots is None and loaded.lots.basis.shape == (3, 0)
    z = (X - own.prepare.center) * own.prepare.scale
    assert np.abs(loaded.lots.shift(z)).max() < 0.1
    z[:, 2] = np.nan
    assert np.isfinite(loaded.lots.shift(z)).all()
    held, about = container.read(kept, "")
    for wrong in (known[:-1], known.astype("f4"), known[:2], known[None]):
        (tmp_path / "wrong").write_bytes(container.write(held | {"lots": wrong}, about))
        with pytest.raises(bundle.BundleError, match="wrong: lots of the shape"):
            model.load(tmp_path / "wrong")


def test_a_shift_is_in_health_and_metrics(path, tmp_path):
    plain, rng = model.load(path), np.random.default_rng(0)
    X = plain.typical(rng, 2000)
    known = drift.known(X, np.arange(2000) // 50, plain.bundle.prepare)
    (tmp_path / "lots").write_bytes(drift.kept(path.read_bytes(), known))
    place = Place(tmp_path, tmp_path / "lots")
    place.status.drift.far = drift.SHIFT
    for number, shift in enumerate((0, 0, 12)):
        rows = np.add(plain.typical(rng, 400), [shift, 0, 0])
        text = "".join(f"u{i},{a},{b},{c}\n" for i, (a, b, c) in enumerate(rows))
        place.drop(f"{number}.csv", HEADER + text.encode())
        assert place.watcher.scan() == 1
        health = json.loads(place.status.health())
        assert health["ok"] == (number < 2), health
    assert "'vdd_mV' has shifted by +" in health["troubles"]["drift"]
    assert place.status.drift.shift[0] == pytest.approx(1, abs=0.2)
    assert 'kd_edge_shift{reading="vdd_mV"} ' in place.status.prom()


def test_an_alarm_is_in_health_log_and_metrics_and_ends(tmp_path, path):
    plain = model.load(path)
    assert plain.bundle.shares is None
    rng, own = np.random.default_rng(0), plain.bundle
    X = plain.typical(rng, 2000)
    file = bundle.packed(own.student, own.prepare, own.threshold, own.schema, X)
    assert len(file) - len(path.read_bytes()) < 80
    (tmp_path / "with.kdb").write_bytes(file)
    place = Place(tmp_path, tmp_path / "with.kdb", grow=["grow.csv"])
    place.status.drift.limit = LIMIT
    for number, shift in enumerate((0, 0, 15, 15, 0, 0)):
        rows = np.add(plain.typical(rng, 200), [shift, 0, 0])
        text = "".join(f"u{i},{a},{b},{c}\n" for i, (a, b, c) in enumerate(rows))
        name = "grow.csv" if number == 3 else f"{number}.csv"
        place.drop(name, HEADER + text.encode())
        assert place.watcher.scan() == 1
        place.watcher.scan()
        health = json.loads(place.status.health())
        assert health["ok"] == (number not in (2, 3, 4)), health
    assert place.log.getvalue().count("drift: 'vdd_mV' has PSI") == 1
    lines = place.status.prom().splitlines()
    assert 'kd_edge_missing_total{reading="vdd_mV"} 0' in lines
    (total,) = [line for line in lines if line.startswith("kd_edge_recent_yield ")]
    assert 0 <= float(total.split()[1]) <= 1
    assert sum(line.startswith('kd_edge_psi{reading="') for line in lines) == 3


def test_a_bundle_without_shares_is_served_and_its_psi_is_unknown(tmp_path, path):
    place = Place(tmp_path, path)
    place.drop("a.csv", HEADER + b"".join(b"u%d,400,5,1\n" % i for i in range(500)))
    assert place.watcher.scan() == 1 and place.status.drift.alarm() == ""
    assert 'kd_edge_psi{reading="idd_uA"} nan' in place.status.prom()

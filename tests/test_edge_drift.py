"""Drift: a shift in one reading is noticed soon, and nothing is noticed for nothing."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from toy_edge import HEADER, Place

from kdutils.deploy import bundle, drift
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


@pytest.mark.parametrize("seed", range(5))
def test_there_is_no_alarm_in_100_000_devices_that_do_not_drift(known, seed):
    rng, watched = np.random.default_rng(seed), drift.Drift(known[0], LIMIT)
    for _ in range(1000):
        watched.add(devices(rng, 100), np.zeros(100, np.float32))
        assert watched.alarm() == ""
    assert watched.count == 100_000 and np.isfinite(watched.psi).all()
    assert 0.004 < watched.missing.sum() / 2_800_000 < 0.008


@pytest.mark.parametrize("seed", range(5))
def test_a_shift_of_one_reading_is_noticed_within_500_devices(known, seed):
    student, spread = known
    for column in range(28):
        rng, watched = (
            np.random.default_rng([seed, column]),
            drift.Drift(student, LIMIT),
        )
        before = int(rng.integers(400, 900))
        for device in devices(rng, before).reshape(before, 1, -1):
            watched.add(device, np.zeros(1, np.float32))
        X = devices(rng, 500)
        X[:, column] += spread[column] * (1 if column % 2 else -1)
        watched.add(X[:250], np.zeros(250, np.float32))
        watched.add(X[250:], np.zeros(250, np.float32))
        assert watched.alarm().startswith(f"{NAMES[column]!r} has PSI")


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

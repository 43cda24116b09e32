"""Teachers behind one interface, and the traps that each of them sets."""

import numpy as np
import pytest

from kdutils import metrics
from kdutils.train import teachers


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(4)
    X = rng.standard_normal((900, 6)).astype(np.float32)
    noise = 0.5 * rng.standard_normal(900)
    y = (X[:, 0] + X[:, 1] * X[:, 2] + noise > 0.8).astype(np.float32)
    X[rng.random(X.shape) < 0.02] = np.nan
    return X[:500], y[:500], X[500:700], y[500:700], X[700:], y[700:]


@pytest.mark.parametrize("name", teachers.SPACE)
def test_each_teacher_learns_below_1024_rows(rows, name):
    """TabNet's default drop_last=True and batch 1,024 would train nothing here."""
    X, y, val_X, val_y, test_X, test_y = rows
    settings = teachers.candidates(name, 1, 0)[0]
    fitted = teachers.fit(name, settings, X, y, val_X, val_y, epochs=25, seed=0)
    logits = fitted.logits(test_X)
    assert logits.shape == (200,) and logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert metrics.auc(test_y, logits) > 0.7
    assert fitted.bytes > 1000 and fitted.params > 100
    assert fitted.val_auc == pytest.approx(metrics.auc(val_y, fitted.logits(val_X)))


@pytest.mark.parametrize("name", ["xgboost", "mlp"])
def test_a_teacher_is_the_same_again(rows, name):
    X, y, val_X, val_y, test_X, _ = rows
    settings = teachers.candidates(name, 1, 0)[0]
    first, again = (
        teachers.fit(name, settings, X, y, val_X, val_y, epochs=4, seed=3)
        for _ in range(2)
    )
    assert np.array_equal(first.logits(test_X), again.logits(test_X))


def test_candidates_differ_and_start_with_the_default():
    found = teachers.candidates("xgboost", 20, seed=1)
    assert len({str(sorted(one.items())) for one in found}) == 20
    space = teachers.SPACE["xgboost"]
    assert found[0] == {key: values[0] for key, values in space.items()}
    assert teachers.candidates("xgboost", 20, seed=1) == found
    assert teachers.candidates("xgboost", 20, seed=2) != found
    most = np.prod([len(values) for values in teachers.SPACE["tabnet"].values()])
    assert len(teachers.candidates("tabnet", 10_000, 0)) == most
    with pytest.raises(ValueError, match="'svm' is none of xgboost, mlp, tabnet"):
        teachers.candidates("svm", 1, 0)


def test_tuning_takes_the_best_on_validation(rows, monkeypatch):
    scores = iter([0.6, 0.9, 0.7])

    def fit(name, settings, *args, **kwargs):
        return teachers.Fitted(None, 0, 0, next(scores), settings)

    monkeypatch.setattr(teachers, "fit", fit)
    best = teachers.tune("mlp", None, None, None, None, tries=3, epochs=1, seed=0)
    assert best.val_auc == 0.9
    assert best.settings == teachers.candidates("mlp", 3, 0)[1]


def test_stacking_trusts_the_member_that_knows(rows):
    rng = np.random.default_rng(0)
    y = (rng.random(2000) < 0.3).astype("f4")
    good, bad = 3 * y + rng.standard_normal(2000), rng.standard_normal(2000)
    together = teachers.stack([good, bad], y)([good, bad])
    assert together.dtype == np.float32
    assert metrics.auc(y, together) == pytest.approx(metrics.auc(y, good), abs=0.002)
    p = 1 / (1 + np.exp(-together))
    assert p.mean() == pytest.approx(y.mean(), abs=0.005)


def test_stacking_never_turns_a_member_upside_down():
    """Thirty rows on which, by chance, both members are worse than a coin."""
    rng = np.random.default_rng(1)
    y = (np.arange(30) % 3 == 0).astype("f4")
    wrong = [rng.standard_normal(30) - y for _ in range(2)]
    together = teachers.stack(wrong, y)
    low, high = together([np.full(1, -2.0)] * 2), together([np.full(1, 2.0)] * 2)
    assert high > low


@pytest.mark.parametrize("count", [129, 193])
def test_tabnet_takes_a_row_count_that_leaves_one_row_over(rows, count):
    X, y, val_X, val_y, *_ = rows
    settings = teachers.candidates("tabnet", 1, 0)[0]
    part = (X[:count], y[:count], val_X, val_y)
    fitted = teachers.fit("tabnet", settings, *part, epochs=1, seed=0)
    assert np.isfinite(fitted.logits(val_X)).all()

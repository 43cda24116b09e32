"""A table in, a student's file out: the classifier, the command, the recipe."""

from dataclasses import replace

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from kdutils import distill, metrics
from kdutils.data import Rows
from kdutils.data.divide import divide
from kdutils.deploy import bundle
from kdutils.distill import DistilledClassifier
from kdutils.recipes import distilled, kd_tabular, own_table

EFFORTS, UNITS = distilled.EFFORTS, distilled.UNITS
QUICK = replace(EFFORTS[0], rounds=((20, 4), (40, 2)), fine=4, passes=2)
HOW = {"effort": QUICK, "seed": 0}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A search of a few cells and sizes, its splits in this process."""
    monkeypatch.setattr(distilled, "EFFORTS", (QUICK, *EFFORTS[1:]))
    monkeypatch.setattr(distilled, "UNITS", (32, 8))
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)


def data(n=400, seed=0):
    X, y = make_classification(
        n, 8, n_informative=5, weights=[0.8], class_sep=1.2, random_state=seed
    )
    return X.astype(np.float32), y


@pytest.fixture(scope="module")
def split():
    X, y = data()
    names = tuple(f"r{i}" for i in range(X.shape[1]))
    row = np.arange(len(y))
    rows = Rows(X, y.astype("f4"), row, row, names, source="toy", kind="yours")
    return next(divide(rows, seed=0))


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    X, y = data()
    path = tmp_path_factory.mktemp("own") / "my.csv"
    frame = pd.DataFrame(X, columns=[f"r{i}" for i in range(X.shape[1])])
    frame.assign(verdict=np.where(y, "fail", "pass")).to_csv(path, index=False)
    return path


@parametrize_with_checks([DistilledClassifier(effort=0)])
def test_it_is_a_classifier_of_scikit_learn(estimator, check):
    check(estimator)


def test_its_file_predicts_what_it_predicts(tmp_path, monkeypatch):
    monkeypatch.setattr(distilled, "EFFORTS", EFFORTS)
    monkeypatch.setattr(distilled, "UNITS", UNITS)
    X, y = data()
    X[::7, 2] = np.nan
    frame = pd.DataFrame(X, columns=[f"reading {i}" for i in range(X.shape[1])])
    known = DistilledClassifier(effort=0, max_bytes=1500).fit(frame, y)
    path = known.export(tmp_path / "student.safetensors")
    assert path.stat().st_size <= 1500
    file = bundle.load(path)
    fails = file.score(frame[list(file.features)].to_numpy("f4")) > file.threshold
    np.testing.assert_array_equal(known.predict(frame), fails.astype(int))
    assert metrics.auc(y, known.predict_proba(frame)[:, 1]) > 0.9


def test_a_file_that_cannot_be_so_small_is_refused():
    X, y = data(200)
    with pytest.raises(ValueError, match="max_bytes is 300: the smallest student of 8"):
        DistilledClassifier(effort=0, max_bytes=300).fit(X, y)


def test_it_works_in_a_pipeline_and_a_search():
    X, y = data(200)
    pipeline = make_pipeline(StandardScaler(), DistilledClassifier(effort=0))
    grid = {"distilledclassifier__max_bytes": [1100, 1400]}
    found = GridSearchCV(pipeline, grid, cv=2, scoring="roc_auc").fit(X, y)
    assert found.best_score_ > 0.8


def test_a_dearer_escape_moves_the_threshold():
    X, y = data()
    every = [DistilledClassifier(effort=0, escape_cost=c).fit(X, y) for c in (1, 20)]
    cheap, dear = (one.predict(X) for one in every)
    assert (dear >= cheap).all() and dear.sum() > cheap.sum()
    assert every[1].bundle_.threshold == pytest.approx(-np.log(20))


@pytest.mark.parametrize("fitted", [True, False])
def test_any_classifier_can_be_the_teacher(fitted):
    """One that says the opposite of the labels is believed, where alpha is 1."""
    X, y = data()
    rows, later = slice(0, 200), slice(200, None)
    forest = RandomForestClassifier(30, random_state=0)
    teacher = forest.fit(X[rows], 1 - y[rows]) if fitted else forest
    known = DistilledClassifier(teacher, effort=0).fit(X[later], y[later])
    assert known.cell_["method"] in ("label-only", "kd", "logit-std")
    if fitted:  # whoever follows it is worse on validation than labels alone
        assert known.cell_["method"] == "label-only" or known.cell_["alpha"] < 0.5
    assert metrics.auc(y[rows], known.predict_proba(X[rows])[:, 1]) > 0.8


def test_no_test_row_has_a_say(split):
    """Other test rows, other marks; the file is the same to the byte.

    And what a search notes of its cells stays out of the study's own list of them.
    """
    student = distilled.learn(split, **HOW)
    other = split.test.take(np.arange(len(split.test))[::-1])
    other.y[:] = 1 - other.y
    again = distilled.learn(type(split)(**vars(split) | {"test": other}), **HOW)
    assert again.file == student.file
    assert {*kd_tabular.BASE} == {"method", "alpha", "T"}


@pytest.fixture(scope="module")
def tested(split):
    return own_table.tested(split, **HOW)


def test_rows_of_a_split_say_what_its_file_does(tested):
    rows, found = tested
    test = rows[0]
    assert test["student_auc"] == metrics.auc(found["y"], found["student"])
    fails = found["y"] == 1
    assert test["escapes"] == (fails & ~found["share"]).sum()
    by_cost = [row for row in rows if row["part"] == "cost"]
    escapes = [row["escapes"] for row in by_cost]
    assert escapes == sorted(escapes, reverse=True) and escapes[0] > escapes[-1]
    drops = {r["reading"]: r["drop"] for r in rows if r["part"] == "reading"}
    assert len(drops) == 8 and max(drops.values()) > 0.02


def test_the_shipped_file_has_seen_all_rows_and_is_judged_by_the_splits(split, tested):
    _, found = tested
    file, *others = own_table.shipped(split, [found, found], 0.0, id="x", **HOW)
    assert file["rows"] == 400 and file["n_test"] == 2 * len(split.test)
    assert file["value"] == pytest.approx(metrics.auc(found["y"], found["student"]))
    assert file["low"] < file["value"] < file["high"]
    assert {row["part"] for row in others} == {"race", "size"}


def test_more_minutes_buy_more_effort():
    shape, machine = (100_000, 30), {"splits": 1, "workers": 2}
    found = [distilled.affordable(*shape, s, **machine) for s in (1, 100, 600, 36_000)]
    assert found == sorted(found) and found[0] == 0 and found[-1] == 3
    least, most = (distilled.seconds(e, *shape, **machine) for e in (0, 3))
    assert least < most


def test_the_command_writes_a_file_that_may_ship(csv, tmp_path, capsys):
    out = tmp_path / "student.safetensors"
    words = [str(csv), "--target", "verdict", "--max-bytes", "1500", "-o", str(out)]
    assert distill.main([*words, "--budget", ".01"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Ship: ") and f"{out.stat().st_size:,} bytes" in printed
    assert bundle.load(out).features[0] == "r0"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--target", "verdit"], "did you mean 'verdict'"),
        (["--target", "verdict", "--max-bytes", "300"], "max_bytes is 300"),
    ],
)
def test_the_command_refuses_in_one_sentence(csv, tmp_path, capsys, words, sentence):
    out = tmp_path / "student.safetensors"
    assert distill.main([str(csv), *words, "--budget", ".01", "-o", str(out)]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert sentence in errors[-1] and not out.exists()


def test_noise_is_not_shipped(tmp_path, capsys):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(150, 4)), columns=list("abcd"))
    path, out = tmp_path / "noise.csv", tmp_path / "student.safetensors"
    frame.assign(fail=(rng.random(150) < 0.4).astype(int)).to_csv(path, index=False)
    words = [str(path), "--target", "fail", "--budget", ".01", "-o", str(out)]
    assert distill.main(words) == 2
    assert capsys.readouterr().out.startswith("Do not ship: ") and not out.exists()

"""Recipes: nothing leaks; the chosen student is the one compressed and shipped."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from kdutils import metrics
from kdutils.compress import prune as compress
from kdutils.deploy import bundle
from kdutils.recipes import (
    folds,
    kd_labels,
    kd_tabular,
    ladder,
    prune_quantize,
    shipped,
    teachers,
)
from kdutils.store import runs
from kdutils.views import figures, tables

TINY = {"train_lots": 12, "val_lots": 6, "test_lots": 6, "devices": 60}
SWEEP = {"alphas": [0.5, 1.0], "temperatures": [1.0, 4.0], "other_alphas": [0.9]}
SWEEP |= {"other_temperatures": [2.0], "smoothing": 0.1, "steps": 60, "looks": 4}
SWEEP |= {"hidden": 16, "batch": 128, "lr": 0.01, "weight_decay": 0.01}


def config(**more):
    first, *_ = teachers.plan(
        ["tester"],
        seeds=1,
        features=28,
        teacher_features=500,
        oof_folds=3,
        synthetic=300,
        tries={"xgboost": 1, "mlp": 1},
        epochs={"xgboost": 5, "mlp": 3},
        options={"tester": TINY},
    )
    return first | more


@pytest.fixture(scope="module")
def fold():
    """The rows that the chain's seed learns from and is tested on."""
    return next(folds.folds(config()))


@pytest.fixture(scope="module")
def chain(apart):
    """One tiny seed through all three stages, computed once."""
    first = runs.map("01_teachers", teachers, [config()], workers=1)
    second = runs.map(
        "02_kd_tabular", kd_tabular, kd_tabular.plan(first, **SWEEP), workers=1
    )
    configs = prune_quantize.plan(
        second, methods=["kd-synthetic"], sparsity=0.5, steps=60, lr=1e-3, qat_lr=1e-3
    )
    third = runs.map("06_prune_quantize", prune_quantize, configs, workers=1)
    return first, second, third


def test_preparation_sees_training_rows_only(fold):
    part = fold.split.train
    again = type(fold.prepare).fit(part.X, part.y, fold.split.features, 28)
    assert np.array_equal(again.center, fold.prepare.center)
    assert np.array_equal(fold.X["test"], again.transform(fold.split.test.X))


def test_the_students_columns_are_columns_of_the_teachers():
    fold = next(folds.folds(config(features=9)))
    assert fold.X["val"].shape[1] == 9
    wide = np.nan_to_num(fold.gaps["val"])[:, fold.narrow]
    assert np.array_equal(wide, fold.X["val"])


def test_out_of_fold_rows_were_not_seen(monkeypatch, fold):
    """A model that remembers its rows must know none of those it scores."""

    class Memory:
        def __init__(self, rows):
            self.seen = {row.tobytes() for row in rows}

        def logits(self, rows):
            return np.array([row.tobytes() in self.seen for row in rows], np.float32)

    monkeypatch.setattr(
        teachers.teachers, "fit", lambda name, settings, rows, *a, **k: Memory(rows)
    )
    known = teachers.out_of_fold("mlp", {}, fold, 3, epochs=1, seed=0)
    assert known.shape == fold.y["train"].shape
    assert not known.any()


def test_a_row_per_model_with_the_bayes_score_on_top(chain):
    rows = chain[0].set_index("model")
    assert set(rows.index) == {
        "xgboost", "mlp", "ensemble", "logistic", "constant", "bayes"
    }  # fmt: skip
    assert rows.loc["bayes", "test_auc"] == rows["test_auc"].max()
    assert rows.loc["bayes", "gap"] == 0
    assert rows.loc["constant", "test_auc"] == 0.5
    assert rows.loc["ensemble", "n_test"] == 360
    assert rows.loc["xgboost", "insample_auc"] > rows.loc["xgboost", "oof_auc"]


def test_cells_are_all_there_and_label_only_is_the_zero(chain):
    rows = chain[1]
    assert rows.iloc[0]["method"] == "label-only"
    assert rows.iloc[0]["gain"] == 0 and set(rows["fold"]) == {0}
    assert (rows["method"] == "kd").sum() == 4
    expected = rows["test_auc"] - rows.iloc[0]["test_auc"]
    assert np.allclose(rows["gain"], expected)


def test_the_published_loss_is_kd_at_another_weight():
    cell = kd_tabular.as_cell(kd_tabular.PUBLISHED, SWEEP)
    assert cell.method == "kd" and cell.T == 4
    soft, hard = cell.alpha * cell.T**2, 1 - cell.alpha
    assert soft / hard == pytest.approx(0.6 / 0.4)


def test_each_fold_chooses_by_its_own_validation_rows(chain):
    run = runs.open(kd_tabular, chain[1]["run"].iloc[0])
    every = ["label-only", "kd", "logit-std"]
    cell = kd_tabular.best_cell(run, 0, every)
    rows = chain[1][chain[1]["method"].isin(every)]
    best = rows.loc[rows["val_auc"].idxmax()]
    assert cell == {key: best[key] for key in ("method", "alpha", "T")}
    with pytest.raises(ValueError, match="name no cell"):
        kd_tabular.best_cell(run, 0, ["svm"])


def test_every_arm_takes_the_same_number_of_steps():
    for rows in (250, 980, 24_000, 72_000):
        how = kd_tabular.fitting({**SWEEP, "steps": 6000, "batch": 256}, rows)
        assert how["epochs"] * np.ceil(rows / 256) == pytest.approx(6000, rel=0.03)


def test_few_labels_are_few_everywhere(fold):
    split = fold.split
    drawn, rest = kd_labels.draw({"seed": 0, "noise": 0.0}, split, 200)
    assert len(drawn.train) == 200 and len(drawn.val) == 100
    assert drawn.train.fails >= 5 and drawn.val.fails >= 5
    assert len(rest) + 200 == len(split.train)
    known = set(drawn.train.row)
    assert not known & set(split.train.row[rest])
    noisy, _ = kd_labels.draw({"seed": 0, "noise": 0.3}, split, 200)
    truth = dict(zip(split.train.row, split.train.y, strict=True))
    pairs = zip(noisy.train.row, noisy.train.y, strict=True)
    wrong = np.mean([truth[row] != y for row, y in pairs])
    assert 0.2 < wrong < 0.4
    assert kd_labels.draw({"seed": 0, "noise": 0.0}, split, 10_000) is None


def test_a_test_part_with_one_fail_has_no_label_curve_and_nothing_trains(
    monkeypatch, fold
):
    y = np.zeros_like(fold.y["test"])
    y[0] = 1
    few = replace(fold, y={**fold.y, "test": y})
    monkeypatch.setattr(folds, "folds", lambda config: iter([few]))
    monkeypatch.setattr(kd_labels, "arms", lambda *args: pytest.fail("trained"))
    run = SimpleNamespace(need=lambda *args: SimpleNamespace(config=config()))
    assert kd_labels.compute({"teacher": "a", "sizes": [200]}, run) == {"rows": []}


def test_a_label_curve_of_no_size_is_an_empty_table_and_a_figure_that_says_so(chain):
    settings = {"alphas": [0.5], "temperatures": [1.0], "synthetic": 9}
    training = ("steps", "looks", "hidden", "batch", "lr", "weight_decay")
    settings |= {key: SWEEP[key] for key in training}
    configs = kd_labels.plan(chain[0], sizes=[10_000], noises=[0.0], **settings)
    rows = runs.map("02_kd_tabular", kd_labels, configs, workers=1)
    assert rows.empty and {"run", "older_code", "source"} <= set(rows)
    tables.write(rows, "rows-02_labels")
    curve = tables.labels(rows)
    tables.write(curve, "labels")
    assert tables.read("labels").query("arm == 'distilled' and gain == gain").empty
    assert not tables.read("rows-02_labels")["older_code"].sum()
    figure = figures.label_curve(curve, {})
    assert figure.get_suptitle().replace("\n", " ") == figures.NO_LABELS


def test_every_cell_has_a_loss_of_its_own_name():
    names = {kd_tabular.as_cell(cell, SWEEP).method for cell in kd_tabular.cells(SWEEP)}
    assert names == {"hard", "kd", "logit-mse", "logit-std", "ttm"}
    smooth = kd_tabular.as_cell({**kd_tabular.BASE, "method": "label-smoothing"}, SWEEP)
    assert smooth.coefficient == 0.1


def test_the_student_that_is_compressed_is_the_chosen_cell(chain, fold):
    _, second, third = chain
    cell = {"method": "kd-synthetic", "alpha": 0.9, "T": 2.0}
    run = runs.open(kd_tabular, second["run"].iloc[0])
    arrays = kd_tabular.student(run, 0, cell)
    auc = metrics.auc(fold.y["test"], compress.logits(arrays, fold.X["test"]))
    chosen = second.query("method == 'kd-synthetic'").iloc[0]
    assert auc == pytest.approx(chosen["test_auc"], abs=1e-6)
    assert third.iloc[0]["test_auc"] == pytest.approx(auc, abs=1e-6)
    with pytest.raises(ValueError, match="no cell"):
        kd_tabular.student(run, 0, {**cell, "alpha": 0.123})


def test_the_ladder_has_every_step_and_honest_sizes(chain):
    rows = chain[2].set_index("step")
    assert list(rows.index) == [
        step.name for step in prune_quantize.steps({"sparsity": 0.5})
    ]
    assert rows.loc["student fp32", "drop"] == 0
    assert rows.loc["published: distilled", "drop"] == 0
    assert rows.loc["student fp32", "cell"] == "kd-synthetic, α 0.9, T 2"
    fp32, int8 = rows.loc["student fp32"], rows.loc["pruned + QAT int8"]
    assert int8["model_bytes"] < fp32["model_bytes"] / 3
    assert int8["nonzero"] < 0.6 * fp32["nonzero"]
    assert rows.loc["half the units + QAT int8", "params"] < 0.6 * fp32["params"]
    assert np.isnan(rows.loc["published: dynamic int8", "bundle_bytes"])
    one_shot = rows.loc["published: pruned each layer 50 %"]
    assert one_shot["nonzero"] == 16 * 28 / 2 + 16 / 2 + 16 + 1


def test_an_outlier_moves_neighbours_only_where_the_batch_sets_the_scale(chain):
    rows = chain[2].set_index("step")
    assert rows.loc["published: dynamic int8", "moved_plain"] > 0
    assert rows.loc["weight-only int8", "moved_plain"] == 0
    assert rows.loc["static int8", "moved"] == 0


def test_what_is_shipped_scores_as_it_was_measured(chain, tmp_path, fold):
    rows = chain[2]
    path = tmp_path / "student.kdb"
    path.write_bytes(prune_quantize.shipped(rows, "pruned + QAT int8"))
    student = bundle.load(path)
    assert student.features == fold.prepare.names
    raw = fold.split.test.X[:, fold.prepare.columns]
    auc = metrics.auc(fold.y["test"], student.score(raw))
    measured = rows.set_index("step").loc["pruned + QAT int8", "test_auc"]
    assert auc == pytest.approx(measured, abs=1e-9)


def test_a_file_that_may_ship_is_scored_on_its_own_test_rows(chain, fold):
    file = prune_quantize.shipped(chain[2], "pruned + QAT int8")
    plan = shipped.plan({"tester": file, "elsewhere": b""}, chain[0])
    assert [one["source"] for one in plan] == ["tester"]  # of others nothing is known
    (row,) = runs.map("06_prune_quantize", shipped, plan, workers=1).to_dict("records")
    student = bundle.loads(file, "the student")
    raw, failed = fold.split.test.X[:, fold.prepare.columns], fold.y["test"] == 1
    called = student.score(raw) > student.threshold
    assert row["escapes"] == (failed & ~called).sum() > 0
    assert row["overkill"] == (~failed & called).sum() > 0
    assert (row["fails"], row["n_test"]) == (failed.sum(), len(failed))
    assert row["low"] < row["value"] < row["high"] and row["file_bytes"] == len(file)
    measured = chain[2].set_index("step").loc["pruned + QAT int8", "test_auc"]
    assert row["value"] == pytest.approx(measured, abs=1e-9)


def test_calibration_is_free_and_changes_no_ranking():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 4)).astype(np.float32)
    arrays = {"W1": rng.standard_normal((8, 4)).astype(np.float32)}
    arrays |= {"b1": np.zeros(8, np.float32)}
    arrays |= {"w2": rng.standard_normal(8).astype(np.float32), "b2": np.float32(7.0)}
    z = compress.logits(arrays, X)
    y = (rng.random(3000) < 1 / (1 + np.exp(-(0.5 * (z - 7) - 2)))).astype(np.float32)
    again = compress.logits(ladder.calibrated(arrays, X, y), X)
    assert metrics.auc(y, again) == pytest.approx(metrics.auc(y, z), abs=1e-4)
    assert metrics.ece(y, again) < 0.03
    assert metrics.ece(y, z) > 0.3
    upside_down = ladder.calibrated(arrays, X, 1 - y)
    assert np.array_equal(upside_down["w2"], arrays["w2"])


def test_a_step_without_a_bundle_cannot_be_shipped(chain):
    with pytest.raises(ValueError, match="no bundle of step 'published: dynamic int8'"):
        prune_quantize.shipped(chain[2], "published: dynamic int8")


def test_the_choice_is_the_smallest_within_the_tolerance_and_reads_no_test():
    rows = pd.DataFrame(
        [
            ("label-only student fp32", 100.0, 0.0, 0.9),
            ("a", 3000.0, 0.0, 0.80),
            ("b", 2000.0, -0.001, 0.799),
            ("c", 1500.0, -0.003, 0.797),
            ("torch", np.nan, 0.01, 0.81),
        ],
        columns=["step", "bundle_bytes", "drop_val", "val_auc"],
    )
    assert prune_quantize.choose(rows, 0.002)["step"] == "b"
    assert prune_quantize.choose(rows, 0.0)["step"] == "a"
    assert prune_quantize.choose(rows, 0.01)["step"] == "c"

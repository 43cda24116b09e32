"""Recipes on images: a row per student, its pair beside it, nothing seen too soon."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax

from kdutils import metrics, models, paths
from kdutils.data import Part
from kdutils.data.simulate import miniatures
from kdutils.recipes import few_labels, hinton, kd_images, net_teachers, subclass
from kdutils.recipes.tasks import IMAGES, paired
from kdutils.store import runs
from kdutils.train import Batches, shifts, students
from kdutils.train.students import Cell

TEACHER = {
    "source": "digits", "root": "", "seeds": 2, "val": 200,
    "epochs": {"all": 6, "train": 5}, "widths": [24, 20], "dropout": 0.3, "batch": 64,
    "lr": 0.1, "momentum": 0.9, "max_norm": 2.0, "max_shift": 1, "bf16": False,
}  # fmt: skip
HINTON = {
    "widths": [16, 12], "epochs": 3, "long_epochs": 4, "batch": 128, "lr": 0.01,
    "alpha": 0.9, "T": 20.0, "consistent_alpha": 1.0, "consistent_T": 4.0,
    "max_shift": 1, "bf16": False,
}  # fmt: skip
SWEEP = {
    "students": {
        "mlp": {"sizes": {"widths": [8]}, "lr": 0.02, "epochs": 3},
        "cnn": {"sizes": {"channels": 2}, "lr": 0.03, "epochs": 2},
    },
    "batch": 128, "bf16": False, "alphas": [0.5, 1.0], "temperatures": [1.0, 4.0],
    "other_alphas": [0.9], "other_temperatures": [4.0], "smoothings": [0.1, 0.3],
    "betas": [1.0, 8.0], "hints": [0.5, 5.0], "hint_alpha": 0.9, "hint_T": 2.0,
    "assistant_widths": [12], "assistant_alpha": 0.9, "assistant_T": 4.0,
    "assistant_lr": 0.01,
}  # fmt: skip
FEW = {
    "sizes": [40, 300], "steps": 25, "teacher_widths": [20], "teacher_steps": 40,
    "widths": [8], "batch": 64, "lr": 0.02, "alpha": 0.9, "T": 4.0, "bf16": False,
}  # fmt: skip
LOTS = {"train_lots": 6, "val_lots": 3, "test_lots": 6, "devices": 50}
MODELS = [
    "teacher", "teacher-plain", "student-subclass", "student-kd", "student-kd-plain",
    "student", "student-truth",
]  # fmt: skip
WAYS = {"published": {"schedule": "constant", "max_shift": 0, "select": False}}
WAYS |= {"ours": {"schedule": "cosine", "max_shift": 1, "select": True}}
SUBCLASS = {
    "options": LOTS, "bf16": False, "subclasses": 10, "alpha": 0.5, "T": 4.0,
    "beta": 1.0, "spread_T": 1.0, "batch": 64, "lr": 1e-3,
}  # fmt: skip

FIDELITY = {"nll", "ece", "brier", "agreement", "kl"}
PAIR = {"only_mine", "only_base", "mcnemar_p"}
SHARED = {"run", "source", "kind", "seed", "n_train", "n_test", "rho", "errors"}
SHARED |= {"test_acc"} | FIDELITY


def subclass_plan(sources, way, root, models=MODELS, epochs=2):
    how = {"teacher_epochs": epochs, "student_epochs": epochs, "models": models}
    ways = {way: {**WAYS[way], **how}}
    return subclass.plan(sources=sources, ways=ways, seeds=1, root=root, **SUBCLASS)


def compute(seeds, configs):
    """The rows of every recipe: `configs` are those of subclass."""
    plan = net_teachers.plan_images(**{**TEACHER, "seeds": seeds})
    teacher = runs.map("03_kd_images", net_teachers, plan, workers=1)
    own = {hinton: hinton.plan(teacher, **HINTON)}
    own |= {kd_images: kd_images.plan(teacher, **SWEEP)}
    own |= {few_labels: few_labels.plan(teacher, **FEW), subclass: configs}
    found = {
        recipe: runs.map("03_kd_images", recipe, own[recipe], workers=1)
        for recipe in own
    }
    return {net_teachers: teacher, **found}


@pytest.fixture(scope="module")
def study(apart, tmp_path_factory):
    """A folder for reports, and one with miniatures."""
    root = tmp_path_factory.mktemp("miniatures")
    miniatures.write(str(root), "mnist", "pneumoniamnist")
    return str(root)


@pytest.fixture(scope="module")
def rows(study):
    """Two seeds of the sweep's recipes, one of each source of the subclasses."""
    few, published = ["teacher", "student-kd", "student-subclass"], "published"
    configs = subclass_plan(["mnist"], published, study, few, epochs=1)
    configs += subclass_plan(["digits"], published, study)
    configs += subclass_plan(["pneumoniamnist"], "ours", study, few)
    return compute(2, configs + subclass_plan(["tester"], "ours", study))


def first_run(rows, recipe, column, value):
    """The finished run of the first row that has the value."""
    frame = rows[recipe]
    return runs.open(recipe, frame[frame[column] == value]["run"].iloc[0])


def consistent(mine, base):
    """McNemar's counts and the errors of a row and of its pair tell one story."""
    mine = mine.astype({"only_mine": int, "only_base": int})
    fewer = base["errors"].to_numpy() - mine["errors"].to_numpy()
    assert (mine["only_mine"].to_numpy() - mine["only_base"].to_numpy() == fewer).all()
    assert mine["mcnemar_p"].between(0, 1).all()
    return len(mine)


# --- teachers ---------------------------------------------------------------------


def test_a_teacher_has_a_row_for_all_images_and_one_without_validation(rows):
    frame = rows[net_teachers]
    assert set(frame) >= SHARED | {
        "rows", "n_val", "val_acc", "params", "file_bytes", "epochs"
    }  # fmt: skip
    assert frame["rows"].tolist() == ["all", "train"] * 2
    whole, part = frame.iloc[0], frame.iloc[1]
    assert (whole["n_train"], whole["n_val"]) == (part["n_train"] + 200, 0)
    assert part["n_val"] == 200 and whole["n_test"] == part["n_test"] == 539
    assert np.isnan(whole["val_acc"]) and 0.3 < part["val_acc"] < 1
    assert (frame["rho"] == 539 / 1258).all() and (frame["kind"] == "real").all()
    assert whole["params"] == 65 * 24 + 25 * 20 + 21 * 10
    assert whole["file_bytes"] == 4 * whole["params"]
    assert frame["test_acc"].between(0.4, 0.999).all()
    assert frame["errors"].nunique() > 2
    assert np.allclose(frame["test_acc"], 1 - frame["errors"] / 539)


def test_a_teachers_parts_share_no_image_and_all_seeds_have_their_own():
    plans = net_teachers.plan_images(**TEACHER)
    whole, part, other, _ = map(IMAGES.load, plans)
    assert np.array_equal(whole.test.row, part.test.row)
    rows = [set(p.row.tolist()) for p in (part.train, part.val, part.test)]
    assert sum(map(len, rows)) == len(set.union(*rows)) == 1797
    assert set(whole.train.row.tolist()) == rows[0] | rows[1]
    assert not np.array_equal(whole.test.row, other.test.row)


def test_kept_logits_are_those_of_the_kept_weights(rows):
    for which, views in (("all", 9), ("train", 1)):
        run = first_run(rows, net_teachers, "rows", which)
        parts, told = IMAGES.load(run.config), run.arrays("logits")
        model = net_teachers.trained(run)
        assert told["views"].shape == (views, len(parts.train), 10)
        still = told["views"][views // 2]
        assert np.allclose(still, models.predict(model, parts.train.X), atol=0.02)
        assert np.array_equal(told["test"], models.predict(model, parts.test.X))
        assert len(told["val"]) == len(parts.val)
        how = {"batch": 300, "seed": 0, "scale": 255, "view_targets": told["views"]}
        batches = Batches(parts.train.X, augment=shifts(views // 9), **how)
        for x, said in batches:  # the same crop, of nine or of one
            with torch.no_grad():
                assert torch.allclose(model(x), said.float(), atol=0.02)


def test_a_teachers_settings_are_read():
    config, *_ = net_teachers.plan_images(**TEACHER)
    X = np.random.default_rng(0).integers(0, 256, (90, 8, 8), np.uint8)
    y = np.arange(90) % 10

    def logits(**changed):
        how = {"epochs": 2, "seed": 3}
        model = net_teachers.teach({**config, **changed, **how}, X, y)
        assert type(model) is models.Perceptron
        return models.predict(model, X)

    found = [logits(), logits(max_norm=0.3), logits(dropout=0.0), logits(max_shift=0)]
    found += [logits(momentum=0.5), logits(lr=0.05), logits(bf16=True)]
    assert np.array_equal(found[0], logits())
    for i, one in enumerate(found):
        for other in found[:i]:
            assert np.abs(one - other).max() > 1e-4
    assert np.abs(found[0] - found[-1]).mean() < 0.1


# --- Hinton's experiment ----------------------------------------------------------


def test_every_system_has_a_row_beside_its_pair(rows):
    frame = rows[hinton]
    assert set(frame) >= SHARED | PAIR | {"system", "base", "omitted", "n_omitted"}
    for _, one in frame.groupby("seed"):
        one = one.set_index("system")
        assert list(one.index) == ["teacher", *hinton.BASES]
        assert one["base"].dropna().to_dict() == hinton.BASES
        assert one.loc["teacher", ["agreement", "kl", *PAIR]].isna().all()
        assert consistent(one.drop("teacher"), one.loc[list(hinton.BASES.values())])
        assert one["errors"].nunique() > 5 and one["errors"].max() < 539
        gone = one.loc[list(hinton.OMITTED)]
        assert (gone["best_errors"] <= gone["errors"]).all()
        assert (gone["errors_omitted"] <= gone["n_omitted"]).all()
        assert (gone["corrected_omitted"] <= gone["errors_omitted"]).all()
        assert gone["omitted"].tolist() == ["3", "0 1 2 3 4 5 6 9"]
        assert 0.05 < gone.loc["omit-3", "n_omitted"] / 539 < 0.15
        assert 0.7 < gone.loc["only-7-8", "n_omitted"] / 539 < 0.9
    taught = rows[net_teachers].query("rows == 'all'")["errors"].tolist()
    assert frame[frame["system"] == "teacher"]["errors"].tolist() == taught


def test_what_each_system_is_shown(monkeypatch):
    """Digits that are omitted are never seen; only one system's teacher moves along."""
    config, *_ = net_teachers.plan_images(**TEACHER)
    parts = IMAGES.load(config)
    views = np.random.default_rng(0).random((9, len(parts.train), 10)).astype("f2")
    y, seen = parts.train.y, {}

    def listen(net, X, labels, targets, cell, **how):
        seen[name] = SimpleNamespace(X=X, y=labels, told=targets, cell=cell, **how)
        return net

    monkeypatch.setattr(students, "fit_one", listen)
    for name, system in hinton.systems(HINTON).items():
        found = hinton.student(
            {**HINTON, "seed": 0, "source": "digits"}, system, parts, views
        )
        assert ("train" in found) == (name in hinton.OMITTED) and "test" in found
        keep = ~np.isin(y, hinton.OMITTED.get(name, []))
        assert np.array_equal(seen[name].y, y[keep])
        assert np.array_equal(seen[name].X, parts.train.X[keep])
        assert np.array_equal(seen[name].told["teacher"], views[4][keep])
    assert set(seen["omit-3"].y) == {0, 1, 2, 4, 5, 6, 7, 8, 9}
    assert set(seen["only-7-8"].y) == {7, 8}
    assert [name for name, own in seen.items() if own.view_targets is not None] == [
        "student-consistent"
    ]
    assert np.array_equal(seen["student-consistent"].view_targets, views)
    moved = {name for name, own in seen.items() if own.max_shift}
    assert moved == {"student-jitter", "student-fixed", "student-consistent"}
    assert {name for name, own in seen.items() if own.epochs == 4} == moved
    hard = {name for name, own in seen.items() if own.cell == Cell()}
    assert hard == {"student", "student-jitter"}
    assert seen["student-kd"].cell == seen["omit-3"].cell == Cell("kd", 0.9, 20.0)
    assert seen["student-fixed"].cell == Cell("kd", 1.0, 4.0)


def told(y, behind, classes=(3,)):
    """Logits that are right but for `classes`, which are lower by `behind`."""
    logits = np.zeros((len(y), 10), np.float32)
    logits[np.arange(len(y)), y] = 5.0
    logits[:, classes] -= np.float32(behind)
    return logits


def test_a_known_bias_is_found_on_training_images():
    """A three needs more than 2.3 on training, more than 4.05 on test images."""
    y, y_test = np.arange(200) % 10, np.arange(60) % 10
    parts = SimpleNamespace(train=SimpleNamespace(y=y), test=SimpleNamespace(y=y_test))
    row = hinton.corrected([3], parts, told(y, 7.3), told(y_test, 9.05))
    assert (row["omitted"], row["n_omitted"], row["errors_omitted"]) == ("3", 6, 6)
    assert row["corrected_bias"] == pytest.approx(2.4)
    assert (row["corrected_errors"], row["corrected_omitted"]) == (6, 6)
    assert row["best_bias"] == pytest.approx(4.1)
    assert (row["best_errors"], row["best_omitted"]) == (0, 0)
    same = hinton.corrected([3], parts, told(y, 9.05), told(y_test, 9.05))
    assert (same["corrected_errors"], same["corrected_omitted"]) == (0, 0)
    two = hinton.corrected([3, 4], parts, told(y, 8, [3, 4]), told(y_test, 8, [3, 4]))
    assert (two["omitted"], two["n_omitted"], two["errors_omitted"]) == ("3 4", 12, 12)
    assert two["corrected_bias"] == two["best_bias"] == pytest.approx(3.1)


def test_pairs_are_counted_by_image():
    y = np.array([0, 1, 2, 3, 4, 5])
    mine, base = np.eye(10)[[0, 1, 2, 9, 9, 9]], np.eye(10)[[0, 8, 8, 3, 8, 8]]
    found = paired(y, mine, base)
    assert found == {"only_mine": 2, "only_base": 1, "mcnemar_p": 1.0}
    assert paired(y, np.eye(10)[y], np.eye(10)[9 - y])["mcnemar_p"] == 2 / 64


# --- the sweep --------------------------------------------------------------------


def test_the_sweep_has_a_row_per_cell_and_label_only_is_the_zero(rows):
    frame = rows[kd_images]
    assert set(frame) >= SHARED | PAIR | {
        "student", "method", "alpha", "T", "coefficient", "val_acc", "gain", "gain_val",
        "params",
    }  # fmt: skip
    assert frame.groupby("student")["params"].unique().map(list).to_dict() == {
        "mlp": [65 * 8 + 9 * 10], "cnn": [52 + 36 + 17 * 10]
    }  # fmt: skip
    for _, one in frame.groupby(["student", "seed"]):
        assert one["method"].tolist() == [
            "label-only", *["label-smoothing"] * 2, *["kd"] * 4, "logit-mse",
            *["dkd"] * 2, "logit-std", "dist", "takd", "born-again", *["fitnet"] * 2,
        ]  # fmt: skip
        first = one.iloc[0]
        for gain, acc in (("gain", "test_acc"), ("gain_val", "val_acc")):
            assert first[gain] == 0 and one[gain].nunique() > 8
            assert np.allclose(one[gain], one[acc] - first[acc])
        again = one.iloc[[0] * len(one)]
        assert consistent(one, again) == 16
        assert one["coefficient"].dropna().tolist() == [0.1, 0.3, 1.0, 8.0, 0.5, 5.0]
        assert (one["val_acc"] * 200 % 1).round(6).isin([0, 1]).all()


@pytest.mark.parametrize("student", ["mlp", "cnn"])
def test_a_cells_row_is_that_of_the_student_trained_alone(rows, student):
    """Through the side-by-side training, every row stands beside its own logits."""
    run = first_run(rows, kd_images, "student", student)
    config, source = run.config, runs.open(net_teachers, run.config["teacher"])
    assert source.config["rows"] == "train"
    parts, told = IMAGES.load(source.config), source.arrays("logits")
    targets = {"teacher": told["views"][0]}
    targets |= {"assistant": run.arrays("assistant")["logits"]}
    targets["self"] = run.arrays("self")["logits"]
    frame = rows[kd_images].query("student == @student and seed == 0")
    cells, large = kd_images.every(config), net_teachers.trained(source)
    hidden = models.predict(large, parts.train.X, features=True)
    for number in (0, 2, 4, 7, 9, 12, 13, 15):
        (method, cell), row = cells[number], frame.iloc[number]
        net = students.fit_one(
            kd_images.untrained(config, parts), parts.train.X, parts.train.y, targets,
            cell, features=hidden if cell.hint else None, **kd_images.fitting(config),
        )  # fmt: skip
        assert (method, cell.alpha, cell.T) == (row.method, row.alpha, row["T"])
        for part, acc in ((parts.val, row.val_acc), (parts.test, row.test_acc)):
            found = metrics.accuracy(part.y, models.predict(net, part.X))
            assert found == pytest.approx(acc, abs=0.006), method
        kl = metrics.kl(told["test"], models.predict(net, parts.test.X))
        assert row["kl"] == pytest.approx(kl, rel=0.02)
    assert not np.allclose(targets["self"], targets["assistant"], atol=0.5)


# --- few labels -------------------------------------------------------------------


def test_few_labels_have_every_arm_and_label_only_is_the_zero(rows):
    frame = rows[few_labels]
    assert set(frame) >= (SHARED - {"agreement", "kl"}) | PAIR | {
        "arm", "labels", "gain"
    }  # fmt: skip
    for (labels, _), one in frame.groupby(["labels", "seed"]):
        assert set(one["arm"]) == {
            "label-only", "distilled", "distilled+unlabelled", "all-knowing",
            "all-knowing+unlabelled", "teacher",
        }  # fmt: skip
        first = one[one["arm"] == "label-only"].iloc[0]
        assert labels in (40, 300) and first["gain"] == 0
        assert np.allclose(one["gain"], one["test_acc"] - first["test_acc"])
        assert consistent(one, pd.DataFrame([first] * len(one)))
        assert one["errors"].nunique() > 3
    teacher = frame[frame["arm"] == "teacher"].groupby("labels")["errors"].mean()
    assert teacher[300] < teacher[40]


def test_a_label_that_is_not_known_is_never_read():
    config = {**FEW, "seed": 0, "source": "digits"}
    taught = net_teachers.plan_images(**TEACHER)[1]
    parts = IMAGES.load(taught)
    full = np.random.default_rng(1).random((len(parts.train), 10)).astype(np.float16)
    first = np.random.default_rng(2).permutation(len(parts.train))[:50]
    wrong = (parts.train.y + 1) % 10
    wrong[first] = parts.train.y[first]
    train = parts.train
    spoiled = replace(parts, train=Part(train.X, wrong, train.group, train.row))
    names = []
    how = config, taught, parts, full, first
    found = few_labels.arms(*how, lambda name: names.append(name) or {})
    assert len(set(names)) == len(names) == 3, "a checkpoint for each training"
    again = few_labels.arms(config, taught, spoiled, full, first, lambda name: {})
    for arm, logits in found.items():
        assert np.array_equal(logits, again[arm]), arm
    other = few_labels.arms(
        config, taught, parts, full, first[::-1][:49], lambda name: {}
    )
    assert not any(np.array_equal(found[arm], other[arm]) for arm in found)


def test_arms_take_the_same_number_of_steps():
    for n in (40, 64, 65, 300, 1058):
        steps = few_labels.epochs(500, n, FEW) * np.ceil(n / 64)
        assert steps == pytest.approx(500, rel=0.05)
    assert few_labels.epochs(3, 1058, FEW) == 1


def test_more_labels_than_images_are_refused(rows, study):
    plan = few_labels.plan(rows[net_teachers], **{**FEW, "sizes": [5000]})
    with pytest.raises(ValueError) as error:
        runs.map("03_kd_images", few_labels, plan, workers=1)
    said = "label sizes hold 5000, but there are 1058 training images"
    assert str(error.value) == said


# --- subclasses -------------------------------------------------------------------


def test_every_model_has_a_row_beside_plain_distillation(rows):
    frame = rows[subclass].query("part == 'model'")
    assert set(frame) >= SHARED | PAIR | {
        "way", "model", "alpha", "T", "test_auc", "gain", "auc_gain", "ari", "nmi",
        "used", "ari_kmeans", "ari_class", "ari_defects", "part",
    }  # fmt: skip
    kinds = {"mnist": "generated", "digits": "real", "pneumoniamnist": "generated"}
    for source, one in frame.groupby("source", sort=False):
        one = one.set_index("model")
        assert len(one) == (3 if source in ("mnist", "pneumoniamnist") else 7)
        assert ("student-truth" in one.index) == (source in ("digits", "tester"))
        assert set(one["kind"]) == {kinds.get(source, "simulated")}
        base = one.loc["student-kd"]
        assert base["gain"] == base["auc_gain"] == 0 and base["mcnemar_p"] == 1
        assert np.allclose(one["gain"], one["test_acc"] - base["test_acc"])
        assert np.allclose(one["auc_gain"], one["test_auc"] - base["test_auc"])
        assert consistent(one, one.loc[["student-kd"] * len(one)])
        assert one["errors"].nunique() > 2 and one["test_auc"].between(0, 1).all()
        rest = one.drop("teacher")
        assert rest[["ari", "used", "ari_kmeans"]].isna().all(axis=None)
    learnt = frame[frame["source"].isin(["mnist", "digits"])].set_index("model")
    assert learnt.loc["student-kd", "test_acc"].min() > 0.6


def test_what_a_teacher_found_is_told_of_the_test_rows(rows):
    teacher = rows[subclass].query("model == 'teacher'").set_index("source")
    names = {"mnist": 10, "digits": 10, "tester": 7, "pneumoniamnist": 0}
    groups = rows[subclass].query("part == 'group'").set_index("source")
    assert groups.loc["tester", "truth"].iloc[0] == "none"
    assert (groups["class"] == groups["subclass"] // 5).all()
    for source, row in teacher.iterrows():
        assert 1 <= row["used"] <= 10
        if source == "pneumoniamnist":
            assert source not in groups.index and np.isnan(row["ari"])
            continue
        counts = groups.loc[source, "count"].to_numpy(int).reshape(-1, 10)
        assert counts.shape == (names[source], 10) and counts.sum() == row["n_test"]
        assert row["used"] == pytest.approx(metrics.effective(counts.sum(0)))
        assert -0.2 < row["ari"] < 1 and 0 <= row["nmi"] < 1
        if source != "tester":
            wrong = counts[:5, 5:].sum() + counts[5:, :5].sum()
            assert 0 < wrong < row["n_test"]
    assert np.isnan(teacher.loc["mnist", "ari_kmeans"])
    assert teacher.loc["digits", "ari_kmeans"] > 0


def material(y, truth, names=10):
    parts = ("train", "test")
    return subclass.Material(
        task=None,
        X={},
        y=dict.fromkeys(parts, np.array(y)),
        truth=None if truth is None else dict.fromkeys(parts, np.array(truth)),
        names=[str(k) for k in range(names)],
        facts={},
    )


def test_perfect_subclasses_are_recognised_and_one_for_all_is_not():
    truth = np.repeat(np.arange(10), 7)
    data, config = material(truth // 5, truth), {"subclasses": 10, "seed": 0}
    other = (truth + 2) % 5 + 5 * (truth // 5)  # names do not matter
    row = subclass.found(config, data, 4 * np.eye(10)[other], None)
    assert (row["ari"], row["nmi"], row["used"]) == pytest.approx((1, 1, 10))
    assert "ari_kmeans" not in row
    counted = subclass.groups(config, data, 4 * np.eye(10)[other])
    counts = np.array([one["count"] for one in counted]).reshape(10, 10)
    assert np.array_equal(counts, 7 * np.eye(10)[other[::7]])
    assert row["ari_class"] == pytest.approx(metrics.ari(truth, truth // 5))
    one = subclass.found(config, data, np.eye(10)[np.full(70, 3)], None)
    assert (one["ari"], one["nmi"], one["used"]) == pytest.approx((0, 0, 1))
    halves = subclass.found(config, data, np.eye(10)[5 * (truth // 5)], None)
    assert halves["used"] == pytest.approx(2) and 0 < halves["ari"] < 0.3
    unknown = subclass.found(config, material(truth // 5, None, 0), np.eye(10), None)
    assert unknown["used"] == pytest.approx(10) and unknown["ari"] is None


def test_kmeans_looks_inside_each_class_of_the_plain_teacher():
    truth = np.random.default_rng(1).permutation(np.repeat(np.arange(10), 7))
    data, config = material(truth // 5, truth), {"subclasses": 10, "seed": 0}
    noise = 0.01 * np.random.default_rng(0).random((70, 10))
    plain = {"test": np.eye(2)[truth // 5], "features": np.eye(10)[truth] + noise}
    row = subclass.found(config, data, np.eye(10)[np.full(70, 3)], plain)
    assert row["ari_kmeans"] == 1 and row["ari"] == 0
    plain["test"] = np.eye(2)[np.zeros(70, int)]  # five groups for ten
    row = subclass.found(config, data, np.eye(10)[truth], plain)
    assert 0.2 < row["ari_kmeans"] < 0.8 and row["ari"] == 1


def test_groups_that_both_classes_have_are_two():
    """Groups 0 and 2 pass and fail, 1 passes, 3 never comes, 4 fails."""
    y, truth = [0, 1, 0, 0, 1, 1, 1], [0, 0, 1, 2, 2, 4, 0]
    data = material(y, truth, names=5)
    fine = subclass.fine(data, "train")
    assert fine.tolist() == [0, 1, 2, 4, 5, 9, 1]
    s = np.random.default_rng(0).normal(0, 3, (50, 10))
    p = softmax(s, -1)
    expected = np.stack([p[:, [0, 2, 4]].sum(-1), p[:, [1, 5, 9]].sum(-1)], -1)
    z = subclass.grouped(s, data, "student-truth")
    assert np.allclose(softmax(z, -1), expected / expected.sum(-1, keepdims=True))
    own = subclass.grouped(s, data, "student-subclass")
    halves = np.stack([p[:, :5].sum(-1), p[:, 5:].sum(-1)], -1)
    assert np.allclose(softmax(own, -1), halves)
    assert np.allclose(subclass.grouped(s[:, :2], data, "student"), s[:, :2])


def test_materials_are_two_classes_and_know_their_groups(study):
    found = {}
    for config in subclass_plan(["mnist", "digits", "pneumoniamnist", "tester"],
                                "ours", study):  # fmt: skip
        data = found[config["source"]] = subclass.material(config)
        assert {y.dtype for y in data.y.values()} == {np.dtype(np.int64)}
        assert set(data.y["train"]) == set(data.y["test"]) == {0, 1}
        assert data.facts["n_train"] == len(data.X["train"]) == len(data.y["train"])
        assert data.facts["n_test"] == len(data.X["test"])
    for source in ("mnist", "digits"):
        data = found[source]
        for part in ("train", "test"):
            assert np.array_equal(data.truth[part] >= 5, data.y[part] == 1)
        assert len(data.y["val"]) == 0
    assert found["digits"].facts["rho"] == 539 / 1258
    assert found["mnist"].facts["rho"] == found["tester"].facts["rho"] == 0
    assert found["pneumoniamnist"].truth is None
    assert len(found["pneumoniamnist"].y["val"]) == 60
    tester = found["tester"]
    assert tester.X["train"].shape == (300, 28)
    good = tester.truth["test"] == tester.names.index("none")
    y = tester.y["test"]
    assert y[good].mean() < y[~good].mean()  # the truth stands beside its own rows


@pytest.mark.parametrize("source", ["pneumoniamnist", "digits", "tester"])
def test_a_materials_teacher_speaks_of_the_crop_that_is_shown(study, source):
    config, *_ = subclass_plan([source], "ours", study)
    data = subclass.material(config)
    net, X = data.build(config["teacher"], 10, 0), data.X["train"]
    views = data.task.views(net, X, 1)
    assert len(views) == (1 if source == "tester" else 9)
    y = data.y["train"]
    batches = data.task.batches(X, y, batch=200, seed=1, augment=1, views=views)
    net.eval()
    seen = []
    for x, own, said in batches:
        with torch.no_grad():
            assert torch.allclose(net(x), said.float(), atol=2e-3)
        seen += own.tolist()
    assert sorted(seen) == sorted(y.tolist())
    assert len(next(iter(data.task.batches(X, y, batch=200, seed=1)))) == 2


def test_the_best_epoch_is_kept_only_where_there_are_validation_rows(
    study, monkeypatch
):
    seen = {}

    def listen(model, batches, loss, *, epochs, schedule, validate, **how):
        seen[key] = SimpleNamespace(
            batches=batches, schedule=schedule, validate=validate, model=model
        )

    monkeypatch.setattr(subclass.train, "fit", listen)
    for way in WAYS:
        for config in subclass_plan(["digits", "pneumoniamnist"], way, study):
            key = way, config["source"]
            data = subclass.material(config)
            found = subclass.teacher(config, data, "teacher")
            assert len(found["views"]) == (9 if way == "ours" else 1)
    chosen = {key for key, own in seen.items() if own.validate}
    assert chosen == {("ours", "pneumoniamnist")}
    own = seen["ours", "pneumoniamnist"]
    z = subclass.grouped(data.task.predict(own.model, data.X["val"]), data, "teacher")
    right = data.y["val"] == 1
    fail = z[:, 1] - z[:, 0]
    above = np.mean(fail[right, None] > fail[None, ~right])
    assert own.validate(own.model) == pytest.approx(above, abs=1e-3)
    assert own.schedule is subclass.train.cosine and len(own.batches.views) == 9
    other = seen["published", "digits"]
    assert other.schedule is subclass.train.constant and other.batches.views is None


# --- all of them ------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits(rows, study, monkeypatch):
    monkeypatch.setenv("KD_REPORT", "again")
    torch.rand(3)
    configs = subclass_plan(["digits"], "published", study)
    again = compute(1, configs + subclass_plan(["tester"], "ours", study))
    for recipe, frame in again.items():
        assert (paths.runs("03_kd_images") / frame["run"].iloc[0] / "DONE").exists()
        first = rows[recipe]
        first = first[first["run"].isin(frame["run"])].reset_index(drop=True)
        first = first.reindex(columns=frame.columns)
        pd.testing.assert_frame_equal(frame, first, check_exact=True)
        seeds = rows[recipe].groupby("seed")["nll"].first()
        assert seeds.nunique() == len(seeds)

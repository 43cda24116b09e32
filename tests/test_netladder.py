"""The ladder of image and wafer students: one change a step, beside its control."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from kdutils import metrics, models, train
from kdutils.compress import prune as compress
from kdutils.deploy import bundle
from kdutils.recipes import (
    kd_images,
    net_teachers,
    netladder,
    shipped,
    wafer_answers,
    wafer_bundle,
    wafer_students,
)
from kdutils.recipes.tasks import IMAGES, WAFERS
from kdutils.store import runs
from kdutils.train import students
from kdutils.views import images

SETTINGS = {
    "methods": ["kd", "dist"], "wafer_sizes": [{"widths": [4, 8], "depth": 0}],
    "epochs": 2, "share": 0.3, "sparsities": [0.5, 0.9], "scope": "global",
    "bits": [8, 4], "both": [0.5], "units": [0.5],
}  # fmt: skip
# Images: a teacher and a sweep of two students.
TEACHER = {
    "source": "digits", "root": "", "seeds": 2, "val": 200, "epochs": {"train": 4},
    "widths": [24, 20], "dropout": 0.3, "batch": 128, "lr": 0.1, "momentum": 0.9,
    "max_norm": 2.0, "max_shift": 1, "bf16": False,
}  # fmt: skip
SWEEP = {
    "students": {
        "mlp": {"sizes": {"widths": [8]}, "lr": 0.02, "epochs": 3},
        "cnn": {"sizes": {"channels": 2}, "lr": 0.03, "epochs": 2},
    },
    "batch": 256, "bf16": False, "alphas": [0.5, 1.0], "temperatures": [4.0],
    "other_alphas": [0.9], "other_temperatures": [4.0], "smoothings": [0.1],
    "betas": [1.0], "hints": [0.5], "hint_alpha": 0.9, "hint_T": 2.0,
    "assistant_widths": [12], "assistant_alpha": 0.9, "assistant_T": 4.0,
    "assistant_lr": 0.01,
}  # fmt: skip
# Wafer maps of five sets of patterns: two teachers, two students without labels.
EASY = np.zeros((5, 8), int)
EASY[[1, 3], 0] = EASY[[2, 3], 3] = EASY[4, 5] = 1
EASY = {"combinations": EASY.tolist(), "background_normal": [0, 0.02]}
EASY |= {"background": [0.01, 0.03]}
SITES = {
    "here": {
        "source": "simulated", "root": "", "maps": [64, 20, 32], "options": EASY
    },
}  # fmt: skip
TRAINING = {"batch": 16, "lr": 0.05, "decay": 0.02, "bf16": False, "epochs": 10}
NET = {"net": "compact", "sizes": {"widths": [4, 8], "depth": 0}, "augment": True}
LARGE = {"sizes": {"widths": [5, 7], "depth": 1}, "augment": False, "bf16": True}
TEACHERS = {"published": {**NET, **LARGE, "site": "here", "seeds": 3}}
LEARN = {**NET, "T": 1.0, "seeds": 2, "answers": "published"}
TAUGHT = {"ours": {**LEARN, "students": [{}, {"sizes": {"widths": [3], "depth": 0}}]}}
TAUGHT |= {"labels": {**LEARN, "labels": 1.0, "seeds": 1}}
ANSWERS = {
    "published": {
        "teacher": "published", "site": "here", "views": 1, "together": "others",
        "seeds": 2,
    },
}  # fmt: skip
STEPS = [
    "teacher", "label-only student fp32", "student fp32", "dense, same extra epochs",
    "dense, twice the extra epochs", "pruned 50 %", "pruned 50 % + fine-tuned",
    "pruned 90 %", "pruned 90 % + fine-tuned",
    "without 50 % of the units + fine-tuned", "weight-only int8", "QAT int8",
    "weight-only int4", "QAT int4", "pruned 50 % + QAT int8",
]  # fmt: skip


def images_plan():
    plan = net_teachers.plan_images(**TEACHER)
    teachers = runs.map("03_kd_images", net_teachers, plan, workers=1)
    plan = kd_images.plan(teachers, **SWEEP)
    return runs.map("03_kd_images", kd_images, plan, workers=1)


def wafers_plan():
    plan = net_teachers.plan_wafers(sites=SITES, teachers=TEACHERS, **TRAINING)
    teachers = runs.map("05_wafer_label_free", net_teachers, plan, workers=1)
    plan = wafer_answers.plan(teachers, sites=SITES, groups=ANSWERS)
    answers = runs.map("05_wafer_label_free", wafer_answers, plan, workers=1)
    plan = wafer_students.plan(answers, groups=TAUGHT, **TRAINING)
    return runs.map("05_wafer_label_free", wafer_students, plan, workers=1)


@pytest.fixture(scope="module")
def study(apart):
    """Rows of the sweep, of the wafer students and of the ladder, in a folder apart."""
    sweep, wafers = images_plan(), wafers_plan()
    plan = netladder.plan(sweep, wafers, **SETTINGS)
    return sweep, wafers, runs.map("06_prune_quantize", netladder, plan, workers=1)


def opened(rows, student, seed=0):
    """A finished run of a student, its rows by step, and the student anew."""
    mine = rows[(rows["student"] == student) & (rows["seed"] == seed)]
    run = runs.open(netladder, mine["run"].iloc[0])
    wafer = student == "compact"
    make = netladder.wafer if wafer else netladder.image
    return run, mine.set_index("step"), make(run.config, run)


STUDENTS = ("mlp", "cnn", "compact")


@pytest.mark.parametrize("student", STUDENTS)
def test_every_student_climbs_every_step(study, student):
    _, _, rows = study
    mine = rows[rows["student"] == student]
    assert mine["seed"].unique().tolist() == [0, 1]
    for seed, one in mine.groupby("seed"):
        left_out = set() if student == "mlp" else {STEPS[9]}
        if student == "compact" and seed == 1:
            left_out |= {STEPS[1]}  # no student of this seed learnt from labels
        assert one["step"].tolist() == [name for name in STEPS if name not in left_out]
        assert one["order"].tolist() == list(range(len(one)))
    name = "exact match" if student == "compact" else "accuracy"
    assert set(mine["quality"]) == {name}
    assert set(mine["source"]) == {"here" if student == "compact" else "digits"}
    assert set(mine["family"]) == {"control", "ours"}
    known = ["kind", "rho", "n_test", "cell", "val", "test", "drop", "drop_val"]
    assert mine[known].notna().all(axis=None)
    assert mine[["val", "test"]].stack().between(0, 1).all()


@pytest.mark.parametrize("student", STUDENTS)
def test_a_control_takes_as_many_steps_as_what_it_stands_beside(study, student):
    _, rows, one = opened(study[2], student)
    once = SETTINGS["epochs"] * len(one.batches(0))
    assert once > SETTINGS["epochs"]
    for name, row in rows.iterrows():
        rounds = row["tuned"] / SETTINGS["epochs"]
        if name != "teacher":
            assert row["steps"] == rounds * once
        assert rounds == ("dense" in name or "fine-tuned" in name or "QAT" in name) * (
            2 if "twice" in name or name.endswith("% + QAT int8") else 1
        )
        if rounds and row["family"] == "ours":
            assert rows.loc[row["control"], "steps"] == row["steps"]
            gap = row["test"] - rows.loc[row["control"], "test"]
            assert row["over_control"] == gap


def test_the_optimizer_really_takes_the_steps_that_a_row_names(study, monkeypatch):
    run, _, one = opened(study[2], "cnn")
    taken, own = [], train.fit

    def counted(net, batches, loss, **how):
        def watched(*args):
            taken.append(1)
            return loss(*args)

        return own(net, batches, watched, **how)

    monkeypatch.setattr(train, "fit", counted)
    before = {k: v.copy() for k, v in run.arrays("ladder").items()}
    found = netladder.descend(run.config, one, run.training)
    names = netladder.NUMBERS
    last = {k: v[names.index("steps")] for k, v in found.items() if "numbers" in k}
    once = SETTINGS["epochs"] * len(one.batches(0))
    tuned = sum(1 for step in netladder.steps(run.config) if step.rounds)
    assert len(taken) == tuned * once and max(last.values()) == 2 * once
    assert all(np.array_equal(found[k], before[k]) for k in before), "repeatable"


@pytest.mark.parametrize("student", STUDENTS)
def test_a_row_is_what_its_kept_logits_are_worth(study, student):
    run, rows, one = opened(study[2], student)
    kept = run.arrays("ladder")
    judge, base = metrics.accuracy, rows.loc["student fp32"]
    for name, row in rows.iterrows():
        assert row["drop"] == row["test"] - base["test"]
        assert row["drop_val"] == row["val"] - base["val"]
        if f"{name}-test" in kept:
            assert row["test"] == judge(one.parts.test.y, kept[f"{name}-test"])
            assert row["val"] == judge(one.parts.val.y, kept[f"{name}-val"])
    assert rows.loc["teacher", "test"] == judge(one.parts.test.y, one.teacher["test"])
    z = [kept[f"{name}-test"] for name in STEPS if f"{name}-test" in kept]
    assert len({a.tobytes() for a in z}) == len(z), "no two steps are one"


@pytest.mark.parametrize("student", STUDENTS)
def test_sizes_fall_as_weights_go(study, student):
    _, rows, _ = opened(study[2], student)
    weighs, held = rows["weight_bytes"], rows["nonzero"]
    fp32, params = "student fp32", rows["params"]
    assert weighs["teacher"] > weighs[fp32] == 4 * params[fp32]
    assert weighs["pruned 90 %"] < weighs["pruned 50 %"] < weighs[fp32]
    assert held["pruned 90 %"] < held["pruned 50 %"] < held[fp32]
    assert held["pruned 50 % + fine-tuned"] <= held["pruned 50 %"] + params[fp32] * 0.1
    assert weighs["QAT int4"] < weighs["QAT int8"] < weighs[fp32] / 2
    assert weighs["pruned 50 % + QAT int8"] < weighs["QAT int8"]
    if student == "mlp":
        assert params[STEPS[9]] < params[fp32]
        assert weighs[STEPS[9]] == 4 * params[STEPS[9]]


def test_the_image_student_is_its_sweeps_best_cell(study):
    sweep, _, rows = study
    for student in ("mlp", "cnn"):
        for seed in (0, 1):
            run, mine, one = opened(rows, student, seed)
            own = sweep[sweep["run"] == run.config["taught"]]
            best = own[own["method"].isin(SETTINGS["methods"])]
            best = best.loc[best["val_acc"].idxmax()]
            cell = f"{best['method']}, α {best['alpha']:g}, T {best['T']:g}"
            assert one.cell == cell and set(mine["cell"]) == {cell}
            assert abs(mine.loc["student fp32", "test"] - best["test_acc"]) < 0.02
            alone = own[own["method"] == "label-only"].iloc[0]
            assert mine.loc["label-only student fp32", "test"] == alone["test_acc"]
            teacher = runs.open(net_teachers, own["teacher"].iloc[0])
            told = teacher.arrays("logits")["test"]
            assert mine.loc["teacher", "test"] == metrics.accuracy(
                IMAGES.load(teacher.config).test.y, told
            )


def test_fine_tuning_goes_on_with_the_loss_that_the_student_was_taught_with(study):
    _, _, one = opened(study[2], "mlp")
    x, labels, t = next(iter(one.batches(0)))
    with torch.no_grad():
        z = one.net(x)
    method, rest = one.cell.split(", α ")
    alpha, T = (float(v) for v in rest.split(", T "))
    cell = students.Cell(method, alpha, T)
    own = students._loss([cell])(z[None], t, labels)
    assert torch.allclose(one.loss(z, labels, t), own[0])
    _, _, wafer = opened(study[2], "compact")
    x, t, y = next(iter(wafer.batches(0)))
    z = wafer.net(x)
    assert torch.equal(wafer.loss(z, t, y), wafer.loss(z, t, 1 - y)), "label-free"


def test_the_wafer_student_is_the_one_that_was_kept(study):
    _, wafers, rows = study
    run, mine, one = opened(rows, "compact")
    row = wafers[wafers["run"] == run.config["taught"]].iloc[0]
    assert (row["group"], row["sizes"]) == ("ours", SETTINGS["wafer_sizes"][0])
    z = models.predict(one.net, one.parts.test.X)
    gap = np.abs(run.arrays("ladder")["student fp32-test"] - z).max()
    assert 0 <= gap < 1e-3  # folding moves sums by a rounding
    assert mine.loc["teacher", "test"] == row["teacher_exact"]
    labels = wafers[(wafers["group"] == "labels") & (wafers["seed"] == 0)].iloc[0]
    assert mine.loc["label-only student fp32", "test"] == labels["test_exact"]
    teachers = runs.open(wafer_answers, row["answers"]).config["teachers"]
    assert len(teachers) == 2  # each of them has to be asked, so both are weighed
    nets_of = [net_teachers.trained(runs.open(net_teachers, t)) for t in teachers]
    least = 4 * sum(sum(m.weight.numel() for m in compress.layers(net).values())
                    for net in nets_of)  # fmt: skip
    assert (
        least
        < mine.loc["teacher", "weight_bytes"]
        < 4 * sum(map(models.parameters, nets_of))
    )


def test_either_stage_may_be_missing(study):
    sweep, wafers, _ = study
    none = netladder.plan(None, None, **SETTINGS)
    only = [netladder.plan(sweep, pd.DataFrame(), **SETTINGS)]
    only += [netladder.plan(None, wafers, **SETTINGS)]
    assert none == [] and [len(one) for one in only] == [4, 2]
    assert {config["student"] for config in only[0]} == {"mlp", "cnn"}
    every = netladder.plan(None, wafers, **SETTINGS | {"wafer_sizes": None})
    assert len(every) == 4
    assert [config["alone"] is None for config in only[1]] == [False, True]


@pytest.mark.parametrize(
    "changed, word",
    [
        ({"both": [0.6]}, r"both has \[0.6\]"),
        ({"wafer_sizes": [{"widths": [9]}]}, "no wafer student of group 'ours'"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(study, changed, word):
    with pytest.raises(ValueError, match=word):
        netladder.plan(None, study[1], **SETTINGS | changed)


def test_unknown_methods_are_refused(study):
    run, _, one = opened(study[2], "mlp")
    sweep = runs.open(kd_images, run.config["taught"])
    for methods in (["fitnet"], ["other"]):
        with pytest.raises(ValueError, match="no such plain cell"):
            netladder.chosen(methods, sweep, one.parts)


def test_another_teachers_cell_can_be_gone_on_with(study):
    run, _, _ = opened(study[2], "cnn")
    config = {**run.config, "methods": ["takd"]}
    again = runs.Run("06_prune_quantize", "takd", config)
    one = netladder.image(config, again)
    sweep = runs.open(kd_images, config["taught"])
    said = sweep.arrays("assistant")["logits"]
    t = next(iter(one.batches(0)))[-1]
    order = torch.randperm(len(said), generator=torch.Generator().manual_seed(0))
    assert one.cell.startswith("takd")
    assert torch.equal(t, torch.from_numpy(said)[order[: len(t)]].float())


# --- views ------------------------------------------------------------------------


def test_a_line_for_each_step_with_its_interval_and_paired_drop(study):
    rows = study[2]
    table = images.ladder(rows)
    assert len(table) == len(STEPS) + 2 * (len(STEPS) - 1)
    assert table.groupby("model").size().to_dict() == {
        "mlp": len(STEPS), "cnn": len(STEPS) - 1, "4-8": len(STEPS) - 1,
    }  # fmt: skip
    for model, student in (("mlp", "mlp"), ("4-8", "compact")):
        line = table[table["model"] == model].set_index("step").loc["QAT int4"]
        mine = rows[(rows["student"] == student) & (rows["step"] == "QAT int4")]
        assert line["n"] == 2 and np.isclose(line["kept"], mine["test"].mean())
        assert np.isclose(line["drop"], mine["drop"].mean())
        assert np.isclose(line["over_control"], mine["over_control"].mean())
        assert line["drop_low"] <= line["drop"] <= line["drop_high"]
        assert line["kept_low"] <= line["kept"] <= line["kept_high"]
        assert line["weight_bytes"] == mine["weight_bytes"].mean()
    first = table[table["step"] == "student fp32"]
    assert (first["drop"] == 0).all() and first["over_control"].isna().all()


def test_the_wafer_file_is_the_student_that_repeats_its_teachers_best(study):
    ours = study[1][study[1]["group"] == "ours"]
    sizes = ours.groupby("params").agg({"int8_bytes": "max", "int8_fidelity": "mean"})
    largest = sizes["int8_bytes"].max()
    best = sizes["int8_fidelity"].idxmax()
    (config,) = wafer_bundle.plan(study[1], limit=largest)
    taught = runs.open(wafer_students, config["student"])
    assert models.parameters(net_teachers.trained(taught)) == best
    assert (taught.config["seed"], taught.config["group"]) == (0, "ours")
    (config,) = wafer_bundle.plan(study[1], limit=largest - 1)
    taught = runs.open(wafer_students, config["student"])
    assert models.parameters(net_teachers.trained(taught)) == sizes.index.min()
    with pytest.raises(ValueError, match="at most 10 bytes"):
        wafer_bundle.plan(study[1], limit=10)


def test_the_wafer_file_says_in_numpy_what_its_record_says(study):
    plan = wafer_bundle.plan(study[1], limit=50_000)
    (row,) = runs.map("06_prune_quantize", wafer_bundle, plan, workers=1).to_dict(
        "records"
    )
    file = wafer_bundle.shipped(pd.DataFrame([row]))
    net = bundle.loads(file, "a file")
    assert net.id == f"here-{plan[0]['student']}" and len(net.golden[0]) == 4
    taught = runs.open(wafer_students, plan[0]["student"])
    source = runs.open(wafer_answers, taught.config["answers"])
    parts = WAFERS.load(source.config)
    assert row["test_exact"] == metrics.accuracy(parts.test.y, net.score(parts.test.X))
    told = taught.arrays("answers")
    assert row["fp32_exact"] == metrics.accuracy(parts.test.y, told["test"])
    assert row["test_exact"] == pytest.approx(
        metrics.accuracy(parts.test.y, told["test8"]), abs=1e-9
    )
    assert row["bundle_bytes"] == len(file) > row["model_bytes"]
    known = runs.collect("05_wafer_label_free", wafer_answers)
    own = runs.map(
        "06_prune_quantize", shipped, shipped.plan({"here": file}, known), workers=1
    )
    (again,) = own.to_dict("records")
    assert again["value"] == row["test_exact"] and again["metric"] == "exact match"
    commonest = np.unique(parts.test.y, axis=0, return_counts=True)[1].max()
    assert again["constant"] == commonest / len(parts.test.y)
    found = metrics.by_label(parts.test.y, net.score(parts.test.X))["recall"]
    assert again["recall_Scratch"] == found[net.classes.index("Scratch")]

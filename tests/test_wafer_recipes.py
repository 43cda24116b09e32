"""Wafer maps from teachers to students: who is asked, what is learnt, what is not read.

Without labels a student's weights are the same whatever the labels say.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from kdutils import losses, metrics, models
from kdutils.compress import convert
from kdutils.data import symmetry, wafers
from kdutils.data.simulate import wafersim
from kdutils.losses import multilabel
from kdutils.recipes import net_teachers, tasks, wafer_answers, wafer_students
from kdutils.recipes.tasks import PARTS, WAFERS
from kdutils.store import runs

# Normal, Center, Edge-Ring, both, Near-Full: learnt in a moment.
EASY = np.zeros((5, 8), int)
EASY[[1, 3], 0] = EASY[[2, 3], 3] = EASY[4, 5] = 1
EASY = {"combinations": EASY.tolist(), "background_normal": [0, 0.02]}
DRAWN = {"source": "simulated", "root": ""}
SITES = {
    "here": {
        **DRAWN, "maps": [64, 20, 32], "options": {**EASY, "background": [0.01, 0.03]},
    },
    "there": {
        **DRAWN, "maps": [48, 16, 24], "options": {**EASY, "background": [0.1, 0.2]},
    },
}  # fmt: skip
TRAINING = {"batch": 8, "lr": 0.05, "decay": 0.02, "bf16": False, "epochs": 10}
OURS = {"net": "compact", "sizes": {"widths": [4, 8], "depth": 0}, "augment": True}
TEACHERS = {
    "ours": {**OURS, "site": "here", "seeds": 3},
    "published": {
        "net": "compact", "sizes": {"widths": [5, 7], "depth": 1}, "augment": False,
        "site": "here", "seeds": 1, "bf16": True,
    },
}  # fmt: skip
ASKED = {
    "published": {
        "teacher": "published", "site": "here", "views": 1, "together": "one",
        "seeds": 2,
    },
    "more": {
        "teacher": "ours", "site": "here", "views": 8, "together": "others", "seeds": 2,
        "simulated": 12,
    },
    "moved": {
        "teacher": "ours", "site": "there", "views": 2, "seeds": 1,
        "together": "others",
    },
}  # fmt: skip
LEARN = {**OURS, "T": 1.0, "seeds": 1}
TAUGHT = {
    "published": {
        **OURS, "answers": "published", "augment": False, "seeds": 2, "alpha": 0.3,
        "epochs": 8, "loss": "mse-bce",
    },
    "real": {**LEARN, "answers": "published", "real": 40},
    "ours": {
        **LEARN, "answers": "more",
        "students": [{"real": None}, {"real": 0}, {"sizes": {"widths": [3]}}],
    },
    "mixed": {**LEARN, "answers": "moved", "labels": 0.5},
    "labels": {**LEARN, "answers": "moved", "labels": 1.0},
}  # fmt: skip

EACH = {"precision_Center", "recall_Donut", "f1_Near-Full"}
FACTS = {"run", "kind", "n_train", "n_val", "n_test", "rho", "seed"}
ASKS = {"ece", "entropy", "pseudo_error", "reliability_p_9", "train_exact", "val_exact"}
ASKS |= {"test_exact", "macro_f1", "source"} | EACH | FACTS
STUDENT = {
    "params", "torch_bytes", "int8_bytes", "teacher_exact", "val_exact", "test_exact",
    "val_fidelity", "test_fidelity", "int8_exact", "int8_views", "int8_fidelity",
    "macro_f1", "model", "error_teacher_right", "error_teacher_wrong", "copied",
    "entropy_0", "teacher_error_4", "student_error_4", "group", "answers",
} | EACH | FACTS  # fmt: skip
FREE = {  # what a student's record says without a label
    "kind", "n_train", "n_val", "n_test", "rho", "params", "torch_bytes", "int8_bytes",
    "val_fidelity", "test_fidelity", "int8_fidelity",
    *(f"entropy_{k}" for k in range(5)),
}  # fmt: skip


def teacher_plan():
    return net_teachers.plan_wafers(sites=SITES, teachers=TEACHERS, **TRAINING)


@pytest.fixture(scope="module")
def rows(apart):
    """Everything once, in a folder of its own for reports."""
    return everything()


def everything():
    found = {
        net_teachers: runs.map(
            "05_wafer_label_free", net_teachers, teacher_plan(), workers=1
        )
    }
    teachers = found[net_teachers]
    configs = wafer_answers.plan(teachers, sites=SITES, groups=ASKED)
    found[wafer_answers] = runs.map(
        "05_wafer_label_free", wafer_answers, configs, workers=1
    )
    configs = wafer_students.plan(found[wafer_answers], groups=TAUGHT, **TRAINING)
    found[wafer_students] = runs.map(
        "05_wafer_label_free", wafer_students, configs, workers=1
    )
    return found


def each(rows, recipe, column, value):
    """The finished runs of the rows that have the value."""
    frame = rows[recipe][rows[recipe][column] == value]
    return [runs.open(recipe, id) for id in frame["run"].unique()]


def recorded(recipe, id):
    """The rows of a finished run as its record has them."""
    record = (runs.open(recipe, id).folder / runs.RECORD).read_text()
    return json.loads(record)["record"]["rows"]


def spoilt(parts, only=None):
    """The same maps with labels that are all wrong."""
    wrong = {
        name: replace(part, y=1 - part.y)
        for name in only or PARTS
        for part in [getattr(parts, name)]
    }
    return replace(parts, **wrong)


def unread(monkeypatch, only=None):
    """From now on every split's labels are wrong."""
    own = WAFERS.load
    monkeypatch.setattr(WAFERS, "load", lambda c: spoilt(own(c), only))


def again(recipe, config, name):
    """What `compute` makes of a config in a fresh folder, and where."""
    run = runs.Run("05_wafer_label_free", name, config)
    torch.rand(3)
    return recipe.compute(config, run)["rows"], run


def equal(one, other):
    return set(one) == set(other) and all(np.array_equal(one[k], other[k]) for k in one)


# --- teachers ---------------------------------------------------------------------


def test_a_teacher_has_a_row_for_plain_and_one_for_averaged_answers(rows):
    frame = rows[net_teachers]
    assert set(frame) >= ASKS | {"views", "model", "params", "torch_bytes", "teacher"}
    assert frame["views"].tolist() == [1, 8] * 4
    assert frame["teacher"].tolist() == ["ours"] * 6 + ["published"] * 2
    assert frame["seed"].tolist() == [0, 0, 1, 1, 2, 2, 0, 0]
    assert (frame["kind"] == "simulated").all() and (frame["n_test"] == 32).all()
    assert (frame["rho"] == 32 / frame["n_train"]).all()
    assert frame.groupby("teacher")["params"].unique().map(list).to_dict() == {
        "ours": [25 * 2 * 4 + 2 * 4 + 9 * 4 * 8 + 2 * 8 + 9 * 8],
        "published": [25 * 2 * 5 + 2 * 5 + 9 * (5 * 7 + 7 * 7) + 4 * 7 + 8 * 8],
    }  # fmt: skip
    ours = frame[frame["teacher"] == "ours"]
    assert ours["entropy"].nunique() == 6
    assert sum(name.startswith("f1_") for name in ours) == len(wafers.classes())
    assert ours["macro_f1"].mean() > 0.5  # it has learnt something


def recorded_like(row, expected):
    """Whether a frame's row holds these values, NaN for what is None."""
    return all(
        row[key] == value or (value is None and row[key] != row[key])
        for key, value in expected.items()
    )


def test_a_teachers_record_is_what_its_kept_answers_say(rows):
    for id, one in rows[net_teachers].groupby("run"):
        run = runs.open(net_teachers, id)
        parts, told = WAFERS.load(run.config), run.arrays("answers")
        assert set(told) == {f"{p}{v}" for p in PARTS for v in (1, 8)}
        for row in one.to_dict("records"):
            for name in PARTS:
                z, y = told[f"{name}{row['views']}"], getattr(parts, name).y
                assert row[f"{name}_exact"] == ((z > 0) == (y == 1)).all(1).mean()
            z = told[f"test{row['views']}"]
            assert row["macro_f1"] == metrics.macro_f1(parts.test.y, z)
            shares = metrics.by_label(parts.test.y, z)
            expected = tasks.flat(shares, wafers.classes())
            assert recorded_like(row, expected)
            assert row["ece"] == metrics.calibration(parts.test.y, z)["ece"]


def test_kept_answers_are_those_of_the_kept_weights_augment_or_not(rows):
    for name, atol in (("ours", 1e-5), ("published", 0)):
        run = each(rows, net_teachers, "teacher", name)[0]
        net, told = net_teachers.trained(run), run.arrays("answers")
        assert not net.training
        X = WAFERS.load(run.config).val.X
        for views in (1, 8):
            z = WAFERS.predict(net_teachers.predictor(run), X, views=views)
            assert np.array_equal(told[f"val{views}"], z)
            copies = symmetry.copies(X)[:views].copy()
            z = np.mean([models.predict(net, copy) for copy in copies], axis=0)
            gap = np.abs(told[f"val{views}"] - z).max()
            assert gap <= atol if atol else 0 < gap < 0.05 * np.abs(z).max()  # bfloat16


def test_a_teachers_settings_are_read():
    config = {**teacher_plan()[0], "epochs": 2}
    parts = WAFERS.load(config)
    X, y = parts.train.X, parts.train.y

    def weights(**changed):
        own = {**config, **changed}
        net = WAFERS.build(own["net"], own["sizes"], own["seed"])
        batches = WAFERS.batches(X, y, batch=16, seed=0, augment=own["augment"])
        net_teachers.fit(own, net, batches, multilabel.hard)
        return np.concatenate([a.ravel() for a in models.arrays(net).values()])

    found = [weights(), weights(lr=0.01), weights(decay=0.5), weights(epochs=1)]
    found += [weights(augment=False), weights(bf16=True), weights(seed=1)]
    assert np.array_equal(found[0], weights())
    for i, one in enumerate(found):
        for other in found[:i]:
            assert np.abs(one - other).max() > 1e-5


@pytest.mark.parametrize(("name", "augment"), [("ours", True), ("published", False)])
def test_a_teachers_weights_are_those_of_its_training(rows, name, augment):
    run = each(rows, net_teachers, "teacher", name)[-1]
    config = run.config
    net = WAFERS.build("compact", TEACHERS[name]["sizes"], config["seed"])
    part = WAFERS.load(config).train
    how = {"batch": 8, "seed": config["seed"], "augment": augment}
    batches = WAFERS.batches(part.X, part.y, **how)
    net_teachers.fit(config, net, batches, multilabel.hard)
    assert equal(models.arrays(net), run.arrays("weights"))


def test_a_config_knows_where_its_maps_come_from():
    config = teacher_plan()[0]
    other = {**config, "options": {"ragged": 0.2}}
    assert net_teachers.digest(config) != net_teachers.digest(other)
    assert net_teachers.digest(config) == net_teachers.digest({**config, "lr": 9})
    parts = WAFERS.load(config)
    direct = wafers.split("simulated", seed=0, rows=[64, 20, 32], **config["options"])
    assert np.array_equal(parts.test.X, direct.test.X)
    another = WAFERS.load({**config, "seed": 1})
    assert not np.array_equal(parts.test.X, another.test.X)
    assert WAFERS.same(config, {**config, "lr": 9})
    assert not WAFERS.same(config, {**config, "seed": 1})
    assert not WAFERS.same(config, other)
    file = {**config, "source": "mixedwm38"}  # one file for every seed
    assert WAFERS.same(file, {**file, "seed": 1})
    assert not WAFERS.same(file, {**file, "root": "elsewhere"})
    assert WAFERS.facts(file, parts)["rho"] == 0


# --- answers ----------------------------------------------------------------------


def test_who_is_asked(rows):
    teachers = rows[net_teachers].drop_duplicates("run")
    ours = teachers[teachers["teacher"] == "ours"]["run"].tolist()
    (published,) = teachers[teachers["teacher"] == "published"]["run"]
    frame = rows[wafer_answers]
    assert set(frame) >= ASKS | {"answers", "site", "teachers", "members", "train_ece"}
    assert frame["answers"].tolist() == ["published"] * 2 + ["more"] * 2 + ["moved"]
    assert frame["seed"].tolist() == [0, 1, 0, 1, 0]
    assert frame["teachers"].tolist() == [
        [published], [published], sorted(ours[1:]), sorted([ours[0], ours[2]]),
        sorted(ours[1:]),
    ]  # fmt: skip
    assert frame["members"].tolist() == [1, 1, 2, 2, 2]
    assert frame["simulated"].tolist() == [0, 0, 12, 12, 0]


def test_the_first_teacher_is_asked_again_after_the_last(rows):
    ours = rows[net_teachers].query("teacher == 'ours' and views == 1")
    first, *others = ours.sort_values("seed")["run"]
    how = {"site": "here", "views": 1, "together": "one", "seeds": 4, "teacher": "ours"}
    plan = wafer_answers.plan(rows[net_teachers], sites=SITES, groups={"mine": how})
    asked = [config["teachers"] for config in plan]
    assert asked == [[first], *([id] for id in others), [first]]
    assert [config["seed"] for config in plan] == [0, 1, 2, 3]


def test_answers_are_the_mean_of_every_teachers(rows):
    for run in (runs.open(wafer_answers, id) for id in rows[wafer_answers]["run"]):
        config, told = run.config, run.arrays("answers")
        parts = WAFERS.load(config)
        sets = {name: getattr(parts, name).X for name in PARTS}
        if config["simulated"]:
            how = {"seed": 1000 + config["seed"], **config["options"]}
            sets["added"] = wafersim.draw(12, **how)[0]
        assert set(told) == set(sets)
        for name, X in sets.items():
            views = 1 if name == "added" else config["views"]
            said = []
            for id in config["teachers"]:
                teacher = runs.open(net_teachers, id)
                net = net_teachers.predictor(teacher)
                said.append(WAFERS.predict(net, X, views=views))
            assert np.allclose(told[name], np.mean(said, axis=0), atol=1e-5)
            assert told[name].dtype == np.float32
        row = rows[wafer_answers].set_index("run").loc[run.id]
        for name in PARTS:
            exact = metrics.accuracy(getattr(parts, name).y, told[name])
            assert row[f"{name}_exact"] == exact
        fitted = metrics.calibration(parts.train.y, told["train"])
        for key in ("ece", "entropy", "pseudo_error"):
            assert row[f"train_{key}"] == fitted[key]


def test_answers_that_a_teacher_kept_are_looked_up(rows, monkeypatch):
    run, other = each(rows, wafer_answers, "answers", "published")
    (teacher,) = each(rows, net_teachers, "teacher", "published")
    parts = WAFERS.load(run.config)
    monkeypatch.setattr(models, "predict", lambda *a, **k: pytest.fail("asked again"))
    for views in (1, 8):
        config = {**run.config, "views": views}
        found = wafer_answers.predicted(config, teacher, {"test": parts.test.X})
        kept = teacher.arrays("answers")[f"test{views}"]
        assert np.array_equal(found["test"], kept)
    with pytest.raises(pytest.fail.Exception):  # another seed has other maps
        wafer_answers.predicted(other.config, teacher, {"test": parts.test.X})


def test_answers_read_no_label(rows, monkeypatch):
    (run,) = each(rows, wafer_answers, "answers", "moved")
    unread(monkeypatch)
    (row,), other = again(wafer_answers, run.config, "answers-spoilt")
    assert equal(other.arrays("answers"), run.arrays("answers"))
    first = rows[wafer_answers].set_index("run").loc[run.id]
    assert row["test_exact"] != first["test_exact"] and row["ece"] != first["ece"]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"teacher": "none"}, "answers 'mine' have no teacher for seed 0"),
        (
            {"teacher": "published", "together": "others"},
            "answers 'mine' have no teach",
        ),
        ({"together": "some"}, "together is 'some': expected one or others"),
    ],
)
def test_answers_that_cannot_be_are_refused(rows, changed, sentence):
    how = {"site": "here", "views": 1, "together": "one", "seeds": 1, "teacher": "ours"}
    groups = {"mine": how | changed}
    with pytest.raises(ValueError, match=f"^{sentence}"):
        wafer_answers.plan(rows[net_teachers], sites=SITES, groups=groups)


# --- students ---------------------------------------------------------------------


def test_every_student_has_its_row(rows):
    frame = rows[wafer_students]
    assert set(frame) >= STUDENT
    groups = ["published"] * 2 + ["real"] + ["ours"] * 3 + ["mixed", "labels"]
    assert frame["group"].tolist() == groups and frame["run"].nunique() == 8
    assert frame["seed"].tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    assert frame["labels"].tolist() == [0.0] * 6 + [0.5, 1.0]
    assert frame["site"].tolist() == ["here"] * 6 + ["there"] * 2
    assert frame["beta"].eq(0.5).all()
    assert frame["alpha"].tolist()[:3] == [0.3, 0.3, 0.5]
    assert frame["params"].tolist()[5] == 25 * 2 * 3 + 2 * 3 + 4 * 8
    kept = rows[wafer_answers].set_index("run")
    for row in frame.to_dict("records"):
        source = kept.loc[row["answers"]]
        assert row["teacher_exact"] == source["test_exact"]
        assert (row["seed"], row["n_train"]) == (source["seed"], source["n_train"])
        assert row["int8_bytes"] < row["torch_bytes"]


def test_a_students_record_is_what_its_kept_weights_say(rows):
    for row in rows[wafer_students].to_dict("records"):
        run = runs.open(wafer_students, row["run"])
        source = runs.open(wafer_answers, run.config["answers"])
        parts, told = WAFERS.load(source.config), source.arrays("answers")
        net, said = net_teachers.trained(run), run.arrays("answers")
        id = f"{source.config['source']}-{'0' * 12}"
        file, small = convert.packed(net, 52, wafers.classes(), id=id)
        assert row["int8_bytes"] == len(file)
        assert row["torch_bytes"] == convert.torch_bytes(net)
        for part in ("val", "test"):
            X = getattr(parts, part).X
            assert np.array_equal(said[part], models.predict(net, X))
            assert np.array_equal(said[f"{part}8"], models.predict(small, X))
        assert np.array_equal(
            said["views8"], models.predict(small, X, augment=symmetry.copies, views=8)
        )
        y = parts.test.y
        assert row["val_exact"] == metrics.accuracy(parts.val.y, said["val"])
        assert row["test_exact"] == metrics.accuracy(y, said["test"])
        assert row["int8_exact"] == metrics.accuracy(y, said["test8"])
        assert row["int8_views"] == metrics.accuracy(y, said["views8"])
        for key, part in (("val", "val"), ("test", "test"), ("int8", "val8")):
            whose = told[part.removesuffix("8")] > 0
            same = (whose == (said[part] > 0)).all(axis=1).mean()
            assert row[f"{key}_fidelity"] == same
        assert row["macro_f1"] == metrics.macro_f1(y, said["test"])
        (first,) = recorded(wafer_students, row["run"])
        expected = tasks.flat(metrics.by_teacher_entropy(y, told["test"], said["test"]))
        expected |= metrics.errors_by_teacher(y, told["test"], said["test"])
        shares = metrics.by_label(y, said["test"])
        expected |= tasks.flat(shares, wafers.classes())
        assert {key: first[key] for key in expected} == expected
    assert rows[wafer_students]["test_fidelity"].nunique() > 3


LOSSES = {
    "published": lambda z, t, y: losses.multilabel.mse_bce(
        z, t, mse=0.3, threshold=0.5
    ),
    "real": lambda z, t, y: losses.multilabel.kd(z, t, T=1),
    "mixed": lambda z, t, y: losses.kd(z, t, y, alpha=0.5, T=1),
    "labels": lambda z, t, y: losses.multilabel.hard(z, y),
}


@pytest.mark.parametrize("group", LOSSES)
def test_a_students_weights_are_those_of_its_training(rows, group):
    run = each(rows, wafer_students, "group", group)[-1]
    config, source = run.config, runs.open(wafer_answers, run.config["answers"])
    data = wafer_students.transfer(config, source, WAFERS.load(source.config))
    net = WAFERS.build("compact", OURS["sizes"], config["seed"])
    how = {"batch": 8, "seed": config["seed"], "augment": group != "published"}
    batches = WAFERS.batches(*data, **how)
    net_teachers.fit(config, net, batches, LOSSES[group])
    weights = run.arrays("weights")
    for key, value in models.arrays(net).items():
        assert np.allclose(value, weights[key], atol=1e-3), key


def test_without_labels_every_students_record_ignores_them(rows, monkeypatch):
    """Weights, answers and every column that needs no label are the same, bit by bit;
    with training labels alone spoilt, the whole record is."""
    frame = rows[wafer_students]
    kept = frame[frame["labels"] == 0]
    with monkeypatch.context() as patch:
        unread(patch, ["train"])
        for row in kept.to_dict("records"):
            config = runs.open(wafer_students, row["run"]).config
            found, _ = again(wafer_students, config, "train-" + row["run"])
            assert found == recorded(wafer_students, row["run"])
    first = runs.open(wafer_students, kept["run"].iloc[-1])
    unread(monkeypatch)
    (found,), run = again(wafer_students, first.config, "all")
    row = kept.set_index("run").loc[first.id]
    for step in ("weights", "answers"):
        assert equal(run.arrays(step), first.arrays(step))
    assert {k: row[k] for k in FREE} == {k: found[k] for k in FREE}
    assert found["teacher_exact"] != row["teacher_exact"]


def test_what_a_student_is_shown(rows):
    source = each(rows, wafer_answers, "answers", "more")[1]
    parts, told = WAFERS.load(source.config), source.arrays("answers")
    added = wafersim.draw(12, seed=1001, **source.config["options"])[0]
    n = len(parts.train)

    def shown(**config):
        how = {"seed": 1, "real": None, "labels": 0.0, **config}
        return wafer_students.transfer(how, source, parts)

    X, t, y = shown()
    assert np.array_equal(X, np.concatenate((parts.train.X, added)))
    assert np.array_equal(t, np.concatenate((told["train"], told["added"])))
    assert np.array_equal(y[:n], parts.train.y) and not y[n:].any()
    assert len(y) == len(X) == n + 12
    X, t, _ = shown(real=0)
    assert np.array_equal(X, added) and np.array_equal(t, told["added"])
    few, many, other = shown(real=10), shown(real=20), shown(real=10, seed=2)
    assert [len(a[0]) for a in (few, many, other)] == [22, 32, 22]
    names = [x.tobytes() for x in parts.train.X]
    first, more = ([names.index(x.tobytes()) for x in a[0][:-12]] for a in (few, many))
    assert set(first) < set(more) and not np.array_equal(few[0], other[0])
    assert np.array_equal(many[1][:20], told["train"][more])
    assert np.array_equal(many[2][:20], parts.train.y[more])
    plain = each(rows, wafer_answers, "answers", "published")[0]
    own = WAFERS.load(plain.config)
    config = {"seed": 0, "real": 10**6, "labels": 0.5}  # more than there are
    X, t, y = wafer_students.transfer(config, plain, own)
    assert np.array_equal(X, own.train.X) and np.array_equal(y, own.train.y)
    assert np.array_equal(t, plain.arrays("answers")["train"])


def test_added_maps_have_no_labels_to_learn_from(rows):
    run = each(rows, wafer_students, "group", "ours")[0]
    config = {**run.config, "labels": 0.5}
    with pytest.raises(ValueError) as error:
        again(wafer_students, config, "refused")
    assert str(error.value) == "added maps have no labels: expected labels 0"


def test_answers_that_nobody_gave_are_refused(rows):
    groups = {"mine": {**LEARN, "answers": "none"}}
    with pytest.raises(ValueError) as error:
        wafer_students.plan(rows[wafer_answers], groups=groups, **TRAINING)
    assert str(error.value) == "group 'mine' has answers that do not exist"


@pytest.mark.parametrize(
    ("key", "value", "name"), [("alpha", 2.0, "mse"), ("beta", 1.0, "threshold")]
)
def test_a_loss_outside_its_ranges_is_refused(rows, key, value, name):
    run = each(rows, wafer_students, "group", "published")[0]
    with pytest.raises(ValueError, match=f"^{name} is {value:g}, but must be"):
        again(wafer_students, {**run.config, key: value}, f"refused-{key}")


def test_maps_of_one_site_have_one_digest(rows):
    plan = wafer_answers.plan(rows[net_teachers], sites=SITES, groups=ASKED)
    digests = {config["site"]: wafer_answers.digest(config) for config in plan}
    assert digests["here"] == net_teachers.digest(teacher_plan()[0])
    assert digests["here"] != digests["there"]


# --- all of them ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "column", "value"),
    [(net_teachers, "teacher", "ours"), (wafer_students, "group", "ours")],
)
def test_a_killed_run_goes_on_after_its_last_finished_step(
    rows, recipe, column, value, monkeypatch
):
    run = each(rows, recipe, column, value)[0]
    killed = runs.Run("05_wafer_label_free", f"killed-{value}-{column}", run.config)

    def kill(*args, **how):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # after the weights, before the answers
        patch.setattr(models, "predict", kill)
        with pytest.raises(KeyboardInterrupt):
            recipe.compute(run.config, killed)
    assert [path.name for path in killed.folder.iterdir()] == ["weights.npz"]
    with monkeypatch.context() as patch:
        patch.setattr(net_teachers, "fit", kill)
        found = recipe.compute(run.config, killed)["rows"]
    patch.setattr(models, "predict", kill)
    patch.setattr(net_teachers, "fit", kill)
    assert recipe.compute(run.config, killed)["rows"] == found  # nothing is done twice
    patch.undo()
    for step in ("weights", "answers"):
        assert equal(killed.arrays(step), run.arrays(step))


@pytest.mark.parametrize(
    ("recipe", "column", "value"),
    [
        (net_teachers, "teacher", "published"),
        (wafer_answers, "answers", "more"),
    ],
)
def test_the_same_seed_gives_the_same_bits(rows, recipe, column, value):
    run = each(rows, recipe, column, value)[0]
    found, other = again(recipe, run.config, f"again-{value}")
    assert found == recorded(recipe, run.id)
    for path in run.folder.glob("*.npz"):
        assert equal(other.arrays(path.stem), run.arrays(path.stem))
    assert len(list(run.folder.glob("*.npz"))) == (1 if recipe is wafer_answers else 2)

"""Curves: each point is what its row says, controls train as long, figures say it."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from kdutils import metrics
from kdutils.compress import prune as compress
from kdutils.compress import quantize
from kdutils.recipes import curves as recipe
from kdutils.recipes import folds, kd_tabular, ladder, teachers
from kdutils.store import runs
from kdutils.views import curves, style

SETTINGS = {"methods": ["kd"], "sparsities": [0.5, 0.75], "bits": [8, 4]}
SETTINGS |= {"steps": 20, "lr": 1e-3, "qat_lr": 1e-3}
SWEEP = {"alphas": [1.0], "temperatures": [2.0], "smoothing": 0.1, "steps": 60}
SWEEP |= {"other_alphas": [], "other_temperatures": [], "looks": 4, "hidden": 16}
SWEEP |= {"batch": 128, "lr": 0.01, "weight_decay": 0.01}
TINY = {"train_lots": 8, "val_lots": 4, "test_lots": 4, "devices": 60}


@pytest.fixture(scope="module")
def rows(apart):
    """One tiny seed through teachers, sweep and curves, computed once."""
    config, *_ = teachers.plan(
        ["tester"],
        seeds=1,
        features=12,
        teacher_features=500,
        oof_folds=2,
        synthetic=100,
        tries={"mlp": 1},
        epochs={"mlp": 2},
        options={"tester": TINY},
    )
    first = runs.map("01_teachers", teachers, [config], workers=1)
    second = runs.map(
        "02_kd_tabular", kd_tabular, kd_tabular.plan(first, **SWEEP), workers=1
    )
    found = runs.map(
        "06_prune_quantize", recipe, recipe.plan(second, **SETTINGS), workers=1
    )
    sweep = runs.open(kd_tabular, second["run"].iloc[0])
    cell = kd_tabular.best_cell(sweep, 0, ["kd"])
    fp32 = kd_tabular.student(sweep, 0, cell)
    fold = next(folds.folds(config))
    score = compress.logits(fp32, fold.X["test"])
    return found.assign(known=metrics.auc(fold.y["test"], score))


class Moved(ladder.Tabular):
    """Its fine-tuning moves every weight a little; b2 counts how often."""

    def __init__(self, fp32):
        self.fp32, self.fold = fp32, SimpleNamespace(X={"train": X})

    def float(self, arrays):
        moved = {k: np.float32(1.01) * arrays[k] for k in ("W1", "b1", "w2")}
        return moved | {"b2": arrays["b2"] + 1}

    def int8(self, arrays, *, bits):
        return quantize.static(arrays, X, bits=bits)


X = np.random.default_rng(1).standard_normal((200, 10)).clip(-3, 3).astype(np.float32)


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(0)
    shapes = {"W1": (16, 10), "b1": 16, "w2": 16}
    fp32 = {k: rng.standard_normal(n).astype(np.float32) for k, n in shapes.items()}
    fp32["b2"] = np.float32(0)
    tabular, start = Moved(fp32), {ladder.FP32: fp32}
    every = ladder.climb(recipe.steps(SETTINGS), start, tabular.rung)
    return [(step, tabular.quantized(step, arrays)) for step, arrays in every]


def test_each_point_is_what_its_row_says(made):
    for point, student in made:
        W1 = student["W1"] if isinstance(student, dict) else student.W1
        assert isinstance(student, dict) == (point.bits == 32), point
        if point.bits < 32:
            top = 2 ** (point.bits - 1) - 1
            assert np.abs(W1).max() <= top, point
        units = round(16 * (1 - point.sparsity)) if "units" in point.way else 16
        assert len(W1) == units, point
        zeros = point.sparsity if point.way.startswith("pruned") else 0
        if point.bits == 32:
            assert (W1 == 0).mean() == zeros, point
        assert (W1 == 0).mean() >= zeros, point


def test_the_gradual_ways_and_their_control_were_tuned_as_often(made):
    for point, student in made:
        b2 = student["b2"] if isinstance(student, dict) else student.b2
        assert b2 == point.rounds, point
    last = {point.way: point.rounds for point, _ in made}
    ways = (recipe.CONTROL, "pruned + fine-tuned", "units + fine-tuned", "pruned")
    assert [last[way] for way in ways] == [2, 2, 2, 0]


def test_what_is_gone_stays_gone(made):
    found = {(p.way, p.sparsity): s for p, s in made}
    half, most = (found["pruned + fine-tuned", s]["W1"] for s in (0.5, 0.75))
    assert not most[half == 0].any()


def test_one_unit_stays_at_least(made):
    fp32 = made[0][1]
    step = ladder.Step("a", "units", 0.99, units=True)
    assert len(Moved(fp32).rung(step, fp32)["w2"]) == 1


@pytest.mark.parametrize("wrong", [[0.0, 0.5], [0.9, 0.5], [0.5, 0.5], [0.5, 1]])
def test_sparsities_must_rise_between_0_and_1(wrong):
    with pytest.raises(ValueError, match="sparsities must rise between 0 and 1"):
        recipe.plan(pd.DataFrame(), **{**SETTINGS, "sparsities": wrong})


def test_the_start_is_the_chosen_cell_and_every_difference_is_from_its_pair(rows):
    start = rows.iloc[0]
    assert start["way"] == recipe.START and start["drop"] == start["to_control"] == 0
    assert start["test_auc"] == pytest.approx(start["known"], abs=1e-6)
    assert np.allclose(rows["drop"], rows["test_auc"] - start["test_auc"])
    assert np.allclose(rows["drop_val"], rows["val_auc"] - start["val_auc"])
    control = rows[rows["way"] == recipe.CONTROL].set_index("rounds")["test_auc"]
    tuned = rows[(rows["rounds"] == 2) & (rows["way"] == "units + fine-tuned")].iloc[0]
    assert tuned["to_control"] == pytest.approx(tuned["test_auc"] - control[2])
    assert set(rows["fold"]) == {0}


def test_bytes_fall_with_the_bits_and_with_what_is_taken(rows):
    size = rows.set_index(["way", "sparsity", "bits"])["model_bytes"]
    for way in ("weight-only", "static", "QAT"):
        assert size[way, 0, 4] < size[way, 0, 8] < size[recipe.START, 0, 32] / 2
    for way in ("pruned", "pruned + fine-tuned", "units + fine-tuned"):
        for more, bits in (("", 32), (" + QAT", 8)):
            assert size[way + more, 0.75, bits] < size[way + more, 0.5, bits]
    nonzero = rows.set_index(["way", "sparsity"])["nonzero"]
    assert nonzero["pruned", 0.5] == 16 * 12 / 2 + 16 + 16 + 1


# Views


def line(way, drop, half, size, sparsity=0.0, bits=32, **more):
    ends = {"drop": drop, "drop_low": drop - half, "drop_high": drop + half}
    place = {"source": "tester", "kind": "simulated", "way": way, "n": 5}
    how = {"sparsity": sparsity, "bits": bits, "model_bytes": size, "rounds": 0}
    return {**place, **how, **ends, **more}


LINES = pd.DataFrame(
    [
        line(curves.START, 0.0, 0.0, 8000),
        line(curves.CONTROL, 0.001, 0.0001, 8000),
        line("pruned", -0.001, 0.0005, 4500, 0.5),
        line("pruned", -0.003, 0.0015, 2700, 0.75),
        line("pruned", -0.02, 0.001, 1700, 0.9),
        line("QAT", 0.0005, 0.0001, 2300, bits=8),
        line("QAT", -0.0015, 0.0025, 1400, bits=4),
        line("static", -0.05, 0.001, 1400, bits=4),
    ]
)


def test_a_step_stops_paying_where_its_interval_says_so():
    found = curves.stops(LINES, 0.002).set_index("way")
    assert list(found.index) == ["pruned", "QAT", "static"]
    assert found.loc["pruned", ["shown", "possible"]].tolist() == [
        "50 %, 32 bits",
        "75 %, 32 bits",
    ]
    assert found.loc["pruned", "of_fp32"] == 4500 / 8000
    assert found.loc["pruned", "drop"] == -0.001
    assert found.loc["QAT", ["shown_bytes", "possible_bytes"]].tolist() == [2300, 1400]
    assert found.loc["static", ["shown", "possible"]].tolist() == ["", ""]
    assert np.isnan(found.loc["static", "shown_bytes"])


@pytest.mark.parametrize(("tolerance", "size"), [(0.0005, 2300), (0.004, 1400)])
def test_the_tolerance_decides(tolerance, size):
    found = curves.stops(LINES, tolerance).set_index("way")
    assert found.loc["QAT", "shown_bytes"] == size


def test_a_lone_value_shows_nothing_and_rules_nothing_out():
    alone = LINES.assign(drop_low=np.nan, drop_high=np.nan, n=1)
    found = curves.stops(alone, 0.002)
    assert (found["shown"] == "").all() and (found["possible"] != "").all()
    assert "nothing shown on tester" in repr(curves.curve(alone, ["QAT"], 0.002))


def test_the_table_pairs_by_seed_and_the_ways_at_equal_shares(rows):
    seeds = []
    for seed, drop in ((0, -0.01), (1, -0.02), (2, -0.03)):
        auc = rows["test_auc"] + drop * (rows["way"] == "pruned")
        seeds.append(rows.assign(drop=drop, seed=seed, test_auc=auc))
    every = pd.concat(seeds)
    table = curves.table(every)
    assert table["order"].tolist() == list(range(len(rows)))
    assert table["drop"].tolist() == pytest.approx([-0.02] * len(rows))
    assert set(table["n"]) == {3}
    pair = curves.versus(every, "pruned", "pruned + fine-tuned")
    assert pair["sparsity"].tolist() == [0.5, 0.75] and set(pair["n"]) == {3}
    auc = rows.set_index(["way", "sparsity"])["test_auc"]
    gap = auc["pruned", 0.5] - auc["pruned + fine-tuned", 0.5] - 0.02
    assert pair["difference"][0] == pytest.approx(gap)
    assert pair["one_bytes"][0] == pair["other_bytes"][0]


def test_a_curve_says_what_it_shows_in_the_same_bytes():
    two = pd.concat([LINES, LINES.assign(source="secom", kind="real")])
    first, again = (curves.curve(two, ["pruned", "QAT"], 0.002) for _ in range(2))
    assert "QAT (8 bits) to 2,300 bytes on tester" in repr(first)
    assert style.render(first, "svg") == style.render(again, "svg")
    assert {t.get_text() for t in first.axes[0].texts} == {"75 %", "4"}

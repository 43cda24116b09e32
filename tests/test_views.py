"""Tables by hand, one rounding, verdicts, figures that say what the tables say."""

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle
from scipy.special import expit, logit

from kdutils import paths, stats
from kdutils.views import (
    claims,
    curves,
    figures,
    names,
    scoreboard,
    ship,
    style,
    summary,
    tables,
)

CORE = {"source": "tester", "kind": "simulated", "rho": 0.0}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "tables", lambda: tmp_path / "tables")
    monkeypatch.setattr(paths, "figures", lambda: tmp_path / "figures")
    return tmp_path


def seeds(values, **row):
    """One row per value, with seeds 0, 1, 2 ..."""
    return [{**CORE, "seed": i, "test_auc": v, **row} for i, v in enumerate(values)]


def teacher_rows():
    rows = []
    for model, auc, size, sure in (
        ("mlp", 0.80, 5e4, 0.30),
        ("xgboost", 0.85, 2e6, 0.75),
        ("bayes", 0.88, None, None),
        ("constant", 0.5, 0, None),
    ):
        for row in seeds([auc - 0.01, auc, auc + 0.01], model=model, val_auc=auc):
            row |= {"ci_low": row["test_auc"] - 0.03, "ci_high": row["test_auc"] + 0.02}
            row |= {"bytes": size, "gap": row["test_auc"] - 0.88}
            row |= {"insample_sure": sure, "oof_sure": sure and sure / 3}
            rows.append(row | {"insample_auc": 0.99, "oof_auc": auc})
    return pd.DataFrame(rows)


def sweep_rows():
    gains = {  # per seed: the first clearly positive, then noise, then clearly negative
        (0.5, 1): [0.010, 0.011, 0.012],
        (0.5, 4): [-0.01, 0.002, 0.013],
        (1.0, 1): [-0.02, -0.021, -0.022],
        (1.0, 4): [0.003, 0.001, -0.003],
    }
    rows = seeds([0.80, 0.81, 0.82], method="label-only", alpha=0, T=1, val_auc=0.80)
    rows = [row | {"gain": 0.0, "gain_val": 0.0} for row in rows]
    for (alpha, t), values in gains.items():
        val = 0.83 if (alpha, t) == (0.5, 4) else 0.82
        cell = {"method": "kd", "alpha": alpha, "T": t, "val_auc": val}
        cell |= {"gain_val": 0.01}
        for row, gain in zip(seeds([0.80, 0.81, 0.82], **cell), values, strict=True):
            rows.append(row | {"test_auc": row["test_auc"] + gain, "gain": gain})
    return pd.DataFrame(rows)


COLUMNS = ["step", "family", "precision", "sparsity", "val_auc", "drop"]
COLUMNS += ["file_bytes", "bundle_bytes"]
STEPS = """student fp32|control|fp32|0|.84|0|9900|
published: pruned each layer 50 %|published|fp32|.5|.7|-.05|9864|
published: pruned + dynamic int8|published|int8|.5|.7|-.06|5776|
pruned, tuned|ours|fp32|.5|.83|-.002|9900|4300
pruned static int8|ours|int8|.5|.835|-.004|4000|2500
pruned int8, tuned|ours|int8|.5|.838|-.001|4000|2600"""
STEPS = pd.read_csv(io.StringIO(STEPS), sep="|", names=COLUMNS)


def ladder_rows():
    rows = []
    for order, line in enumerate(STEPS.to_dict("records")):
        drop = line.pop("drop")
        line |= {"order": order, "params": 1921, "moved": 0.0, "raw_bytes": 7684}
        for row in seeds([0.83, 0.84, 0.85], **line):
            change = drop * (1 + 0.01 * row["seed"])
            auc = row["test_auc"] + change
            row |= {"test_auc": auc, "drop": change, "to_teacher": auc - 0.85}
            rows.append(row)
    return pd.DataFrame(rows)


def label_rows():
    rows = []
    for labels, base in ((100, 0.70), (1000, 0.80)):
        shared = {"labels": labels, "noise": 0.1}
        rows += seeds([base, base + 0.02], arm="label-only", **shared)
        rows += seeds([base + 0.05, base + 0.09], arm="distilled", **shared)
        rows += seeds([0.85, 0.85], arm="teacher", **shared)
    return pd.DataFrame(rows)


# Tables


def test_teachers_by_hand():
    table = tables.teachers(teacher_rows()).set_index("model")
    assert list(table.index) == ["xgboost", "mlp", "constant", "bayes"]
    row = table.loc["mlp"]
    # t quantile of 2 degrees of freedom, on the logit scale
    half = 4.30265 * 0.01 / np.sqrt(3) / (0.8 * 0.2)
    low, high = expit(logit(0.8) + np.array([-half, half]))
    assert row[["auc", "auc_sd", "n", "gap"]].tolist() == pytest.approx(
        [0.8, 0.01, 3, -0.08]
    )
    assert (row.auc_low, row.auc_high) == pytest.approx((low, high))
    assert (row.pooled_low, row.pooled_high) == pytest.approx((0.77, 0.82))


def test_a_single_value_has_delongs_interval():
    rows = teacher_rows().query("seed == 0")
    row = tables.teachers(rows).set_index("model").loc["mlp"]
    assert row[["n", "auc_low", "auc_high"]].tolist() == pytest.approx([1, 0.76, 0.81])
    assert row["interval"] == "DeLong" and np.isnan(row["auc_sd"])


def test_folds_count_each_and_widen_by_rho():
    rows = pd.DataFrame(seeds([0.68, 0.72, 0.55, 0.65], model="mlp", val_auc=0.7))
    rows = rows.assign(seed=[0, 0, 1, 1], fold=[0, 1, 0, 1], rho=0.25)
    row = tables.teachers(rows).iloc[0]
    expected = stats.scored([0.68, 0.72, 0.55, 0.65], rho=0.25)
    assert (row.n, row.auc_low) == (4, pytest.approx(expected.low))
    assert expected.low < stats.scored([0.68, 0.72, 0.55, 0.65]).low
    gains = stats.paired([0.01, 0.03, -0.01, 0.05], rho=0.25)
    rows["gain"] = [0.01, 0.03, -0.01, 0.05]
    line = summary.spread(rows, "gain", p="p")
    assert (line["gain_high"], line["p"]) == pytest.approx((gains.high, gains.p))


def test_equal_test_rows_have_the_mean_of_delongs_intervals():
    rows = pd.DataFrame(seeds([0.7, 0.8], fixed=True, gain=0.1, gain_high=0.2))
    rows = rows.assign(gain_low=[-0.1, None], gain_p=[0.2, 0.4], ci_low=0.5, ci_high=1)
    line = summary.spread(rows, "gain", p="p") | summary.spread(rows, "auc", "test_auc")
    ends = ("gain_low", "gain_high", "p", "auc_low", "auc_high")
    assert [line[end] for end in ends] == pytest.approx([-0.1, 0.2, 0.3, 0.5, 1])


def test_a_contrast_is_paired_by_seed_and_fold_and_needs_both():
    rows = [
        {**CORE, "seed": seed, "fold": fold, "arm": arm, "test_auc": auc + gain}
        for seed, fold, auc in ((0, 0, 0.5), (0, 1, 0.7), (1, 0, 0.6), (1, 1, 0.9))
        for arm, gain in (("a", 0.01 * (1 + fold)), ("b", 0.0))
    ]
    rows = pd.DataFrame(rows).sample(frac=1, random_state=0)
    table = summary.contrast(rows, "arm", "a", "b")
    assert table[["difference", "n"]].iloc[0].tolist() == pytest.approx([0.015, 4])
    assert summary.contrast(rows, "arm", "a", "c").empty


def test_values_that_are_not_there_are_not_counted():
    rows = pd.DataFrame(seeds([0.7, 0.8, None], model="mlp", gain=None))
    line = summary.summarise(rows, ["model"], {"auc": "test_auc", "gain": "gain"})
    assert line[["auc", "n"]].iloc[0].tolist() == pytest.approx([0.75, 3])
    assert np.isnan(line["gain"].iloc[0])


def test_only_a_score_has_an_interval_within_0_and_1():
    values = [0.95, 1.0, 1.0]
    rows = pd.DataFrame({"rho": [0.0] * 3, "auc": values, "drop": values})
    line = summary.spread(rows, "auc") | summary.spread(rows, "drop")
    assert 0 < line["auc_low"] < line["auc_high"] < 1 < line["drop_high"]
    assert line["auc"] == line["drop"] and line["auc_sd"] == line["drop_sd"]


def test_sweep_adjusts_the_cells_of_one_heatmap():
    table = tables.sweep(sweep_rows())
    kd = table[table["method"] == "kd"]
    np.testing.assert_allclose(kd["p_holm"], stats.holm(kd["p"].to_numpy()))
    first = stats.paired([0.010, 0.011, 0.012])
    assert kd["p"].iloc[0] == pytest.approx(first.p)
    assert kd["p_holm"].iloc[0] == pytest.approx(3 * first.p)  # the second smallest
    base = table[table["method"] == "label-only"].iloc[0]
    assert (base.gain, base.n) == (0, 3) and np.isnan(base.p) and np.isnan(base.p_holm)


def test_chosen_looks_at_validation_only():
    row = tables.chosen(sweep_rows()).set_index("method").loc["kd"]
    assert (row["alpha"], row["T"]) == (0.5, 4)  # not the cell that gains most on test
    assert row["gain"] == pytest.approx(0.005 / 3)
    assert row["p_holm"] == pytest.approx(row["p"])  # one method, one test


def test_labels_pair_by_seed():
    table = tables.labels(label_rows()).set_index(["arm", "labels"])
    row = table.loc["distilled", 100]
    assert (row.gain, row.gain_sd) == pytest.approx((0.06, 0.02 / np.sqrt(2)))
    assert table.loc["teacher", 1000].gain == pytest.approx(0.04)
    assert table.loc["label-only", 100].gain == 0


def test_ladder_is_in_order_and_ships_the_bundle():
    table = tables.ladder(ladder_rows().sample(frac=1, random_state=0))
    assert table["step"].tolist() == STEPS["step"].tolist()
    shipped = table.set_index("step")["shipped_bytes"]
    assert shipped["pruned int8, tuned"] == 2600 and shipped["student fp32"] == 9900
    row = table.set_index("step").loc["pruned, tuned"]
    assert row["drop"] == pytest.approx(-0.00202) and row["drop_low"] < row["drop"]


def test_a_new_table_is_one_call(folder):
    """The steps of CONTRIBUTING.md, 'A new table'."""
    rows = pd.DataFrame(seeds([0.7, 0.8, 0.9], method="kd"))
    rows["brier"] = [0.10, 0.12, 0.14]
    means = {"auc": "test_auc"}
    table = summary.summarise(rows, ["method"], {"brier": "brier"}, means)
    expected = stats.paired([0.10, 0.12, 0.14])
    line = table.set_index("method").loc["kd"]
    assert (line["brier"], line["brier_low"], line["n"], line["auc"]) == pytest.approx(
        (expected.mean, expected.low, 3, 0.8)
    )
    assert tables.write(table, "brier").read_bytes().count(b"\n") == 2


def test_an_empty_label_curve_has_the_columns_of_a_full_one():
    empty, full = tables.labels(label_rows()[:0]), tables.labels(label_rows())
    assert empty.empty and list(empty) == list(full)


# What ships


def candidates(**row):
    own = {"source": "secom", "kind": "real", "metric": "AUC", "value": 0.7}
    own |= {"low": 0.6, "high": 0.8, "constant": 0.5, "n_test": 300, "fails": 20}
    own |= {"threshold": -1.5, "escapes": 8, "overkill": 30, "file_bytes": 1861}
    recipes = pd.DataFrame({"auc_low": [0.55], "auc_high": [0.75]}, index=["secom"])
    if "over_all" in row:
        recipes.loc["secom"] = row.pop("over_all")
    return ship.table(pd.DataFrame([own | row]), recipes, {"secom": 0.72})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, None),
        ({"low": 0.49}, "AUC on its own test rows lies in [0.4900, 0.8000]"),
        ({"over_all": [0.45, 0.7]}, "AUC over all seeds lies in [0.4500, 0.7000]"),
        ({"escapes": 17}, "the share of fails that it catches lies in [0.0321"),
    ],
)
def test_nothing_ships_that_chance_may_equal(row, reason):
    table = candidates(**row)
    line = table.iloc[0]
    assert line["decision"] == ("Do not ship" if reason else "Ship")
    assert line["reason"].startswith(reason or "AUC on its own") and line["n"] == 300
    files = ship.files(table, {"secom": b"12"}, {"secom": "The smallest."})
    card = files.pop("student-secom.md").decode()
    assert files == ({} if reason else {"student-secom.safetensors": b"12"})
    first = f"# student-secom.safetensors\n\n**{line['decision']}**: {line['reason']}."
    assert card.startswith(first) and "1,861 bytes" in card and "The smallest." in card
    assert f"{line['escapes']} of 20 fails pass" in card and "-1.5000" in card
    assert "| overkill | 30 of 280 passes fail |" in card


def test_a_wafer_students_card_has_the_recall_of_each_pattern():
    own = {"source": "wafers", "kind": "simulated", "metric": "exact match"}
    own |= {"value": 0.9, "low": 0.88, "high": 0.92, "constant": 0.1, "n_test": 500}
    own |= {"file_bytes": 2000, "recall_Donut": 0.97, "recall_Loc": np.nan}
    table = ship.table(pd.DataFrame([own]), pd.DataFrame(), {})
    card = ship.card(table.iloc[0].to_dict(), "The best.")
    assert "| recall of Donut | 0.9700 |" in card and "Loc" not in card
    assert "escapes" not in card and "Simulated data" in card


# One rounding


def test_write_rounds_by_kind_and_repeats_its_bytes(folder):
    frame = pd.DataFrame(
        {
            "auc": [0.82344, np.nan],
            "gain": [-0.000001, 0.0123456],
            "bytes": [9680.4, None],
            "alpha": [0.5, 1.0],
            "held": [True, False],
            "n": [5, 25],
        }
    )
    path = tables.write(frame, "made-up")
    assert path == folder / "tables" / "made-up.csv"
    assert path.read_bytes() == (
        b"auc,gain,bytes,alpha,held,n\n"
        b"0.8234,0.00000,9680,0.5,True,5\n"
        b",0.01235,,1,False,25\n"
    )
    first = path.read_bytes()
    assert tables.write(frame, "made-up").read_bytes() == first
    assert [p.name for p in path.parent.iterdir()] == ["made-up.csv"]  # no part left
    assert tables.read("made-up")["n"].tolist() == [5, 25]


def test_rows_of_runs_keep_two_decimals_more():
    row = pd.DataFrame({"auc": [0.8234567], "gain": [0.00123456], "n": [5]})
    assert tables.text(row).iloc[0].tolist() == ["0.8235", "0.00123", "5"]
    kept = tables.text(row.assign(run="a1b2"))
    assert kept.iloc[0].tolist() == ["0.823457", "0.0012346", "5", "a1b2"]
    settings = row.assign(sizes=[{"widths": [8]}], alphas=[[0.5]])
    assert list(tables.text(settings)) == list(row)  # they stay in the ledger


def test_a_name_has_one_label_and_one_place():
    labels = [names.called(name) for name in ("mlp", "kd", "ours")]
    assert labels == ["MLP", "KD", "ours"]
    frame = pd.DataFrame({"source": ["z", "secom", "mnist"], "kind": "real"})
    ordered = names.ordered(frame, ["source", "kind"])
    assert ordered["source"].tolist() == ["mnist", "secom", "z"]


def test_show_says_mean_sd_and_n_in_one_cell():
    shown = tables.show(tables.teachers(teacher_rows()), ["model", "auc", "gap"])
    assert list(shown.frame) == ["model", "auc", "auc 95 %", "gap"]
    assert shown.frame.iloc[1].tolist() == [
        "mlp",
        "0.8000 ± 0.0100 (3)",
        "[0.7740, 0.8237]",
        "-0.08000",
    ]
    assert "<style" not in shown._repr_html_() and "0.7740" in repr(shown)
    linked = tables.show(pd.DataFrame({"link": ["https://arxiv.org/abs/1503.02531"]}))
    assert '<a href="https://arxiv.org/abs/1503.02531"' in linked._repr_html_()


def test_the_interval_of_one_more_run_holds_it_as_often_as_it_says():
    draws = np.random.default_rng(3).normal(size=(4000, 6))
    found = [summary.one_more(some[:5]) for some in draws]
    held = [
        one.low < some[5] < one.high for one, some in zip(found, draws, strict=True)
    ]
    assert np.mean(held) == pytest.approx(0.95, abs=0.01)
    alone = summary.one_more([0.3])
    assert alone.value == 0.3 and np.isnan(alone[1:]).all()


# Scoreboard

CLAIMED = """system,metric,claimed
tester/xgboost,roc_auc,0.83
tester/xgboost,bytes,2000000
tester/tabnet,roc_auc,0.87
tester/tabnet,bytes,1756819
tester/mlp,roc_auc,0.84
tester/mlp,bytes,40000
tester/student-kd,roc_auc,0.82
tester/student-kd,bytes,9680
tester/student-pruned,roc_auc,0.77
tester/student-pruned,bytes,9864
tester/student-int8,roc_auc,0.76
tester/student-int8,bytes,2550
mnist/student-kd,errors,74
mhist/teacher,roc_auc,
"""


def board(**given):
    claimed = pd.read_csv(io.StringIO(CLAIMED)).assign(data="public")
    claimed["test_rows"] = claimed["system"].map({"mnist/student-kd": 10_000})
    rows = {"teachers": teacher_rows(), "ladder": ladder_rows(), "more": ()} | given
    frame = tables.scoreboard(claimed, *rows.values())
    return frame.set_index(["system", "metric"])


def test_scoreboard_has_every_claim_once_and_the_published_recipes():
    frame = board()
    assert frame.index.is_unique and len(frame) == 14 + 4
    assert ("tester/student-int8/as-published", "bytes") in frame.index
    columns = (
        "seed,system,metric,claimed,measured,ci_low,ci_high,n,data,verdict,command"
    )
    assert list(board().reset_index()[columns.split(",")]) == columns.split(",")


def test_scoreboard_compares_auc_as_a_ratio_to_the_best_teacher():
    row = board().loc[("tester/mlp", "roc_auc")]
    ratios = [0.79 / 0.84, 0.80 / 0.85, 0.81 / 0.86]
    assert row["claimed"] == pytest.approx(0.84 / 0.87)
    assert row["measured"] == pytest.approx(np.mean(ratios))
    assert row["ci_low"] == pytest.approx(stats.paired(ratios).low)
    assert row["verdict"] == "short" and "worse than claimed" in row["reason"]
    assert row["data"] == "simulated" and row["seed"] == "0..2" and row["n"] == 3
    assert row[["published_auc", "auc"]].tolist() == pytest.approx([0.84, 0.80])
    assert row["claimed_above"] == pytest.approx(0.34 / 0.37)
    above = [0.29 / 0.34, 0.30 / 0.35, 0.31 / 0.36]
    assert row["above"] == pytest.approx(np.mean(above))
    assert "teacher xgboost, chosen on validation; published: tabnet" in row["basis"]
    assert row["command"] == "make row SYSTEM=tester/mlp PROFILE=paper"


def test_scoreboard_answers_with_our_best_on_validation_within_the_bytes():
    frame = board()
    int8 = frame.loc[("tester/student-int8", "roc_auc")]
    assert "'pruned static int8'" in int8["basis"]  # the better one weighs 2,600
    assert frame.loc[("tester/student-int8", "bytes"), "measured"] == 2500
    kd = frame.loc[("tester/student-kd", "bytes")]  # float32, not pruned
    assert kd["measured"] == 9900 and kd["verdict"] == "short"
    pruned = frame.loc[("tester/student-pruned", "bytes")]  # float32 too
    assert pruned["measured"] == 4300 and pruned["verdict"] == "beaten"
    published = frame.loc[("tester/student-pruned/as-published", "roc_auc")]
    assert published["measured"] == pytest.approx(
        np.mean(
            [
                (auc - 0.05 * k) / (auc + 0.01)
                for auc, k in zip((0.83, 0.84, 0.85), (1, 1.01, 1.02), strict=True)
            ]
        )
    )
    same = frame.loc[("tester/student-pruned/as-published", "bytes")]
    assert same["measured"] == 9864 and same["verdict"] == "reproduced"


def test_a_student_too_large_for_the_claim_is_short():
    large = ladder_rows().assign(file_bytes=12000, bundle_bytes=11000)
    row = board(ladder=large).loc[("tester/student-kd", "roc_auc")]
    assert row["verdict"] == "short" and "fits the published bytes" in row["reason"]


def test_bytes_verdicts():
    frame = board()
    assert frame.loc[("tester/xgboost", "bytes"), "verdict"] == "reproduced"
    mlp = frame.loc[("tester/mlp", "bytes")]
    assert (mlp["verdict"], mlp["reason"]) == ("short", "1.25 times the published size")
    assert frame.loc[("tester/student-pruned", "bytes"), "verdict"] == "beaten"


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ([50, 51, 52], "beaten"),
        ([60, 61, 62], "reproduced"),  # the claim's own error is 16.8
        ([80, 81, 82], "reproduced"),
        ([92, 93, 94], "short"),
        ([60, 92, 124], "short"),  # noise reproduces nothing
        ([30], "reproduced"),  # nor does a single run beat a claim
        ([92], "short"),
    ],
)
def test_fewer_errors_are_better_and_other_stages_may_answer(errors, verdict):
    more = pd.DataFrame({"seed": range(len(errors)), "value": errors})
    more = more.assign(
        system="mnist/student-kd", metric="errors", kind="real", basis=""
    )
    row = board(more=[more]).loc[("mnist/student-kd", "errors")]
    assert (row["verdict"], row["claimed"], row["data"]) == (verdict, 74, "real")


@pytest.mark.parametrize(
    ("claim", "verdict"), [(0.98, "reproduced"), (0.9801, "beaten"), (0.99, "short")]
)
def test_a_claim_is_as_exact_as_its_last_digit(claim, verdict):
    claimed = pd.DataFrame([{"system": "a/b", "metric": "accuracy", "claimed": claim}])
    rows = pd.DataFrame({"seed": range(5), "kind": "real"})
    rows["test_acc"] = 0.984 + np.arange(5) * 1e-4
    more = scoreboard.part(rows, "a/b", "accuracy", "test_acc", "")
    (line,) = tables.scoreboard(claimed, None, None, [more]).to_dict("records")
    assert line["measured"] == pytest.approx(0.9842) and line["verdict"] == verdict


def test_what_no_stage_measures_is_not_run_with_its_reason():
    frame = board()
    mnist, mhist = frame.loc["mnist/student-kd"].iloc[0], frame.loc["mhist/teacher"]
    assert mnist["verdict"] == "not-run" and np.isnan(mnist["measured"])
    assert mnist["reason"] == "no stage of this report measures it"
    assert mnist["data"] == mnist["command"] == mnist["runs"] == ""
    assert mhist.iloc[0]["reason"].startswith("published as a figure only")
    with pytest.raises(ValueError, match=r"not in claimed\.csv"):
        more = {"seed": 0, "value": 1.0, "system": "x/y", "metric": "f1"}
        more |= {"kind": "real"}
        board(more=[pd.DataFrame([more | {"basis": ""}])])


def test_scoreboard_rounds_by_metric():
    cells = tables.text(board().reset_index()).set_index(["system", "metric"])
    assert cells.loc[("tester/mlp", "roc_auc"), "claimed"] == "0.9655"
    assert cells.loc[("tester/mlp", "bytes"), "measured"] == "50000"
    assert cells.loc[("mnist/student-kd", "errors"), "claimed"] == "74"


# Figures


SHIPPED = pd.DataFrame(
    [
        {"data": "tester", "decision": "Ship", "file": "student-tester.safetensors"}
        | {"bytes": 2600, "value": 0.84, "low": 0.83, "high": 0.85, "n": 100}
    ]
)
PUBLISHED = pd.DataFrame(
    [
        {"system": "tester/student-int8", "metric": "bytes", "claimed": 5776},
        {"system": "tester/student-int8", "metric": "roc_auc", "claimed": 0.762},
        {"system": "mixedwm38/student-4k", "metric": "bytes", "claimed": 21504},
    ]
)


def all_figures():
    teachers, ladder = tables.teachers(teacher_rows()), tables.ladder(ladder_rows())
    sweep, chosen = tables.sweep(sweep_rows()), tables.chosen(sweep_rows())
    return {
        "teachers": figures.teachers(teachers),
        "insample": figures.insample(teachers),
        "heatmap": figures.heatmap(sweep, chosen),
        "methods": figures.methods(chosen),
        "labels": figures.label_curve(tables.labels(label_rows()), {"tester": 0.88}),
        "ladder": figures.ladder(ladder),
        "pareto": figures.pareto(curves.routes(ladder, None, SHIPPED, PUBLISHED)),
    }


def test_figures_repeat_their_bytes_whatever_the_user_set():
    first = {name: style.render(f, "svg") for name, f in all_figures().items()}
    with mpl.rc_context({"font.size": 20, "svg.hashsalt": "other", "axes.grid": True}):
        again = {name: style.render(f, "svg") for name, f in all_figures().items()}
    assert first == again
    assert len(set(first.values())) == 7 and b"<dc:date>" not in first["pareto"]
    png, same = (figures.teachers(tables.teachers(teacher_rows())) for _ in range(2))
    assert png._repr_png_() == same._repr_png_()


def test_save_writes_both_kinds_and_leaves_no_part(folder):
    figure = figures.methods(tables.chosen(sweep_rows()))
    assert [path.name for path in figures.save(figure, "methods")] == [
        "methods.svg",
        "methods.png",
    ]
    assert sorted(p.name for p in (folder / "figures").iterdir()) == [
        "methods.png",
        "methods.svg",
    ]
    assert (folder / "figures" / "methods.png").read_bytes() == figure._repr_png_()[0]


def test_heatmap_hatches_exactly_where_the_interval_crosses_zero():
    rows = sweep_rows()
    ax = figures.heatmap(tables.sweep(rows), tables.chosen(rows)).axes[0]
    alphas, ts = [1.0, 0.5], [1, 4]  # α grows upwards
    cells = [p for p in ax.patches if isinstance(p, Rectangle) and p.get_hatch()]
    hatched = {(alphas[int(p.get_y())], ts[int(p.get_x())]) for p in cells}
    assert hatched == {(0.5, 4), (1.0, 4)}
    texts = {t.get_text() for t in ax.texts}
    assert texts == {"+11.0•", "+1.7\n3/3", "−21.0•", "+0.3"}
    assert "n = 3" in ax.get_title(loc="left")


def test_each_seed_chooses_its_own_cell_in_heatmap_and_table():
    rows = sweep_rows()
    rows.loc[rows["seed"].eq(2) & rows["alpha"].eq(1) & rows["T"].eq(1), "val_auc"] = 1
    sweep, chosen = tables.sweep(rows), tables.chosen(rows)
    counts = sweep[sweep["method"] == "kd"].set_index(["alpha", "T"])["chosen"]
    assert counts[counts > 0].to_dict() == {(0.5, 4): 2, (1.0, 1): 1}
    gain = chosen.set_index("method")["gain"]["kd"]
    assert gain == pytest.approx((-0.01 + 0.002 - 0.022) / 3)


def test_each_heatmap_has_its_own_scale_centred_on_zero():
    second = sweep_rows().assign(source="secom", kind="real")
    second["gain"] *= 2
    rows = pd.concat([sweep_rows(), second])
    axes = figures.heatmap(tables.sweep(rows), tables.chosen(rows)).axes[:2]
    limits = [ax.collections[0].get_clim() for ax in axes]
    assert limits == [pytest.approx((-21, 21)), pytest.approx((-42, 42))]


def test_titles_say_what_is_seen():
    made = all_figures()
    says = {name: repr(figure) for name, figure in made.items()}
    assert "Which teacher is best? undecided on tester" in says["teachers"]
    assert "beat label-only? undecided on tester α weighs" in says["heatmap"]
    assert "AUC? −0.0010 AUC on tester; as published: −0.0606 AUC" in says["ladder"]
    assert "Gains over label-only: 0 of 2 clearly on tester" in says["labels"]
    table = tables.teachers(teacher_rows())
    clear = {f"auc_{end}": table["auc"] for end in ("low", "high")}
    figure = figures.teachers(table.assign(**clear))
    assert "best? XGBoost, AUC 0.850, on tester" in repr(figure)


def test_a_figure_is_described_by_what_it_shows():
    words = style.described(all_figures()["ladder"])
    for part in (
        "Does compressing cost AUC? −0.0010 AUC on tester",
        "Panels: tester (simulated data) n = 3",
        "Across: change in AUC × 1000",
        "Rows: student fp32; published: pruned each layer 50 %; ",
        "Orange: as published; blue: ours",
    ):
        assert part in words
    words = style.described(all_figures()["heatmap"])
    assert (
        "Across: temperature T. Upwards: α. Gain over" in words and "Rows" not in words
    )


def test_pareto_goes_from_student_to_int8():
    ladder = tables.ladder(ladder_rows())
    route = figures.path(ladder)
    assert [step["step"] for step in route] == [
        "student fp32",
        "pruned, tuned",
        "pruned int8, tuned",
    ]
    table = curves.routes(ladder, None, SHIPPED, PUBLISHED)
    ours = table[table["group"] == "ours"]
    assert ours["step"].tolist()[-3:] == [step["step"] for step in route]
    assert ours["tag"].tolist()[-3:] == ["+KD", "+prune", "+int8"]
    shipped = table.set_index("group").loc["our file, ships"]
    assert (shipped["bytes"], shipped["value"]) == (2600, 0.84)
    published = table[table["group"].str.startswith("published bytes")]
    assert published["bytes"].tolist() == [5776] and published["value"].isna().all()


# Claims


def gains(**columns):
    """Three lines whose intervals lie above zero, around it, and below it."""
    lines = {"source": ["mnist", "secom", "tester"]}
    lines |= {"kind": ["real"] * 2 + ["simulated"]}
    lines |= {"gain": [0.02, 0.01, -0.02], "gain_low": [0.01, -0.01, -0.03]}
    return pd.DataFrame(lines | {"gain_high": [0.03, 0.03, -0.01], "n": 5} | columns)


def test_one_rule_gives_three_verdicts(capsys):
    claims.begin("02_kd")
    claims.above(gains(), "it helps", headline=True)
    claims.below(gains(), "it harms")
    claims.above(gains(), "not much worse", bound=-0.005, unit="points")
    claims.above(gains(least=[0.05, -0.02, -0.02]), "{source} is above", bound="least")
    found = claims.read().groupby("claim", sort=False)["verdict"].agg(list)
    assert found["it helps"] == ["holds", "undecided", "refuted"]
    assert found["it harms"] == ["refuted", "undecided", "holds"]
    assert found["not much worse"] == ["holds", "undecided", "refuted"]
    assert found["MNIST is above"] == ["refuted"] and found["SECOM is above"] == [
        "holds"
    ]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "✓ it helps on MNIST: +0.0200 AUC [+0.0100, +0.0300], n = 5"
    assert lines[1][0] == "○" and lines[2].startswith("✗ it helps on tester: −0.0200")
    assert lines[6].endswith("+2.00 points [+1.00, +3.00], n = 5")
    (line,) = claims.headlines(claims.read()).to_dict("records")
    assert line["holds"].startswith("MNIST: +0.02") and "SECOM" in line["undecided"]
    assert line["refuted"].startswith("tester (simulated): −0.02")


def test_a_single_value_decides_nothing():
    claims.begin("02_kd")
    claims.above(gains(gain_low=np.nan, gain_high=np.nan), "it helps")
    assert set(claims.read()["verdict"]) == {"undecided"}
    assert not claims.read()["detail"].str.contains(r"\[").any()


def test_checks_are_no_claims_and_smoke_demands_both(capsys):
    claims.begin("07_edge")
    claims.check(gains(), "nothing is lost", gains()["n"] == 5, "{n} lots")
    assert claims.read().empty and claims.read("checks")["on"].tolist()[0] == "MNIST"
    claims.above(gains()[:1], "beats a constant")
    assert claims.demand("a constant") == (
        "1 claims that say 'a constant' hold, 3 checks passed"
    )
    claims.above(gains()[1:], "beats a constant")
    with pytest.raises(ValueError, match="undecided: beats a constant on SECOM"):
        claims.demand("a constant")
    with pytest.raises(ValueError, match=r"no claim in .* says 'flies'"):
        claims.demand("flies")
    claims.begin("07_edge")
    claims.above(gains()[:1], "beats a constant")
    claims.check(gains(), "nothing is lost", gains()["gain"] > 0, "{n} lots")
    with pytest.raises(ValueError, match="failed: nothing is lost on tester"):
        claims.demand("a constant")
    with pytest.raises(ValueError, match="'lost': passed must be True or False"):
        claims.check(gains(), "lost", gains()["gain"], "")


def test_claims_of_a_stage_are_replaced_when_its_notebook_has_come_to_its_end(folder):
    def work(sentence):
        claims.begin("02_kd")
        claims.above(gains()[:1], sentence)

    work("old")
    claims.accept("02_kd")
    claims.accept("02_kd")
    work("new")
    assert claims.read()["claim"].tolist() == ["new"]
    claims.refuse("02_kd")
    assert claims.read()["claim"].tolist() == ["old"]
    work("new")
    claims.accept("02_kd")
    claims.begin("01_teachers")
    claims.above(gains()[:1], "first")
    claims.accept("01_teachers")
    assert claims.read()["claim"].tolist() == ["first", "new"]
    names = {path.name for path in (folder / "tables").iterdir()}
    assert names == {"claims.csv", "checks.csv"}


def test_an_answer_is_a_paragraph():
    assert (
        claims.answer("It helps.", "By 1 %.")._repr_markdown_() == "It helps. By 1 %."
    )

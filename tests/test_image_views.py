"""Tables and figures of the image stages, by hand and against what they must refuse."""

import io

import numpy as np
import pandas as pd
import pytest

from kdutils import paths, stats
from kdutils.views import figures, images, scoreboard, style, tables

REAL = {"source": "mnist", "kind": "real", "n_test": 10_000, "rho": 0.0}
OTHER = {"nll": 0.05, "ece": 0.003, "brier": 0.01, "agreement": 0.99, "kl": 0.02}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "tables", lambda: tmp_path / "tables")
    return tmp_path


def sweep_rows(student="mlp", **more):
    """Label-only, a 2 x 2 map and a method with a coefficient, three seeds."""
    found = {  # method and cell: gains, validation accuracies, both per seed
        ("label-only", 0.0, 1.0, None): ([0, 0, 0], [0.90, 0.90, 0.90]),
        ("kd", 0.5, 1.0, None): ([0.010, 0.011, 0.012], [0.93, 0.91, 0.92]),
        ("kd", 0.5, 4.0, None): ([-0.01, 0.002, 0.013], [0.93, 0.94, 0.92]),
        ("kd", 1.0, 1.0, None): ([-0.02, -0.021, -0.022], [0.91, 0.92, 0.95]),
        ("kd", 1.0, 4.0, None): ([0.003, 0.001, -0.003], [0.92, 0.93, 0.92]),
        ("dkd", 0.5, 4.0, 1.0): ([0.004, 0.004, 0.010], [0.91, 0.91, 0.91]),
        ("dkd", 0.5, 4.0, 8.0): ([0.030, 0.041, 0.034], [0.92, 0.92, 0.92]),
    }
    rows = []
    for (method, alpha, T, coefficient), (gains, vals) in found.items():
        for seed, (gain, val) in enumerate(zip(gains, vals, strict=True)):
            acc, alone = 0.96 + seed / 1000 + gain, method == "label-only"
            row = {**REAL, **OTHER, "seed": seed, "student": student, "method": method}
            row |= {"alpha": alpha, "T": T, "coefficient": coefficient, "val_acc": val}
            row |= {"gain": gain}
            row |= {"test_acc": acc, "errors": round(1e4 * (1 - acc)), "gain_val": 0.0}
            row |= {"only_mine": None if alone else 30 + seed, "only_base": 10}
            row |= {"mcnemar_p": None if alone else (0.001, 0.2, 0.01)[seed]}
            rows.append(row | {"ece": 0.002 * T + 0.001 * seed, **more})
    return pd.DataFrame(rows)


ERRORS = {  # system: its base, errors of three seeds
    "teacher": (None, [65, 66, 70]),
    "student": ("teacher", [140, 141, 145]),
    "student-kd": ("student", [70, 75, 74]),
    "student-fixed": ("student", [90, 91, 92]),
    "student-consistent": ("student", [60, 61, 59]),
    "omit-3": ("student-kd", [200, 210, 190]),
}


def hinton_rows(**more):
    rows = []
    for system, (base, errors) in ERRORS.items():
        for seed, count in enumerate(errors):
            row = {**REAL, **OTHER, "seed": seed, "system": system, "base": base}
            row |= {"errors": count, "test_acc": 1 - count / 1e4, "params": 1_276_810}
            row |= {"only_mine": 90, "only_base": 20, "mcnemar_p": 0.01 * seed}
            if system == "omit-3":
                row |= {"omitted": "3", "n_omitted": 1010, "errors_omitted": 130 + seed}
                row |= {"corrected_bias": 3.5, "corrected_errors": 110 + seed}
                row |= {"corrected_omitted": 15 + seed, "best_bias": 3.6}
                row |= {"best_errors": 108 - seed, "best_omitted": 14 + seed}
            rows.append({**row, "omitted": row.get("omitted")} | more)
    return pd.DataFrame(rows)


def label_rows():
    accuracies = {("label-only", 100): [0.70, 0.74], ("all-knowing", 100): [0.80, 0.82]}
    accuracies |= {("teacher", 100): [0.75, 0.75], ("label-only", 5000): [0.95, 0.96]}
    accuracies |= {("all-knowing", 5000): [0.955, 0.963]}
    accuracies |= {("teacher", 5000): [0.96, 0.96]}
    rows = []
    for (arm, labels), values in accuracies.items():
        for seed, (acc, base) in enumerate(
            zip(values, accuracies["label-only", labels], strict=True)
        ):
            row = {**REAL, "seed": seed, "arm": arm, "labels": labels, "test_acc": acc}
            rows.append(row | {"gain": acc - base, "errors": round(1e4 * (1 - acc))})
    return pd.DataFrame(rows)


COUNTS = {  # seed: groups 'none', 'a', 'b' by four subclasses, two of each class
    0: [[40, 5, 5, 0], [0, 2, 18, 0], [1, 0, 0, 19]],
    1: [[25, 25, 0, 0], [0, 0, 20, 0], [0, 0, 0, 20]],
    2: [[20, 10, 10, 10], [5, 5, 5, 5], [5, 5, 5, 5]],
}
ARI = {0: 0.6, 1: 0.8, 2: 0.1}


def subclass_rows(source="tester", kind="simulated", **more):
    accuracies = {"teacher": [0.99, 0.992, 0.994]}
    accuracies |= {"student-subclass": [0.985, 0.988, 0.99]}
    accuracies |= {"student-kd": [0.98, 0.984, 0.985], "student": [0.97, 0.971, 0.975]}
    rows = []
    for way in ("published", "ours"):
        for model, values in accuracies.items():
            for seed, acc in enumerate(values):
                base = accuracies["student-kd"][seed]
                row = {**REAL, **OTHER, "source": source, "kind": kind, "seed": seed}
                row |= {"way": way, "model": model, "test_acc": acc, "test_auc": acc}
                row |= {"gain": acc - base, "auc_gain": 2 * (acc - base)}
                row |= {"errors": round(1e4 * (1 - acc)), "only_mine": 9}
                row |= {"only_base": 2, "mcnemar_p": 0.01, "part": "model"}
                if model == "teacher":
                    row |= {"ari": ARI[seed], "ari_class": 0.1 * seed, "subclasses": 4}
                    row |= {"nmi": 0.5, "used": 3.5, "ari_kmeans": ARI[seed] - 0.1}
                rows.append(row | more)
        rows += [row | more for row in group_rows(source, kind, way)]
    return pd.DataFrame(rows)


def group_rows(source, kind, way):
    facts = {**REAL, "source": source, "kind": kind, "way": way, "part": "group"}
    return [
        {**facts, "seed": seed, "ari": ARI[seed], "truth": name, "count": count}
        | {"subclass": k, "class": k // 2}
        for seed, counts in COUNTS.items()
        for name, each in zip(("none", "a", "b"), counts, strict=True)
        for k, count in enumerate(each)
    ]


# Tables


def test_sweep_adjusts_all_cells_of_a_student():
    rows = pd.concat([sweep_rows(), sweep_rows("cnn").assign(gain=0.001)])
    table = images.sweep(rows)
    mlp = table[(table["student"] == "mlp") & (table["method"] != "label-only")]
    assert len(mlp) == 6 and mlp["coefficient"].notna().sum() == 2
    np.testing.assert_allclose(mlp["p_holm"], stats.holm(mlp["p"].to_numpy()))
    first = mlp[(mlp["alpha"] == 0.5) & (mlp["T"] == 1)].iloc[0]
    assert first["p"] == pytest.approx(stats.paired([0.010, 0.011, 0.012]).p)
    assert table.iloc[0]["method"] == "label-only" and np.isnan(table.iloc[0]["p"])
    assert table["student"].unique().tolist() == ["mlp", "cnn"]


def test_each_seed_chooses_by_its_own_validation_images():
    table = images.chosen(sweep_rows()).set_index("method")
    kd = table.loc["kd"]  # of two equal cells the first, then (.5, 4), then (1, 1)
    assert kd["gain"] == pytest.approx(np.mean([0.010, 0.002, -0.022]))
    assert kd["chosen_in"] == pytest.approx(1 / 3) and kd["n"] == 3
    assert (kd["only_mine"], kd["only_base"], kd["mcnemar_seeds"]) == (93, 30, 2)
    dkd = table.loc["dkd"]
    assert (dkd["alpha"], dkd["T"], dkd["coefficient"], dkd["chosen_in"]) == (
        0.5,
        4,
        8,
        1,
    )
    assert dkd["p_holm"] == pytest.approx(min(1, 2 * dkd["p"]))  # of two methods
    assert list(table.index) == ["label-only", "kd", "dkd"]


def test_versus_is_paired_with_the_other_methods_own_cells():
    table = images.versus(sweep_rows()).set_index("method")
    row = table.loc["dkd"]
    gains = np.subtract([0.030, 0.041, 0.034], [0.010, 0.002, -0.022])
    expected = stats.paired(gains)
    assert row["over"] == "kd"
    assert row[["gain", "gain_low", "gain_high", "p"]].tolist() == pytest.approx(
        [expected.mean, expected.low, expected.high, expected.p]
    )


def test_hinton_counts_fewer_errors_than_its_pair():
    table = images.hinton(hinton_rows()).set_index("system")
    kd = table.loc["student-kd"]
    assert kd["errors"] == 73
    expected = stats.paired([70, 66, 71])
    assert kd[["fewer", "fewer_low", "fewer_sd"]].tolist() == pytest.approx(
        [expected.mean, expected.low, expected.sd]
    )
    assert table.loc["student", "fewer"] < 0 and kd["mcnemar_seeds"] == 3 - 0
    assert np.isnan(table.loc["teacher", "fewer"])
    omit = table.loc["omit-3"]
    assert (omit["published_errors"], omit["published_omitted"]) == (206, 133)
    assert (omit["errors_omitted"], omit["corrected_omitted"]) == (131, 16)
    assert np.isnan(table.loc["student", "errors_omitted"])
    assert list(table.index)[:3] == ["teacher", "student", "student-kd"]


@pytest.mark.parametrize(
    "other", [{"kind": "generated"}, {"source": "digits"}, {"n_test": 400}]
)
def test_a_published_count_stands_beside_mnists_own_test_images_only(other):
    assert images.hinton(hinton_rows())["published_errors"].notna().any()
    assert images.hinton(hinton_rows(**other))["published_errors"].isna().all()
    theirs = images.models(subclass_rows("mnist", "real"))["published_acc"]
    assert theirs.notna().any()
    more = {"source": "mnist", "kind": "real"} | other
    assert images.models(subclass_rows(**more))["published_acc"].isna().all()


def test_hintons_teacher_and_student_cannot_be_told_apart():
    assert images.overlap(67, 74, 10_000)[0] and not images.overlap(67, 146, 10_000)[0]
    low, high = images.binomial(67, 10_000)
    assert (low, high) == pytest.approx((51.96, 85.00), abs=0.02)  # beta quantiles
    assert "67 errors of 10,000: [52, 85]" in images.overlap(67, 74, 10_000)[1]


def test_few_labels_gain_at_the_same_seed():
    table = images.few_labels(label_rows()).set_index(["arm", "labels"])
    row = table.loc["all-knowing", 100]
    assert (row["gain"], row["errors"]) == pytest.approx((0.09, 1900))
    tested = table["p"].notna().sum()
    assert tested == 4 and table["p_holm"].max() <= 1


def test_teachers_have_a_line_for_each_choice_of_rows():
    rows = hinton_rows()[:6].assign(rows=["all", "train"] * 3, n_train=[6, 5] * 3)
    table = images.teachers(rows.assign(epochs=9, val_acc=None, file_bytes=8))
    assert table["rows"].tolist() == ["all", "train"]
    assert table["n_train"].tolist() == [6, 5] and np.isnan(table["val_acc"]).all()


def test_found_has_a_line_for_each_way_and_pairs_with_kmeans():
    rows = subclass_rows()
    row = images.discovered(rows).set_index("way").loc["ours"]
    assert row["subclasses"] == 4 and row["more"] == pytest.approx(0.1)
    assert row["ari_class"] == pytest.approx(0.1) and np.isnan(row["ari_defects"])
    unknown = rows[rows["part"] == "model"].drop(columns=["ari", "ari_kmeans"])
    table = images.discovered(unknown.assign(ari=None))
    assert table["ari"].isna().all() and (table["n"] == 3).all()
    assert images.contingency(unknown).empty


def test_contingency_shows_the_seed_of_the_median():
    table = images.contingency(subclass_rows())
    assert set(table["seed"]) == {0} and len(table) == 2 * 3 * 4
    shares = table.groupby(["way", "truth"])["share"].sum()
    assert shares.tolist() == pytest.approx([1] * 6)
    cell = table.set_index(["way", "truth", "subclass"]).loc[("ours", "a", 2)]
    assert (cell["count"], cell["share"], cell["class"]) == (18, 0.9, 1)


def test_tables_are_the_same_from_the_rows_file():
    rows = subclass_rows()
    tables.write(rows.assign(run="a"), "rows")
    pd.testing.assert_frame_equal(
        images.contingency(tables.read("rows")), images.contingency(rows)
    )


def test_models_of_mnist_stand_beside_the_published():
    table = images.models(subclass_rows("mnist", "real"))
    row = table.set_index(["way", "model"]).loc["ours", "student-subclass"]
    assert row["published_acc"] == 0.9901 and row["mcnemar_seeds"] == 3
    assert row["gain"] == pytest.approx(np.mean([0.005, 0.004, 0.005]))
    assert row["auc_gain_low"] == pytest.approx(2 * row["gain_low"])
    assert table["way"].tolist()[0] == "published"


# Cells


def test_counts_are_rounded_as_counts():
    frame = pd.DataFrame({"errors": [73.04, 74.0], "fewer_low": [-1.26, 5.0]})
    frame = frame.assign(
        coefficient=[0.05, None], corrected_bias=3.5, published_errors=74.0
    )
    shown = tables.text(frame)
    assert shown.iloc[0].tolist() == ["73.0", "-1.3", "0.05", "3.5000", "74"]
    kept = tables.text(frame.assign(run="a", corrected_errors=[110.0, np.nan]))
    assert kept["corrected_errors"].tolist() == ["110", ""]
    assert kept["corrected_bias"].tolist() == ["3.500000"] * 2


def test_a_table_that_no_stage_wrote_is_none():
    assert tables.maybe("hinton") is None
    tables.write(images.hinton(hinton_rows()), "hinton")
    assert len(tables.maybe("hinton")) == len(tables.read("hinton")) == 6


# Scoreboard

CLAIMED = """system,metric,claimed
mnist/teacher,errors,67
mnist/student,errors,146
mnist/student-kd,errors,74
mnist-halves/teacher,accuracy,0.9935
mnist-halves/student-subclass,accuracy,0.9901
mnist-halves/student-kd,accuracy,0.9872
mnist-halves/student,accuracy,0.9853
"""


def board(hinton, halves):
    claimed, more = pd.read_csv(io.StringIO(CLAIMED)), scoreboard.images(hinton, halves)
    return tables.scoreboard(claimed, None, None, more)


def test_scoreboard_answers_with_systems_fixed_beforehand():
    rows = subclass_rows("mnist", "real")
    frame = board(hinton_rows(), rows).set_index("system")
    ours, published = (frame.loc[f"mnist/student-kd{e}"] for e in ("", "/as-published"))
    assert (ours["measured"], ours["verdict"]) == (60, "beaten")
    assert (published["measured"], published["verdict"]) == (73, "reproduced")
    assert "'student-consistent'" in ours["basis"]
    assert ours["command"] == "make row SYSTEM=mnist/student-kd PROFILE=paper"
    assert frame.loc["mnist/student", "measured"] == 142  # without augmentation
    twins = ["mnist/student/as-published", "mnist-halves/student/as-published"]
    assert not set(twins) & set(frame.index), "a recipe is not printed twice"
    halves = frame.loc["mnist-halves/student-subclass"]
    assert halves["measured"] == pytest.approx(0.98766667) and halves["n"] == 3
    assert "way 'published'" in halves["basis"]
    table = images.models(rows).set_index(["way", "model"])
    shown = table.loc[("published", "student-subclass"), ["acc_low", "acc_high"]]
    assert halves[["ci_low", "ci_high"]].tolist() == shown.tolist()


def test_no_other_data_answers_a_claim_on_mnist():
    generated = hinton_rows(kind="generated")
    for rows in (generated, hinton_rows(source="digits"), hinton_rows(n_test=400)):
        assert not scoreboard.images(rows, subclass_rows())
    assert not scoreboard.images(None, None)
    assert (board(generated, None)["verdict"] == "not-run").all()


# Figures


def drawn():
    rows = pd.concat([sweep_rows(), sweep_rows("cnn")])
    sweep, chosen = images.sweep(rows), images.chosen(rows)
    found, models = subclass_rows(), images.models(subclass_rows("mnist", "real"))
    return {
        "heatmap": figures.heatmap(sweep, chosen, style.POINTS),
        "methods": figures.methods(chosen, style.POINTS),
        "fidelity": figures.fidelity(chosen),
        "calibration": figures.calibration(sweep),
        "hinton": figures.hinton(images.hinton(hinton_rows()), hinton_rows()),
        "unseen": figures.unseen(images.hinton(hinton_rows())),
        "labels": figures.few_labels(images.few_labels(label_rows())),
        "contingency": figures.contingency(
            images.contingency(found), images.discovered(found)
        ),
        "models": figures.models(models),
    }


@pytest.fixture(scope="module")
def made():
    return drawn()


def test_figures_repeat_their_bytes(made):
    first, again = (
        {name: style.render(figure, "svg") for name, figure in one.items()}
        for one in (made, drawn())
    )
    assert first == again and len(set(first.values())) == 9


def test_titles_say_what_is_seen(made):
    says = {name: repr(figure) for name, figure in made.items()}
    assert "undecided on MNIST, MLP, MNIST, CNN α weighs" in says["heatmap"]
    assert "1 of 2 clearly on MNIST, MLP; 1 of 2" in says["methods"]
    assert "was distilled? +69.0 errors on MNIST" in says["hinton"]
    assert "Gains over label-only: 0 of 2 clearly on MNIST" in says["labels"]
    assert "the classes alone? 0 of 2 clearly on tester" in says["contingency"]
    assert "+0.47 points on MNIST" in says["models"]


def test_heatmap_of_accuracy_is_drawn_in_points():
    rows = pd.concat([sweep_rows(), sweep_rows("cnn")])
    figure = figures.heatmap(images.sweep(rows), images.chosen(rows), style.POINTS)
    first, second = figure.axes[:2]
    texts = {t.get_text() for t in first.texts}
    assert texts == {"+1.10•\n1/3", "+0.17\n1/3", "−2.10•\n1/3", "+0.03"}
    assert first.collections[0].get_clim() == pytest.approx((-2.1, 2.1))
    assert "MNIST, CNN (real data), n = 3" in second.get_title(loc="left")


def test_published_marks_are_drawn_beside_mnist_alone():
    for rows, marks in ((hinton_rows(), 3), (hinton_rows(source="digits"), 0)):
        ax = figures.hinton(images.hinton(rows), rows).axes[0]
        diamonds = [line for line in ax.lines if line.get_marker() == "D"]
        assert len(diamonds) == marks
        said = " ".join(text.get_text() for text in ax.figure.texts)
        assert ("Orange: published" in said) == bool(marks)


@pytest.mark.parametrize("source, said", [("mnist", True), ("digits", False)])
def test_a_published_mark_is_explained_only_where_there_is_one(source, said):
    figure = figures.models(images.models(subclass_rows(source, "real")))
    told = {text.get_text() for text in figure.legends[0].get_texts()}
    assert ("as published, one training" in told) == said


def test_contingency_puts_subclasses_where_their_groups_are():
    rows = subclass_rows()
    figure = figures.contingency(images.contingency(rows), images.discovered(rows))
    ax = figure.axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "1", "2", "3"]
    assert [t.get_text() for t in ax.get_yticklabels()][1] == "a, 20"
    assert "ARI 0.50" in ax.get_title(loc="left")
    line = [line for line in ax.lines if len(set(line.get_xdata())) == 1]
    assert line[0].get_xdata()[0] == 2  # between the two classes
    assert "90" in {t.get_text() for t in ax.texts}

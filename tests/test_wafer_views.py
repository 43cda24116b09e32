"""Tables and figures of the wafer stage, by hand and against what they must refuse."""

import io

import numpy as np
import pandas as pd
import pytest

from kdutils import paths, stats
from kdutils.views import figures, style, tables, wafers

PATTERNS = ("Center", "Donut", "Loc")
SITE = {"site": "mixedwm38", "source": "mixedwm38", "kind": "real", "rho": 0.0}
BINS = {"reliability_p_0": 0.1, "reliability_p_1": None, "reliability_p_2": 0.9}
BINS |= {"reliability_share_0": 0.2, "reliability_share_1": None}
BINS |= {"reliability_share_2": 0.8, "reliability_n_1": 0, "reliability_n_2": 30}
SMALL, LARGE = "4-8", "8-16 x1"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "tables", lambda: tmp_path / "tables")
    return tmp_path


def teacher_rows(**more):
    rows = []
    for teacher, plain in {"ours": 0.97, "published": 0.985}.items():
        for seed in range(3):
            for views in (1, 8):
                exact = plain + 0.001 * seed + 0.01 * (views == 8)
                row = {**SITE, "teacher": teacher, "net": "resnet18"}
                row |= {"model": "resnet18"}
                row |= {"seed": seed, "views": views, "test_exact": exact}
                row |= {"val_exact": exact - 0.001, "train_exact": 1.0, "ece": 0.01}
                row |= {"macro_f1": exact, "entropy": 0.1, "pseudo_error": 1 - exact}
                row |= {"pseudo_error_pattern": 0.002, "params": 9, "torch_bytes": 99}
                rows.append(row | BINS | {"reliability_n_0": 10 + seed} | more)
    return wafers.tidy(pd.DataFrame(rows))


def answer_rows(**more):
    rows = teacher_rows().query("teacher == 'ours' and views == 8")
    rows = rows.drop(columns=["teacher", "model", "params", "torch_bytes"])
    kept = [rows.assign(answers="ensemble", members=2, simulated=0, test_exact=0.99)]
    kept += [kept[0].assign(answers="more", simulated=100)]
    kept += [kept[0].assign(answers=name, members=1) for name in ("published", "moved")]
    kept[0]["val_exact"] = 0.992
    return pd.concat(kept, ignore_index=True).assign(**more)


def student(group, net, exact, *, model=None, torch_bytes=9000, seeds=3, **more):
    """Rows of one group: test exact match per seed as given, or exact + seed / 1000."""
    rows = []
    for seed in range(seeds):
        value = exact[seed] if isinstance(exact, list) else exact + seed / 1000
        row = {**SITE, "group": group, "net": net, "model": model or net, "seed": seed}
        row |= {"labels": 0.0, "alpha": 0.5, "beta": 0.5, "T": 0.0, "real": None}
        row |= {"test_exact": value, "int8_exact": value - 0.001, "val_exact": value}
        row |= {"val_fidelity": value, "int8_fidelity": value - 0.001}
        row |= {"int8_views": value + 0.002}
        row |= {"test_fidelity": value, "teacher_exact": 0.99, "macro_f1": value}
        row |= {"params": torch_bytes // 4, "torch_bytes": torch_bytes}
        row |= {"int8_bytes": torch_bytes // 4, "copied": None}
        row |= {"error_teacher_right": 0.01, "error_teacher_wrong": 0.5}
        row |= {"entropy_0": 0.1, "teacher_error_0": 0.0}
        row |= {"entropy_1": 0.5, "teacher_error_1": 0.1 + seed / 100}
        row |= {"student_error_0": 0.01, "student_error_1": 0.2}
        shares = {"precision": [0.9, None, 0.7], "recall": [0.9, 0.0, 0.6]}
        shares["f1"] = [0.9, None, 0.8 + seed / 10]
        for name, values in shares.items():
            row |= {f"{name}_{p}": v for p, v in zip(PATTERNS, values, strict=True)}
        rows.append(row | more)
    return pd.DataFrame(rows)


def student_rows(**more):
    parts = [
        student("published", "student1", 0.93, torch_bytes=248_000),
        student("published", "student2", [0.76, 0.78, 0.77], torch_bytes=21_000),
        student("published-labels", "student1", 0.95, torch_bytes=248_000),
        student("published-labels", "student2", [0.79, 0.80, 0.81], torch_bytes=21_000),
        student("ours", "compact", 0.98, model=LARGE, torch_bytes=80_000, T=1.0),
        student("ours", "compact", 0.92, model=SMALL, torch_bytes=8_000, T=1.0),
    ]
    surface = {(0.0, 0.5): 0.75, (0.5, 0.5): 0.82, (1.0, 0.5): 0.80}
    parts += [
        student("surface", "student2", exact, alpha=a, beta=b, torch_bytes=21_000)
        for (a, b), exact in surface.items()
    ]
    rows = pd.concat(parts, ignore_index=True)
    return wafers.tidy(rows.assign(**more))


# Tables


def test_tidy_rows_can_be_written_and_say_the_same_when_read():
    rows = student_rows()
    assert set(rows["source"]) == {"mixedwm38"} and "file" in rows
    tables.write(rows.assign(run="a"), "rows")
    read = tables.read("rows")
    for table in (wafers.students, wafers.by_entropy):
        pd.testing.assert_frame_equal(table(read), table(rows), check_dtype=False)


def test_ensembles_that_share_members_have_the_jackknifes_interval():
    rows = pd.DataFrame({"source": "a", "site": "b", "rho": 0.0, "seed": range(5)})
    rows = wafers.tidy(rows.assign(members=[4, 4, 4, 4, 1]))
    exact = np.array([0.1, 0.4, 0.2, 0.6, 0.3])
    jackknife = np.sqrt(4 / 5 * np.sum((exact - exact.mean()) ** 2))
    found = stats.paired(exact, rows["rho"].iloc[0])
    assert found.high - found.mean == pytest.approx(2.7764451 * jackknife)
    assert rows["rho"].iloc[4] == 0 and (rows["source"] == "b").all()


def test_data_counts_copies_of_files_alone():
    counts = {"kind": "real", "n_train": 6, "n_val": 3, "n_test": 3}
    found = {"symmetric_across": 4, "within": 6, "dropped": 3}
    rows = [{"site": "a", **counts, **found, "count": n} for n in (2, 1)]
    rows += [{"site": "b", **counts, "count": n} for n in (1, 2)]
    table = wafers.data(pd.DataFrame(rows)).set_index("source")
    assert table.loc["a", ["symmetric_across", "within", "dropped"]].tolist() == [
        4,
        6,
        3,
    ]
    assert table.loc["b", ["symmetric_across", "within"]].isna().all()
    assert table["commonest"].tolist() == pytest.approx([2 / 3, 2 / 3])


def test_teachers_have_a_line_for_each_way_of_asking_and_for_those_together():
    table = wafers.teachers(teacher_rows(), answer_rows())
    table = table.set_index(["teacher", "views", "members"])
    line = table.loc["published", 1, 1]
    expected = stats.scored([0.985, 0.986, 0.987])
    assert line[["exact", "exact_low", "n"]].tolist() == pytest.approx(
        [expected.mean, expected.low, 3]
    )
    assert line["published_exact"] == 0.98
    assert table["published_exact"].notna().sum() == 1
    assert table.loc["ensemble", 8, 2]["exact"] == pytest.approx(0.99)
    assert table.loc["ensemble", 8, 2]["asked"] == "ensemble of 2, 8 ×"
    assert "moved, 8 ×" in set(table["asked"]) and table["asked"].is_unique
    assert len(table) == 6, "neither the simulated maps' answers nor a lone teacher's"


@pytest.mark.parametrize("other", [{"kind": "generated"}, {"site": "wm811k"}])
def test_published_values_stand_beside_the_real_maps_alone(other):
    assert wafers.students(student_rows())["published_exact"].notna().sum() == 2
    table = wafers.students(student_rows(**other))
    assert table[["published_exact", "published_bytes"]].isna().all(axis=None)
    rows = wafers.teachers(teacher_rows(**other), answer_rows(**other))
    assert rows["published_exact"].isna().all()
    more = wafers.scored(teacher_rows(**other), answer_rows(), student_rows())
    assert "mixedwm38/teacher/as-published" not in set(pd.concat(more)["system"])


def test_gains_are_paired_by_net_and_seed():
    table = wafers.against(student_rows(), {"published-labels": ["published", "ours"]})
    assert table["model"].tolist() == ["student1", "student2"], "ours has no pair"
    line = table.iloc[1]
    expected = stats.paired([-0.03, -0.02, -0.04])
    assert line[["gain", "gain_low", "gain_high", "p"]].tolist() == pytest.approx(
        [expected.mean, expected.low, expected.high, expected.p]
    )
    assert line["value"] == pytest.approx(0.77) and line["over"] == "published-labels"


def test_fidelity_chooses_alpha_and_beta_not_the_test_maps():
    rows = student_rows()
    best = rows["group"].eq("surface") & rows["alpha"].eq(1.0)
    rows.loc[best, "val_fidelity"] = 0.99
    table = wafers.surface(rows, "published-labels")[0].set_index("alpha")
    assert table["chosen"].tolist() == [0, 0, 3]
    assert table["exact"].idxmax() == 0.5
    assert table.loc[0.5, "gain"] == pytest.approx(0.821 - 0.80)
    rows["val_fidelity"] = 1.0
    cells, net = wafers.surface(rows, "published-labels")
    assert cells["chosen"].tolist() == [3, 0, 0], "the first of equals"
    assert net["gain"].tolist() == cells["gain"].tolist()[:1]


def test_within_the_bytes_fidelity_chooses_by_each_way_of_counting():
    rows = student_rows()
    large = rows["model"] == "8-16 x1"
    rows.loc[large, "int8_bytes"] = 21_505  # one byte too many
    table = wafers.students(rows)
    limits = {net: wafers.PUBLISHED[net][1] for net in ("student1", "student2")}
    found = wafers.within(table, limits).set_index(["limit_bytes", "counted"])
    ours = found[found["group"] == "ours"]["model"]
    assert ours[253_952].tolist() == ["8-16 x1", "8-16 x1"]
    assert ours[21_504].tolist() == ["4-8", "4-8"]
    line = found[found["group"] == "ours"].loc[21_504, "int8 file"]
    assert (line["file_bytes"], line["exact"]) == (2000, pytest.approx(0.92))


def test_a_student_answers_the_claim_of_its_own_size():
    table = pd.DataFrame({"int8_bytes": [2000, 20_000, 60_000, 300_000]})
    limits = {"student1": 253_952, "student2": 21_504}
    for limit, expected in ((253_952, [60_000]), (21_504, [2000, 20_000])):
        found = wafers.fitting(table, "int8_bytes", limit, limits)
        assert found["int8_bytes"].tolist() == expected
    only = wafers.fitting(table[:2], "int8_bytes", 253_952, limits)
    assert len(only) == 2, "there is none of that size"


def test_patterns_are_means_over_the_seeds_that_have_them():
    rows = student_rows().query("model == '8-16 x1'")
    table = wafers.patterns(rows, PATTERNS).set_index("pattern")
    assert np.isnan(table.loc["Donut", "f1"]) and table.loc["Donut", "recall"] == 0
    assert table.loc["Loc", "f1"] == pytest.approx(0.9)
    assert table.loc["Loc", "f1_sd"] == pytest.approx(0.1)


def test_reliability_weighs_seeds_by_their_answers():
    rows = teacher_rows()
    rows.loc[rows["seed"] == 2, "reliability_share_0"] = 0.5
    table = wafers.reliability(rows).set_index(["teacher", "views", "bin"])
    assert table.loc["ours", 1, 0]["answers"] == 10 + 11 + 12
    share = (0.2 * 10 + 0.2 * 11 + 0.5 * 12) / 33
    assert table.loc["ours", 1, 0]["share"] == pytest.approx(share)
    assert set(table.index.get_level_values("bin")) == {0, 2}


def test_entropy_has_a_line_for_each_fifth():
    table = wafers.by_entropy(student_rows().query("group == 'ours'"))
    line = table.query("model == '4-8' and bin == 1").iloc[0]
    assert line[["entropy", "teacher", "student"]].tolist() == pytest.approx(
        [0.5, 0.11, 0.2]
    )
    assert line["teacher_low"] < 0.11 < line["teacher_high"] and line["n"] == 3


# Scoreboard

CLAIMED = """system,metric,claimed
mixedwm38/teacher,accuracy,0.98
mixedwm38/student-60k,accuracy,0.9333
mixedwm38/student-60k,bytes,253952
mixedwm38/student-4k,accuracy,0.7711
mixedwm38/student-4k,bytes,21504
"""


def board(*rows):
    claimed = pd.read_csv(io.StringIO(CLAIMED))
    more = wafers.scored(*rows)
    frame = tables.scoreboard(claimed, None, None, more)
    return frame.set_index(["system", "metric"])


def test_scoreboard_answers_with_the_file_and_as_published():
    frame = board(teacher_rows(), answer_rows(), student_rows())
    small = "mixedwm38/student-4k"
    ours, published = (frame.loc[small + e, "accuracy"] for e in ("", "/as-published"))
    assert (ours["verdict"], published["verdict"]) == ("beaten", "beaten")
    assert ours["measured"] == pytest.approx(0.98), "80,000 bytes are 20,000 as a file"
    assert frame.loc[small, "bytes"]["measured"] == 20_000
    assert published["measured"] == pytest.approx(0.821), "fidelity chose the cell"
    assert "alpha 0.5 beta 0.5, the best of 4" in published["basis"]
    assert frame.loc[f"{small}/as-published", "bytes"]["measured"] == 21_000
    teacher = frame.loc["mixedwm38/teacher", "accuracy"]
    assert "'published', asked 8 x" in teacher["basis"], "the best on validation maps"
    plain = frame.loc["mixedwm38/teacher/as-published", "accuracy"]
    assert plain["measured"] == pytest.approx(0.986)


def test_nothing_is_scored_where_nothing_is_real():
    assert not wafers.scored(None, None, None)
    other = {"kind": "simulated"}
    rows = (teacher_rows(**other), answer_rows(**other), student_rows(**other))
    assert not wafers.scored(*rows)
    assert set(board(*rows)["verdict"]) == {"not-run"}


# Figures


def drawn() -> dict:
    rows, lines = student_rows(), wafers.teachers(teacher_rows(), answer_rows())
    students = wafers.students(rows.assign(epochs=18))
    X = np.random.default_rng(0).integers(0, 3, (6, 52, 52), np.uint8)
    y = np.array([[0, 0, 0], *np.eye(3, dtype=int), [1, 0, 1], [1, 1, 1]])
    by_entropy = wafers.by_entropy(rows).query("model == '4-8'")
    claim = "published_exact"
    gains = wafers.against(rows, {"published-labels": ["published"]})
    return {
        "maps": figures.maps({"a": (X, y), "b": (X[:4], y[:4])}, PATTERNS),
        "surface": figures.heatmap(
            *wafers.surface(rows, "published-labels"), style.EXACT, "beta"
        ),
        "teachers": figures.dots(lines, "teacher", "exact", "said", "%", claim),
        "gains": figures.dots(gains, "model", "gain", "said", "points"),
        "capacity": figures.capacity(students),
        "trust": figures.diagram(
            wafers.reliability(teacher_rows()), lines, by_entropy, "4-8"
        ),
    }


@pytest.fixture(scope="module")
def made():
    return drawn()


def test_figures_repeat_their_bytes(made):
    first, again = (
        {name: style.render(figure, "svg") for name, figure in one.items()}
        for one in (made, drawn())
    )
    assert first == again and len(set(first.values())) == 6


def test_titles_say_what_is_seen(made):
    says = {name: repr(figure) for name, figure in made.items()}
    assert "6 sets of patterns: normal, one alone, up to 3 at once" in says["maps"]
    assert "undecided on MixedWM38 α weighs the teacher" in says["surface"]
    assert "above 90 %: 2,000 bytes, above 95 %: 20,000 bytes" in says["capacity"]


def test_capacity_names_the_epochs_and_joins_no_points():
    table = wafers.students(student_rows().assign(epochs=18))
    table["epochs"] = table["epochs"].mask(table["model"] == SMALL, 40)
    table["int8"] = table["int8"].mask(table["model"] == SMALL, 0.44)
    ax = figures.capacity(table).axes[0]
    assert {"18", "40 (44 %)"} <= {text.get_text() for text in ax.texts}
    marked = [line for line in ax.lines if line.get_marker() != "None"]
    assert marked and {line.get_linestyle() for line in marked} == {"None"}


def test_the_choices_are_counted_and_chance_is_hatched():
    rows = student_rows()
    flat = rows["group"].eq("surface") & rows["alpha"].eq(1.0)
    rows.loc[flat, "test_exact"] = [0.70, 0.80, 0.90]
    found = wafers.surface(rows, "published-labels")
    ax = figures.heatmap(*found, style.EXACT, "beta").axes[0]
    hatched = [p.get_xy() for p in ax.patches if p.get_hatch()]
    assert hatched == [(0, 0), (0, 1)]  # α = 1 is on top
    assert [t.get_text().endswith("3/3") for t in ax.texts] == [False, True, False]


def test_a_set_of_patterns_that_a_site_lacks_stays_empty(made):
    rows = made["maps"].axes
    shown = [bool(ax.images) for ax in rows]
    assert shown == [True] * 6 + [True] * 4 + [False] * 2


@pytest.mark.parametrize("kind, marks", [("real", 1), ("simulated", 0)])
def test_published_marks_are_drawn_beside_the_real_maps_alone(kind, marks):
    lines = wafers.teachers(teacher_rows(kind=kind), answer_rows(kind=kind))
    claim = "published_exact"
    figure = figures.dots(lines, "teacher", "exact", "said", "%", claim)
    diamonds = [line for line in figure.axes[0].lines if line.get_marker() == "D"]
    assert len(diamonds) == marks
    told = " ".join(text.get_text() for text in figure.texts)
    assert ("as published" in told) == bool(marks)

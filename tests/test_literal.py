"""The published recipe to the letter: each mended step changes what it says."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from kdutils.recipes import literal
from kdutils.views import tables

TINY = {"train_lots": 12, "val_lots": 6, "test_lots": 6, "devices": 60}
CONFIG = {"source": "tester", "options": TINY, "seed": 0, "features": 28}
CONFIG |= {"teacher_features": 500, "passes": 4, "parts": 2}


def students(monkeypatch, sure: float) -> dict[str, dict]:
    """A row per student, by its name; teachers know the verdicts as surely as said."""
    seen = {}

    def taught(config, fold, device):
        seen["gaps"] = fold.gaps
        y = fold.y["train"]
        z = np.tile(sure * (2 * y - 1), (3, 1))
        return {"insample": z, "oof": z[:, ::-1], "auc": np.array(0.5)}

    monkeypatch.setattr(literal, "taught", taught)
    run = SimpleNamespace(step=lambda name, compute: compute(), device="cpu")
    rows = literal.compute(CONFIG, run)["rows"]
    assert np.abs(seen["gaps"]["train"].mean(0)).max() < 1e-3
    return {row["student"]: row for row in rows}


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        return students(patch, 3.0)


def test_to_the_letter_no_target_is_above_a_half(found):
    assert list(found) == list(literal.STUDENTS)
    for name, row in found.items():
        mended = "targets" in literal.STUDENTS[name]
        assert (row["highest_target"] > 0.5) == mended
    assert found["literal"]["highest_target"] == pytest.approx(0.4970, abs=1e-4)
    assert found["both: distillation"]["highest_target"] == pytest.approx(0.6792, 1e-3)


def test_each_mended_step_makes_another_student_and_labels_need_no_teacher(
    found, monkeypatch
):
    scores = {(row["val_auc"], row["test_auc"]) for row in found.values()}
    assert len(scores) >= 8  # patience alone need not change where the best epoch is
    other = students(monkeypatch, 0.1)
    for name, row in found.items():
        same = row["test_auc"] == other[name]["test_auc"]
        assert same == ("labels" in literal.STUDENTS[name])


def test_the_table_pairs_each_student_with_the_recipe_of_its_seed(found):
    rows = pd.DataFrame(found.values()).assign(source="tester", seed=0)
    later = rows.assign(seed=1, test_auc=rows["test_auc"] - 0.1)
    table = tables.literal(pd.concat([rows, later])).set_index("student")
    gain = rows.set_index("student")["test_auc"] - found["literal"]["test_auc"]
    assert np.allclose(table["gain"], gain.reindex(table.index))
    told = found["literal"]["val_auc"] - found["literal"]["test_auc"] + 0.05
    assert table.loc["literal", "told"] == pytest.approx(told)
    assert tables.literal(pd.DataFrame()).empty


def test_a_plan_has_a_config_per_seed_of_the_sources_asked_for():
    rows = pd.DataFrame([CONFIG | {"run": f"r{seed}", "seed": seed} for seed in (0, 1)])
    rows = pd.concat([rows, rows, rows.assign(source="secom", run="s")])
    plan = literal.plan(rows, ["tester"], passes=4, parts=2)
    assert plan == [CONFIG, CONFIG | {"seed": 1}]
    assert literal.plan(rows, [], passes=4, parts=2) == []

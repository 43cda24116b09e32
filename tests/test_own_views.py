"""What the page of a table of one's own shows of the recipe's rows."""

import numpy as np
import pandas as pd
import pytest

from kdutils.views import own_table as own

CELL = {"method": "kd", "alpha": 0.5, "steps": 500, "round": 0}


def rows() -> pd.DataFrame:
    found = [
        {"part": "cost", "fold": k, "cost": c, "n_test": 10, "fails": 4}
        | {"escapes": 3 - k if c == 1 else 0, "overkill": c}
        for k in (0, 1)
        for c in (1, 5)
    ]
    found += [
        {"part": "reading", "fold": k, "reading": name, "drop": drop + 0.01 * k}
        for k in (0, 1)
        for name, drop in (("weak", 0.0), ("strong", 0.2))
    ]
    found += [
        {"part": "race", **CELL, "T": t, "val_auc": 0.7 + t / 100} for t in (1, 2)
    ]
    found.append(found[-1] | {"round": 1, "steps": 4000, "val_auc": 0.9})
    found.append(
        CELL | {"part": "race", "method": "label-only", "T": 1, "val_auc": 0.6}
    )
    found += [{"part": "size", "units": 8, "bytes": 1500, "val_auc": 0.8}]
    found.append({"part": "file", "file_bytes": 1500, "teacher_val_auc": 0.9})
    return pd.DataFrame(found)


def test_costs_are_of_all_splits_together():
    found = own.costs(rows()).set_index("cost")
    assert found.loc[1, ["escapes", "overkill", "fails", "passes"]].tolist() == [
        *(5, 2, 8, 12)
    ]
    assert found.loc[5, "threshold"] == -np.log(5) and found.loc[1, "threshold"] == 0


def test_the_reading_that_counts_most_is_first():
    found = own.readings(rows())
    assert found["reading"].tolist() == ["strong", "weak"]
    assert found.loc[0, ["drop_low", "drop_high"]].tolist() == pytest.approx(
        [0.2, 0.21]
    )


def test_a_cell_is_shown_as_it_came_out_of_its_last_round():
    found = own.choices(rows())
    assert len(found) == 3
    assert found.loc[0, ["T", "steps", "val_auc"]].tolist() == [2, 4000, 0.9]


def test_the_figure_names_the_steps_and_the_file():
    left, middle, right = own.figure(rows()).axes
    title = left.get_title(loc="left") + left.get_title()
    assert "500 steps" in title and "0.600" in title
    assert [text.get_text() for text in middle.texts] == ["8"]
    assert [tick.get_text() for tick in right.get_yticklabels()] == ["strong", "weak"]

"""own_table: which file a table of one's own ships, its threshold, its readings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from kdutils.views import style


def part(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of a part of `recipes.own_table`, with the columns that it has."""
    return rows[rows["part"] == name].dropna(axis=1, how="all").reset_index(drop=True)


def file(rows: pd.DataFrame) -> dict:
    """The row of the file that ships."""
    return part(rows, "file").convert_dtypes().iloc[0].to_dict()


def rule(escape_cost: float) -> str:
    """How the threshold was chosen, in a sentence."""
    if not escape_cost:
        return "With it as large a share of rows fails as really failed."
    return f"It is that of calibrated logits where an escape costs {escape_cost:g}."


def costs(rows: pd.DataFrame) -> pd.DataFrame:
    """Escapes and overkill of all test rows, by the cost of an escape in overkills."""
    keys = ["n_test", "fails", "escapes", "overkill"]
    found = part(rows, "cost").astype({"cost": int})
    found = found.groupby("cost", as_index=False)[keys].sum()
    found["threshold"] = 0.0 - np.log(found["cost"])
    found["passes"] = found["n_test"] - found["fails"]
    return found


def readings(rows: pd.DataFrame) -> pd.DataFrame:
    """What AUC loses where a reading is shuffled among test rows, the largest first.

    Permutation importance (Breiman 2001) of the file: mean, least and most of the
    splits.
    """
    found = part(rows, "reading").groupby("reading")["drop"].agg(["mean", "min", "max"])
    found.columns = ["drop", "drop_low", "drop_high"]
    return found.sort_values("drop", ascending=False).reset_index()


def choices(rows: pd.DataFrame) -> pd.DataFrame:
    """Cells of the race with the validation AUC of the last round that each reached."""
    found = part(rows, "race").astype({"steps": int})
    found = found.sort_values("round", kind="stable")
    found = found.groupby(["method", "alpha", "T"], sort=False).tail(1)
    return found.sort_values("val_auc", ascending=False).reset_index(drop=True)


def figure(rows: pd.DataFrame) -> Figure:
    """The first round over α and T, files by size, and the readings that count."""
    wide = {"width_ratios": [1.5, 1, 1]}
    figure, axes = style.page(1, 3, 3.4, "What was tried, and what counts", **wide)
    left, middle, right = axes[0]
    race = part(rows, "race")
    first = race[(race["round"] == 0) & (race["method"] == "kd")]
    first = first.astype({"T": int})
    cells = first.pivot(index="alpha", columns="T", values="val_auc")
    look = {"annot_kws": {"fontsize": 5}, "cmap": "viridis", "cbar": False, "ax": left}
    seaborn.heatmap(cells.sort_index(ascending=False), annot=True, fmt=".3f", **look)
    alone = race[(race["round"] == 0) & (race["method"] == "label-only")]["val_auc"]
    steps = f"Validation AUC, {first['steps'].iloc[0]:.0f} steps"
    left.set_title(f"{steps}\nlabels alone: {alone.iloc[0]:.3f}")
    left.set(ylabel="α, the teacher's weight")
    sizes = part(rows, "size")
    middle.plot(sizes["bytes"], sizes["val_auc"], "o-", color=style.BLUE)
    for size in sizes.itertuples():
        at = (size.bytes, size.val_auc)
        middle.annotate(f"{size.units:.0f}", at, (2, 4), textcoords="offset points")
    middle.axhline(file(rows)["teacher_val_auc"], color="0.5", ls=":")
    middle.set_title("Files, and their units\ndotted: the teacher")
    middle.set(xlabel="bytes", ylabel="validation AUC")
    most = readings(rows).head(10)
    style.dots(right, most, "drop", range(len(most)))
    style.names(right, most["reading"].tolist())
    right.axvline(0, color="0.5", lw=0.8)
    right.set_title("Readings")
    right.set(xlabel="AUC lost where shuffled\n(least to most of the splits)")
    return figure

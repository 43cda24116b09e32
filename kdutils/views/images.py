"""images: rows of the image recipes in, tidy tables out.

A quantity q stands in columns q, q_sd, q_low, q_high over n seeds, as in `tables`.
Where every seed has the same official test images (rho 0) the interval is about another
training of the same kind, and McNemar's test about other images. Where each seed draws
its own (rho > 0) the interval is widened for the rows that the seeds share.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from kdutils.views.spread import SETTING, groups, holm, means, ordered, spread

OFFICIAL = 10_000  # MNIST's test images: only there may an error count meet a claim
PUBLISHED = {  # Hinton et al. 2015 (arXiv 1503.02531), section 3: test errors of 10,000
    "teacher": {"published_errors": 67},
    "student": {"published_errors": 146},
    "student-kd": {"published_errors": 74},
    "omit-3": {
        "published_errors": 206,
        "published_omitted": 133,
        "published_best": 109,
        "published_best_omitted": 14,
    },
    "only-7-8": {"published_errors": 4730, "published_best": 1320},
}
OMITTED = ("errors_omitted", "corrected_errors", "corrected_omitted")
OMITTED += ("best_errors", "best_omitted")
FIDELITY = ("agreement", "ece", "nll", "kl", "brier")
CELL = ["alpha", "T", "knob"]


def teachers(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and training rows ('all' or 'train'): errors, size."""
    lines = []
    for key, group in groups(plain(rows), [*SETTING, "rows"]):
        line = {**key, **each(group, "errors"), **each(group, "acc", "test_acc")}
        same = ("n_train", "n_test", "val_acc", "nll", "ece", "brier", "params")
        lines.append(line | means(group, (*same, "file_bytes", "epochs")))
    return ordered(lines, "rows")


def sweep(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source, student, method and cell: gain over label-only, per seed.

    p_holm adjusts for all cells of one source and student, whatever their method.
    """
    lines = []
    for key, group in groups(plain(rows), [*SETTING, "student", "method", *CELL]):
        lines.append({**key, **_quality(group), **means(group, ("gain_val",))})
    frame = ordered(lines, "student", "method", *CELL)
    return holm(frame, [*SETTING, "student"])


def chosen(rows: pd.DataFrame) -> pd.DataFrame:
    """Per source, student and method: what test says of cells chosen on validation.

    Every seed takes its own cell of the best validation accuracy, the first of equals.
    alpha, T and knob are the most frequent choice, `chosen_in` its share of the seeds;
    only_mine and only_base are McNemar's counts against label-only, summed over seeds,
    mcnemar_seeds the number of seeds whose exact test says p < .05. p_holm adjusts for
    the methods of one source and student.
    """
    lines = []
    for key, group in groups(_picked(rows), [*SETTING, "student", "method"]):
        cells = group[CELL].astype(float).value_counts(dropna=False)
        line = {**key, **dict(zip(CELL, cells.index[0], strict=True))}
        line |= {"chosen_in": cells.iloc[0] / len(group), **_quality(group)}
        lines.append(line | mcnemar(group))
    return holm(ordered(lines, "student", "method"), [*SETTING, "student"])


def versus(rows: pd.DataFrame, base: str = "kd") -> pd.DataFrame:
    """Gain of each method's chosen cells over those of `base`, paired by seed.

    One line per source, student and other method; p_holm adjusts for the methods of one
    source and student.
    """
    picked, where = _picked(rows), [*SETTING, "student", "seed"]
    theirs = picked[picked["method"] == base].set_index(where)["test_acc"]
    mine = picked[picked["method"] != base].set_index(where)
    mine = mine.assign(gain=mine["test_acc"] - theirs.reindex(mine.index)).reset_index()
    lines = [
        {**key, "over": base, **each(group, "gain", p="p")}
        for key, group in groups(mine, [*SETTING, "student", "method"])
    ]
    return holm(ordered(lines, "student", "method"), [*SETTING, "student"])


def hinton(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and system: test errors, beside those of Hinton et al. 2015.

    fewer is the paired number of errors less than the system's `base` at the same seed.
    *_omitted count errors on the digits that the student never saw: as it is, with the
    bias chosen without a test image (corrected_), with the best one on the test images
    (best_, as published). Published counts stand beside real MNIST alone, per_seed
    lists the errors of each seed.
    """
    lines, rows = [], plain(rows)
    errors = rows.set_index([*SETTING, "system", "seed"])["errors"]
    errors = errors.sort_index()
    for key, group in groups(rows, [*SETTING, "system"]):
        line = {**key, **each(group, "errors"), **means(group, ("n_test",))}
        line["per_seed"] = group.sort_values("seed")["errors"].tolist()
        line["base"] = base = group["base"].iloc[0]
        if isinstance(base, str):
            theirs = errors[key["source"], key["kind"], base]
            fewer = group["seed"].map(theirs) - group["errors"]
            line |= each(group.assign(fewer=fewer), "fewer", p="p") | mcnemar(group)
        line["published_errors"] = np.nan
        line |= PUBLISHED.get(key["system"], {}) if official(group) else {}
        line |= means(group, FIDELITY)
        if "omitted" in group and group["omitted"].notna().all():
            line["omitted"] = group["omitted"].iloc[0]
            line |= means(group, ("n_omitted", "corrected_bias", "best_bias"))
            for name in OMITTED:
                line |= each(group, name)
        lines.append(line)
    return ordered(lines, "system")


def few_labels(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source, arm and number of labels; the gain is over label-only.

    It is paired: same seed, same labelled rows. p_holm adjusts for all of one source.
    """
    lines = []
    for key, group in groups(plain(rows), [*SETTING, "arm", "labels"]):
        line = {**key, **each(group, "acc", "test_acc")}
        line |= each(group, "gain", p="p") | means(group, ("errors", "n_test"))
        lines.append(line)
    return holm(ordered(lines, "arm", "labels"), SETTING)


def overlap(first: int, second: int, n: int) -> tuple[bool, str]:
    """Whether the 95 % intervals of two error counts of n overlap, and a sentence.

    Each count by itself: what a reader knows who has not the images behind them.
    """
    a, b = binomial(first, n), binomial(second, n)
    sentence = (
        f"{first} errors of {n:,}: [{a[0]:.0f}, {a[1]:.0f}]; "
        f"{second}: [{b[0]:.0f}, {b[1]:.0f}]"
    )
    return bool(a[0] <= b[1] and b[0] <= a[1]), sentence


def binomial(count: int, n: int) -> tuple[float, float]:
    """The exact 95 % interval of a count of n, as counts: Clopper & Pearson 1934."""
    interval = binomtest(count, n).proportion_ci(0.95, "exact")
    return n * interval.low, n * interval.high


def each(
    rows: pd.DataFrame, name: str, column: str | None = None, p: str | None = None
) -> dict:
    """`spread` of a column with one value per seed."""
    values = pd.to_numeric(rows[column or name])
    return spread(rows.assign(each=[[v] for v in values]), name, "each", "each", p=p)


def mcnemar(rows: pd.DataFrame) -> dict:
    """Images that only mine, or only its base, gets right; seeds with p < .05."""
    counts = ("only_mine", "only_base")
    line = {name: pd.to_numeric(rows[name]).sum() for name in counts}
    clear = pd.to_numeric(rows["mcnemar_p"]) < 0.05
    return line | {"mcnemar_seeds": int(clear.sum())}


def official(group: pd.DataFrame) -> bool:
    """Whether these rows are of real MNIST and its whole test set."""
    first = group.iloc[0]
    return (first["source"], first["kind"]) == ("mnist", "real") and (
        group["n_test"] == OFFICIAL
    ).all()


def plain(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with an index of their own, and a rho, 0 where they name none."""
    rows = rows.reset_index(drop=True)
    return rows if "rho" in rows else rows.assign(rho=0.0)


def _picked(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the cells that each seed chooses, one per method."""
    rows = plain(rows)
    keys = [*SETTING, "student", "method", "seed"]
    return rows.loc[rows.groupby(keys, sort=False)["val_acc"].idxmax()]


def _quality(group: pd.DataFrame) -> dict:
    line = {**means(group, ("val_acc",)), **each(group, "acc", "test_acc")}
    line |= means(group, ("errors", "n_test")) | each(group, "gain", p="p")
    line |= {k: v for q in FIDELITY[:3] for k, v in each(group, q).items()}
    return line | means(group, FIDELITY[3:])

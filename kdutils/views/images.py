"""images: rows of the image recipes in, tidy tables out (`summary` says how).

Where every seed has the same official test images (rho 0) an interval is about another
training of the same kind, and McNemar's test about other images. Where each seed draws
its own (rho > 0) the interval is widened for the rows that the seeds share.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from kdutils import stats
from kdutils.views.names import ordered
from kdutils.views.summary import (
    SETTING,
    average,
    delta,
    favourite,
    groups,
    holm,
    picked,
    spread,
    summarise,
    surface,
)

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
BY, CELL = ["student", "method"], ["alpha", "T", "coefficient"]
QUALITY = {"acc": "test_acc", "gain": "gain"}
QUALITY |= {name: name for name in ("agreement", "ece", "nll")}
AREA = {"auc": "test_auc", "auc_gain": "auc_gain"}  # where there are two classes
MEANS = ("val_acc", "errors", "n_test", "kl", "brier")


def teachers(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and training rows ('all' or 'train'): errors, size."""
    same = ("n_train", "n_test", "val_acc", "nll", "ece", "brier", "params")
    quantities = {"errors": "errors", "acc": "test_acc"}
    return summarise(rows, ["rows"], quantities, (*same, "file_bytes", "epochs"))


def sweep(rows: pd.DataFrame) -> pd.DataFrame:
    """Per source, student, method and cell: gain over label-only, per seed.

    p_holm adjusts for all cells of one source and student, whatever their method.
    """
    quality = QUALITY | (AREA if "auc_gain" in rows else {})
    return surface(rows, BY, CELL, "val_acc", quality, (*MEANS, "gain_val"))


def chosen(rows: pd.DataFrame) -> pd.DataFrame:
    """Per source, student and method: what test says of cells chosen on validation.

    Every seed takes its own cell of the best validation accuracy, the first of equals.
    alpha, T and coefficient are the most frequent choice, `chosen_in` its share;
    only_mine and only_base are McNemar's counts against label-only, summed over seeds,
    mcnemar_seeds the number of seeds whose exact test says p < .05. p_holm adjusts for
    the methods of one source and student.
    """

    def cell(group: pd.DataFrame) -> dict:
        return favourite(group, CELL) | mcnemar(group)

    best = picked(rows, BY, "val_acc")
    return holm(summarise(best, BY, QUALITY, MEANS, extra=cell), "student")


def versus(rows: pd.DataFrame) -> pd.DataFrame:
    """Gain of each method's chosen cells over kd's, paired by seed.

    p_holm adjusts for the methods of one source and student.
    """
    best = picked(rows, BY, "val_acc")
    mine, theirs = best[best["method"] != "kd"], best[best["method"] == "kd"]
    mine = mine.assign(gain=delta(mine, theirs, "test_acc", ["student"]))
    frame = summarise(mine, BY, ["gain"], ["val_acc"])
    return holm(frame.assign(over="kd"), "student")


def hinton(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and system: test errors, beside those of Hinton et al. 2015.

    fewer is the paired number of errors less than the system's `base` at the same seed.
    *_omitted count errors on the digits that the student never saw: as it is, with the
    bias chosen without a test image (corrected_), with the best one on the test images
    (best_, as published). Published counts stand beside real MNIST alone.
    """
    base = rows.assign(base=rows["system"])
    rows = rows.assign(fewer=-delta(rows, base, "errors", ["base"]))

    def beside(group: pd.DataFrame) -> dict:
        first = group.iloc[0]
        line = {"base": first["base"], "published_errors": np.nan}
        if isinstance(first["base"], str):
            line |= spread(group, "fewer", p="p") | mcnemar(group)
        line |= PUBLISHED.get(first["system"], {}) if official(group) else {}
        if "omitted" in group and group["omitted"].notna().all():
            line["omitted"] = first["omitted"]
            line |= average(group, ("n_omitted", "corrected_bias", "best_bias"))
            for name in OMITTED:
                line |= spread(group, name)
        return line

    means = ("n_test", "agreement", "ece", "nll", "kl", "brier")
    return summarise(rows, ["system"], ["errors"], means, extra=beside)


def few_labels(rows: pd.DataFrame) -> pd.DataFrame:
    """Per source, arm and number of labels; the gain over label-only is paired.

    Pairs share seed and labelled rows. p_holm adjusts for all of one source.
    """
    quantities, means = {"acc": "test_acc", "gain": "gain"}, ("errors", "n_test")
    return holm(summarise(rows, ["arm", "labels"], quantities, means))


def ladder(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source, image or wafer student and step, in the order of the steps.

    kept is the quality that the column `quality` names, on test rows; drop is its delta
    from the float32 student of the same seed, over_control that from the student tuned
    for as many epochs and not changed. p and p_holm are of the drop; the latter adjusts
    for the steps of one source and student. cells: what the seeds' students were
    distilled with, the commonest first.
    """

    def beside(group: pd.DataFrame) -> dict:
        cells = "; ".join(group["cell"].value_counts().index)
        return {"control": group["control"].iloc[0], "cells": cells}

    by = ["model", "quality", "step", "family", "way", "sparsity", "bits"]
    quantities = {"kept": "test", "drop": "drop", "over_control": "over_control"}
    means = ("val", "drop_val", "weight_bytes", "params", "nonzero", "steps", "order")
    how = {"p": {"drop": "p"}, "extra": beside, "sort": ["model", "order"]}
    return holm(summarise(rows, by, quantities, means, **how), "model")


def overlap(first: int, second: int, n: int) -> tuple[bool, str]:
    """Whether the 95 % intervals of two error counts of n overlap, and a sentence."""
    a, b = binomial(first, n), binomial(second, n)
    sentence = (
        f"{first} errors of {n:,}: [{a[0]:.0f}, {a[1]:.0f}]; "
        f"{second}: [{b[0]:.0f}, {b[1]:.0f}]"
    )
    return bool(a[0] <= b[1] and b[0] <= a[1]), sentence


def binomial(count: int, n: int) -> tuple[float, float]:
    """The exact 95 % interval of a count of n, as counts."""
    _, low, high = stats.share(count, n)
    return n * low, n * high


def mcnemar(rows: pd.DataFrame) -> dict:
    """Images that only mine, or only its base, gets right; seeds with p < .05."""
    counts = ("only_mine", "only_base")
    line = {name: pd.to_numeric(rows[name]).sum() for name in counts}
    clear = pd.to_numeric(rows["mcnemar_p"]) < 0.05
    return line | {"mcnemar_seeds": int(clear.sum())}


def official(group: pd.DataFrame) -> bool:
    """Whether these rows are of real MNIST and its whole test set."""
    first, whole = group.iloc[0], (group["n_test"] == OFFICIAL).all()
    return (first["source"], first["kind"]) == ("mnist", "real") and whole


# --- stage 04: subclasses ------------------------------------------------------------

ACCURACY = {  # Müller, Kornblith & Hinton 2020 (arXiv 2002.03936), MNIST notebook
    "teacher": 0.9935,
    "student-subclass": 0.9901,
    "student-kd": 0.9872,
    "student": 0.9853,
}
# The tester's two classes are far from equal, so its quality is AUC; where classes are
# about equal it is accuracy, as published.
BY_AUC = ("tester",)
FOUND = ("used", "ari", "nmi", "ari_kmeans", "ari_class", "ari_defects", "more")
FOUND += ("over_classes",)


def models(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source, way and model: quality, and its gain over student-kd.

    gain (accuracy) and auc_gain are paired: same way, same seed. only_mine and
    only_base are McNemar's counts against student-kd, summed over seeds. The published
    accuracy, one training each, stands beside real MNIST alone.
    """

    def beside(group: pd.DataFrame) -> dict:
        known = ACCURACY if official(group) else {}
        published = known.get(group["model"].iloc[0], np.nan)
        return mcnemar(group) | {"published_acc": published}

    return summarise(
        rows[rows["part"] == "model"],
        ["way", "model"],
        {"acc": "test_acc", "gain": "gain", **AREA},
        ("errors", "nll", "ece", "agreement", "n_test"),
        p={"gain": "p", "auc_gain": "auc_p"},
        extra=beside,
    )


def discovered(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and way: are the subclasses used, and what do they find?

    used: effective number of subclasses, of `subclasses`; ari, nmi: agreement with the
    hidden groups on test rows, NaN where nobody knows them; ari_kmeans: that of
    k-means on a teacher without subclasses; more: the paired difference of the two;
    ari_class: that of the predicted classes alone, over_classes paired with it;
    ari_defects: among devices that have a defect, where `none` is a group.
    """
    rows = rows[(rows["part"] == "model") & (rows["model"] == "teacher")]
    rows = rows.reindex(columns=list({**dict.fromkeys(rows), **dict.fromkeys(FOUND)}))
    for name, other in {"more": "ari_kmeans", "over_classes": "ari_class"}.items():
        rows[name] = pd.to_numeric(rows["ari"]) - pd.to_numeric(rows[other])
    how = {"extra": lambda group: {"subclasses": int(group["subclasses"].iloc[0])}}
    return summarise(rows, ["way"], FOUND, p={"more": "p"}, **how)


def contingency(rows: pd.DataFrame) -> pd.DataFrame:
    """How the test rows of each hidden group fall into the subclasses, in long form.

    Of each source and way the seed of the median ari; share: of the group's rows.
    Sources whose hidden groups nobody knows are left out.
    """
    counted, lines = rows[rows["part"] == "group"], []
    for key, group in groups(counted, [*SETTING, "way"]):
        seeds = group.drop_duplicates("seed").sort_values("ari")
        middle = group[group["seed"] == seeds["seed"].iloc[(len(seeds) - 1) // 2]]
        cells = middle[["truth", "subclass", "class", "count"]]
        cells = cells.astype({"subclass": int, "class": int, "count": int})
        whole = cells.groupby("truth")["count"].transform("sum").clip(lower=1)
        told = {**key, "seed": middle["seed"].iloc[0], "ari": middle["ari"].iloc[0]}
        lines.append(cells.assign(**told, share=cells["count"] / whole))
    return ordered(pd.concat(lines), [*SETTING, "way"]) if lines else pd.DataFrame()

"""subclass: rows of the subclass recipe in, tidy tables out.

Quantities stand as in `images`. The tester's two classes are far from equal, so its
quality is AUC; where classes are about equal it is accuracy, as published.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import comb

from kdutils.views.images import each, mcnemar, official, plain
from kdutils.views.spread import SETTING, groups, means, numbers, ordered

PUBLISHED = {  # Müller, Kornblith & Hinton 2020 (arXiv 2002.03936), MNIST notebook
    "teacher": 0.9935,
    "student-subclass": 0.9901,
    "student-kd": 0.9872,
    "student": 0.9853,
}
BY_AUC = ("tester",)


def models(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source, way and model: quality, and its gain over student-kd.

    gain (accuracy) and auc_gain are paired: same way, same seed. only_mine and
    only_base are McNemar's counts against student-kd, summed over seeds. The published
    accuracy, one training each, stands beside real MNIST alone.
    """
    lines = []
    for key, group in groups(plain(rows), [*SETTING, "way", "model"]):
        line = {**key, **each(group, "acc", "test_acc"), **means(group, ("errors",))}
        line |= each(group, "gain", p="p") | each(group, "auc", "test_auc")
        line |= each(group, "auc_gain", p="auc_p") | mcnemar(group)
        line |= means(group, ("nll", "ece", "agreement", "n_test"))
        known = PUBLISHED if official(group) else {}
        line["published_acc"] = known.get(key["model"], np.nan)
        lines.append(line)
    return ordered(lines, "way", "model")


def discovered(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and way: are the subclasses used, and what do they find?

    used: effective number of subclasses, of `subclasses`; ari, nmi: agreement with the
    hidden groups on test rows, NaN where nobody knows them; ari_kmeans: that of
    k-means on a teacher without subclasses; more: the paired difference of the two;
    ari_class: that of the predicted classes alone; ari_defects: among devices that have
    a defect, where `none` is a group.
    """
    rows, lines = plain(rows[rows["model"] == "teacher"]), []
    known = [*rows, *({"ari", "nmi", "ari_kmeans"} - set(rows))]
    rows = rows.reindex(columns=known)
    rows["more"] = pd.to_numeric(rows["ari"]) - pd.to_numeric(rows["ari_kmeans"])
    rows[["ari_class", "ari_defects"]] = [_others(row) for _, row in rows.iterrows()]
    for key, group in groups(rows, [*SETTING, "way"]):
        line = {**key, "subclasses": len(numbers(group["subclass_class"].iloc[0]))}
        for name in ("used", "ari", "nmi", "ari_kmeans", "ari_class", "ari_defects"):
            line |= each(group, name)
        lines.append(line | each(group, "more", p="p"))
    return ordered(lines, "way")


def contingency(rows: pd.DataFrame) -> pd.DataFrame:
    """How the test rows of each hidden group fall into the subclasses, in long form.

    Of each source and way the seed of the median ari; share: of the group's rows.
    Sources whose hidden groups nobody knows are left out.
    """
    rows = plain(rows[(rows["model"] == "teacher") & rows["counts"].notna()])
    lines = []
    for key, group in groups(rows, [*SETTING, "way"]):
        middle = group.sort_values("ari").iloc[(len(group) - 1) // 2]
        names, classes = (numbers(middle[c]) for c in ("truth_names", "subclass_class"))
        for name, counts in zip(names, numbers(middle["counts"]), strict=True):
            for number, (count, k) in enumerate(zip(counts, classes, strict=True)):
                line = {**key, "seed": middle["seed"], "ari": middle["ari"]}
                line |= {"truth": name, "subclass": number, "class": int(k)}
                line |= {"count": int(count), "share": count / max(sum(counts), 1)}
                lines.append(line)
    return ordered(lines, "way") if lines else pd.DataFrame(lines)


def rand(counts: np.ndarray) -> float:
    """Adjusted Rand index of two groupings from their table of counts (a, b).

    Hubert & Arabie 1985, eq. 5; NaN where there is nothing to tell apart.
    """
    pairs = [comb(np.asarray(c), 2).sum() for c in (counts, sum(counts), sum(counts.T))]
    expected = pairs[1] * pairs[2] / comb(counts.sum(), 2)
    top = (pairs[1] + pairs[2]) / 2 - expected
    return float((pairs[0] - expected) / top) if top else np.nan


def _others(row: pd.Series) -> tuple[float, float]:
    """ARI of the classes alone, and of the subclasses among devices with a defect."""
    if not isinstance(row["counts"], (list, str)):
        return np.nan, np.nan
    counts, names = np.array(numbers(row["counts"])), numbers(row["truth_names"])
    owner = np.array(numbers(row["subclass_class"]))
    sides = np.stack([counts[:, owner == k].sum(1) for k in np.unique(owner)], axis=1)
    defects = np.array([name != "none" for name in names])
    return rand(sides), np.nan if defects.all() else rand(counts[defects])

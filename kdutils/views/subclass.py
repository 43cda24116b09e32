"""subclass: rows of the subclass recipe in, tidy tables out (`summary` says how).

The tester's two classes are far from equal, so its quality is AUC; where classes are
about equal it is accuracy, as published.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from kdutils.views import names
from kdutils.views.images import mcnemar, official
from kdutils.views.summary import SETTING, groups, summarise

PUBLISHED = {  # Müller, Kornblith & Hinton 2020 (arXiv 2002.03936), MNIST notebook
    "teacher": 0.9935,
    "student-subclass": 0.9901,
    "student-kd": 0.9872,
    "student": 0.9853,
}
BY_AUC = ("tester",)
FOUND = ("used", "ari", "nmi", "ari_kmeans", "ari_class", "ari_defects", "more")


def models(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source, way and model: quality, and its gain over student-kd.

    gain (accuracy) and auc_gain are paired: same way, same seed. only_mine and
    only_base are McNemar's counts against student-kd, summed over seeds. The published
    accuracy, one training each, stands beside real MNIST alone.
    """

    def beside(group: pd.DataFrame) -> dict:
        known = PUBLISHED if official(group) else {}
        published = known.get(group["model"].iloc[0], np.nan)
        return mcnemar(group) | {"published_acc": published}

    return summarise(
        rows[rows["part"] == "model"],
        ["way", "model"],
        {"acc": "test_acc", "gain": "gain", "auc": "test_auc", "auc_gain": "auc_gain"},
        ("errors", "nll", "ece", "agreement", "n_test"),
        p={"gain": "p", "auc_gain": "auc_p"},
        extra=beside,
    )


def discovered(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source and way: are the subclasses used, and what do they find?

    used: effective number of subclasses, of `subclasses`; ari, nmi: agreement with the
    hidden groups on test rows, NaN where nobody knows them; ari_kmeans: that of
    k-means on a teacher without subclasses; more: the paired difference of the two;
    ari_class: that of the predicted classes alone; ari_defects: among devices that have
    a defect, where `none` is a group.
    """
    rows = rows[(rows["part"] == "model") & (rows["model"] == "teacher")]
    rows = rows.reindex(columns=list({**dict.fromkeys(rows), **dict.fromkeys(FOUND)}))
    rows["more"] = pd.to_numeric(rows["ari"]) - pd.to_numeric(rows["ari_kmeans"])

    def size(group: pd.DataFrame) -> dict:
        return {"subclasses": int(group["subclasses"].iloc[0])}

    return summarise(rows, ["way"], FOUND, p={"more": "p"}, extra=size)


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
    frame = pd.concat(lines, ignore_index=True) if lines else pd.DataFrame()
    return names.ordered(frame, [*SETTING, "way"]) if lines else frame

"""names: label, colour, marker, order and decimals of everything a table names."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
BLACK, GREY = "#000000", "#777777"  # all of Okabe & Ito 2008, but the grey


class Name(NamedTuple):
    """How a value of a column is written (as it is, if empty) and drawn."""

    label: str = ""
    color: str = GREY
    marker: str = "o"


def _plain(*names: str) -> dict[str, Name]:
    return dict.fromkeys(names, Name())


NAMES: dict[str, dict[str, Name]] = {  # column -> value -> its name, in order
    "source": {
        "mnist": Name("MNIST"),
        "cifar10": Name("CIFAR-10"),
        "tiny-imagenet": Name("Tiny ImageNet"),
        "sst2": Name("SST-2"),
        "squad": Name("SQuAD"),
        **_plain("digits", "tester"),
        "higgs": Name("HIGGS"),
        "secom": Name("SECOM"),
        "secom-time": Name("SECOM by time"),
        "pneumoniamnist": Name("PneumoniaMNIST"),
        "mhist": Name("MHIST"),
        "mixedwm38": Name("MixedWM38"),
        "wm811k": Name("WM-811K"),
    },
    "student": {
        "mlp": Name("MLP", BLUE),
        "cnn": Name("CNN", ORANGE, "s"),
        "bilstm": Name("BiLSTM"),
        **_plain("transformer"),
    },
    "way": {"published": Name(color=GREY), "ours": Name(color=BLUE, marker="s")},
    "system": _plain(
        *("teacher", "student", "student-kd", "student-jitter", "student-fixed"),
        *("student-consistent", "omit-3", "only-7-8"),
    ),
    "model": {
        "xgboost": Name("XGBoost", BLUE),
        "mlp": Name("MLP", BLUE),
        "tabnet": Name("TabNet", BLUE),
        "ensemble": Name(color=BLUE),
        **_plain("logistic", "constant", "bayes", "teacher", "teacher-plain"),
        **_plain("student-subclass", "student-kd", "student-kd-plain", "student"),
        **_plain("student-truth"),
    },
    "method": {
        "label-only": Name(),
        "label-smoothing": Name(color=ORANGE),
        "kd": Name("KD", BLUE),
        "kd-longer": Name("KD, longer", BLACK),
        "kd-unlabelled": Name("KD + unlabelled"),
        "kd-insample": Name("KD, in-sample targets"),
        "kd-synthetic": Name("KD + synthetic rows"),
        **_plain("logit-mse", "logit-std"),
        "ttm": Name("TTM"),
        "dkd": Name("DKD"),
        "dist": Name("DIST"),
        "takd": Name("TAKD", PINK),
        **_plain("born-again"),
        "fitnet": Name("FitNet"),
        "qat": Name("QAT", GREEN),
    },
    "arm": {
        "label-only": Name(color=GREY),
        "distilled": Name(color=BLUE, marker="s"),
        "distilled+unlabelled": Name(color=GREEN, marker="^"),
        "distilled+synthetic": Name(color=PINK, marker="D"),
        "all-knowing": Name(color=PINK, marker="D"),
        "all-knowing+unlabelled": Name(color=BLACK, marker="v"),
        "teacher": Name(color=ORANGE, marker="*"),
    },
    "family": {
        "published": Name(color=ORANGE),
        "ours": Name(color=BLUE),
        "control": Name(color=GREY),
    },
    "fault": {  # the kinds of edge.reader.Malformed, as an engineer says them
        **_plain("good"),
        "number": Name("not a number"),
        "range": Name("out of range"),
        "header": Name("another header"),
        "cells": Name("too few or many cells"),
        "duplicate": Name("an id twice"),
        "encoding": Name("not text"),
        "short": Name("cut short"),
        "rows": Name("rows refused"),
    },
    "part": {  # of bench.edge's latency, as they follow each other
        "event": Name("event, claim", GREEN),
        "read": Name("read, hash", GREEN),
        "parse": Name(color=GREEN),
        "model": Name(color=GREEN),
        "publish": Name("publish (fsyncs)", GREEN),
        "rest": Name("log, way back", GREEN),
        "whole": Name("close to verdict", BLUE),
        "fsyncs": Name("the disk's fsyncs alone", GREY),
    },
}
LABELS = {  # of a source, student, model or method, whichever column it stands in
    value: name.label
    for column in ("source", "student", "model", "method")
    for value, name in NAMES[column].items()
    if name.label
}
START = "student fp32"  # the ladder's first step: distilled, neither pruned nor int8
LEAD = {  # stage -> the figure that answers its question
    "00_overview": "pareto",
    "01_teachers": "teachers",
    "02_kd_tabular": "methods",
    "03_kd_images": "image-heatmap",
    "04_kd_subclass": "subclass-models",
    "05_wafer_label_free": "wafer-labels",
    "06_prune_quantize": "pareto",
    "07_edge_watcher": "watcher-lots",
    "08_kd_cifar10": "cifar10",
    "09_kd_tiny_imagenet": "tiny-imagenet",
    "10_kd_histology": "histology",
    "11_kd_text": "text",
    "99_results": "pareto",
}
TEACHERS = ("xgboost", "mlp", "tabnet", "ensemble")
# Quantities in [0, 1], as their intervals then are; never a delta.
SCORES = ("auc", "roc_auc", "acc", "accuracy", "agreement", "val_fidelity")
SCORES += ("f1", "packed", "exact", "int8", "views8", "macro_f1", "value")

# Decimals by a column's name, or by the words that it starts with; others have 4.
GIVEN = {"alpha", "T", "coefficient", "smoothing", "noise", "rho"}  # as they are
WHOLE = {"packed_bits", "bytes", "labels", "n", "nonzero", "order", "params"}
WHOLE |= {"tried", "fold"}
WHOLE |= {"only_mine", "only_base", "n_train", "n_test", "n_omitted"}
WHOLE |= {"mcnemar_seeds", "epochs", "subclass", "class", "count"}
WHOLE |= {"minutes", "escapes", "fails", "overkill", "passes"}
WHOLE |= {f"published_{c}" for c in ("errors", "omitted", "best", "best_omitted")}
FINE = ("gain", "drop", "to_teacher", "gap", "kl")  # deltas: one digit more
COUNTED = ("errors", "fewer", "corrected_errors", "corrected_omitted")  # mean counts
COUNTED += ("best_errors", "best_omitted")


def called(value: str) -> str:
    """A model, method, student or source as it is written in a sentence."""
    return LABELS.get(value, value)


def label(column: str, value: str) -> str:
    """A value of a column as it is written."""
    return NAMES[column].get(value, Name()).label or value


def is_score(quantity: str) -> bool:
    """Whether a quantity lies in [0, 1], as its interval then does."""
    return quantity in SCORES


def decimals(column: str | None, more: int = 0) -> int | None:
    """Decimals of a column, `more` for rows of runs; None: as the number was given."""
    column = str(column)
    if column in GIVEN:
        return None
    if column in WHOLE or column.endswith("_bytes"):
        return 0
    if column.startswith(COUNTED):
        return 0 if more else 1
    return more + (5 if column.startswith(FINE) else 4)


def ordered(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """The frame sorted by columns; what NAMES knows in its order, others behind it."""

    def place(column: pd.Series) -> pd.Series:
        known = NAMES.get(column.name)
        if known is None:
            return column
        others = sorted(set(column) - set(known))
        return column.map({name: i for i, name in enumerate([*known, *others])})

    return frame.sort_values(columns, key=place, kind="stable", ignore_index=True)

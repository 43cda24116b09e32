"""folds: a source's splits prepared inside each fold, and what is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kdutils import metrics, stats
from kdutils.data import Split, tables
from kdutils.deploy.prepare import Prepare

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Fold:
    """One split with its columns chosen, centred and scaled on the training rows alone.

    A teacher reads many columns, a student few of them: `narrow` says which.
    gaps: part name -> float32 (n, k) for teachers, NaN where missing.
    X: the same for the student's columns, 0 where missing.
    y: part name -> float32 (n,). prepare: the student's.
    """

    number: int
    split: Split
    prepare: Prepare
    wide: Prepare
    narrow: np.ndarray
    gaps: dict[str, np.ndarray]
    X: dict[str, np.ndarray]
    y: dict[str, np.ndarray]

    @property
    def taught(self) -> tuple[np.ndarray, ...]:
        """Rows and verdicts for a teacher, to train on and then to validate on."""
        return self.gaps["train"], self.y["train"], self.gaps["val"], self.y["val"]


def arguments(config: dict) -> dict:
    """The keyword arguments with which `tables` reads a config's source.

    'secom-time' is 'secom' with its rows divided by time.
    """
    source, options = config["source"], config["options"]
    if source.endswith("-time"):
        return {"source": source.removesuffix("-time"), **options, "order": "time"}
    return {"source": source, **options}


def digest(config: dict) -> str:
    """The data digest of a config's source."""
    return tables.digest(**arguments(config))


def splits(config: dict) -> Iterator[Split]:
    """Each split of {source, options, seed}."""
    return tables.splits(seed=config["seed"], **arguments(config))


def folds(config: dict) -> Iterator[Fold]:
    """Each split, prepared for teachers and for students.

    Teachers get at most `teacher_features` columns, students `features` of them.
    """
    for number, split in enumerate(splits(config)):
        yield prepared(number, split, config)


def prepared(number: int, split: Split, config: dict) -> Fold:
    """The split with columns, centre and scale learned from its training rows."""
    fitted = (split.train.X, split.train.y, split.features)
    narrow = Prepare.fit(*fitted, config["features"])
    wide = Prepare.fit(*fitted, max(config["teacher_features"], config["features"]))
    parts = {name: getattr(split, name) for name in PARTS}
    return Fold(
        number,
        split,
        narrow,
        wide,
        narrow=np.flatnonzero(np.isin(wide.columns, narrow.columns)),
        gaps={name: with_gaps(wide, part.X) for name, part in parts.items()},
        X={name: narrow.transform(part.X) for name, part in parts.items()},
        y={name: part.y for name, part in parts.items()},
    )


def with_gaps(prepare: Prepare, X: np.ndarray) -> np.ndarray:
    """X (n, d) as read -> float32 (n, k) prepared, NaN where missing."""
    rows = prepare.transform(X)
    rows[np.isnan(prepare.pick(X))] = np.nan
    return rows


def facts(every: list[Fold], config: dict) -> dict:
    """What each row of a record says of its data: kind, counts, how folds share rows.

    rho is the test/train size ratio where folds or seeds share rows, 0 where each seed
    draws data of its own (Nadeau & Bengio 2003). fixed: every seed has the same test
    rows, so that only an interval over rows (DeLong) tells how sure a number is.
    """
    split = every[0].split
    tested = sum(len(fold.split.test) for fold in every)
    share = len(split.test) / (len(split.train) + len(split.val))
    read = arguments(config)
    return {
        "kind": split.kind,
        "n_train": len(split.train),
        "n_test": tested,
        "fails_test": sum(fold.split.test.fails for fold in every),
        "rho": 0.0 if split.kind == "simulated" else share,
        "fixed": read.get("order") == "time" or bool(read.get("time")),
    }


def rows(shared: dict, y: list[np.ndarray], logits: list[np.ndarray]) -> list[dict]:
    """One flat row per fold: `shared`, the fold's number and its test_auc.

    pooled_auc with DeLong's ci_low and ci_high, ece and brier are of the test rows of
    all folds together, so they are the same in every fold's row.
    """
    verdicts, scores = np.concatenate(y), np.concatenate(logits).astype(float)
    auc, low, high = stats.auc_interval(verdicts, scores)
    pooled = {"pooled_auc": auc, "ci_low": low, "ci_high": high}
    pooled["ece"] = metrics.ece(verdicts, scores)
    pooled["brier"] = metrics.brier(verdicts, scores)
    return [
        {**shared, **pooled, "fold": number, "test_auc": metrics.auc(*pair)}
        for number, pair in enumerate(zip(y, logits, strict=True))
    ]


def compare(name: str, mine: list[dict], base: list[dict], *delong: list) -> None:
    """Give each row the delta `name`: its test_auc minus that of the base's same fold.

    delong: (y, my logits, the base's logits), each a list by fold. Where every seed has
    the same test rows, DeLong's interval and p of the pooled delta are added as
    name_low, name_high and name_p; None where the two rank all rows alike.
    """
    found = {}
    if delong and mine[0]["fixed"]:
        tested = stats.delong_test(*map(np.concatenate, delong))
        ends = tested[1:] if np.isfinite(tested).all() else [None] * 3
        names = (f"{name}_{end}" for end in ("low", "high", "p"))
        found = dict(zip(names, ends, strict=True))
    for row, other in zip(mine, base, strict=True):
        row |= {name: row["test_auc"] - other["test_auc"], **found}

"""distill: a small student of your own table: a scikit-learn classifier, and a command.

python -m kdutils.distill table.csv --target fail --max-bytes 2000
"""

from __future__ import annotations

import argparse
import base64
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from kdutils import paths
from kdutils.data import Part, Split, tables, usertable
from kdutils.deploy import bundle
from kdutils.recipes import distilled, own_table
from kdutils.views import ship

READ = {"dtype": np.float32, "ensure_all_finite": "allow-nan"}  # of the rows
OPTIONS = {  # of a table, beside its target
    "group": "rows with the same value there stay together",
    "time": "learn from the past, test on the future",
    "drop": "columns to leave out, as a line of CSV",
    "fail": "how a fail is spelled",
    "onehot": "columns of text with a few values, as a line of CSV",
    "na": "what says that no reading was taken, as a line of CSV",
    "decimal": "sign of its decimals; found out where not given",
    "sep": "what separates its cells; found out where not given",
    "encoding": "of its text; found out where not given",
}
SURE = 1e-6  # a given teacher's probabilities are kept this far from 0 and 1


class DistilledClassifier(ClassifierMixin, BaseEstimator):
    """A two-layer int8 student of a teacher, as the file that a device reads.

    Two classes; the second of `classes_` is the one that counts as a fail. Readings may
    be missing (NaN). It predicts with numpy, from the bytes that `export` writes.

    Parameters
    ----------
    teacher : classifier or None
        A fitted one gives logits as it is: fit it on other rows. One that is not fitted
        is cloned and cross-fitted on the rows of `fit`. None: gradient-boosted trees
        and nets, tuned here, and stacked on their out-of-fold logits.
    max_bytes : int or None
        The most that the file may have. None: the smallest file that keeps validation
        AUC within .002 of the best.
    escape_cost : float
        What a row of the second class costs where it is taken for the first, if the
        other mistake costs 1. A row is of the second class where that is cheaper.
    effort : int
        0, 1, 2 or 3: `recipes.distilled.EFFORTS`, from seconds to an hour.
    random_state : int
        Seed of sampling, initial weights and order of rows.

    Attributes
    ----------
    classes_ : array of the two classes
    file_ : bytes of the student's file
    cell_ : dict, the method, alpha and T that won on validation rows
    sizes_ : list of dict, units, bytes and validation AUC of the files in question
    """

    def __init__(
        self, teacher=None, *, max_bytes=None, escape_cost=1.0, effort=1, random_state=0
    ):
        self.teacher = teacher
        self.max_bytes = max_bytes
        self.escape_cost = escape_cost
        self.effort = effort
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.allow_nan = True
        return tags

    def fit(self, X, y, groups=None):
        """Learn from X (n, d) and y (n,); rows of one of `groups` (n,) stay together.

        Raises ValueError for another number of classes than two, for rows that cannot
        be learned from, and where no student has at most `max_bytes`.
        """
        X, y = validate_data(self, X, y, **READ)
        check_classification_targets(y)
        self.classes_, classes = np.unique(y, return_inverse=True)
        if type_of_target(y) != "binary" or len(self.classes_) < 2:
            raise ValueError(
                "Only binary classification is supported. The type of the target is "
                f"{type_of_target(y)}, and it has {len(self.classes_)} class(es)."
            )
        own = np.arange(len(y)) if groups is None else np.unique(groups, False, True)[1]
        rows = Part(X, classes.astype(np.float32), own, np.arange(len(y)))
        parts = _parts(rows, self.random_state)
        names = self._names
        student = distilled.learn(
            Split(*parts, names, ("",) * len(names), "rows", "yours"),
            effort=distilled.EFFORTS[self.effort],
            seed=self.random_state,
            max_bytes=self.max_bytes or 0,
            escape_cost=self.escape_cost,
            teacher=self._given(X, classes, own),
        )
        self.file_, self.cell_, self.sizes_ = student.file, student.cell, student.sizes
        self._load()
        return self

    def _given(self, X, classes, groups):
        """The teacher's logits of rows, as `distilled.learn` takes them, or None."""
        if (teacher := self.teacher) is None:
            return None

        def predict(rows: np.ndarray) -> np.ndarray:
            return _logits(teacher.predict_proba(rows))

        try:
            check_is_fitted(teacher)
            return lambda part: predict(part.X), predict
        except NotFittedError:
            teacher = clone(self.teacher).fit(X, classes)
            cut = StratifiedGroupKFold(3, shuffle=True, random_state=self.random_state)
            how = {"groups": groups, "cv": cut, "method": "predict_proba"}
            unseen = _logits(cross_val_predict(self.teacher, X, classes, **how))
            return lambda part: unseen[part.row], predict

    @property
    def _names(self) -> tuple[str, ...]:
        names = getattr(self, "feature_names_in_", range(self.n_features_in_))
        return tuple(str(name) for name in names)

    def _load(self) -> None:
        self.bundle_ = bundle.loads(self.file_, "the student")
        self.columns_ = [self._names.index(name) for name in self.bundle_.features]

    def __getstate__(self):
        return {k: v for k, v in super().__getstate__().items() if k != "bundle_"}

    def __setstate__(self, state):
        super().__setstate__(state)
        if "file_" in state:
            self._load()

    def _score(self, X) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **READ)
        return self.bundle_.score(X[:, self.columns_]).astype(float)

    def decision_function(self, X) -> np.ndarray:
        """How far each row's logit is above the file's threshold, (n,)."""
        return self._score(X) - self.bundle_.threshold

    def predict_proba(self, X) -> np.ndarray:
        """Calibrated probabilities of both classes, (n, 2)."""
        p = expit(self._score(X))
        return np.column_stack((1 - p, p))

    def predict(self, X) -> np.ndarray:
        """The class of each row, (n,), at the file's threshold."""
        above = self.decision_function(X) > 0
        return self.classes_[above.astype(int)]

    def export(self, path) -> Path:
        """Write the student's file, for `python -m kdutils.deploy` and the watcher."""
        check_is_fitted(self)
        paths.write(Path(path), self.file_)
        return Path(path)


def _logits(p: np.ndarray) -> np.ndarray:
    """Probabilities (n, 2) as logits of the second class, float32 (n,)."""
    return logit(np.clip(p[:, 1], SURE, 1 - SURE)).astype(np.float32)


def _parts(rows: Part, seed: int) -> tuple[Part, Part, Part]:
    """Training rows, validation rows and none: a fifth validates.

    Where a class has one group alone, all rows train and validate.
    """
    least = min(len(np.unique(rows.group[rows.y == value])) for value in (0, 1))
    nothing = rows.take(np.arange(0))
    if least < 2:
        return rows, rows, nothing
    cut = StratifiedGroupKFold(min(5, least), shuffle=True, random_state=seed)
    train, val = next(cut.split(rows.X, rows.y, rows.group))
    return rows.take(train), rows.take(val), nothing


def main(argv: list[str] | None = None) -> int:
    """The command: a table in, a student's file and one screen out."""
    parser = argparse.ArgumentParser(
        prog="python -m kdutils.distill",
        description="Distil a small student from a table of passes and fails.",
    )
    parser.add_argument("table", help="a CSV, Parquet or Excel file")
    parser.add_argument("--target", required=True, help="its column of verdicts")
    for name, what in OPTIONS.items():
        parser.add_argument(f"--{name}", default="", help=what)
    cost = "of a fail that passes, where a pass that fails costs 1; default: as many "
    cost += "fails as there are"
    most = "the most that the file may have"
    parser.add_argument("--max-bytes", type=int, default=0, help=most)
    parser.add_argument("--escape-cost", type=float, default=0.0, help=cost)
    parser.add_argument("--budget", type=float, default=10.0, help="minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, help="default: TABLE.safetensors")
    args = parser.parse_args(argv)
    try:
        return _distil(args)
    except (ValueError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1


def _distil(args: argparse.Namespace) -> int:
    import joblib

    options = {name: getattr(args, name) for name in ("target", *OPTIONS)}
    options["path"] = args.table
    table = usertable.read(**options)
    notes = [*table.warnings, *usertable.check(table)]
    print(*notes, sep="\n", file=sys.stderr)
    splits = list(tables.splits("csv", seed=args.seed, **options))
    workers, shape = joblib.cpu_count(), table.X.shape
    machine = {"splits": len(splits), "workers": workers}
    effort = distilled.affordable(*shape, 60 * args.budget, **machine)
    wait = distilled.seconds(effort, *shape, **machine)
    print(f"effort {effort} of 0 to 3: about {wait / 60:.0f} min", file=sys.stderr)
    how = {"effort": distilled.EFFORTS[effort], "seed": args.seed}
    how["max_bytes"] = args.max_bytes
    start, found = time.monotonic(), []
    jobs = joblib.Parallel(n_jobs=workers, return_as="generator")
    for rows, arrays in jobs(joblib.delayed(_tested)(split, how) for split in splits):
        found.append(arrays)
        left = max(wait - (time.monotonic() - start), 0)
        said = f"split {len(found)} of {len(splits)}: AUC {rows[0]['student_auc']:.3f}"
        print(f"{said}, {left / 60:.1f} min left", file=sys.stderr)
    name = Path(args.table).stem
    final = own_table.shipped(splits[0], found, args.escape_cost, id=name, **how)
    return _say(final[0], args)


def _tested(split: Split, how: dict):
    import torch

    torch.set_num_threads(1)
    return own_table.tested(split, **how)


def _say(row: dict, args: argparse.Namespace) -> int:
    """Print what there is to know, write the file where it may ship."""
    own = pd.DataFrame([{**row, "source": "csv"}])
    line = ship.table(own, pd.DataFrame(), {"csv": row["teacher_auc"]}).iloc[0]
    out = args.out or Path(Path(args.table).stem + ".safetensors")
    print(f"{line['decision']}: {line['reason']}")
    print(f"AUC        {row['value']:.4f} [{row['low']:.4f}, {row['high']:.4f}]")
    print(f"teacher    {row['teacher_auc']:.4f} ({row['teacher']})")
    print(f"gain       {row['gain']:+.4f} over labels alone, {row['method']}")
    print(f"escapes    {row['escapes']:,} of {row['fails']:,} fails pass")
    passes = row["n_test"] - row["fails"]
    print(f"overkill   {row['overkill']:,} of {passes:,} passes fail")
    print(f"threshold  a logit above {row['threshold']:.4f} is a fail")
    if line["decision"] != "Ship":
        return 2
    paths.write(out, base64.b64decode(row["bundle"]))
    print(f"file       {out}, {row['file_bytes']:,} bytes")
    print(f"           python -m kdutils.deploy {out} readings.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())

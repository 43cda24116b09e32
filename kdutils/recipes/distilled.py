"""recipes.distilled: rows of a table in, a student's file out, at a stated effort.

A teacher is tuned and labels every row it did not see; cells of α and T race on the
validation rows, of which the better ones train longer (successive halving: Jamieson &
Talwalkar 2016, arXiv 1502.07943); the winner loses units and bits as far as validation
allows, and is trained again on all rows with what was chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from kdutils import metrics
from kdutils.compress import prune, quantize
from kdutils.data import Part, Split
from kdutils.data.simulate import synthetic
from kdutils.deploy.prepare import Prepare
from kdutils.deploy.runtime import Int8
from kdutils.recipes import folds, kd_tabular, ladder, prune_quantize
from kdutils.train import teachers

UNITS = (64, 32, 16, 8, 4)  # hidden units of the students that race for the file
TOLERANCE = 0.002  # of validation AUC that a smaller file may lose
MOST = 400_000  # rows that students learn from, a stratified sample if there are more
COLUMNS = {"features": 28, "teacher_features": 500}
GRID = {
    "hidden": UNITS[0],
    "batch": 256,
    "lr": 0.003,
    "weight_decay": 0.01,
    "smoothing": 0.1,
    "alphas": [0.1, 0.25, 0.5, 0.75, 0.9, 1.0],
    "temperatures": [1, 2, 3, 4, 6, 10],
    "other_alphas": [0.5, 0.9, 1.0],
    "other_temperatures": [1, 2, 4],
}


@dataclass(frozen=True)
class Effort:
    """What one search spends; each field is a row of `SPENT`."""

    rows: int
    tuning: int
    tries: dict[str, int]
    passes: int
    parts: int
    made: int
    rounds: tuple[tuple[int, int], ...]
    fine: int
    seconds: tuple[float, float, float]


SPENT = (
    (5_000, 20_000, 60_000, 400_000),  # rows that a teacher learns from, at most
    (5_000, 5_000, 10_000, 60_000),  # rows on which its settings are compared, at most
    (  # settings of each teacher that are tried
        {"xgboost": 1},
        {"xgboost": 3, "mlp": 1},
        {"xgboost": 4, "mlp": 2},
        {"xgboost": 8, "mlp": 4, "tabnet": 2},
    ),
    (15, 40, 40, 100),  # passes of a net, at most; 20 trees each
    (2, 3, 3, 3),  # parts for out-of-fold logits
    (0, 8_000, 16_000, 24_000),  # synthetic rows that the teacher labels
    (  # the race: steps, and cells in it, round by round
        ((150, 64), (600, 3)),
        ((500, 80), (1500, 12), (4000, 3)),
        ((500, 80), (1500, 16), (4000, 4)),
        ((4000, 80),),
    ),
    (120, 500, 1000, 2000),  # steps after units or bits are taken away
    # seconds of any table, of a thousand rows of a teacher, and of a thousand rows
    ((3, 0.4, 0.12), (8, 1.4, 0.25), (14, 1.7, 0.3), (35, 12, 0.5)),
)
EFFORTS = tuple(Effort(*column) for column in zip(*SPENT, strict=True))


def seconds(effort: int, rows: int, columns: int, *, splits: int, workers: int):
    """About how long a table takes on a processor like the one that was measured."""
    how, wide = EFFORTS[effort], max(columns, 10) / 30
    fixed, taught, each = how.seconds
    one = fixed + wide * (taught * min(rows, how.rows) + each * min(rows, MOST)) / 1000
    return one * (math.ceil(splits / workers) + 1)


def fail_above(escape_cost: float) -> float:
    """The calibrated logit from which on it is cheaper to fail a row: -log(cost)."""
    return -math.log(escape_cost)


def affordable(rows: int, columns: int, budget: float, **machine) -> int:
    """The number of the largest effort that fits into so many seconds, or the least."""
    fits = [seconds(e, rows, columns, **machine) <= budget for e in range(len(EFFORTS))]
    return max((e for e, good in enumerate(fits) if good), default=0)


@dataclass(frozen=True)
class Student:
    """What a search found, and the file that it ends in.

    file: its bytes; cell: method, alpha and T of the winner; race: a row per cell and
    round; sizes: a row per file that was in question; taught, alone: the winner and the
    label-only student, float32 of 64 units, trained on the same rows as the file;
    teacher: facts of it; predict: rows as read, float32 (n, d) -> its logits (n,).
    """

    file: bytes
    cell: dict
    race: list[dict]
    sizes: list[dict]
    taught: dict[str, np.ndarray]
    alone: dict[str, np.ndarray]
    prepare: Prepare
    teacher: dict
    predict: Callable[[np.ndarray], np.ndarray]

    def logits(self, arrays: dict[str, np.ndarray], X: np.ndarray) -> np.ndarray:
        """Logits of `taught` or `alone` for rows as read, float32 (n, d) -> (n,)."""
        return prune.logits(arrays, self.prepare.transform(X))


def learn(
    parts: Split,
    *,
    effort: Effort,
    seed: int = 0,
    max_bytes: int = 0,
    escape_cost: float = 0.0,
    teacher=None,
    id: str = "",
) -> Student:
    """A student of the training and the validation rows; no test row is looked at.

    max_bytes: the most that its file may have, 0 for any; escape_cost: what a fail that
    passes costs, where a pass that fails costs 1, see `fail_above`; 0: as large a share
    of rows fails as really failed;
    teacher: None for trees and nets that are tuned here, or two functions: a part ->
    its logits (n,), of a model that did not see them; rows as read -> logits.
    ValueError where no file is that small.
    """
    parts = replace(parts, train=_sample(parts.train, MOST, seed))
    parts = replace(parts, val=_sample(parts.val, MOST // 4, seed))
    fold = folds.prepared(0, parts, COLUMNS)
    made = _made(fold, 0 if teacher else effort.made, seed)
    facts, t, predict = _teacher(fold, made, teacher, effort, seed)
    targets = {"oof": t["train"], "made": t["made"], "X_made": made[:, fold.narrow]}
    race, cell, float32 = _race(fold, targets, effort, seed)

    steps = {**GRID, "looks": 20, "seed": seed, "steps": effort.fine, "lr": 0.001}
    search = ladder.Tabular(fold, targets, cell, steps, 0.0005, float32)
    sizes, students = _sizes(search, max_bytes, id)
    units = _smallest(sizes)["units"]
    z = students[units].logits(fold.X["val"])
    calibration, share = ladder.platt(z, fold.y["val"]), fold.y["train"].mean()

    whole = _whole(fold)
    targets["oof"] = np.concatenate([t["train"], t["val"]])
    label_only = [one for one in race if one["method"] == "label-only"][-1]
    taught, alone = (_again(whole, targets, one, seed) for one in (cell, label_only))
    again = ladder.Tabular(whole, targets, cell, steps, 0.0005, taught, validated=False)
    for count in (count for count in UNITS if count <= units):
        final = ladder.rescaled(_smaller(again, count), *calibration)
        z = prune.logits(final, whole.X["train"])
        at = fail_above(escape_cost) if escape_cost else np.quantile(z, 1 - share)
        file = prune_quantize.packed(final, whole, float(at), id)
        if not max_bytes or len(file) <= max_bytes:
            break
    else:
        raise _too_large(max_bytes, len(file), fold)
    found = (race, sizes, taught, alone, fold.prepare, facts, predict)
    return Student(file, cell, *found)


def _sample(part: Part, most: int, seed: int) -> Part:
    """At most so many rows of a part, as many fails among them as there are in it."""
    if len(part) <= most:
        return part
    rng, kept = np.random.default_rng([seed, 5]), []
    for value in (0, 1):
        rows = np.flatnonzero(part.y == value)
        count = max(1, round(most * len(rows) / len(part)))
        kept.append(rng.choice(rows, count, replace=False))
    return part.take(np.sort(np.concatenate(kept)))


def _made(fold: folds.Fold, count: int, seed: int) -> np.ndarray:
    """So many synthetic prepared rows (count, k) near at most 10,000 training rows."""
    rows = np.nan_to_num(fold.gaps["train"])
    if not count or len(rows) < 2:
        return np.empty((0, rows.shape[1]), np.float32)
    some = np.random.default_rng([seed, 6]).permutation(len(rows))[:10_000]
    return synthetic.munge(rows[some], count, seed=seed)


def _teacher(fold, made, given, effort, seed) -> tuple[dict, dict, object]:
    """Facts, logits by part ('train' is out of fold), and how to predict raw rows."""
    y, X = fold.y, {**fold.gaps, "made": made}
    if given is not None:
        labels, predict = given
        t = {name: labels(getattr(fold.split, name)) for name in ("train", "val")}
        t["made"] = np.empty(0, np.float32)  # it reads rows as they are, not prepared
        facts = {"teacher": "yours"}
        return facts | {"teacher_val_auc": metrics.auc(y["val"], t["val"])}, t, predict
    found, how = [], {"epochs": effort.passes, "seed": seed}

    def fitted(name: str, settings: list[dict], rows: np.ndarray, most: int):
        """The best of these settings on at most so many of the rows."""
        part = _sample(replace(fold.split.train.take(rows), row=rows), most, seed)
        data = X["train"][part.row], part.y, X["val"], y["val"]
        every = (teachers.fit(name, one, *data, **how) for one in settings)
        return max(every, key=lambda one: one.val_auc)

    for name, tries in effort.tries.items():
        every = np.arange(len(y["train"]))
        settings = teachers.candidates(name, tries, seed)
        best = fitted(name, settings, every, effort.tuning)
        if len(every) > effort.tuning:
            best = fitted(name, [best.settings], every, effort.rows)
        own = {key: best.logits(X[key]) for key in ("val", "made") if len(X[key])}
        own["train"] = np.empty(len(every), np.float32)
        for seen, unseen in _cut(fold, effort.parts, seed):
            model = fitted(name, [best.settings], seen, effort.rows)
            own["train"][unseen] = model.logits(X["train"][unseen])
        found.append((best, own))
    rule = teachers.stack([own["train"] for _, own in found], y["train"])
    t = {key: rule([own[key] for _, own in found]) for key in found[0][1]}
    t.setdefault("made", np.empty(0, np.float32))
    facts = {"teacher": " + ".join(effort.tries)}
    facts["teacher_bytes"] = sum(best.bytes for best, _ in found)
    facts["teacher_val_auc"] = metrics.auc(y["val"], t["val"])

    def predict(rows: np.ndarray) -> np.ndarray:
        gaps = folds.with_gaps(fold.wide, rows)
        return rule([best.logits(gaps) for best, _ in found])

    return facts, t, predict


def _cut(fold: folds.Fold, parts: int, seed: int) -> list[tuple]:
    """The training rows in so many parts that share no group: (seen, unseen) each.

    Where there are fewer fails, or groups with one, there are fewer parts; with one
    alone, its row is seen by the teacher that labels it.
    """
    y, group = fold.y["train"], fold.split.train.group
    parts = min(parts, *(len(np.unique(group[y == value])) for value in (0, 1)))
    if parts < 2:
        every = np.arange(len(y))
        return [(every, every)]
    if len(np.unique(group)) == len(y):  # the other kind takes minutes of many groups
        return list(StratifiedKFold(parts, shuffle=True, random_state=seed).split(y, y))
    cut = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    return list(cut.split(y, y, group))


def _race(fold, targets, effort, seed) -> tuple[list[dict], dict, dict]:
    """Every cell of every round, the best of the last by validation AUC, its arrays.

    The label-only student is in every round: it is what the others have to beat.
    """
    methods = ["label-only", "kd", "logit-std"]
    methods += ["kd-synthetic"] if len(targets["made"]) else []
    cells = [dict(c) for c in kd_tabular.cells(GRID) if c["method"] in methods]
    cells = cells[:1] + cells[1 :: math.ceil(len(cells) / effort.rounds[0][1])]
    race = []
    for number, (steps, most) in enumerate(effort.rounds):
        best_first = sorted(cells[1:], key=lambda c: -c.get("val_auc", 0))
        kept = cells[:1] + best_first[: most - 1]
        cells = [cell for cell in cells if cell in kept]
        settings = {**GRID, "steps": steps, "looks": 20, "seed": seed}
        found = kd_tabular.train(settings, fold, targets, cells)
        for i, cell in enumerate(cells):
            cell["val_auc"] = float(found["val"][i])
            cell["epochs"] = int(found["epochs"][i])
            race.append({**cell, "round": number, "steps": steps})
    best = max(range(len(cells)), key=lambda i: cells[i]["val_auc"])
    return race, cells[best], kd_tabular.picked(found, best)


def _again(whole, targets, cell: dict, seed: int) -> dict:
    """The float32 student of a cell of the race on all rows, for as many epochs."""
    settings = {**GRID, "looks": 1, "steps": 1, "seed": seed}
    how = {"epochs": cell["epochs"], "eval_every": ladder.NEVER}
    return kd_tabular.picked(
        kd_tabular.train(settings, whole, targets, [cell], **how), 0
    )


def _smaller(student: ladder.Tabular, units: int) -> Int8:
    """The student with so many units in int8, fine-tuned after each of the two."""
    arrays = student.fp32
    if units < len(arrays["w2"]):
        arrays = student.float(prune.fewer_units(arrays, units))
    return student.int8(arrays)


def _sizes(
    search: ladder.Tabular, max_bytes: int, id: str
) -> tuple[list[dict], dict[int, Int8]]:
    """A row per file that is small enough, largest first, and the students by units.

    It ends with the first that has lost too much.
    """
    found, students, least = [], {}, 0
    fold, fp32 = search.fold, search.fp32
    y, X = fold.y["val"], fold.X["val"]
    for units in UNITS:
        if max_bytes:  # what cannot fit is not trained
            first = {key: a[:units] for key, a in fp32.items() if key != "b2"}
            bare = quantize.static({**first, "b2": fp32["b2"]}, X[:1000])
            least = len(prune_quantize.packed(bare, fold, 0.0, id))
            if least > max_bytes:
                continue
        student = _smaller(search, units)
        line = {"units": units, "val_auc": metrics.auc(y, student.logits(X))}
        line["bytes"] = len(prune_quantize.packed(student, fold, 0.0, id))
        if not max_bytes or line["bytes"] <= max_bytes:
            students[units] = student
            found.append(line)
            if line is not _smallest(found):
                break
    if not found:
        raise _too_large(max_bytes, least, fold)
    return found, students


def _too_large(most: int, least: int, fold: folds.Fold) -> ValueError:
    of = f"the smallest student of {fold.X['val'].shape[1]} readings"
    return ValueError(f"max_bytes is {most}: {of} has {least} bytes")


def _smallest(sizes: list[dict]) -> dict:
    """The smallest within `TOLERANCE` of the best validation AUC."""
    best = max(one["val_auc"] for one in sizes)
    return [one for one in sizes if one["val_auc"] >= best - TOLERANCE][-1]


def _whole(fold: folds.Fold) -> folds.Fold:
    """The same fold, all of its rows training rows; the columns and scales stay."""
    both, arrays = joined(fold.split.train, fold.split.val), {}
    for key in ("gaps", "X", "y"):
        own = getattr(fold, key)
        arrays[key] = own | {"train": np.concatenate([own["train"], own["val"]])}
    return replace(fold, split=replace(fold.split, train=both), **arrays)


def joined(a: Part, b: Part) -> Part:
    """The rows of both."""
    pairs = ((getattr(a, k), getattr(b, k)) for k in ("X", "y", "group", "row"))
    return Part(*map(np.concatenate, pairs))

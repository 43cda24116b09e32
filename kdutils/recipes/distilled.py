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
import torch
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from kdutils import losses, metrics
from kdutils.compress import prune, quantize
from kdutils.data import Part, Split
from kdutils.data.simulate import synthetic
from kdutils.deploy.prepare import Prepare
from kdutils.recipes import folds, kd_tabular, ladder, prune_quantize
from kdutils.train import grid, teachers

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
    """What one search spends.

    rows: the most that a teacher learns from, a stratified sample if there are more;
    tuning: the most on which its settings are compared; tries: settings of each
    teacher; passes: the most passes of a net, 20 trees each; parts: of out-of-fold
    logits; made: synthetic rows that the teacher labels; rounds: of the race, (steps,
    cells in it); fine: steps after units or bits are taken away; seconds: measured for
    one search, of any table, of a thousand rows of a teacher, and of a thousand rows.
    """

    rows: int
    tuning: int
    tries: dict[str, int]
    passes: int
    parts: int
    made: int
    rounds: tuple[tuple[int, int], ...]
    fine: int
    seconds: tuple[float, float, float]


EFFORTS = (
    Effort(
        5_000,
        5_000,
        {"xgboost": 1},
        15,
        2,
        0,
        ((150, 64), (600, 3)),
        120,
        (3, 0.4, 0.12),
    ),
    Effort(
        20_000,
        5_000,
        {"xgboost": 3, "mlp": 1},
        40,
        3,
        8_000,
        ((500, 80), (1500, 12), (4000, 3)),
        500,
        (8, 1.4, 0.25),
    ),
    Effort(
        60_000,
        10_000,
        {"xgboost": 4, "mlp": 2},
        40,
        3,
        16_000,
        ((500, 80), (1500, 16), (4000, 4)),
        1000,
        (14, 1.7, 0.3),
    ),
    Effort(
        400_000,
        60_000,
        {"xgboost": 8, "mlp": 4, "tabnet": 2},
        100,
        3,
        24_000,
        ((4000, 80),),
        2000,
        (35, 12, 0.5),
    ),
)


def seconds(effort: int, rows: int, columns: int, *, splits: int, workers: int):
    """About how long a table takes on a processor like the one that was measured."""
    how, wide = EFFORTS[effort], max(columns, 10) / 30
    fixed, taught, each = how.seconds
    one = fixed + wide * (taught * min(rows, how.rows) + each * min(rows, MOST)) / 1000
    return one * (math.ceil(splits / workers) + 1)


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
    passes costs, where a pass that fails costs 1: a row fails where its calibrated
    logit is above -log(cost); 0: as large a share of rows fails as really failed;
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

    search = _Rows(fold, targets, cell, effort, seed)
    sizes, students = _sizes(search, float32, max_bytes, id)
    units = _smallest(sizes)["units"]
    z = students[units].logits(fold.X["val"])
    calibration, share = ladder.platt(z, fold.y["val"]), fold.y["train"].mean()

    whole = _whole(fold)
    targets["oof"] = np.concatenate([t["train"], t["val"]])
    again = _Rows(whole, targets, cell, effort, seed, validated=False)
    alone = [one for one in race if one["method"] == "label-only"][-1]
    taught, alone = (again.fit(one, epochs=one["epochs"]) for one in (cell, alone))
    for count in (count for count in UNITS if count <= units):
        final = ladder.rescaled(again.smaller(taught, count), *calibration)
        z = prune.logits(final, whole.X["train"])
        at = -math.log(escape_cost) if escape_cost else np.quantile(z, 1 - share)
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
        return {"teacher": "yours", **_auc(y["val"], t["val"])}, t, predict
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

    def predict(rows: np.ndarray) -> np.ndarray:
        gaps = folds.with_gaps(fold.wide, rows)
        return rule([best.logits(gaps) for best, _ in found])

    return facts | _auc(y["val"], t["val"]), t, predict


def _auc(y: np.ndarray, z: np.ndarray) -> dict:
    return {"teacher_val_auc": float(metrics.auc(y, z))}


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
    race, arrays = [], {}
    for number, (steps, most) in enumerate(effort.rounds):
        kept = (
            cells[:1]
            + sorted(cells[1:], key=lambda c: -c.get("val_auc", 0))[: most - 1]
        )
        cells = [cell for cell in cells if cell in kept]
        settings = {**GRID, "steps": steps, "looks": 20, "seed": seed}
        for kind in dict.fromkeys(kd_tabular.special(c["method"]) for c in cells):
            own = [c for c in cells if kd_tabular.special(c["method"]) == kind]
            fitted = _fitted(fold, targets, own, settings)
            for i, cell in enumerate(own):
                cell["val_auc"] = float(fitted.val_auc[0, i])
                cell["epochs"] = int(fitted.best_epoch[0, i])
                race.append({**cell, "round": number, "steps": steps})
                arrays[id(cell)] = fitted.arrays(0, i)
    best = max(cells, key=lambda cell: cell["val_auc"])
    return race, dict(best), arrays[id(best)]


def _fitted(fold, targets, cells, settings, **more) -> grid.Grid:
    """Cells of one kind, trained at once."""
    kind = kd_tabular.special(cells[0]["method"])
    rows = kd_tabular.material(kind, fold, targets)
    every = [kd_tabular.as_cell(cell, settings) for cell in cells]
    return kd_tabular.fit(settings, fold, rows, every, **more)


class _Rows:
    """Rows of a fold, and how a student of a cell is trained on them.

    validated: whether the best epoch is kept, else the last.
    """

    def __init__(self, fold, targets, cell, effort, seed, validated=True) -> None:
        self.fold, self.targets, self.cell, self.seed = fold, targets, cell, seed
        self.effort, self.validated = effort, validated

    def fit(self, cell: dict, *, steps: int = 1, **more) -> dict:
        """The float32 student of a cell; more: of `grid.fit`, such as epochs."""
        settings = {**GRID, "steps": steps, "looks": 20, "seed": self.seed}
        if not self.validated:
            more["eval_every"] = 1 << 30
        return _fitted(self.fold, self.targets, [cell], settings, **more).arrays(0, 0)

    def smaller(self, arrays: dict, units: int):
        """The student with so many units in int8, fine-tuned after each of the two."""
        fine = self.effort.fine
        if units < len(arrays["w2"]):
            init = prune.fewer_units(arrays, units)
            more = {"init": init, "hidden": units, "lr": 0.001}
            arrays = self.fit(self.cell, steps=fine, **more)
        kind = kd_tabular.special(self.cell["method"])
        X, y, t = (
            torch.as_tensor(a)
            for a in kd_tabular.material(kind, self.fold, self.targets)
        )
        cell = kd_tabular.as_cell(self.cell, GRID)
        distil, given = losses.get(cell.method, "binary"), cell.settings("binary")
        val_X, val_y = self.fold.X["val"], self.fold.y["val"]
        return quantize.qat(
            arrays,
            X.numpy(),
            lambda z, rows: distil(z, t[rows], y[rows], kind="binary", **given),
            epochs=max(1, round(fine / math.ceil(len(y) / GRID["batch"]))),
            lr=0.0005,
            batch=GRID["batch"],
            seed=self.seed,
            validate=(lambda student: metrics.auc(val_y, student.logits(val_X)))
            if self.validated
            else None,
        )


def _sizes(rows: _Rows, float32: dict, max_bytes: int, id: str) -> tuple[list, dict]:
    """A row per file that is small enough, largest first, and the students by units.

    It ends with the first that has lost too much.
    """
    found, students, least = [], {}, 0
    y, X = rows.fold.y["val"], rows.fold.X["val"]
    for units in UNITS:
        if max_bytes:  # what cannot fit is not trained
            first = {key: a[:units] for key, a in float32.items() if key != "b2"}
            bare = quantize.static({**first, "b2": float32["b2"]}, X[:1000])
            least = len(prune_quantize.packed(bare, rows.fold, 0.0, id))
            if least > max_bytes:
                continue
        student = rows.smaller(float32, units)
        line = {"units": units, "val_auc": float(metrics.auc(y, student.logits(X)))}
        line["bytes"] = len(prune_quantize.packed(student, rows.fold, 0.0, id))
        if not max_bytes or line["bytes"] <= max_bytes:
            students[units] = student
            found.append(line)
            if line is not _smallest(found):
                break
    if not found:
        raise _too_large(max_bytes, least, rows.fold)
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
    both = joined(fold.split.train, fold.split.val)

    def together(a: dict) -> dict:
        return {**a, "train": np.concatenate([a["train"], a["val"]])}

    arrays = {key: together(getattr(fold, key)) for key in ("gaps", "X", "y")}
    return replace(fold, split=replace(fold.split, train=both), **arrays)


def joined(a: Part, b: Part) -> Part:
    """The rows of both."""
    every = (
        np.concatenate([getattr(a, k), getattr(b, k)])
        for k in ("X", "y", "group", "row")
    )
    return Part(*every)

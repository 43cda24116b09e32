"""recipes.wafer_students: a small net that learns wafer maps from a teacher's answers.

One run is one seed of one net and one way to learn. With labels = 0 no label is read
until the record is written: the loss sees the teacher's answers, and what is chosen
afterwards is chosen by `val_fidelity`, the share of validation maps on which the
student repeats its teacher's verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import Literal

import numpy as np

from kdutils import losses, metrics, models
from kdutils.compress import convert
from kdutils.data import wafers
from kdutils.recipes import net_teachers, tasks, wafer_answers
from kdutils.recipes.tasks import WAFERS
from kdutils.store.config import Natural, NotNegative, Positive, Share

DEFAULTS = {"loss": "kd", "alpha": 0.5, "beta": 0.5, "labels": 0.0, "real": None}
digest = itemgetter("answers")  # the data are the answers': their id names them


@dataclass(frozen=True)
class Config(net_teachers.WaferTraining):
    """One seed of one net; alpha and beta are those of 'mse-bce', T that of 'kd'."""

    group: str
    site: str
    answers: str
    seed: Natural
    alpha: Share
    beta: NotNegative
    labels: Share
    real: Natural | None
    loss: Literal["kd", "mse-bce"]
    T: Positive | None = None


def plan(answers, *, groups: dict, **settings) -> list[dict]:
    """One config per student of each group and each seed of its answers.

    answers: rows of `wafer_answers`; groups: name -> {answers: their name, seeds, net,
    sizes, and what else is its own, over `settings`}, with lists `students` of such
    settings for those that differ in them.
    """
    configs = []
    for name, group in groups.items():
        own = {key: value for key, value in group.items() if key != "students"}
        for student in group.get("students", [{}]):
            how = DEFAULTS | settings | own | student
            rows = answers[answers["answers"] == how.pop("answers")]
            if rows.empty:
                raise ValueError(f"group '{name}' has answers that do not exist")
            for row in rows.sort_values("seed").head(how.pop("seeds")).itertuples():
                about = {"group": name, "site": row.site, "answers": row.run}
                configs.append({**about, "seed": row.seed, **how})
    return configs


def loss(config: dict):
    """(z, t, y) -> a config's loss, which reads no label or no teacher if so weighed.

    labels: the labels' weight, the teacher has the rest. alpha and beta are the paper's
    own, of the loss 'mse-bce'; T is that of 'kd'.
    """
    how = {"kd": {"T": "T"}, "mse-bce": {"mse": "alpha", "threshold": "beta"}}
    how = {name: config[key] for name, key in how[config["loss"]].items()}
    method = losses.get(config["loss"], "multilabel")
    return method.using(kind="multilabel", alpha=1 - config["labels"], **how)


def compute(config: dict, run) -> dict:
    """Train, pack into eight bits, predict with both; one row.

    int8_views: exact match of the packed net's mean over all eight copies of a map,
    which costs eight times its time and not a byte.
    """
    source = run.need(wafer_answers, config["answers"])
    parts, teacher = WAFERS.load(source.config), source.arrays("answers")

    def learn() -> dict[str, np.ndarray]:
        net = WAFERS.build(config["net"], config["sizes"], config["seed"])
        X, t, y = transfer(config, source, parts)
        how = {"batch": config["batch"], "seed": config["seed"]}
        batches = WAFERS.batches(X, t, y, augment=config["augment"], **how)
        net_teachers.fit(config, net, batches, loss(config), **run.training("weights"))
        return models.arrays(net)

    run.step("weights", learn)
    net = net_teachers.trained(run)
    side, id = parts.test.X.shape[1], f"{source.config['source']}-{'0' * 12}"
    file, small = convert.packed(net, side, wafers.classes(), id=id)

    def predict() -> dict[str, np.ndarray]:
        return {
            "val": WAFERS.predict(net, parts.val.X),
            "test": WAFERS.predict(net, parts.test.X),
            "val8": WAFERS.predict(small, parts.val.X),
            "test8": WAFERS.predict(small, parts.test.X),
            "views8": WAFERS.predict(small, parts.test.X, views=8),
        }

    logits = run.step("answers", predict)
    y, z = parts.test.y, logits["test"]
    row = {
        **WAFERS.facts(source.config, parts),
        "model": tasks.called(config["net"], config["sizes"]),
        "params": models.parameters(net),
        "torch_bytes": convert.torch_bytes(net),
        "int8_bytes": len(file),
        "teacher_exact": metrics.accuracy(y, teacher["test"]),
        "val_exact": metrics.accuracy(parts.val.y, logits["val"]),
        "val_fidelity": metrics.fidelity(teacher["val"], logits["val"]),
        "test_exact": metrics.accuracy(y, z),
        "test_fidelity": metrics.fidelity(teacher["test"], z),
        "int8_exact": metrics.accuracy(y, logits["test8"]),
        "int8_views": metrics.accuracy(y, logits["views8"]),
        "int8_fidelity": metrics.fidelity(teacher["val"], logits["val8"]),
        "macro_f1": metrics.macro_f1(y, z),
        **tasks.flat(metrics.by_label(y, z), wafers.classes()),
        **metrics.errors_by_teacher(y, teacher["test"], z),
        **tasks.flat(metrics.by_teacher_entropy(y, teacher["test"], z)),
    }
    return {"rows": [row]}


def transfer(config: dict, source, parts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maps, answers and labels to learn from; `real`: so many real maps, None for all.

    Added maps have no label: theirs are zeros that no label-free loss looks at.
    """
    teacher = source.arrays("answers")
    rows = np.random.default_rng(config["seed"]).permutation(len(parts.train))
    rows = np.sort(rows[: config["real"]])
    X, t, y = parts.train.X[rows], teacher["train"][rows], parts.train.y[rows]
    if "added" not in teacher:
        return X, t, y
    if config["labels"]:
        raise ValueError("added maps have no labels: expected labels 0")
    none = np.zeros((len(teacher["added"]), y.shape[1]), y.dtype)
    return (
        np.concatenate((X, WAFERS.drawn(source.config)[0])),
        np.concatenate((t, teacher["added"])),
        np.concatenate((y, none)),
    )

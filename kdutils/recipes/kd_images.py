"""recipes.kd_images: small image students of one teacher, α × T and method by method.

One run is one seed and one student: every cell starts from the same weights, meets the
same batches and takes as many steps, and keeps its last weights, so that validation
images choose nothing but α, T and what a method has of its own. Two methods ask another
teacher: `takd` an assistant of middle size that learned from the large one (Mirzadeh et
al. 2020), `born-again` the label-only student itself (Furlanello et al. 2018). `fitnet`
adds the hint loss of Romero et al. 2015 to plain distillation.
"""

from __future__ import annotations

import numpy as np
import torch

from kdutils import metrics, models
from kdutils.data import images
from kdutils.recipes import hinton, image_teachers
from kdutils.train import crowds, imagegrid
from kdutils.train.imagegrid import Cell

STAGE = "03_kd_images"
STUDENTS = {"mlp": "perceptron", "cnn": "convolutional"}


def plan(teacher_rows, *, students: dict[str, dict], **settings) -> list[dict]:
    """One config per student and teacher that saw no validation image.

    students: name -> {sizes, lr, epochs}; `settings` are those of `cells`.
    """
    first = teacher_rows[teacher_rows["rows"] == "train"].drop_duplicates("run")
    return [
        {
            "source": row.source,
            "seed": row.seed,
            "teacher": row.run,
            "student": student,
            **own,
            **settings,
        }
        for row in first.itertuples()
        for student, own in students.items()
    ]


def digest(config: dict) -> str:
    """The data are the teacher's: its id names them."""
    return config["teacher"]


def cells(config: dict) -> dict[str, list[Cell]]:
    """Every method's cells; the label-only student is the first."""
    pairs = [
        (a, t) for a in config["other_alphas"] for t in config["other_temperatures"]
    ]
    a, t = config["hint_alpha"], config["hint_T"]
    return {
        "label-only": [Cell()],
        "label-smoothing": [Cell("hard", knob=s) for s in config["smoothings"]],
        "kd": [
            Cell("kd", a, t) for a in config["alphas"] for t in config["temperatures"]
        ],
        "logit-mse": [Cell("logit-mse", a) for a in config["other_alphas"]],
        "dkd": [Cell("dkd", *pair, knob=b) for pair in pairs for b in config["betas"]],
        "logit-std": [Cell("logit-std", *pair) for pair in pairs],
        "dist": [Cell("dist", *pair) for pair in pairs],
        "takd": [Cell("kd", *pair, target="assistant") for pair in pairs],
        "born-again": [Cell("kd", *pair, target="self") for pair in pairs],
        "fitnet": [Cell("kd", a, t, hint=w) for w in config["hints"]],
    }


def every(config: dict) -> list[tuple[str, Cell]]:
    """The cells one after another, with their method; those with a hint are last."""
    return [(name, cell) for name, some in cells(config).items() for cell in some]


def compute(config: dict, run) -> dict:
    """Train every cell; one row each with its gain over label-only."""
    source = run.need(image_teachers, config["teacher"])
    parts, told = image_teachers.split(source.config), source.arrays("logits")
    shared = image_teachers.facts(source.config, parts) | {
        "params": size(config, parts)
    }
    targets = {"teacher": told["views"][0]}
    for name, ask in (("assistant", assistant), ("self", alone)):
        stored = run.step(name, lambda ask=ask: {"said": ask(config, parts, targets)})
        targets[name] = stored["said"]
    said = outputs(config, run, parts, targets, source)
    rows, base = [], said["test"][0]
    for number, (method, cell) in enumerate(every(config)):
        val, test = said["val"][number], said["test"][number]
        row = {"method": method, "alpha": cell.alpha, "T": cell.T}
        row |= {"knob": cell.hint or cell.knob or None, **shared}
        row |= metrics.summary(parts.test.y, test, told["test"])
        row["val_acc"] = metrics.accuracy(parts.val.y, val)
        first = rows[0] if rows else row
        row["gain"] = row["test_acc"] - first["test_acc"]
        row["gain_val"] = row["val_acc"] - first["val_acc"]
        rows.append(row | hinton.paired(parts.test.y, test, base))
    return {"rows": rows}


def untrained(config: dict, parts, name: str = "") -> torch.nn.Module:
    """The student, or its assistant, with the initial weights of the seed."""
    side, classes = parts.train.X.shape[1], images.classes(config["source"])
    torch.manual_seed(config["seed"])
    if name:
        return models.build(
            "perceptron", side, classes, widths=config["assistant_widths"]
        )
    return models.build(STUDENTS[config["student"]], side, classes, **config["sizes"])


def size(config: dict, parts) -> int:
    """How many numbers the student holds."""
    return models.parameters(untrained(config, parts))


def fitting(config: dict) -> dict:
    """The settings that every student of a run shares."""
    return {key: config[key] for key in ("epochs", "batch", "lr", "seed", "halved")}


def assistant(config: dict, parts, targets: dict) -> np.ndarray:
    """What a net of middle size, taught by the teacher, says of training images."""
    cell = Cell("kd", config["assistant_alpha"], config["assistant_T"])
    net, X, y = untrained(config, parts, "assistant"), parts.train.X, parts.train.y
    how = fitting(config) | {"lr": config["assistant_lr"]}
    return models.predict(imagegrid.fit_one(net, X, y, targets, cell, **how), X)


def alone(config: dict, parts, targets: dict) -> np.ndarray:
    """What the label-only student says of them, to be its successor's teacher."""
    net, X, y = untrained(config, parts), parts.train.X, parts.train.y
    weights = imagegrid.fit_crowd(net, X, y, targets, [Cell()], **fitting(config))
    return imagegrid.ask_crowd(net, weights, X)[0]


def outputs(config: dict, run, parts, targets: dict, source) -> dict:
    """Logits (cells, n, K) of every cell on validation and test images.

    Cells meet the same batches, so those of any methods train side by side.
    """
    plain = [cell for _, cell in every(config) if not cell.hint]
    hinted = [cell for _, cell in every(config) if cell.hint]
    many = crowds.of(untrained(config, parts)).together
    found = [
        run.step(
            f"cells-{start}",
            lambda some=plain[start : start + many]: crowd(
                config, parts, targets, some
            ),
        )
        for start in range(0, len(plain), many)
    ]
    found.append(
        run.step("hinted", lambda: with_hints(config, parts, targets, hinted, source))
    )
    return {k: np.concatenate([one[k] for one in found]) for k in ("val", "test")}


def crowd(config: dict, parts, targets: dict, some: list[Cell]) -> dict:
    """Logits of cells that train side by side."""
    net, X, y = untrained(config, parts), parts.train.X, parts.train.y
    weights = imagegrid.fit_crowd(net, X, y, targets, some, **fitting(config))
    return {
        "val": imagegrid.ask_crowd(net, weights, parts.val.X),
        "test": imagegrid.ask_crowd(net, weights, parts.test.X),
    }


def with_hints(config: dict, parts, targets: dict, some: list[Cell], source) -> dict:
    """Logits of cells that read the teacher's features too, one after another."""
    said, felt = {"val": [], "test": []}, features(source, parts.train.X)
    for cell in some:
        net = untrained(config, parts)
        imagegrid.fit_one(
            net,
            parts.train.X,
            parts.train.y,
            targets,
            cell,
            features=felt,
            **fitting(config) | {"halved": False},
        )
        for name, part in (("val", parts.val), ("test", parts.test)):
            said[name].append(models.predict(net, part.X))
    return {name: np.stack(logits) for name, logits in said.items()}


def features(source, X: np.ndarray) -> np.ndarray:
    """The teacher's last hidden layer on images X: float16 (n, d)."""
    model = image_teachers.trained(source)
    return models.predict(model, X, features=True).astype(np.float16)

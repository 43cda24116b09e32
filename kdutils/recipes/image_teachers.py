"""recipes.image_teachers: the large regularised perceptron that image students ask.

Hinton et al. 2015, section 3: two wide hidden layers, dropout, a limit on each unit's
incoming weights, images moved by up to two pixels. One run has it trained on every
training image ('all', as published) and one without the validation images ('train', for
sweeps in which something is chosen). Its logits are computed once and kept in the run:
of the plain images for a sweep, of every shift for 'all'.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from kdutils import metrics, models
from kdutils.data import Split, images
from kdutils.train import imagebatches
from kdutils.train import loop as train
from kdutils.train.maxnorm import MaxNorm

STAGE = "03_kd_images"


def plan(*, source: str, root: str, seeds: int, val: int, epochs: dict, **settings):
    """One config per seed and `rows`; epochs: {'all': n, 'train': n}."""
    data = {"source": source, "root": root, "val": val}
    return [
        {**data, "seed": seed, "rows": rows, "epochs": count, **settings}
        for seed in range(seeds)
        for rows, count in epochs.items()
    ]


def digest(config: dict) -> str:
    """The content of the source's files."""
    return images.digest(config["source"], config["root"])


def split(config: dict) -> Split:
    """The images of a teacher's run; with rows 'all' none are kept for validation."""
    val = config["val"] if config["rows"] == "train" else 0
    return images.split(
        config["source"], seed=config["seed"], val=val, root=config["root"]
    )


def facts(config: dict, parts: Split) -> dict:
    """What each row of a record says of its data.

    rho: 0 where every seed is judged on the one official test set, so that an interval
    over seeds speaks of another training; test / training rows where each seed draws
    its own (Nadeau & Bengio 2003).
    """
    drawn = config["source"] == "digits"
    used = len(parts.train) + len(parts.val)
    return {
        "kind": parts.kind,
        "n_train": len(parts.train),
        "n_test": len(parts.test),
        "rho": len(parts.test) / used if drawn else 0.0,
    }


def net(config: dict, side: int) -> torch.nn.Module:
    """The teacher of a config for images of side x side, untrained."""
    classes = images.classes(config["source"])
    sizes = {"widths": config["widths"], "dropout": config["dropout"]}
    return models.build("perceptron", side, classes, **sizes)


def teach(config: dict, X, y, *, epochs: int, seed: int) -> torch.nn.Module:
    """A trained teacher on uint8 images X (n, H, W) with labels y (n,)."""
    torch.manual_seed(seed)
    model = net(config, X.shape[1])
    batches = imagebatches.ImageBatches(
        X, y, batch=config["batch"], seed=seed, reach=config["reach"]
    )
    descent = {"lr": config["lr"], "momentum": config["momentum"]}
    train.fit(
        models.autocast(model, config["halved"]),
        batches,
        cross_entropy,
        epochs=epochs,
        optimizer=partial(MaxNorm, **descent, norm=config["max_norm"]),
        seed=seed,
    )
    return model


def trained(run) -> torch.nn.Module:
    """The teacher of a finished run."""
    weights = run.arrays("weights")
    side = round(weights["body.1.weight"].shape[1] ** 0.5)
    return models.load(net(run.config, side), weights)


def compute(config: dict, run) -> dict:
    """Train, and keep the logits of all parts; one row with its test errors."""
    parts = split(config)
    epochs, seed = config["epochs"], config["seed"]
    run.step(
        "weights",
        lambda: models.arrays(
            teach(config, parts.train.X, parts.train.y, epochs=epochs, seed=seed)
        ),
    )
    model = trained(run)
    reach = config["reach"] if config["rows"] == "all" else 0

    def logits() -> dict[str, np.ndarray]:
        views = imagebatches.each_view(parts.train.X, reach)
        return {
            "views": np.stack([models.predict(model, X) for X in views]).astype(
                np.float16
            ),
            "val": models.predict(model, parts.val.X)
            if len(parts.val)
            else np.empty(0),
            "test": models.predict(model, parts.test.X),
        }

    told = run.step("logits", logits)
    row = {"system": "teacher", **facts(config, parts), "n_val": len(parts.val)}
    row |= metrics.summary(parts.test.y, told["test"])
    val = metrics.accuracy(parts.val.y, told["val"]) if len(parts.val) else None
    size = models.parameters(model)
    return {"rows": [{**row, "val_acc": val, "params": size, "file_bytes": 4 * size}]}

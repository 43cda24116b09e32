"""materials: what the subclass runs train on: two classes and their groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from kdutils import models
from kdutils.data import images, mechanisms, tabular
from kdutils.recipes import folds
from kdutils.train import imagebatches
from kdutils.train import loop as train


@dataclass(frozen=True)
class Material:
    """Images of two classes.

    X, y: part ('train', 'val', 'test') -> inputs, uint8 (n, H, W), and class 0 or 1,
    int64 (n,); truth: part -> hidden group of each row, int64 (n,), or None; names: of
    those groups; facts: what each row of a record says of its data.
    """

    X: dict[str, np.ndarray]
    y: dict[str, np.ndarray]
    truth: dict[str, np.ndarray] | None
    names: list[str]
    facts: dict

    def build(self, net: dict, outputs: int) -> nn.Module:
        """The net {name, sizes} with so many outputs; channels last in memory."""
        side = self.X["train"].shape[1]
        model = models.build(net["name"], side, outputs, **net["sizes"])
        return model.to(memory_format=torch.channels_last)

    def batches(self, *targets, batch: int, seed: int, reach: int, views=None):
        """The training part in batches that end with the views' logits, if any."""
        how = {"batch": batch, "seed": seed, "reach": reach, "views": views}
        return imagebatches.ImageBatches(self.X["train"], *targets, **how)

    def views(self, net: nn.Module, reach: int) -> np.ndarray:
        """Logits float16 (V, n, S) of every shift of the training images."""
        every = imagebatches.each_view(self.X["train"], reach)
        return np.stack([models.predict(net, X) for X in every]).astype(np.float16)

    def ask(self, net: nn.Module, part: str, *, features: bool = False) -> np.ndarray:
        """Logits, or features, of a part."""
        return models.predict(net, self.X[part], features=features)


class Readings(Material):
    """Rows of measurements, float32 (n, d), instead of images: nothing can be moved."""

    def build(self, net: dict, outputs: int) -> nn.Module:
        return models.Perceptron(self.X["train"].shape[1], outputs, **net["sizes"])

    def batches(self, *targets, batch: int, seed: int, reach: int, views=None):
        told = [] if views is None else [views[0]]
        X = self.X["train"]
        return train.Batches(X, *targets, *told, batch=batch, seed=seed)

    def views(self, net: nn.Module, reach: int) -> np.ndarray:
        return self.ask(net, "train")[None].astype(np.float16)

    def ask(self, net: nn.Module, part: str, *, features: bool = False) -> np.ndarray:
        net.eval()
        X = torch.from_numpy(self.X[part])
        with torch.no_grad():
            return (net.features(X) if features else net(X)).float().numpy()


def digest(config: dict) -> str:
    """The content of a config's source, or the options of the simulated tester."""
    if config["source"] == "tester":
        return tabular.digest("tester", **config["options"])
    return images.digest(config["source"], config["root"])


def material(config: dict) -> Material:
    """The tester's passes and fails, or a source of images as two classes."""
    if config["source"] == "tester":
        return tester(config)
    return halves(config)


def halves(config: dict) -> Material:
    """A source of images; ten digits become two halves, 0-4 against 5-9."""
    source, root = config["source"], config["root"]
    split = images.split(source, seed=config["seed"], val=0, root=root)
    parts = {"train": split.train, "val": split.val, "test": split.test}
    digits = images.classes(source) == 10
    drawn = source == "digits"
    return Material(
        X={name: part.X for name, part in parts.items()},
        y={name: part.y // 5 if digits else part.y for name, part in parts.items()},
        truth={name: part.y for name, part in parts.items()} if digits else None,
        names=[str(digit) for digit in range(10)] if digits else [],
        facts={
            "kind": split.kind,
            "n_train": len(split.train),
            "n_test": len(split.test),
            "rho": len(split.test) / len(split.train) if drawn else 0.0,
        },
    )


def tester(config: dict) -> Material:
    """Devices that pass or fail, and the defect that the simulator gave to each."""
    source = {"source": "tester", "options": config["options"], "seed": config["seed"]}
    sizes = {"features": 28, "teacher_features": 28}
    fold = next(folds.folds(source | sizes))
    drawn = mechanisms.of(config["seed"], **config["options"])
    truth = dict(zip(folds.PARTS, drawn, strict=True))
    return Readings(
        X=fold.X,
        y={name: y.astype(np.int64) for name, y in fold.y.items()},
        truth=truth,
        names=list(mechanisms.names()),
        facts={
            "kind": fold.split.kind,
            "n_train": len(truth["train"]),
            "n_test": len(truth["test"]),
            "rho": 0.0,
        },
    )

"""recipes.tasks: what differs between kinds of data: one object for each kind.

A task loads a config's split, builds a net, makes batches, augments them, predicts and
scores. X is uint8 (n, H, W) of images and wafer maps, float32 (n, d) of readings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from kdutils import losses, metrics, models, stats, train
from kdutils.data import PARTS as PARTS
from kdutils.data import (
    Split,
    images,
    readers,
    registry,
    sentences,
    symmetry,
    tables,
    wafers,
)
from kdutils.data.simulate import wafersim
from kdutils.deploy import bundle
from kdutils.metrics import answers
from kdutils.store.config import Count, Natural, NotNegative, Positive, Share


@dataclass(frozen=True)
class Sizes:
    """The sizes that a net can be built with; which of them, its name says."""

    widths: list[Count] | None = None
    depth: Natural = 0
    head: Natural = 0
    channels: Count = 1
    dropout: Share = 0.0
    attention_dropout: Share = 0.0
    width: Positive = 1.0
    gelu: bool = False
    buckets: Natural = 0
    order: Natural = 0
    scale: NotNegative = 0.0
    rows: list[Count] | None = None
    letters: list[Count] | None = None
    hide: Share = 0.0
    least: Natural = 0
    pixels: Natural = 0


@dataclass(frozen=True)
class Net:
    """A net by its name and sizes."""

    name: str
    sizes: Sizes


@dataclass(frozen=True)
class Site:
    """Where wafer maps come from; maps and options are the simulator's."""

    site: str
    source: str
    root: str
    maps: list[Count] | None
    options: dict
    seed: Natural


class Images:
    """Images of one class each, augmented by shifts of at most so many pixels."""

    quality, score = "accuracy", staticmethod(metrics.accuracy)
    augment = "max_shift"  # its key in a config
    loss = staticmethod(cross_entropy)

    def digest(self, config: dict) -> str:
        """The content of the source's files."""
        return images.digest(config["source"], config["root"])

    def load(self, config: dict) -> Split:
        """The split of a seed; `val` images are kept for validation by rows 'train'."""
        own = {"seed": config["seed"], "root": config["root"]}
        val = config["val"] if config.get("rows") == "train" else 0
        return images.split(config["source"], val=val, **own)

    def facts(self, config: dict, parts: Split) -> dict:
        """What each row of a record says of its data.

        rho: 0 where every seed is scored on one test set, so that an interval over
        seeds speaks of another training; test / training rows where each seed draws its
        own (Nadeau & Bengio 2003).
        """
        drawn = config["source"] == "digits"
        used = len(parts.train) + len(parts.val)
        return {
            "kind": parts.kind,
            "n_train": len(parts.train),
            "n_test": len(parts.test),
            "rho": len(parts.test) / used if drawn else 0.0,
        }

    def outputs(self, config: dict) -> int:
        """How many classes a config's source has."""
        return images.classes(config["source"])

    def build(self, name: str, sizes: dict, seed: int, side: int, outputs: int):
        """The net for inputs of side x side, with the initial weights of the seed."""
        torch.manual_seed(seed)
        return models.build(name, side, outputs, **sizes)

    def batches(
        self, X, *targets, batch: int, seed: int, augment: int = 0, views=None
    ) -> Iterable:
        """Fresh batches (x, *targets, view); views: logits of each view, or None."""
        how = {"batch": batch, "seed": seed, "scale": 255, "view_targets": views}
        return train.Batches(X, *targets, augment=train.shifts(augment), **how)

    def predict(self, net: nn.Module, X, *, features: bool = False) -> np.ndarray:
        """Logits (n, K), or features."""
        return models.predict(net, X, features=features)

    def views(self, net: nn.Module, X, augment: int) -> np.ndarray:
        """Logits float16 (V, n, K) of every view that `batches` may show."""
        every = train.Shifts(X, augment)
        return np.stack([self.predict(net, view) for view in every]).astype(np.float16)


class Readings(Images):
    """Rows of measurements of the simulated tester: nothing augments them."""

    def digest(self, config: dict) -> str:
        """The options of the simulated tester."""
        return tables.digest("tester", **config["options"])

    def build(self, name: str, sizes: dict, seed: int, side: int, outputs: int):
        """A perceptron of `side` readings."""
        torch.manual_seed(seed)
        return models.Perceptron(side, outputs, **sizes)

    def batches(
        self, X, *targets, batch: int, seed: int, augment: int = 0, views=None
    ) -> Iterable:
        """Fresh batches (x, *targets, logits of the one view, if any)."""
        targets += () if views is None else (views[0],)
        return train.Batches(X, *targets, batch=batch, seed=seed)

    def predict(self, net: nn.Module, X, *, features: bool = False) -> np.ndarray:
        """Logits (n, K), or features."""
        return models.predict(net, X, batch=len(X), features=features)

    def views(self, net: nn.Module, X, augment: int) -> np.ndarray:
        """Logits float16 (1, n, K)."""
        return self.predict(net, X)[None].astype(np.float16)


class Photographs(Images):
    """Images as bytes, uint8 (n, 3, H, W) in colour, (n, H, W) grey; nets take bytes.

    They are shown moved, and in colour mirrored as well.
    """

    def digest(self, config: dict) -> str:
        """The content of the source's files, and of the weights that a net needs."""
        found = super().digest(config)
        if not (name := self.pretrained(config)):
            return found
        found += registry.digest(name, config["root"])
        return hashlib.sha256(found.encode()).hexdigest()

    def pretrained(self, config: dict) -> str:
        """The published weights that a config's net begins with, if any."""
        return config.get("weights", "")

    def predict(self, net: nn.Module, X, *, features: bool = False) -> np.ndarray:
        """Logits (n, K), or features; so few images at a time fit the caches."""
        return models.predict(net, X, batch=64, features=features)

    def targets(self, a):
        """Logits or labels of a batch, as the loss takes them."""
        return a

    def learns(self, parts: Split, unlabelled: bool) -> np.ndarray | None:
        """The places of the training rows that teach; None of all."""
        return None

    def scores(self, config: dict, parts: Split, logits: dict, teacher) -> dict:
        """What a row says of a net's test logits, of its teacher's and of the labels.

        logits: of val and test, and of test 'mirrored'; teacher: of test, or None.
        """
        y, z = parts.test.y, logits["test"]
        row = metrics.summary(y, z, teacher) | {"macro_f1": metrics.macro_f1(y, z)}
        most = np.bincount(parts.train.y).argmax()  # what a constant predictor says
        row["constant_acc"] = float(np.mean(y == most))
        if z.shape[1] == 2:
            row["test_auc"] = metrics.auc(y, z[:, 1] - z[:, 0])
        if teacher is not None:
            row["teacher_acc"] = metrics.accuracy(y, teacher)
        if "mirrored" in logits:
            row["mirrored_acc"] = metrics.accuracy(y, logits["mirrored"])
        val = len(parts.val) and metrics.accuracy(parts.val.y, logits["val"])
        return row | {"val_acc": val if len(parts.val) else None}

    def right(self, config: dict, parts: Split, logits: np.ndarray) -> np.ndarray:
        """bool (n,): which test rows are right."""
        return metrics.correct(parts.test.y, logits)

    def load(self, config: dict) -> Split:
        """The split of a seed, with `val` images kept for validation."""
        own = {key: config[key] for key in ("seed", "val", "root")}
        return images.split(config["source"], **own)

    def views(self, X, count: int, seed: int, *, max_shift: int = 0) -> train.Sets:
        """So many ways to show all images, drawn once."""
        return train.Sets(train.Shifts(X, max_shift), len(X), count, seed)

    def batches(self, X, *targets, batch: int, seed: int, sets=None, views=None):
        """Fresh batches (x, *targets, logits of the set shown, if any)."""
        how = {"batch": batch, "seed": seed, "view_targets": views}
        return train.Batches(X, *targets, sets=sets, **how)

    def untrained(self, config: dict, parts: Split) -> nn.Module:
        """The net of a config with its initial weights."""
        shape = parts.train.X.shape[-1], self.outputs(config)
        net = self.build(config["net"], config["sizes"], config["seed"], *shape)
        if isinstance(net, models.photographs.Airbench):
            net.whiten(parts.train.X[:5000])
        if not (name := self.pretrained(config)):
            return net
        if not isinstance(net, models.lite.Lite):
            raise ValueError(
                f"weights is {name!r}, with which {config['net']} cannot begin: "
                f"expected a net of {', '.join(models.lite.MODELS)}"
            )
        registry.known(name, "weights")
        registry.read(name, config["root"])  # refuses others than the published ones
        file = next(iter(registry.known(name).files))
        return net.pretrained(registry.find(name, config["root"]) / file)

    def optimizer(self, config: dict) -> Callable:
        """Descent with Nesterov's momentum, or Adam."""
        if config.get("optimizer") == "adam":
            return adam(config)
        keys = ("lr", "bias_lr", "momentum", "decay")
        return partial(train.descent, **{key: config[key] for key in keys})

    def shipped(self, file: bytes, net: nn.Module, X, parts: Split) -> np.ndarray:
        """Logits (n, K) of a file, as `net`, which holds the same numbers, has them."""
        return self.predict(net, X)

    def mirrored(self, net: nn.Module, X) -> np.ndarray:
        """Mean logits (n, K) over the images and their mirror images."""
        both = partial(train.Shifts, max_shift=0)
        return models.predict(net, X, batch=64, augment=both, views=2)


class Sentences(Photographs):
    """Sentences, shown whole or shortened; nets are told what word stands where."""

    def digest(self, config: dict) -> str:
        """The content of the source's files, and of the weights that a net needs."""
        found = super().digest(config)
        if self.pretrained(config):
            return found
        return hashlib.sha256(found.encode()).hexdigest()

    def pretrained(self, config: dict) -> str:
        """MiniLM's weights, if a config's net begins with them."""
        needed = config["net"] in ("bert", "spans")
        return "minilm" if needed or config["sizes"].get("scale", 0) > 0 else ""

    def load(self, config: dict) -> Split:
        """The split of a seed, with `val` sentences kept if the source keeps none."""
        own = {key: config[key] for key in ("seed", "val", "root")}
        return sentences.split(config["source"], **own)

    def outputs(self, config: dict) -> int:
        """Praise and blame."""
        return 2

    def untrained(self, config: dict, parts: Split) -> nn.Module:
        """The net of a config with its initial weights, told the source's words."""
        sizes, X, words = dict(config["sizes"]), parts.train.X, parts.features
        scale, least = sizes.pop("scale", 0), sizes.pop("least", 0)
        net = self.build(config["net"], sizes, config["seed"], X.shape[-1], 2)
        counts = np.bincount(X[X >= 0], minlength=len(words))
        name = self.pretrained(config)
        place = registry.find(name, config["root"]) if name else None
        if isinstance(net, models.text.Bert):
            return net.spell(words, place).pretrained(place / readers.MINILM[0])
        net.spell(words)
        if place:
            net.pretrained(place, words, counts, scale)
        return net.keep(counts, least) if least else net

    def optimizer(self, config: dict) -> Callable:
        """Adam."""
        return adam(config)

    def views(self, X, count: int, seed: int, **how):
        """So many ways to show all sentences, the first of them whole."""
        return train.Shortened(X, count, seed, **how)

    def batches(self, X, *targets, batch: int, seed: int, sets=None, views=None):
        """Fresh batches (x, *targets, logits of the set shown, if any)."""
        how = {"batch": batch, "seed": seed, "view_targets": views, "sets": sets}
        return train.Batches(X, *targets, lengths=(X >= 0).sum(1), **how)

    def predict(self, net: nn.Module, X, *, features: bool = False) -> np.ndarray:
        """Logits (n, K), sentences of about one length at a time."""
        X = np.asarray(X)
        order = np.argsort((X >= 0).sum(1), kind="stable")
        found = models.predict(net, X[order], batch=64)
        return found[np.argsort(order, kind="stable")]

    def shipped(self, file: bytes, net: nn.Module, X, parts: Split) -> np.ndarray:
        """Logits (n, K) of a file, as numpy reads the sentences' text with it."""
        texts = [sentences.shown(parts, row) for row in X]
        return bundle.loads(file, "the file").score(texts)


class Questions(Sentences):
    """Questions, answered by a stretch of a text; a right answer is an exact match."""

    def targets(self, a):
        """Of each row's first and last word, those of all first words, then of last."""
        return a.movedim(1, 0)

    def learns(self, parts: Split, unlabelled: bool) -> np.ndarray | None:
        """Those with an answer, and on request the others."""
        return None if unlabelled else np.flatnonzero(parts.train.y[:, 0] >= 0)

    def scores(self, config: dict, parts: Split, logits: dict, teacher) -> dict:
        """Exact match and F1 of a word's stretch, in the mean over questions."""
        row = {"agreement": None}
        if teacher is not None:
            row["teacher_acc"] = self.judged(config, parts.test, teacher)[0].mean()
            same = answers.spans(logits["test"]) == answers.spans(teacher)
            row["agreement"] = float(same.all(1).mean())
        for name, end in {"val": "val_", "test": ""}.items():
            exact, f1 = self.judged(config, getattr(parts, name), logits[name])
            row |= {f"{end or 'test_'}acc": exact.mean(), f"{end}f1": f1.mean()}
        return {k: None if v is None else float(v) for k, v in row.items()}

    def right(self, config: dict, parts: Split, logits: np.ndarray) -> np.ndarray:
        """bool (n,): which test questions are answered exactly."""
        return self.judged(config, parts.test, logits)[0] == 1

    def judged(self, config: dict, part, logits) -> tuple[np.ndarray, np.ndarray]:
        """Exact match and F1 of each question of a part, float64 (n,) both."""
        held = sentences.questions(config["source"], config["root"], part)
        before = [len(sentences.squad.prefix(q)) for q in held]
        found = answers.spans(logits) - np.array(before)[:, None]
        pairs = [(q.text(*s), q.answers) for q, s in zip(held, found, strict=True)]
        exact = [answers.exact_match(*pair) for pair in pairs]
        return np.array(exact), np.array([answers.token_f1(*pair) for pair in pairs])


class Wafers(Images):
    """Wafer maps of any set of patterns, augmented by the symmetries of a square."""

    quality, score = "exact match", staticmethod(metrics.accuracy)
    augment, loss = "augment", staticmethod(losses.multilabel.hard)

    def digest(self, config: dict) -> str:
        """The content of the source's file, or the simulator's options."""
        source = config["source"]
        if source == wafers.SIMULATED:
            return wafers.digest(source, rows=config["maps"], **config["options"])
        return wafers.digest(source, config["root"])

    def load(self, config: dict) -> Split:
        """The maps of a config's source."""
        simulated = config["source"] == wafers.SIMULATED
        own = {"rows": config["maps"], **config["options"]} if simulated else {}
        how = {"seed": config["seed"], "root": config["root"]}
        return wafers.split(config["source"], **how, **own)

    def facts(self, config: dict, parts: Split) -> dict:
        """As for images; a simulated site's test maps are each seed's own."""
        drawn = config["source"] == wafers.SIMULATED
        return {
            "kind": parts.kind,
            "n_train": len(parts.train),
            "n_val": len(parts.val),
            "n_test": len(parts.test),
            "rho": len(parts.test) / len(parts.train) if drawn else 0.0,
        }

    def outputs(self, config: dict) -> int:
        """How many patterns there are."""
        return len(wafers.classes())

    def build(
        self, name: str, sizes: dict, seed: int, side: int = 52, outputs: int = 8
    ) -> nn.Module:
        """The net for maps of side x side, with the initial weights of the seed."""
        return super().build(name, sizes, seed, side, outputs)

    def batches(self, X, *targets, batch: int, seed: int, augment: bool = False):
        """Fresh batches (x, *targets), each map in one of eight symmetries."""
        views = symmetry.copies if augment else lambda X: X[None]
        return train.Batches(X, *targets, batch=batch, seed=seed, augment=views)

    def predict(self, net: nn.Module, X, *, views: int = 1) -> np.ndarray:
        """Mean logits (n, 8) over the first `views` of the eight symmetries."""
        return models.predict(net, X, batch=500, augment=symmetry.copies, views=views)

    def drawn(self, config: dict) -> tuple[np.ndarray, np.ndarray]:
        """A config's `simulated` maps, drawn as its site's own, and their patterns."""
        seed = 1000 + config["seed"]
        return wafersim.draw(config["simulated"], seed=seed, **config["options"])

    def same(self, one: dict, other: dict) -> bool:
        """Whether two configs have the same maps; a simulated site's change by seed."""
        keys = ["source", "root", "maps", "options"]
        keys += ["seed"] if one["source"] == wafers.SIMULATED else []
        return all(one[key] == other[key] for key in keys)


IMAGES, READINGS, WAFERS = Images(), Readings(), Wafers()
PHOTOGRAPHS, SENTENCES, QUESTIONS = Photographs(), Sentences(), Questions()


def of(config: dict) -> Images:
    """The task of a config, by what it holds of its data."""
    if {"maps", "augment"} & set(config):
        return WAFERS
    return READINGS if config["source"] == "tester" else IMAGES


def adam(config: dict) -> Callable:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""
    rates = {"lr": config["lr"], "weight_decay": config["decay"]}
    return partial(torch.optim.AdamW, fused=True, **rates)


def called(net: str, sizes: dict) -> str:
    """A net in a word: `student1`, `8-16-24 x2 +32`; `dw 8-16-24` if separable."""
    if not sizes:
        return net
    name = "-".join(f"{width:g}" for width in sizes["widths"])
    name = f"dw {name}" if net == "separable" else name
    name += f" x{sizes['depth']}" if sizes.get("depth") else ""
    return name + (f" +{sizes['head']}" if sizes.get("head") else "")


def paired(y: np.ndarray, logits: np.ndarray, base: np.ndarray) -> dict:
    """`compared` by the likeliest of classes."""
    return compared(logits.argmax(-1) == y, base.argmax(-1) == y)


def compared(right: np.ndarray, base: np.ndarray) -> dict:
    """Rows that only this system, or only its base, gets right, and McNemar's p."""
    found = stats.mcnemar(right, base)
    counts = {"only_mine": found.only_a, "only_base": found.only_b}
    return counts | {"mcnemar_p": found.p}


def flat(found: dict, items: tuple | None = None) -> dict:
    """The same numbers, each item of a list under `name_item`; by default 0, 1, ..."""
    row = {}
    for name, value in found.items():
        if isinstance(value, list):
            named = zip(items or range(len(value)), value, strict=True)
            row |= {f"{name}_{item}": one for item, one in named}
        else:
            row[name] = value
    return row

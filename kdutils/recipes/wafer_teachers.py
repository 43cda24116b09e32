"""recipes.wafer_teachers: a net that learns wafer maps from their labels.

One run is one seed of one net. `turned` shows it every map in the eight symmetries of a
square. Its answers are kept once for all students: of each map as it is, and averaged
over the eight copies, which no turn of the map changes. `baseline` nets, those that the
label-free students are compared with, are trained by this recipe as well.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from kdutils import losses, metrics, models
from kdutils.data import Split, wafers, wafersim
from kdutils.deploy import waferpack
from kdutils.train import loop as train
from kdutils.train import turns

STAGE = "05_wafer_label_free"
PARTS = ("train", "val", "test")


def plan(*, sites: dict, teachers: dict, **settings) -> list[dict]:
    """One config per teacher and seed.

    sites: name -> {source, root, maps, options}, where maps come from: maps and options
    are the simulator's, see `data.wafers.split`; teachers: name -> {site, net, sizes,
    seeds and what else is its own, over `settings`}. simulated: so many drawn maps,
    whose patterns are known, are learnt from beside the site's own.
    """
    configs = []
    for name, own in teachers.items():
        how = {"simulated": 0, **settings, **own}
        where = sites[how["site"]]
        for seed in range(how.pop("seeds")):
            configs.append({"teacher": name, **where, "seed": seed, **how})
    return configs


def digest(config: dict) -> str:
    """The content of the source's file, or the simulator's options."""
    if config["source"] == wafers.SIMULATED:
        return wafers.digest(config["source"], rows=config["maps"], **config["options"])
    return wafers.digest(config["source"], config["root"])


def split(config: dict) -> Split:
    """The maps of a config's source."""
    simulated = config["source"] == wafers.SIMULATED
    own = {"rows": config["maps"], **config["options"]} if simulated else {}
    return wafers.split(
        config["source"], seed=config["seed"], root=config["root"], **own
    )


def facts(config: dict, parts: Split) -> dict:
    """What each row of a record says of its data.

    rho: 0 where every seed is judged on the one test part of the file; where each seed
    draws its own, test / training maps (Nadeau & Bengio 2003).
    """
    drawn = config["source"] == wafers.SIMULATED
    return {
        "kind": parts.kind,
        "n_train": len(parts.train),
        "n_val": len(parts.val),
        "n_test": len(parts.test),
        "rho": len(parts.test) / len(parts.train) if drawn else 0.0,
    }


def build(name: str, sizes: dict, seed: int, side: int = 52) -> torch.nn.Module:
    """The net with the initial weights of the seed."""
    torch.manual_seed(seed)
    return models.build(name, side, len(wafers.classes()), **sizes)


def fit(config: dict, net, batches, loss) -> None:
    """Train a net in place: AdamW, a cosine to 0, the last weights are kept."""
    train.fit(
        models.autocast(net, config["halved"]),
        batches,
        loss,
        epochs=config["epochs"],
        optimizer=partial(
            torch.optim.AdamW,
            lr=config["lr"],
            weight_decay=config["decay"],
            fused=True,
        ),
        seed=config["seed"],
    )


def trained(run) -> torch.nn.Module:
    """The net of a finished run."""
    config = run.config
    net = build(config["net"], config["sizes"], config["seed"])
    return models.load(net, run.arrays("weights")).to(memory_format=torch.channels_last)


def labelled(config: dict, parts: Split) -> tuple[np.ndarray, np.ndarray]:
    """Training maps and their labels, with those that the simulator adds."""
    X, y = parts.train.X, parts.train.y
    if not config["simulated"]:
        return X, y
    more = drawn(config)
    return np.concatenate((X, more[0])), np.concatenate((y, more[1]))


def drawn(config: dict) -> tuple[np.ndarray, np.ndarray]:
    """The simulated maps of a config, and the patterns that they were drawn with.

    A simulated site's are drawn as its own maps are.
    """
    options, seed = config["options"], 1000 + config["seed"]
    return wafersim.draw(config["simulated"], seed=seed, **options)


def asked(run) -> torch.nn.Module:
    """The net of a finished run, with products in bfloat16 if it was trained so."""
    return models.autocast(trained(run), run.config["halved"])


def same(one: dict, other: dict) -> bool:
    """Whether two configs have the same maps; simulated ones change with the seed."""
    keys = ["source", "root", "maps", "options"]
    keys += ["seed"] if one["source"] == wafers.SIMULATED else []
    return all(one[key] == other[key] for key in keys)


def answers(run, parts: Split) -> dict[str, np.ndarray]:
    """Logits of every part: of the maps as they are, and over the eight copies."""
    net = asked(run)
    return {
        f"{name}{views}": turns.ask(net, getattr(parts, name).X, views=views)
        for name in PARTS
        for views in (1, 8)
    }


def compute(config: dict, run) -> dict:
    """Train, ask, keep; a row for plain answers and one for the averaged."""
    parts = split(config)

    def learn() -> dict[str, np.ndarray]:
        net = build(config["net"], config["sizes"], config["seed"])
        X, y = labelled(config, parts)
        how = {"batch": config["batch"], "seed": config["seed"]}
        batches = turns.TurnedBatches(X, y, turned=config["turned"], **how)
        fit(config, net, batches, losses.multilabel.hard)
        return models.arrays(net)

    run.step("weights", learn)
    told = run.step("answers", lambda: answers(run, parts))
    net = trained(run)
    shared = facts(config, parts) | {
        "params": models.parameters(net),
        "torch_bytes": waferpack.torch_bytes(net),
    }
    rows = []
    for views in (1, 8):
        said = {name: told[f"{name}{views}"] for name in PARTS}
        rows.append({"views": views, **shared, **judged(parts, said)})
    return {"rows": rows}


def judged(parts: Split, said: dict[str, np.ndarray]) -> dict:
    """Exact match on every part; of the test part what else there is to know."""
    y, z = parts.test.y, said["test"]
    row = {
        f"{name}_exact": metrics.accuracy(getattr(parts, name).y, said[name])
        for name in PARTS
    }
    row |= {"macro_f1": metrics.macro_f1(y, z), **metrics.by_label(y, z)}
    return row | metrics.calibration(y, z)

"""bench_wafers: wafer nets asked, trained and fed, side by side on one thread.

`python -m kdutils.bench.wafers` measures what one map costs each net, what training
costs here and the usual way, and how many maps are drawn and answered in a second. Maps
are simulated and weights untrained: times depend on neither. What is compared takes
turns; a ratio or rate is the geometric mean over turns with its 95 % t interval. Only
ratios mean something on another machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from kdutils import losses, models, stats
from kdutils.bench import grid as bench
from kdutils.data import wafersim
from kdutils.deploy import waferpack
from kdutils.train import loop as train
from kdutils.train import turns

SHAPE = 52, len(wafersim.PATTERNS)  # side of a map, patterns
TEACHER = {"widths": [24, 48, 96], "depth": 2}
LOSS = partial(
    losses.get("mse-bce"), kind="multilabel", alpha=1.0, mse=0.5, threshold=0.5
)
RATE = 1e-3


class MapImages(Dataset):
    """Images as `models.wafers.Reader` has them, turned at random; teacher logits."""

    def __init__(self, X, told, planes: int) -> None:
        self.X, self.told, self.planes = X, told, planes
        self.generator = torch.Generator().manual_seed(0)

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        x = torch.from_numpy(self.X[row])
        if self.planes == 2:
            x = torch.stack((x > 0, x > 1)).float()
        else:
            x = x.float().div(2).expand(self.planes, *x.shape)
        turn = int(torch.randint(8, (), generator=self.generator))
        x = torch.rot90(x.flip(2) if turn > 3 else x, turn % 4, (1, 2))
        return x.contiguous(), torch.from_numpy(self.told[row])


def usual(net, X, told, *, epochs: int, batch: int) -> None:
    """Train a wafer net as is usual: contiguous images, float32."""
    body = net.body.to(memory_format=torch.contiguous_format).train()
    data, order = MapImages(X, told, net.planes), bench.Shuffled(len(X), seed=0)
    loader = DataLoader(data, batch_size=batch, sampler=order, num_workers=0)
    bench.usual(body, loader, LOSS, epochs=epochs, lr=RATE)


def ours(net, X, told, *, epochs: int, batch: int, halved: bool = False) -> None:
    """Train it as the recipes do: turned maps in memory as bytes, channels last."""
    batches = turns.TurnedBatches(X, told, batch=batch, seed=0)
    asked = models.autocast(net, halved)
    adamw = partial(torch.optim.AdamW, lr=RATE, weight_decay=0.0, fused=True)
    train.fit(asked, batches, LOSS, epochs=epochs, optimizer=adamw)


LOOPS = {
    "DataLoader loop": usual,
    "ours, float32": ours,
    "ours, bfloat16": partial(ours, halved=True),
}


def latency(sizes: dict, *, rounds: int = 10, calls: int = 100) -> list[dict]:
    """A row for each net, folded, asked for one map `calls` times in each round.

    times: as fast as ResNet-18, the published teacher; ours_times: as our teacher, from
    the rounds' medians. bytes: by `torch.save` as trained, or the packed one's file.
    """
    built = {name: fresh(name) for name in ("resnet18", "student1", "student2")}
    built |= {"our teacher": fresh(**TEACHER), "compact": fresh(**sizes)}
    held = {name: waferpack.torch_bytes(net) for name, net in built.items()}
    asked = {name: waferpack.folded(net) for name, net in built.items()}
    asked["compact, packed"], held["compact, packed"] = packed(sizes)
    x = torch.from_numpy(wafersim.draw(1, seed=0)[0])
    with torch.inference_mode():
        ways = {name: partial(net, x) for name, net in asked.items()}
        took = taken(ways, rounds, calls)
    middle = {name: np.median(of, axis=1) for name, of in took.items()}
    return [
        {"net": name, "params": models.parameters(asked[name]), "bytes": held[name]}
        | {f"p{p}_ms": 1000 * np.percentile(of, p) for p in (50, 95, 99)}
        | mean("times", middle["resnet18"] / middle[name])
        | mean("ours_times", middle["our teacher"] / middle[name])
        | {"rounds": rounds, "calls": calls}
        for name, of in took.items()
    ]


def training(
    sizes: dict, *, repeats: int = 5, batch: int = 128, steps: int = 2
) -> list[dict]:
    """A row for each net and loop: images a second, `times` those of the usual loop.

    Epochs of `steps` steps, 1 of ResNet-18 and 8 of the student, with all that it takes
    to begin. The teacher, asked beforehand, is the truth, softened.
    """
    X, y = wafersim.draw(steps * batch, seed=0)
    told, found = 6 * y.astype(np.float32) - 3, []
    for name, own, epochs in (("resnet18", {}, 1), ("compact", sizes, 8)):
        how = {"epochs": epochs, "batch": batch}
        ways = {
            way: partial(loop, fresh(name, **own), X, told, **how)
            for way, loop in LOOPS.items()
        }
        took = taken(ways, repeats)
        found += [
            {"net": name, "way": way, "steps": steps, **how, "repeats": repeats}
            | mean("images_per_second", epochs * len(X) / seconds)
            | mean("times", took["DataLoader loop"] / seconds)
            for way, seconds in took.items()
        ]
    return found


def maps(sizes: dict, *, repeats: int = 5, drawn: int = 512) -> list[dict]:
    """A row for drawing maps, and for each net answering them in all eight symmetries.

    Our teacher answers in bfloat16, as it does for its students; the student is packed.
    """
    X, _ = wafersim.draw(drawn, seed=0)
    teacher, (student, _) = models.autocast(fresh(**TEACHER)), packed(sizes)
    ways = {
        "simulator": partial(wafersim.draw, drawn, seed=1),
        "our teacher, eight-fold": partial(turns.ask, teacher, X, views=8),
        "compact, packed, eight-fold": partial(turns.ask, student, X, views=8),
    }
    return [
        {"way": way, "maps": drawn, "repeats": repeats}
        | mean("maps_per_second", drawn / seconds)
        for way, seconds in taken(ways, repeats).items()
    ]


BENCHES = {"latency": latency, "training": training, "maps": maps}


def fresh(name: str = "compact", **sizes) -> nn.Module:
    """A net with the initial weights of seed 0."""
    torch.manual_seed(0)
    return models.build(name, *SHAPE, **sizes)


def packed(sizes: dict) -> tuple[nn.Module, int]:
    """The student back from a file of eight-bit weights, and the file's bytes."""
    file = waferpack.pack(fresh(**sizes), "compact", *SHAPE, **sizes)
    return waferpack.unpack(file), len(file)


def taken(ways: dict[str, Callable], rounds: int, calls: int = 1) -> dict:
    """Seconds (rounds, calls) of each way; a first round, untimed, loads and warms."""
    took = {name: np.empty((rounds + 1, calls)) for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            for call in range(calls):
                start = time.perf_counter()
                way()
                took[name][number, call] = time.perf_counter() - start
    return {name: seconds[1:] for name, seconds in took.items()}


def mean(name: str, values: np.ndarray) -> dict[str, float]:
    """The geometric mean of numbers above 0 as `name`, and its interval's ends."""
    ends = np.exp(stats.mean_interval(np.log(np.ravel(values))))
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends.tolist(), strict=True))


def main(words: list[str] | None = None) -> dict[str, list[dict]]:
    """The command line; the only place of this module that prints."""
    import pandas as pd

    parser = argparse.ArgumentParser(
        prog="python -m kdutils.bench.wafers", conflict_handler="resolve"
    )  # the benches share some settings
    parser.add_argument("what", nargs="?", choices=list(BENCHES), help="all, if none")
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 16, 24])
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--head", type=int, default=0)
    for way in BENCHES.values():
        bench.options(parser, way)
    given = vars(parser.parse_args(words))
    torch.set_num_threads(1)
    sizes = {key: given[key] for key in ("widths", "depth", "head")}
    found = {}
    for what, way in BENCHES.items():
        if given["what"] not in (None, what):
            continue
        rows = way(sizes, **{key: given[key] for key in way.__kwdefaults__})
        print(pd.DataFrame(rows).to_string(index=False, float_format="{:,.2f}".format))
        found[what] = [{**row, "cpu": bench.cpu(), "threads": 1} for row in rows]
        if given["write"]:
            print(bench.keep(found[what], f"wafers-{what}"))
    return found


if __name__ == "__main__":
    main()

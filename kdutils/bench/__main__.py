"""bench: `python -m kdutils.bench [what ...] [--write]` measures what is named, or all.

Trainings are compared with two baselines, both one student after another from the same
initial weights, with the same batches, loss, optimizer and schedule: the usual
DataLoader loop, and a plain loop over the same rows in memory. Teachers are the truth,
softened; times depend neither on that nor on weights.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.nn.functional import kl_div, log_softmax, softmax
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset

from kdutils import losses, metrics, models, train
from kdutils.bench import Rows, cpu, device, keep, mean, taken, tester_rows
from kdutils.compress import convert
from kdutils.data import images, symmetry
from kdutils.data.simulate import wafersim
from kdutils.train import grid, students

TOLERANCE = 0.001  # largest difference of validation AUC between the two ways


STUDENTS = {
    "mlp": ("perceptron", {"widths": (64, 64)}, 2e-3),
    "cnn": ("convolutional", {"channels": 4}, 3e-3),
}


SHAPE = 52, len(wafersim.PATTERNS)  # side of a map, patterns
TEACHER = {"widths": [24, 48, 96], "depth": 2}
PUBLISHED = {"alpha": 1.0, "mse": 0.5, "threshold": 0.5}
LOSS = losses.get("mse-bce").using(kind="multilabel", **PUBLISHED)
RATE = 1e-3


class Shuffled(Sampler):
    """Row numbers in the order that `grid` takes under a seed, epoch after epoch."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.generator = n, torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(self.n, generator=self.generator).tolist())


class Pictures(Dataset):
    """Images, labels and teacher logits, one row at a time.

    As torchvision's MNIST with ToTensor hands them out: each image becomes a picture of
    the Pillow library, so that transforms can work on it, and then a tensor.
    """

    def __init__(self, X: np.ndarray, y: np.ndarray, t: np.ndarray) -> None:
        self.X, self.y, self.t = X, y, t

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, row: int) -> tuple:
        picture = np.array(Image.fromarray(self.X[row]), np.uint8, copy=True)
        x = torch.from_numpy(picture).float().div(255)
        return x, int(self.y[row]), torch.from_numpy(self.t[row])


class MapImages(Dataset):
    """Images as `Reader` makes them, turned at random, and teacher logits."""

    def __init__(self, X, t, planes: int) -> None:
        self.X, self.t, self.planes = X, t, planes
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
        return x.contiguous(), torch.from_numpy(self.t[row])


def usual(net, loader, loss: Callable, *, epochs: int, lr: float, after=None) -> None:
    """Train a net the usual way: AdamW without decay, a cosine to 0, batch by batch.

    loader: sized, batches (x, *targets); loss: (net(x), *targets) -> scalar; after:
    called at the end of each epoch.
    """
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=0.0)
    steps = epochs * len(loader)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for x, *targets in loader:
            value = loss(net(x), *targets)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
        if after is not None:
            after()


def distilled(cell) -> Callable:
    """(z, y, t) -> the binary distillation loss of a cell, from torch's own parts."""

    def loss(z, y, t):
        soft = cross_entropy(z / cell.T, torch.sigmoid(t / cell.T))
        return (1 - cell.alpha) * cross_entropy(z, y) + cell.alpha * cell.T**2 * soft

    return loss


def table_student(
    rows: Rows, cell, seed: int, *, epochs: int, batch: int, lr: float, memory=False
) -> float:
    """Best validation AUC over the epochs of one student, the usual way.

    memory: rows are indexed in memory, without a DataLoader.
    """
    torch.manual_seed(seed)
    student = models.Student(rows.X.shape[1])
    data = [torch.from_numpy(a) for a in (rows.X, rows.y, rows.teacher)]
    loader = train.Batches(*data, batch=batch, seed=seed)
    if not memory:
        order = Shuffled(len(rows.X), seed)
        loader = DataLoader(TensorDataset(*data), batch_size=batch, sampler=order)
    X_val, found = torch.from_numpy(rows.X_val), [0.0]

    def judge() -> None:
        with torch.no_grad():
            found.append(roc_auc_score(rows.y_val, student(X_val).numpy()))

    usual(student, loader, distilled(cell), epochs=epochs, lr=lr, after=judge)
    return max(found)


def image_student(
    net: nn.Module, data, cell, *, epochs: int, batch: int, lr: float, seed: int
) -> nn.Module:
    """The net trained the usual way, by distillation at the cell's alpha and T.

    data: `Pictures` for a DataLoader, or (X, y, logits) to be indexed in memory.
    """
    if isinstance(data, Pictures):
        order = Shuffled(len(data), seed)
        loader = DataLoader(data, batch_size=batch, sampler=order)
    else:
        loader = train.Batches(*data, batch=batch, seed=seed, scale=255)

    def loss(z, y, t):
        ours, theirs = log_softmax(z / cell.T, 1), softmax(t / cell.T, 1)
        soft = kl_div(ours, theirs, reduction="batchmean")
        hard = nn.functional.cross_entropy(z, y)
        return (1 - cell.alpha) * hard + cell.alpha * cell.T**2 * soft

    usual(net, loader, loss, epochs=epochs, lr=lr)
    return net


def compared(seconds: dict[str, float], counts: dict[str, int], shared: dict) -> list:
    """A row for each way: students a second, and that against both baselines."""
    each = {way: counts[way] / seconds[way] for way in seconds}
    return [
        {"way": way, "students": counts[way], "seconds": seconds[way]}
        | {"per_second": rate, "times_dataloader": rate / each["DataLoader loop"]}
        | {"times_in_memory": rate / each["in-memory loop"], **shared}
        for way, rate in each.items()
    ]


def stopwatch(ways: dict[str, Callable]) -> tuple[dict[str, float], dict]:
    """Seconds that each way takes once, and what it returns."""
    seconds, found = {}, {}
    for name, way in ways.items():
        start = time.perf_counter()
        found[name] = way()
        seconds[name] = time.perf_counter() - start
    return seconds, found


def tables(
    *,
    alphas: int = 7,
    temperatures: int = 7,
    seeds: int = 5,
    rows: int = 6000,
    epochs: int = 10,
    batch: int = 256,
    lr: float = 1e-3,
    baseline_cells: int = 10,
) -> list[dict]:
    """Tabular students: both loops, and an alpha x T x seed grid at once.

    `auc_difference` is the largest difference of validation AUC over the
    `baseline_cells` students, evenly chosen, that were trained by a loop as well; a
    ValueError beyond TOLERANCE. All ways first train for an epoch untimed, which loads
    libraries and makes kernels.
    """
    data = tester_rows(rows)
    cells = [
        grid.Cell("kd", alpha, T)
        for alpha in np.linspace(0.1, 1, alphas)
        for T in np.linspace(1, 10, temperatures)
    ]
    how = {"batch": batch, "lr": lr}
    pairs = [(s, c) for s in range(seeds) for c in range(len(cells))]
    chosen = np.linspace(0, len(pairs) - 1, min(baseline_cells, len(pairs))).astype(int)
    sample = [pairs[i] for i in chosen]

    def whole(epochs: int, cells: list[grid.Cell], seeds: int) -> grid.Grid:
        own = {"seeds": range(seeds), "X_val": data.X_val, "y_val": data.y_val}
        return grid.fit(
            data.X, data.y, data.teacher, cells, **own, epochs=epochs, **how
        )

    def loop(memory: bool) -> list[float]:
        own = how | {"epochs": epochs, "memory": memory}
        return [table_student(data, cells[c], s, **own) for s, c in sample]

    whole(1, cells, 1)
    for memory in (False, True):
        table_student(data, cells[0], 0, epochs=1, memory=memory, **how)
    ways = {
        "DataLoader loop": partial(loop, False),
        "in-memory loop": partial(loop, True),
        "grid": partial(whole, epochs, cells, seeds),
    }
    seconds, found = stopwatch(ways)
    own = [found["grid"].val_auc[at] for at in sample]
    difference = np.abs(np.subtract(own, found["DataLoader loop"])).max()
    if difference > TOLERANCE:
        raise ValueError(
            f"grid and loop differ by {difference:.5f} in validation AUC, "
            f"expected at most {TOLERANCE}"
        )
    counts = dict.fromkeys(ways, len(sample)) | {"grid": len(pairs)}
    shared = {"rows": len(data.X), "epochs": epochs, "batch": batch}
    return compared(seconds, counts, shared | {"auc_difference": difference})


def image_students(
    *,
    students: tuple = tuple(STUDENTS),
    source: str = "digits",
    alphas: int = 6,
    temperatures: int = 6,
    rows: int = 10_000,
    epochs: int = 2,
    batch: int = 256,
    baseline_cells: int = 3,
    bf16: bool = False,
) -> list[dict]:
    """Image students: both loops, and an alpha x T grid side by side.

    `accuracy_difference` is the mean difference of test accuracy, stacked minus
    DataLoader loop, over the `baseline_cells` students that were trained both ways, and
    `accuracy_sd` its standard deviation. bf16: the stacked products in bfloat16. All
    ways first train a little, untimed.
    """
    how = {key: value for key, value in locals().items() if key != "students"}
    return [row for student in students for row in stacked_student(student, **how)]


def stacked_student(
    student, *, source, alphas, temperatures, rows, epochs, batch, baseline_cells, bf16
) -> list[dict]:
    """The rows of one student of STUDENTS."""
    split = images.split(source, seed=0, val=0)
    X, y = split.train.X[:rows], split.train.y[:rows]
    name, sizes, lr = STUDENTS[student]
    t = (6 * np.eye(images.classes(source), dtype=np.float32))[y]
    cells = [
        students.Cell("kd", float(alpha), float(T))
        for alpha in np.linspace(0.1, 1, alphas)
        for T in np.linspace(1, 20, temperatures)
    ]
    chosen = np.linspace(0, len(cells) - 1, baseline_cells).astype(int)
    how = {"batch": batch, "lr": lr, "seed": 0}

    def fresh() -> nn.Module:
        torch.manual_seed(0)
        return models.build(name, X.shape[1], t.shape[1], **sizes)

    def stack(n: int, cells: list, epochs: int) -> dict:
        given = X[:n], y[:n], {"teacher": t[:n]}, cells
        own = {"epochs": epochs, "bf16": bf16, "device": "cpu"}
        return students.fit_stacked(fresh(), *given, **own, **how)

    def loop(n: int, cells: list, epochs: int, make: Callable = Pictures) -> list:
        data = make(X[:n], y[:n], t[:n])
        return [image_student(fresh(), data, c, epochs=epochs, **how) for c in cells]

    def memory(*data) -> tuple:
        return data

    sample = [cells[c] for c in chosen]
    stack(2 * batch, cells, 1)
    for make in (Pictures, memory):
        loop(2 * batch, cells[:1], 1, make)
    ways = {
        "DataLoader loop": partial(loop, len(X), sample, epochs),
        "in-memory loop": partial(loop, len(X), sample, epochs, memory),
        "stacked": partial(stack, len(X), cells, epochs),
    }
    seconds, found = stopwatch(ways)
    mine = {k: w[chosen] for k, w in found["stacked"].items()}
    ours = students.predict_stacked(fresh(), mine, split.test.X)
    gap = [
        metrics.accuracy(split.test.y, a)
        - metrics.accuracy(split.test.y, models.predict(b, split.test.X))
        for a, b in zip(ours, found["DataLoader loop"], strict=True)
    ]
    shared = {
        "student": student, "source": source, "rows": len(X), "epochs": epochs,
        "batch": batch, "bf16": bf16, "accuracy_difference": float(np.mean(gap)),
        "accuracy_sd": float(np.std(gap, ddof=1)),
    }  # fmt: skip
    counts = dict.fromkeys(ways, len(sample)) | {"stacked": len(cells)}
    rows = compared(seconds, counts, shared)
    each = len(X) * epochs
    return [row | {"images_per_second": row["per_second"] * each} for row in rows]


def map_loader(net, X, t, *, epochs: int, batch: int) -> None:
    """Train a net of `wafernets` as is usual: contiguous images, float32."""
    body = net.body.to(memory_format=torch.contiguous_format).train()
    data, order = MapImages(X, t, net.planes), Shuffled(len(X), seed=0)
    loader = DataLoader(data, batch_size=batch, sampler=order, num_workers=0)
    usual(body, loader, LOSS, epochs=epochs, lr=RATE)


def map_memory(net, X, t, *, epochs: int, batch: int) -> None:
    """The same plain loop over maps in memory."""
    net = net.to(memory_format=torch.contiguous_format).train()
    batches = train.Batches(X, t, batch=batch, seed=0, augment=symmetry.turned)
    usual(net, batches, LOSS, epochs=epochs, lr=RATE)


def map_fit(net, X, t, *, epochs: int, batch: int, bf16: bool = False) -> None:
    """Train it as the recipes do: maps in memory as bytes, channels last."""
    batches = train.Batches(X, t, batch=batch, seed=0, augment=symmetry.turned)
    adamw = partial(torch.optim.AdamW, lr=RATE, weight_decay=0.0, fused=True)
    how = {"epochs": epochs, "optimizer": adamw, "bf16": bf16, "device": "cpu"}
    train.fit(net, batches, LOSS, **how)


LOOPS = {
    "DataLoader loop": map_loader,
    "in-memory loop": map_memory,
    "fit, float32": map_fit,
    "fit, bf16": partial(map_fit, bf16=True),
}


def map_latency(
    *, widths=(8, 16, 24), depth=2, head=0, rounds: int = 10, calls: int = 100
) -> list[dict]:
    """A row for each net, folded, ready for one map `calls` times in each round.

    times: as fast as ResNet-18, the published teacher; ours_times: as our teacher, from
    the rounds' medians. bytes: by `torch.save` as trained, or the packed one's file.
    """
    sizes = {"widths": widths, "depth": depth, "head": head}
    built = {name: fresh(name) for name in ("resnet18", "student1", "student2")}
    built |= {"our teacher": fresh(**TEACHER), "compact": fresh(**sizes)}
    held = {name: convert.torch_bytes(net) for name, net in built.items()}
    ready = {name: convert.folded(net) for name, net in built.items()}
    ready["compact, packed"], held["compact, packed"] = packed(sizes)
    x = torch.from_numpy(wafersim.draw(1, seed=0)[0])
    with torch.inference_mode():
        ways = {name: partial(net, x) for name, net in ready.items()}
        took = taken(ways, rounds, calls)
    middle = {name: np.median(of, axis=1) for name, of in took.items()}
    return [
        {"net": name, "params": models.parameters(ready[name]), "bytes": held[name]}
        | {f"p{p}_ms": 1000 * np.percentile(of, p) for p in (50, 95, 99)}
        | mean("times", middle["resnet18"] / middle[name])
        | mean("ours_times", middle["our teacher"] / middle[name])
        | {"rounds": rounds, "calls": calls}
        for name, of in took.items()
    ]


def map_training(
    *, widths=(8, 16, 24), depth=2, head=0, repeats=5, batch=128, steps=2
) -> list[dict]:
    """A row for each net and loop: images a second, and that against both loops.

    Epochs of `steps` steps, 1 of ResNet-18 and 8 of the student, with all that it takes
    to begin.
    """
    sizes = {"widths": widths, "depth": depth, "head": head}
    X, y = wafersim.draw(steps * batch, seed=0)
    t, found = 6 * y.astype(np.float32) - 3, []
    for name, own, epochs in (("resnet18", {}, 1), ("compact", sizes, 8)):
        how = {"epochs": epochs, "batch": batch}
        ways = {
            way: partial(loop, fresh(name, **own), X, t, **how)
            for way, loop in LOOPS.items()
        }
        took = taken(ways, repeats)
        found += [
            {"net": name, "way": way, "steps": steps, **how, "repeats": repeats}
            | mean("images_per_second", epochs * len(X) / seconds)
            | mean("times_dataloader", took["DataLoader loop"] / seconds)
            | mean("times_in_memory", took["in-memory loop"] / seconds)
            for way, seconds in took.items()
        ]
    return found


def map_rates(
    *, widths=(8, 16, 24), depth=2, head=0, repeats: int = 5, drawn: int = 512
) -> list[dict]:
    """A row for drawing maps, and for each net answering them in all eight symmetries.

    Our teacher answers in bfloat16, as it does for its students; the student is packed.
    """
    sizes = {"widths": widths, "depth": depth, "head": head}
    predict = partial(train.predict, augment=symmetry.turned, views=8)
    X, _ = wafersim.draw(drawn, seed=0)
    teacher, (student, _) = models.autocast(fresh(**TEACHER)), packed(sizes)
    ways = {
        "simulator": partial(wafersim.draw, drawn, seed=1),
        "our teacher, eight-fold": partial(predict, teacher, X),
        "compact, packed, eight-fold": partial(predict, student, X),
    }
    return [
        {"way": way, "maps": drawn, "repeats": repeats}
        | mean("maps_per_second", drawn / seconds)
        for way, seconds in taken(ways, repeats).items()
    ]


def fresh(name: str = "compact", **sizes) -> nn.Module:
    """A net with the initial weights of seed 0."""
    torch.manual_seed(0)
    return models.build(name, *SHAPE, **sizes)


def packed(sizes: dict) -> tuple[nn.Module, int]:
    """The student back from a file of eight-bit weights, and the file's bytes."""
    side, patterns = SHAPE
    classes = wafersim.PATTERNS[:patterns]
    file, net = convert.packed(fresh(**sizes), side, classes, id="bench")
    return net, len(file)


BENCHES = {
    "grid": tables,
    "images": image_students,
    "wafers-latency": map_latency,
    "wafers-training": map_training,
    "wafers-maps": map_rates,
    "edge-latency": device.latency,
    "edge-model": device.answers,
    "edge-throughput": device.throughput,
    "edge-start": device.start,
}


def options(parser: argparse.ArgumentParser) -> None:
    """A flag for each setting of any bench; what is not given is the bench's own."""
    known = {"write", "bundle", "folder"}
    for way in BENCHES.values():
        for name, default in way.__kwdefaults__.items():
            how = {"type": type(default)}
            if isinstance(default, bool):
                how = {"action": "store_true"}
            elif isinstance(default, tuple):
                how = {"type": type(default[0]), "nargs": "+"}
            if name not in known:
                flag = "--" + name.replace("_", "-")
                parser.add_argument(flag, default=None, **how)
            known.add(name)


def main(words: list[str] | None = None) -> dict[str, list[dict]]:
    """The command line: measure, print a table each, keep them with --write."""
    import pandas as pd

    parser = argparse.ArgumentParser(prog="python -m kdutils.bench")
    parser.add_argument("what", nargs="*", metavar="what", help=", ".join(BENCHES))
    parser.add_argument("--write", action="store_true", help="keep it under measured/")
    parser.add_argument("--bundle", help="a student; the shipped one of the tester")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="on which disk")
    options(parser)
    given = vars(parser.parse_args(words))
    if unknown := set(given["what"]) - set(BENCHES):
        parser.error(f"{', '.join(sorted(unknown))}: expected of {', '.join(BENCHES)}")
    torch.set_num_threads(1)
    found, today = {}, datetime.date.today().isoformat()
    for what in given["what"] or BENCHES:
        way, where = BENCHES[what], []
        if what.startswith("edge"):
            bundle = str(Path(given["bundle"] or device.shipped()).resolve())
            where = [bundle, given["folder"]]
        own = {k: given[k] for k in way.__kwdefaults__ if given[k] is not None}
        rows = way(*where, **own)
        print(f"{what}: {way.__doc__.splitlines()[0]}")
        print(pd.DataFrame(rows).to_string(index=False, float_format="{:,.3f}".format))
        same = {"date": today, "cpu": cpu(), "threads": torch.get_num_threads()}
        found[what] = [{**row, **same} for row in rows]
        if given["write"]:
            print(keep(found[what], what))
    return found


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as problem:
        sys.exit(str(problem))

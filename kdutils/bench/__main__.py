"""bench: `python -m kdutils.bench [what ...] [--write]` measures what is named, or all.

Trainings are compared with two baselines, both one student after another from the same
initial weights, with the same batches, loss, optimizer and schedule: the usual
DataLoader loop, and a plain loop over the same rows in memory. Teachers are the truth,
softened; times depend neither on that nor on weights. One thread.
"""

from __future__ import annotations

import argparse
import datetime
import inspect
import io
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn import datasets
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as entropy
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from kdutils import losses, metrics, models, stats, train
from kdutils.bench import (
    clock,
    cpu,
    device,
    keep,
    latency,
    mean,
    taken,
    tester_rows,
    timed,
)
from kdutils.compress import convert
from kdutils.data import Rows, images
from kdutils.data import tables as readers
from kdutils.data.divide import divide
from kdutils.data.simulate import wafersim
from kdutils.deploy import bundle as bundles
from kdutils.deploy.words import divided, hashed, rows_of
from kdutils.recipes import distilled as search
from kdutils.recipes import own_table
from kdutils.recipes.tasks import IMAGES, PHOTOGRAPHS, READINGS, WAFERS
from kdutils.train import grid
from kdutils.train import students as stack

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
softmax = partial(torch.softmax, dim=1)


class Each(Dataset):
    """Inputs one row at a time, as `read` makes them, and their targets."""

    def __init__(self, read: Callable, X: np.ndarray, *targets) -> None:
        self.read, self.X, self.targets = read, X, targets

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, row: int) -> tuple:
        return self.read(self.X[row]), *(target[row] for target in self.targets)


def Pictures(X: np.ndarray, y: np.ndarray, t: np.ndarray) -> Each:
    """Images, labels and teacher logits, as torchvision's MNIST with ToTensor has them:
    a picture of the Pillow library, which transforms can work on, then a tensor."""

    def read(x: np.ndarray) -> Tensor:
        picture = np.array(Image.fromarray(x), np.uint8, copy=True)
        return torch.from_numpy(picture).float().div(255)

    return Each(read, X, y.tolist(), torch.from_numpy(t))


def MapImages(X: np.ndarray, t: np.ndarray, planes: int) -> Each:
    """Images as `Reader` makes them, turned at random, and teacher logits."""
    generator = torch.Generator().manual_seed(0)

    def read(x: np.ndarray) -> Tensor:
        x = torch.from_numpy(x)
        if planes == 2:
            x = torch.stack((x > 0, x > 1)).float()
        else:
            x = x.float().div(2).expand(planes, *x.shape)
        turn = int(torch.randint(8, (), generator=generator))
        x = torch.rot90(x.flip(2) if turn > 3 else x, turn % 4, (1, 2))
        return x.contiguous()

    return Each(read, X, torch.from_numpy(t))


def usual(
    net, data, loss, *, epochs, batch, lr, seed=0, task=IMAGES, augment=0, after=None,
    optimizer=torch.optim.AdamW,
) -> nn.Module:  # fmt: skip
    """The net, trained the usual way: AdamW without decay, a cosine to 0.

    data: a Dataset for a DataLoader, in the order that `grid` takes under the seed, or
    (X, *targets), indexed in memory by the task's batches; loss: (net(x), *targets) ->
    scalar; after: called after each epoch.
    """
    order, drawn = [], torch.Generator().manual_seed(seed)
    if isinstance(data, Dataset):
        order = [*range(len(data))]
        loader = DataLoader(data, batch_size=batch, sampler=order)
    else:
        loader = task.batches(*data, batch=batch, seed=seed, augment=augment)
    optimizer = optimizer(net.train().parameters(), lr=lr, weight_decay=0.0)
    steps = epochs * len(loader)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        order[:] = torch.randperm(len(order), generator=drawn).tolist()
        for x, *targets in loader:
            value = loss(net(x), *targets)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
        if after is not None:
            after()
    return net


def distilled(cell) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Distillation at a cell's alpha and T of logits (n,) or (n, K): torch's parts."""

    def loss(z: Tensor, y: Tensor, t: Tensor) -> Tensor:
        binary = z.ndim == 1
        hard, squash = (entropy, torch.sigmoid) if binary else (cross_entropy, softmax)
        soft = cell.T**2 * hard(z / cell.T, squash(t / cell.T))
        return (1 - cell.alpha) * hard(z, y) + cell.alpha * soft

    return loss


def compared(name: str, one, many, items, total, n, epochs, batch) -> tuple:
    """A row for each way: students a second against both baselines; what they return.

    one(memory, item, rows, epochs) trains a student by `usual`, many(rows, epochs) all
    `total` at once; each way first trains for an epoch of two batches, untimed.
    """

    def loop(memory: bool, n: int, epochs: int) -> list:
        return [one(memory, item, n, epochs) for item in items]

    loops = {"DataLoader loop": False, "in-memory loop": True}
    ways = {way: partial(loop, memory) for way, memory in loops.items()} | {name: many}
    students = dict.fromkeys(loops, len(items)) | {name: total}
    for way in ways.values():
        way(2 * batch, 1)
    took = {way: clock(call, n, epochs) for way, call in ways.items()}
    each = {way: students[way] / seconds for way, (seconds, _) in took.items()}
    rows = [
        {"way": way, "students": students[way], "seconds": took[way][0]}
        | {"per_second": rate, "times_dataloader": rate / each["DataLoader loop"]}
        | {"times_in_memory": rate / each["in-memory loop"]}
        | {"rows": n, "epochs": epochs, "batch": batch}
        for way, rate in each.items()
    ]
    return rows, {way: found for way, (_, found) in took.items()}


def cells_of(cell: Callable, alphas: int, temperatures: int, hottest: float) -> list:
    """Cells of alphas from 0.1 to 1 and temperatures from 1 to the hottest."""
    return [
        cell("kd", float(alpha), float(T))
        for alpha in np.linspace(0.1, 1, alphas)
        for T in np.linspace(1, hottest, temperatures)
    ]


def tables(
    *, alphas=7, temperatures=7, seeds=5, rows=6000, epochs=10, batch=256, lr=1e-3,
    baseline_cells=10,
) -> list[dict]:  # fmt: skip
    """Tabular students a second: an alpha x T x seed grid trained at once.
    Baselines: one student after another, by DataLoader and in memory.

    `auc_difference` is the largest difference of validation AUC over the
    `baseline_cells` students, evenly chosen, that were trained by a loop as well; a
    ValueError beyond TOLERANCE.
    """
    data, how = tester_rows(rows), {"batch": batch, "lr": lr}
    cells = cells_of(grid.Cell, alphas, temperatures, 10)
    pairs = [(s, c) for s in range(seeds) for c in range(len(cells))]
    chosen = np.linspace(0, len(pairs) - 1, min(baseline_cells, len(pairs))).astype(int)
    sample, X_val = [pairs[i] for i in chosen], torch.from_numpy(data.X_val)

    def many(n: int, epochs: int) -> grid.Grid:
        own = {"seeds": range(seeds), "X_val": data.X_val, "y_val": data.y_val}
        given = (a[:n] for a in data[:3])
        return grid.fit(*given, cells, **own, epochs=epochs, **how)

    def one(memory: bool, item: tuple[int, int], n: int, epochs: int) -> float:
        seed, cell = item[0], cells[item[1]]
        torch.manual_seed(seed)
        student, found = models.Student(data.X.shape[1]), [0.0]
        part = [torch.from_numpy(a[:n]) for a in data[:3]]
        part = part if memory else TensorDataset(*part)

        def judge() -> None:
            with torch.no_grad():
                found.append(roc_auc_score(data.y_val, student(X_val).numpy()))

        own = {"seed": seed, "epochs": epochs, "task": READINGS, "after": judge}
        usual(student, part, distilled(cell), **own, **how)
        return max(found)

    shared = len(pairs), len(data.X), epochs, batch
    found, trained = compared("grid", one, many, sample, *shared)
    own = [trained["grid"].val_auc[at] for at in sample]
    difference = np.abs(np.subtract(own, trained["DataLoader loop"])).max()
    if difference > TOLERANCE:
        raise ValueError(
            f"grid and loop differ by {difference:.5f} in validation AUC, "
            f"expected at most {TOLERANCE}"
        )
    return [row | {"auc_difference": difference} for row in found]


def image_students(
    *, students=tuple(STUDENTS), source="digits", alphas=6, temperatures=6, rows=10_000,
    epochs=2, batch=256, baseline_cells=3, bf16=False,
) -> list[dict]:  # fmt: skip
    """Image students a second: an alpha x T grid trained side by side.
    Baselines: one student after another, by DataLoader and in memory.

    `accuracy_difference` is the mean difference of test accuracy, stacked minus
    DataLoader loop, over the `baseline_cells` students that were trained both ways, and
    `accuracy_sd` its standard deviation. bf16: the stacked products in bfloat16.
    """
    split = images.split(source, seed=0, val=0)
    X, y = split.train.X[:rows], split.train.y[:rows]
    X_test, y_test = split.test.X, split.test.y
    t = (6 * np.eye(images.classes(source), dtype=np.float32))[y]
    cells = cells_of(stack.Cell, alphas, temperatures, 20)
    chosen = np.linspace(0, len(cells) - 1, baseline_cells).astype(int)

    def of(student: str) -> list[dict]:
        name, sizes, lr = STUDENTS[student]
        how = {"batch": batch, "lr": lr, "seed": 0}
        built = partial(IMAGES.build, name, sizes, 0, X.shape[1], t.shape[1])

        def many(n: int, epochs: int) -> dict:
            given = X[:n], y[:n], {"teacher": t[:n]}, cells
            own = {"epochs": epochs, "bf16": bf16, "device": "cpu"}
            return stack.fit_stacked(built(), *given, **own, **how)

        def one(memory: bool, cell: int, n: int, epochs: int) -> nn.Module:
            data = X[:n], y[:n], t[:n]
            data = data if memory else Pictures(*data)
            return usual(built(), data, distilled(cells[cell]), epochs=epochs, **how)

        shared = len(cells), len(X), epochs, batch
        found, trained = compared("stacked", one, many, chosen, *shared)
        mine = {k: w[chosen] for k, w in trained["stacked"].items()}
        ours = stack.predict_stacked(built(), mine, X_test)
        theirs = [IMAGES.predict(net, X_test) for net in trained["DataLoader loop"]]
        right = [[metrics.accuracy(y_test, z) for z in each] for each in (ours, theirs)]
        gap = np.subtract(*right)
        own = {"student": student, "source": source, "bf16": bf16}
        own |= {"accuracy_difference": gap.mean(), "accuracy_sd": gap.std(ddof=1)}
        for row in found:
            row["images_per_second"] = row["per_second"] * len(X) * epochs
        return [row | own for row in found]

    return [row for student in students for row in of(student)]


def map_loop(net, X, t, *, memory: bool = False, **how) -> None:
    """Train a net of `wafernets` as is usual: contiguous images, float32."""
    net = net.to(memory_format=torch.contiguous_format)
    if memory:
        usual(net, (X, t), LOSS, lr=RATE, task=WAFERS, augment=True, **how)
    else:
        usual(net.body, MapImages(X, t, net.planes), LOSS, lr=RATE, **how)


def map_fit(net, X, t, *, epochs: int, batch: int, bf16: bool = False) -> None:
    """Train it as the recipes do: maps in memory as bytes, channels last."""
    batches = WAFERS.batches(X, t, batch=batch, seed=0, augment=True)
    adamw = partial(torch.optim.AdamW, lr=RATE, weight_decay=0.0, fused=True)
    how = {"epochs": epochs, "optimizer": adamw, "bf16": bf16, "device": "cpu"}
    train.fit(net, batches, LOSS, **how)


LOOPS = {
    "DataLoader loop": map_loop,
    "in-memory loop": partial(map_loop, memory=True),
    "fit, float32": map_fit,
    "fit, bf16": partial(map_fit, bf16=True),
}


def map_latency(
    *, bundle="", widths=(8, 16, 24), depth=2, head=0, rounds=10, calls=100
) -> list[dict]:
    """Milliseconds for one wafer map, of each net: p50, p95 and p99, batch 1.
    Baselines: ResNet-18, the published teacher (`times`), and ours (`ours_times`).

    Nets are folded, in torch. bytes: by `torch.save` as trained, or the packed one's
    file. bundle: the file of a shipped student of maps, measured in numpy as well.
    """
    sizes = {"widths": widths, "depth": depth, "head": head}
    built = {name: fresh(name) for name in ("resnet18", "student1", "student2")}
    built |= {"our teacher": fresh(**TEACHER), "compact": fresh(**sizes)}
    held = {name: convert.torch_bytes(net) for name, net in built.items()}
    ready = {name: convert.folded(net) for name, net in built.items()}
    ready["compact, packed"], held["compact, packed"] = packed(sizes)
    params = {name: models.parameters(net) for name, net in ready.items()}
    maps, _ = wafersim.draw(1, seed=0)
    ways = {name: partial(net, torch.from_numpy(maps)) for name, net in ready.items()}
    shipped = bundles.load(bundle) if bundle else None
    if shipped and not shipped.features:
        name, arrays = "shipped, numpy", [a for s in shipped.steps for a in (s.W, s.b)]
        ways[name], held[name] = partial(shipped.score, maps), os.stat(bundle).st_size
        params[name] = sum(a.size for a in arrays if a is not None)
    with torch.inference_mode():
        took = taken(ways, rounds, calls)
    rows = latency(took, "ms", times="resnet18", ours_times="our teacher")
    how = {"rounds": rounds, "calls": calls}
    return [
        {"net": name, "params": params[name], "bytes": held[name], **row, **how}
        for name, row in rows.items()
    ]


def map_training(
    *, widths=(8, 16, 24), depth=2, head=0, repeats=5, batch=128, steps=2
) -> list[dict]:
    """Wafer maps a second in training, of ResNet-18 and of the student.
    Baselines: the DataLoader loop and the loop in memory, of the same net.

    Epochs of `steps` steps, 1 of ResNet-18 and 8 of the student, with all that it takes
    to begin.
    """
    sizes = {"widths": widths, "depth": depth, "head": head}
    X, y = wafersim.draw(steps * batch, seed=0)
    t, found = 6 * y.astype(np.float32) - 3, []
    for name, own, epochs in (("resnet18", {}, 1), ("compact", sizes, 8)):
        how = {"epochs": epochs, "batch": batch}
        ways = {
            k: partial(v, fresh(name, **own), X, t, **how) for k, v in LOOPS.items()
        }
        found += speeds(ways, repeats, epochs * len(X), net=name, steps=steps, **how)
    return found


BASELINES = {"DataLoader loop": "times_dataloader", "in-memory loop": "times_in_memory"}


def speeds(ways: dict[str, Callable], repeats: int, images: int, **how) -> list[dict]:
    """A row for each way, with `how`: images a second, against each of BASELINES."""
    took = taken(ways, repeats)
    rows = {way: how | {"way": way, "repeats": repeats} for way in ways}
    for way, row in rows.items():
        row |= mean("images_per_second", images / took[way])
        for base in (base for base in BASELINES if base in took):
            row |= mean(BASELINES[base], took[base] / took[way])
    return [*rows.values()]


def map_rates(
    *, widths=(8, 16, 24), depth=2, head=0, repeats: int = 5, drawn: int = 512
) -> list[dict]:
    """Wafer maps a second: drawn by the simulator, predicted in all eight symmetries.
    No baseline; our teacher, in bfloat16 as for its students, and the packed student.
    """
    teacher = models.autocast(fresh(**TEACHER))
    student, _ = packed({"widths": widths, "depth": depth, "head": head})
    X, _ = wafersim.draw(drawn, seed=0)
    ways = {
        "simulator": partial(wafersim.draw, drawn, seed=1),
        "our teacher, eight-fold": partial(WAFERS.predict, teacher, X, views=8),
        "compact, packed, eight-fold": partial(WAFERS.predict, student, X, views=8),
    }
    return [
        {"way": way, "maps": drawn, "repeats": repeats}
        | mean("maps_per_second", drawn / seconds)
        for way, seconds in taken(ways, repeats).items()
    ]


def photograph_training(
    *, nets=("airbench", "mobilenetv2"), repeats=3, batch=64, steps=4
) -> list[dict]:
    """Colour images a second in training, of CIFAR-10's fast net and of MobileNetV2.
    Baseline: the DataLoader loop with torchvision's transforms, float32.

    Both move and mirror 32 x 32 images, and descend with Nesterov's momentum. of_limit:
    the net's operations a second, three times those of a prediction for each image, as
    a share of those of a large matrix product, in bfloat16 where that is faster.
    """
    from torchvision.transforms import v2

    rng, found = np.random.default_rng(0), []
    X = rng.integers(0, 256, (steps * batch, 3, 32, 32)).astype(np.uint8)
    y = rng.integers(0, 10, len(X))
    shown = [v2.RandomCrop(32, 4, padding_mode="reflect"), v2.RandomHorizontalFlip()]
    shown += [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    change = v2.Compose([*shown, v2.Normalize([0.5] * 3, [0.25] * 3)])
    pictures = [Image.fromarray(x) for x in X.transpose(0, 2, 3, 1)]

    def loader(name: str) -> None:
        body = models.build(name, 32, 10).body.to(memory_format=torch.contiguous_format)
        sgd = partial(torch.optim.SGD, momentum=0.9, nesterov=True)
        how = {"epochs": 1, "batch": batch, "lr": 0.01, "optimizer": sgd}
        usual(body, Each(change, pictures, y.tolist()), cross_entropy, **how)

    def fit(name: str, bf16: bool) -> None:
        sets = PHOTOGRAPHS.views(X, 1, 0, max_shift=4)
        batches = PHOTOGRAPHS.batches(X, y, batch=batch, seed=0, sets=sets)
        descent = partial(train.descent, lr=0.01, decay=0.0, momentum=0.9)
        how = {"epochs": 1, "optimizer": descent, "device": "cpu", "bf16": bf16}
        train.fit(models.build(name, 32, 10), batches, cross_entropy, **how)

    limit = max(products(kind, repeats) for kind in (torch.float32, torch.bfloat16))
    for name in nets:
        ways = {"DataLoader loop": partial(loader, name)}
        ways |= {"fit, float32": partial(fit, name, False)}
        ways |= {"fit, bf16": partial(fit, name, True)}
        rows = speeds(ways, repeats, len(X), net=name, batch=batch, steps=steps)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            models.build(name, 32, 10).eval()(torch.from_numpy(X[:1]))
        for row in rows:
            operations = 3 * counter.get_total_flops() * row["images_per_second"]
            row["of_limit"] = operations / limit
        found += rows
    return found


def products(dtype: torch.dtype, repeats: int, side: int = 2048) -> float:
    """Operations a second of a product of two square matrices."""
    a = torch.ones(side, side, dtype=dtype)
    return 2 * side**3 / taken({"": partial(torch.mm, a, a)}, repeats)[""].min()


def photograph_latency(
    *, nets=("airbench", "mobilenetv2"), together=(1, 64), rounds=5, calls=20
) -> list[dict]:
    """Milliseconds for one colour image of 32 x 32, and for 64, of a student's file.
    Baseline: the same net in torch, float32 (`times`).

    The student of 147,000 weights, and MobileNetV2; weights are initial ones.
    together: images at once.
    """
    from kdutils.deploy import onnxfile

    rows = []
    sizes = {"airbench": {"widths": (32, 64, 64)}}
    for name in nets:
        net = models.build(name, 32, 10, **sizes.get(name, {})).eval()
        file, _ = convert.packed(net, 32, tuple("0123456789"), id="bench")
        student = bundles.loads(file, "bench")
        session = device.session(onnxfile.exact(student))
        for batch in together:
            X = bundles.golden_images(32, batch)
            ways = {
                "torch": partial(net, torch.from_numpy(X)),
                "numpy": partial(student.score, X),
                "onnxruntime": partial(session.run, None, {"images": X}),
            }
            how = {"net": name, "batch": batch}
            rows += beside_torch(ways, rounds, calls, **how)
    return rows


def beside_torch(ways: dict[str, Callable], rounds: int, calls: int, **how):
    """A row of latencies for each way, with `how`; `times` is torch's over its own."""
    own = {name: timed(way) for name, way in ways.items()}
    with torch.inference_mode():
        rows = device.metered(own, "ms", rounds, calls, times="torch")
    return [{**how, "way": way, **row, "rounds": rounds} for way, row in rows.items()]


def sentence_latency(
    *, nets=("bag", "textcnn", "bilstm"), words=19, rounds=5, calls=50
) -> list[dict]:
    """Milliseconds for one sentence, from its text, of a student's file.
    Baseline: the same net in torch, float32, given each word's place (`times`).

    Sizes are those of the study's students, weights drawn; words: of the sentence,
    as many as SST-2's test sentences have in the mean. ONNX Runtime has the CNN alone,
    given rows that are hashed in the same time; its file has no hash.
    """
    sizes = {
        "bag": {"widths": [16], "buckets": 8192, "order": 2},
        "textcnn": {"widths": [16, 96], "buckets": 65536, "letters": [3, 4]},
        "bilstm": {"widths": [40, 64, 32], "buckets": 65536, "letters": [3, 5]},
    }
    known, rows = [f"word{i}" for i in range(words)], []
    text, x = " ".join(known), torch.arange(words, dtype=torch.int32)[None]
    for name in nets:
        net = models.build(name, words, 2, **sizes[name]).spell(known).eval()
        torch.nn.init.normal_(net.embed.weight[1:999], std=0.1)
        file, _ = convert.packed(net, 0, ("no", "yes"), id="bench")
        student = bundles.loads(file, "bench")
        ways = {"torch": partial(net, x), "numpy": partial(student.score, [text])}
        if name == "textcnn":
            session = device.session(exported(net, words))
            ways["onnxruntime"] = partial(hashed_logits, session, net, text)
        rows += beside_torch(ways, rounds, calls, net=name, words=words)
    return rows


def exported(net: nn.Module, length: int) -> bytes:
    """The ONNX file of a `textcnn`, rows of its table (1, length, 1 + m) -> logits."""

    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, rows):
            e, parts = net.embed(rows), (rows[..., 1:] > 0).sum(-1, keepdim=True)
            e = e[:, :, 0] + e[:, :, 1:].sum(2) / parts.sqrt()
            e = nn.functional.pad(e, (0, 0, 2, 2))
            threes = torch.cat((e[:, :-2], e[:, 1:-1], e[:, 2:]), 2)
            return net.head(net.conv(threes).relu().amax(1))

    rows, held = rows_of(net.table[None, :length], net.buckets, 1), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about its age
        names = {"input_names": ["rows"], "output_names": ["logits"]}
        names["dynamic_axes"] = {"rows": {1: "words", 2: "parts"}}
        torch.onnx.export(Rows(), (rows,), held, **names, dynamo=False)
    return held.getvalue()


def hashed_logits(session, net: nn.Module, text: str):
    """A session's logits of a text, hashed by numpy."""
    h = hashed(divided(text), *net.letters)[None]
    return session.run(None, {"rows": rows_of(h, net.buckets, 1)})


def fresh(name: str = "compact", **sizes) -> nn.Module:
    """A net of maps with the initial weights of seed 0."""
    return WAFERS.build(name, sizes, 0, *SHAPE)


def packed(sizes: dict) -> tuple[nn.Module, int]:
    """The student back from a file of eight-bit weights, and the file's bytes."""
    side, patterns = SHAPE
    classes = wafersim.PATTERNS[:patterns]
    file, net = convert.packed(fresh(**sizes), side, classes, id="bench")
    return net, len(file)


def spent(*, tables=("cancer",), seeds=2, efforts=(0, 1)) -> list[dict]:
    """Test AUC of the file of a table, and CPU seconds of its search, by effort.
    Baseline: the largest effort; `lost` is what it has more, at equal seed.

    tables: cancer, digits (is it an 8?), wine (is it class 1?) of scikit-learn; or
    tester or higgs, as the registry has them.
    """
    rows = []
    for name in tables:
        took = {effort: [] for effort in sorted(efforts)}
        aucs = {effort: [] for effort in took}
        for seed in range(seeds):
            split = _table(name, seed)
            for effort in took:
                start = time.process_time()
                how = {"effort": search.EFFORTS[effort], "seed": seed}
                arrays = own_table.tested(split, **how)[1]
                took[effort].append(time.process_time() - start)
                aucs[effort].append(metrics.auc(arrays["y"], arrays["student"]))
        most = np.array(aucs[max(aucs)])
        for effort, found in aucs.items():
            row = {"table": name, "effort": effort, "seconds": np.mean(took[effort])}
            lost = stats.mean_interval(most - np.array(found))
            ends = dict(zip(("lost", "lost_low", "lost_high"), lost, strict=True))
            rows.append({**row, "auc": np.mean(found), **ends, "n": seeds})
    return rows


def _table(name: str, seed: int):
    """The first split of a table."""
    if name in ("tester", "higgs"):
        return next(readers.splits(name, seed=seed))
    loaders = {"cancer": 0, "digits": 8, "wine": 1}
    if name not in loaders:
        raise ValueError(f"tables is {name}: expected tester, higgs, {[*loaders]}")
    known = name.replace("cancer", "breast_cancer")
    own = getattr(datasets, f"load_{known}")()
    row, y = np.arange(len(own.target)), own.target == loaders[name]
    names = tuple(map(str, own.feature_names))
    rows = Rows(own.data.astype("f4"), y.astype("f4"), row, row, names, source=name)
    return next(divide(rows, seed=seed))


BENCHES = {
    "own-table": spent,
    "grid": tables,
    "images": image_students,
    "wafers-latency": map_latency,
    "wafers-training": map_training,
    "wafers-maps": map_rates,
    "photographs-training": photograph_training,
    "photographs-latency": photograph_latency,
    "sentences-latency": sentence_latency,
    "edge-latency": device.latency,
    "edge-model": device.answers,
    "edge-throughput": device.throughput,
    "edge-burst": device.burst,
    "edge-start": device.start,
}


def summary(way: Callable) -> str:
    """The first paragraph of a bench's docstring: what it measures, against what."""
    return inspect.getdoc(way).split("\n\n")[0]


def parser() -> argparse.ArgumentParser:
    """The command line: a flag for each setting of any bench, with its defaults."""
    about = [f"{what}:\n{summary(way)}" for what, way in BENCHES.items()]
    found = argparse.ArgumentParser(
        prog="python -m kdutils.bench",
        description=__doc__.split("\n\n", 1)[1],
        epilog="\n".join(text.replace("\n", "\n  ") for text in about),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("what", nargs="*", metavar="what", help="of those below; all by default")
    add("--write", action="store_true", help="keep the rows in the report's measured/")
    add("--bundle", help="a student's file; by default the shipped one of the tester")
    add("--folder", default=tempfile.gettempdir(), help="on the disk to be measured")
    known = {}
    for what, way in BENCHES.items():
        for name, default in way.__kwdefaults__.items():
            known.setdefault(name, {})[what] = default
    for name, defaults in known.items():
        default = next(iter(defaults.values()))
        how = {"type": type(default)}
        if isinstance(default, bool):
            how = {"action": "store_true"}
        elif isinstance(default, tuple):
            how = {"type": type(default[0]), "nargs": "+"}
        how["help"] = ", ".join(f"{what} {value}" for what, value in defaults.items())
        if name != "bundle":
            add("--" + name.replace("_", "-"), default=None, **how)
    return found


def main(words: list[str] | None = None) -> dict[str, list[dict]]:
    """Measure what is named, print a table each, keep them with --write."""
    import pandas as pd

    given = vars((read := parser()).parse_args(words))
    if unknown := set(given["what"]) - set(BENCHES):
        read.error(f"{', '.join(sorted(unknown))}: expected of {', '.join(BENCHES)}")
    torch.set_num_threads(1)
    found, today = {}, datetime.date.today().isoformat()
    for what in given["what"] or BENCHES:
        way, where = BENCHES[what], []
        if what.startswith("edge"):
            bundle = str(Path(given["bundle"] or device.shipped()).resolve())
            where = [bundle, given["folder"]]
        own = {k: given[k] for k in way.__kwdefaults__ if given[k] is not None}
        rows = way(*where, **own)
        print(f"{what}: {summary(way)}")
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

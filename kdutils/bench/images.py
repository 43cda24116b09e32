"""bench_images: a crowd of image students against the usual loop.

`python -m kdutils.bench.images` trains an alpha x T grid of small students with
`imagegrid.fit_crowd` and, in the same run, on one thread of the same machine, the usual
way: a Dataset that hands out one image after another, a DataLoader that collates them,
one student after another, from the same initial weights and with the same batches,
loss, optimizer and schedule. Both read the same cached teacher logits. Only the ratio
means something elsewhere; both ways can be run once per processor.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax
from torch.utils.data import DataLoader, Dataset

from kdutils import metrics, models
from kdutils.bench import grid as bench
from kdutils.data import images
from kdutils.train import imagegrid

STUDENTS = {
    "mlp": ("perceptron", {"widths": (64, 64)}, 2e-3),
    "cnn": ("convolutional", {"channels": 4}, 3e-3),
}


class Pictures(Dataset):
    """Images, labels and teacher logits, one row at a time.

    As torchvision's MNIST with ToTensor hands them out: each image becomes a picture of
    the Pillow library, so that transforms can work on it, and then a tensor.
    """

    def __init__(self, X: np.ndarray, y: np.ndarray, told: np.ndarray) -> None:
        self.X, self.y, self.told = X, y, told

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, row: int) -> tuple:
        picture = np.array(Image.fromarray(self.X[row]), np.uint8, copy=True)
        x = torch.from_numpy(picture).float().div(255)
        return x, int(self.y[row]), torch.from_numpy(self.told[row])


def one_student(
    net: nn.Module,
    data: Pictures,
    cell,
    *,
    epochs: int,
    batch: int,
    lr: float,
    seed: int,
) -> nn.Module:
    """The net trained the usual way, by distillation at the cell's alpha and T."""
    order = bench.Shuffled(len(data), seed)
    loader = DataLoader(data, batch_size=batch, sampler=order)

    def loss(z, y, t):
        ours, theirs = log_softmax(z / cell.T, 1), softmax(t / cell.T, 1)
        soft = kl_div(ours, theirs, reduction="batchmean")
        return (1 - cell.alpha) * cross_entropy(z, y) + cell.alpha * cell.T**2 * soft

    bench.usual(net, loader, loss, epochs=epochs, lr=lr)
    return net


def crowd_against_loop(
    student: str,
    *,
    source: str = "digits",
    alphas: int = 6,
    temperatures: int = 6,
    rows: int = 10_000,
    epochs: int = 2,
    batch: int = 256,
    baseline_cells: int = 3,
    halved: bool = False,
) -> list[dict]:
    """Two rows, the usual way and the crowd: students, seconds, students per second.

    `times` is their ratio; `accuracy_difference` the mean difference of test accuracy,
    crowd minus loop, over the `baseline_cells` students that were trained both ways,
    and `accuracy_sd` its standard deviation. The teacher is the truth, softened.
    halved: the crowd's products in bfloat16. Both ways first train a little, untimed.
    """
    split = images.split(source, seed=0, val=0)
    X, y = split.train.X[:rows], split.train.y[:rows]
    name, sizes, lr = STUDENTS[student]
    told = (6 * np.eye(images.classes(source), dtype=np.float32))[y]
    cells = [
        imagegrid.Cell("kd", float(alpha), float(T))
        for alpha in np.linspace(0.1, 1, alphas)
        for T in np.linspace(1, 20, temperatures)
    ]
    chosen = np.linspace(0, len(cells) - 1, baseline_cells).astype(int)
    how = {"batch": batch, "lr": lr, "seed": 0}

    def fresh() -> nn.Module:
        torch.manual_seed(0)
        return models.build(name, X.shape[1], told.shape[1], **sizes)

    def crowd(n: int, cells: list, epochs: int) -> dict:
        given = X[:n], y[:n], {"teacher": told[:n]}, cells
        return imagegrid.fit_crowd(fresh(), *given, epochs=epochs, halved=halved, **how)

    def loop(n: int, cell, epochs: int) -> nn.Module:
        data = Pictures(X[:n], y[:n], told[:n])
        return one_student(fresh(), data, cell, epochs=epochs, **how)

    crowd(2 * batch, cells, 1)
    loop(2 * batch, cells[0], 1)
    start = time.perf_counter()
    weights = crowd(len(X), cells, epochs)
    middle = time.perf_counter()
    usual = [loop(len(X), cells[c], epochs) for c in chosen]
    end = time.perf_counter()
    mine = {k: w[chosen] for k, w in weights.items()}
    asked, truth = split.test.X, split.test.y
    ours = imagegrid.ask_crowd(fresh(), mine, asked)
    gap = [
        metrics.accuracy(truth, a) - metrics.accuracy(truth, models.predict(b, asked))
        for a, b in zip(ours, usual, strict=True)
    ]
    shared = {
        "student": student, "source": source, "rows": len(X), "epochs": epochs,
        "batch": batch, "halved": halved, "cpu": bench.cpu(),
        "threads": torch.get_num_threads(), "accuracy_difference": float(np.mean(gap)),
        "accuracy_sd": float(np.std(gap, ddof=1)),
    }  # fmt: skip
    found = [
        {"way": "DataLoader loop", "students": len(usual), "seconds": end - middle},
        {"way": "crowd", "students": len(cells), "seconds": middle - start},
    ]
    for row in found:
        row["images_per_second"] = row["students"] * len(X) * epochs / row["seconds"]
    return bench.compared(found, shared)


def main(words: list[str] | None = None) -> list[dict]:
    """The command line; the only place of this module that prints."""
    parser = argparse.ArgumentParser(prog="python -m kdutils.bench.images")
    parser.add_argument("students", nargs="*", default=list(STUDENTS))
    bench.options(parser, crowd_against_loop)
    given = vars(parser.parse_args(words))
    write, every = given.pop("write"), given.pop("students")
    torch.set_num_threads(1)
    found = []
    for student in every:
        found += crowd_against_loop(student, **given)
        for row in found[-2:]:
            print(
                f"{row['student']} {row['way']:>15}: {row['students']:3d} students in "
                f"{row['seconds']:6.2f} s, {row['images_per_second']:9,.0f} images a "
                f"second, {row['times']:5.1f} x"
            )
    if write:
        print(bench.keep(found, "images"))
    return found


if __name__ == "__main__":
    main()

"""miniatures: generated data in the official files of the data sets, for smoke.

An image's class is a glyph of a few blurred strokes. An image is its class's glyph,
moved, with some of the next class's glyph and noise in it, so that no classifier is
perfect. The wafer maps are simulated, some of them copies of others.
"""

from __future__ import annotations

import io
import json
import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from kdutils import paths
from kdutils.data import PARTS, readers, registry, symmetry
from kdutils.data.simulate import wafersim

SIDE = 28  # of an image
SHIFT = 2  # pixels, at most, each way
MIXED = 0.54  # share of the next class's glyph, at most: above .5 it is the wrong class
NOISE = 0.2  # standard deviation, in units of the brightest stroke
MAPS, SINGLE = 400, 200  # wafer maps, before the planted copies
ORDER = np.array(["train", "test", "train", "val", "train"])  # of like maps, in turn
# Planted copies: how many, of which part's maps, in which part, turned how.
COPIES = (
    (8, "test", "train", 0),
    (4, "test", "train", 1),
    (4, "val", "train", 6),
    (2, "test", "val", 4),
    (2, "test", "test", 2),
)
# Rows and columns of the maps of WM-811K, among them the commonest and the largest.
SHAPES = ((25, 27), (26, 26), (38, 36), (33, 37), (52, 52), (64, 71), (212, 204))


def write(root: str, *names: str, seed: int = 0) -> tuple[Path, ...]:
    """Write these data sets, or all, marked as generated; a seed has its own bytes.

    secom: 400 rows of 60 readings, 100 of them fails, over 90 days: 6 columns are
    constant, 5 mostly missing; 10 readings and one interaction carry the verdict.
    mnist, pneumoniamnist: 1,200 + 400 and 300 + 60 + 120 images of 28 x 28.
    cifar10: 600 + 200 colour images of 32 x 32; tiny-imagenet: 400 + 100 of 64 x 64 in
    10 classes; mhist: 60 + 40 of 224 x 224.
    sst2: 240 + 60 + 100 sentences of up to 12 words; squad: 96 questions with an
    answer, 48 without; minilm: the weights of a net of two layers.
    mixedwm38: 420 maps of 52 x 52, 20 of them copies (some turned) of others;
    wm811k: 200 maps of many sizes.
    Returns the folders; refuses one with a file that is not a miniature's.
    """
    places = {name: registry.folder(name, root) for name in names or MAKERS}
    for name, place in places.items():
        real = [f for f in registry.known(name).files if (place / f).exists()]
        if real and not readers.generated(place):
            raise registry.SourceError(
                f"{place} holds real files: no miniature is written there"
            )
    for name, place in places.items():
        words = f"A miniature generated with seed {seed}; not {name}.\n"
        files = {readers.MARKER: words.encode(), **MAKERS[name](seed)}
        for file, held in files.items():
            paths.write(place / file, held)
    return tuple(places.values())


def _secom(seed: int) -> dict[str, bytes]:
    rng, n, d = np.random.default_rng(seed), 400, 60
    Z = rng.standard_normal((n, d))
    weights = np.where(rng.permutation(d) < 10, rng.choice((-1.0, 1.0), d), 0.0)
    a, b = np.flatnonzero(weights)[:2]
    score = Z @ weights + 2 * Z[:, a] * Z[:, b] + 1.5 * rng.standard_normal(n)
    failed = score >= np.sort(score)[-n // 4]
    X = Z * 10 ** rng.uniform(-1, 3, d) + rng.normal(0, 1000, d)
    plain = rng.permutation(np.flatnonzero(weights == 0))
    X[:, plain[:6]] = rng.integers(0, 200, 6)
    X[rng.random((n, d)) < 0.03] = np.nan
    X[:, plain[6:11]] = np.where(rng.random((n, 5)) < 0.7, np.nan, X[:, plain[6:11]])
    start = datetime(2008, 7, 19, 11, 55)
    rows = [" ".join("NaN" if x != x else f"{x:.4f}" for x in row) + "\n" for row in X]
    minutes = np.sort(rng.integers(0, 129_600, n)).tolist()
    verdicts = [
        f'{1 if fail else -1} "{start + timedelta(minutes=m):%d/%m/%Y %H:%M:%S}"\r\n'
        for fail, m in zip(failed, minutes, strict=True)
    ]
    texts = "".join(rows).encode(), "".join(verdicts).encode()
    return dict(zip(readers.SECOM, texts, strict=True))


def _mnist(seed: int) -> dict[str, bytes]:
    X, y = _images(np.random.default_rng([seed, 10]), classes=10, n=1600)
    files = {}
    for name, rows in (("train", slice(1200)), ("t10k", slice(1200, None))):
        files[f"{name}-images-idx3-ubyte.gz"] = readers.packed(X[rows])
        files[f"{name}-labels-idx1-ubyte.gz"] = readers.packed(y[rows])
    return files


def _pneumoniamnist(seed: int) -> dict[str, bytes]:
    X, y = _images(np.random.default_rng([seed, 2]), classes=2, n=480)
    arrays = {}
    for name, rows in zip(PARTS, np.split(np.arange(480), (300, 360)), strict=True):
        arrays[f"{name}_images"] = X[rows]
        arrays[f"{name}_labels"] = y[rows, None]
    return {"pneumoniamnist.npz": _npz(arrays)}


def _coloured(rng: np.random.Generator, classes: int, n: int, side: int) -> tuple:
    """Glyphs in a colour of their class's own, on a ground of any: (n, 3, side, side).

    A side of 28 k + 2 m pixels: each pixel k times, and m around.
    """
    X, y = _images(rng, classes, n)
    X = np.kron(X, np.ones((1, side // SIDE, side // SIDE), np.uint8))
    around = (side - X.shape[1]) // 2
    X = np.pad(X, ((0, 0), (around,) * 2, (around,) * 2))[:, None] / 255
    ink = rng.uniform(0, 255, (classes, 3))[y, :, None, None]
    ground = rng.uniform(0, 255, (len(X), 3))[:, :, None, None]
    return np.round(X * ink + (1 - X) * ground).astype(np.uint8), y


def _cifar10(seed: int) -> dict[str, bytes]:
    X, y = _coloured(np.random.default_rng([seed, 3]), 10, 800, 32)
    records = np.column_stack((y, X.reshape(len(X), -1)))
    parts = np.split(records, (120, 240, 360, 480, 600))
    return {k: part.tobytes() for k, part in zip(readers.CIFAR10, parts, strict=True)}


def _tiny_imagenet(seed: int) -> dict[str, bytes]:
    """The zip file, with ten of the two hundred classes."""
    X, y = _coloured(np.random.default_rng([seed, 200]), 10, 500, 64)
    wnids, held, notes = [f"n{k:08d}" for k in range(10)], io.BytesIO(), []
    with zipfile.ZipFile(held, "w") as archive:
        for row, (image, label) in enumerate(zip(X, y, strict=True)):
            wnid, name = wnids[label], f"{wnids[label]}_{row}.JPEG"
            inner = f"train/{wnid}/images/{name}"
            if row >= 400:
                name = f"val_{row}.JPEG"
                inner = f"val/images/{name}"
                notes.append(f"{name}\t{wnid}\t0\t0\t63\t63\n")
            _put(archive, inner, _picture(image, "JPEG"))
        _put(archive, "wnids.txt", "".join(f"{wnid}\n" for wnid in wnids).encode())
        _put(archive, "val/val_annotations.txt", "".join(notes).encode())
    return {"tiny-imagenet-200.zip": held.getvalue()}


def _mhist(seed: int) -> dict[str, bytes]:
    X, y = _coloured(np.random.default_rng([seed, 7]), 2, 100, 224)
    lines = ["Image Name,Majority Vote Label,Partition"]
    files = {}
    for row, (image, label) in enumerate(zip(X, y, strict=True)):
        name, part = f"MHIST_{row:03d}.png", "train" if row < 60 else "test"
        lines.append(f"{name},{['HP', 'SSA'][label]},{part}")
        files[f"images/{name}"] = _picture(image, "PNG")
    return {"annotations.csv": "\n".join([*lines, ""]).encode(), **files}


def _picture(image: np.ndarray, kind: str) -> bytes:
    held = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(held, kind)
    return held.getvalue()


def _put(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """A member of the same bytes on whatever day."""
    about = zipfile.ZipInfo(f"tiny-imagenet-200/{name}", (1980, 1, 1, 0, 0, 0))
    archive.writestr(about, content)


GOOD = ["warm", "witty", "bright", "charming", "moving", "clever", "honest", "lively"]
BAD = ["dull", "flat", "slow", "empty", "clumsy", "tired", "stale", "thin", "noisy"]
THINGS = ["lamp", "ring", "coin", "book", "bell", "cup", "drum", "key"]
COLOURS = ["red", "blue", "green", "black", "white"]
TOWNS = ["Oslo", "Lima", "Cairo", "Quito", "Delhi", "Turin", "Accra", "Kyoto"]
PLAIN = ["the", "a", "film", "plot", "story", "cast", "scene", "of", "and", "with"]


def _sst2(seed: int) -> dict[str, bytes]:
    """Praise and blame among plain words; `not` turns the word after it around.

    One sentence in twenty has the wrong label: no classifier is perfect.
    """
    rng = np.random.default_rng([seed, 2013])
    lines = []
    for label in rng.permutation(np.arange(400) % 2):
        words = list(rng.choice(PLAIN, rng.integers(3, 9)))
        for _ in range(rng.integers(1, 3)):
            turned = rng.random() < 0.15
            word = rng.choice(GOOD if label != turned else BAD)
            at = rng.integers(0, len(words) + 1)
            words[at:at] = ["not", word] if turned else [word]
        lines.append((" ".join(words), int(label != (rng.random() < 1 / 20))))
    files, parts = {}, (lines[:240], lines[240:300], lines[300:])
    for name, part in zip(readers.SST2, parts, strict=True):
        rows = "".join(f"{text}\t{label}\n" for text, label in part)
        files[name] = f"sentence\tlabel\n{rows}".encode()
    return files


def _squad(seed: int) -> dict[str, bytes]:
    """Texts of three facts, `the red lamp was found in Oslo .`, each asked for.

    As the halves of v2.0's dev set: 8 articles with answers, 4 without.
    """
    rng = np.random.default_rng([seed, 2016])
    held = {name: [] for name in ("dev-v2.0.json", "test-v2.0.json")}
    for article in range(12):
        known, paragraphs = article < 8, []
        for _ in range(4):
            things = rng.choice(THINGS, 3, replace=False)
            context, qas = "", []
            for colour, thing in zip(rng.choice(COLOURS, 3), things, strict=True):
                town = rng.choice(TOWNS)
                context += f"The {colour} {thing} was found in {town}. "
                start = len(context) - len(town) - 2
                answers = [{"text": str(town), "answer_start": start}] if known else []
                qa = {"id": f"{article}-{len(paragraphs)}-{thing}"}
                qa |= {"question": f"Where was the {colour} {thing} found?"}
                qas.append(qa | {"answers": answers})
            paragraphs.append({"context": context.rstrip(), "qas": qas})
        name = "dev-v2.0.json" if known else "test-v2.0.json"
        held[name].append({"title": f"article {article}", "paragraphs": paragraphs})
    texts = {k: json.dumps({"version": "v2.0", "data": v}) for k, v in held.items()}
    return {name: text.encode() for name, text in texts.items()}


def _minilm(seed: int) -> dict[str, bytes]:
    """A BERT of two layers of 24, its weights drawn, with the miniatures' words."""
    rng, wide, hidden = np.random.default_rng([seed, 2020]), 24, 48
    signs = [*"?.,'", "was", "found", "in", "where", "not", "##s"]
    words = [*signs, *GOOD, *BAD, *PLAIN, *THINGS, *COLOURS, *TOWNS]
    words = [word.lower() for word in rng.permutation(words)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]
    rows = {"word": len(words), "position": 512, "token_type": 2}
    shapes = {f"embeddings.{k}_embeddings.weight": (n, wide) for k, n in rows.items()}
    blocks = ["embeddings.LayerNorm"]
    for k in range(2):
        own = f"encoder.layer.{k}."
        heads = [f"{own}attention.self.{n}" for n in ("query", "key", "value")]
        for name in (*heads, f"{own}attention.output.dense"):
            shapes |= {f"{name}.weight": (wide, wide), f"{name}.bias": (wide,)}
        sizes = {"intermediate": (hidden, wide), "output": (wide, hidden)}
        for name, (a, b) in sizes.items():
            name = f"{own}{name}.dense"
            shapes |= {f"{name}.weight": (a, b), f"{name}.bias": (a,)}
        blocks += [f"{own}attention.output.LayerNorm", f"{own}output.LayerNorm"]
    for name in blocks:
        shapes |= {f"{name}.weight": (wide,), f"{name}.bias": (wide,)}
    head, held = {}, b""
    for name, shape in shapes.items():
        one = name in {f"{block}.weight" for block in blocks}
        w = (one + 0.1 * rng.standard_normal(shape)).astype("<f4").tobytes()
        places = [len(held), len(held) + len(w)]
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": places}
        held += w
    text = json.dumps(head).encode()
    file = len(text).to_bytes(8, "little") + text + held
    return dict(zip(readers.MINILM, (file, "\n".join(words).encode()), strict=True))


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    held = io.BytesIO()
    np.savez_compressed(held, **arrays)
    return held.getvalue()


def _images(rng: np.random.Generator, classes: int, n: int) -> tuple:
    """Images uint8 (n, 28, 28) and labels uint8 (n,), every class equally often."""
    glyphs = np.array([_glyph(rng) for _ in range(classes)])
    y = rng.permutation(np.arange(n) % classes)
    mixed = rng.uniform(0, MIXED, (n, 1, 1))
    X = (1 - mixed) * glyphs[y] + mixed * glyphs[(y + 1) % classes]
    shifts = rng.integers(-SHIFT, SHIFT + 1, (n, 2))
    pairs = zip(X, shifts, strict=True)
    X = np.array([np.roll(x, shift, (0, 1)) for x, shift in pairs])
    X += NOISE * rng.standard_normal(X.shape)
    return np.clip(np.round(255 * X), 0, 255).astype(np.uint8), y.astype(np.uint8)


def _glyph(rng: np.random.Generator) -> np.ndarray:
    """Three curved strokes, blurred; float64 (28, 28), the brightest pixel 1."""
    t = np.linspace(0, 1, 60)[:, None]
    canvas = np.zeros((SIDE, SIDE))
    for _ in range(3):
        a, b, c = rng.uniform(5, SIDE - 5, (3, 2))
        curve = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c  # quadratic Bezier
        canvas[tuple(np.round(curve).astype(int).T)] = 1
    canvas = gaussian_filter(canvas, 1.0)
    return canvas / canvas.max()


def _mixedwm38(seed: int) -> dict[str, bytes]:
    rng = np.random.default_rng([seed, 38])
    X, y = wafersim.draw(MAPS, seed=seed)
    split = _split(y)
    for count, of, into, k in COPIES:
        rows = rng.choice(np.flatnonzero(split[:MAPS] == of), count, replace=False)
        X = np.concatenate((X, symmetry.copies(X[rows])[k]))
        y = np.concatenate((y, y[rows]))
        split = np.concatenate((split, np.repeat(into, count)))
    order = rng.permutation(len(X))
    arrays = {"arr_0": X, "arr_1": y, "split": split, "orig_index": np.arange(len(X))}
    return {"MixedWM38.npz": _npz({k: array[order] for k, array in arrays.items()})}


def _wm811k(seed: int) -> dict[str, bytes]:
    """Maps with at most one pattern, each die the simulated one nearest to it."""
    rng = np.random.default_rng([seed, 811])
    single = wafersim.COMBINATIONS[wafersim.COMBINATIONS.sum(axis=1) < 2]
    X, y = wafersim.draw(SINGLE, seed=seed + 1, combinations=single)
    shape = np.array(SHAPES, np.int16)[rng.integers(0, len(SHAPES), SINGLE)]
    names = np.array([p.replace("Full", "full") for p in readers.PATTERNS])
    flat = []
    for x, (height, width) in zip(X, shape, strict=True):
        sides = height, width
        i, j = ((np.arange(n) * 2 + 1) * readers.SIDE // (2 * n) for n in sides)
        flat.append(x[np.ix_(i, j)].ravel())
    arrays = {
        "flat": np.concatenate(flat),
        "shape": shape,
        "failure_type": np.where(y.any(axis=1), names[y.argmax(axis=1)], "None"),
        "split": _split(y),
        "orig_index": np.arange(SINGLE),
    }
    return {"wm811k_subset.npz": _npz(arrays)}


def _split(y: np.ndarray) -> np.ndarray:
    """A part for each map, so that each part has its share of each set of patterns."""
    order = np.lexsort(y.T)
    split = np.empty(len(y), ORDER.dtype)
    split[order] = np.resize(ORDER, len(y))
    return split


MAKERS = {
    "secom": _secom,
    "mnist": _mnist,
    "pneumoniamnist": _pneumoniamnist,
    "cifar10": _cifar10,
    "tiny-imagenet": _tiny_imagenet,
    "mhist": _mhist,
    "sst2": _sst2,
    "squad": _squad,
    "minilm": _minilm,
    "mixedwm38": _mixedwm38,
    "wm811k": _wm811k,
}

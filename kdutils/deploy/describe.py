"""describe: what a bundle holds, as lines for a person."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kdutils.deploy import bundle as tables
from kdutils.deploy import container, kdb, mapnet
from kdutils.deploy.int8 import Int8
from kdutils.deploy.readings import RULE


def bundle(path: str | Path) -> str:
    """The lines of a file; BundleError, as loading it gives, if it is none."""
    data, name = Path(path).read_bytes(), str(path)
    held, about = container.read(data, name)
    if about.get("format") == mapnet.FORMAT:
        lines = mapnet.describe(mapnet.loads(data, name))
        width = max(len(what) for what, _ in lines)
        return "\n".join(f"{what:<{width}} {value}" for what, value in lines)
    loaded = tables.loads(data, name)
    width = max(len(feature) for feature in loaded.features)
    head = f"{'reading':<{width}} {'unit':<6} {'legal from':>11} {'to':>11}"
    lines = [f"{name}: {len(data):,} bytes, checksum and golden logits right"]
    lines += [f"{what:<8} {value}" for what, value in _about(loaded, held, len(data))]
    lines += ["", f"{head} {'center':>11} {'spread':>11}"]
    numbers = np.column_stack(
        (loaded.ranges, loaded.prepare.center, 1 / loaded.prepare.scale)
    )
    for feature, unit, row in zip(loaded.features, loaded.units, numbers, strict=True):
        cells = " ".join(f"{number:>11.5g}" for number in row)
        lines.append(f"{feature:<{width}} {unit:<6} {cells}")
    return "\n".join(lines)


def _about(loaded, held: dict, size: int) -> list[tuple[str, str]]:
    student, (low, high) = loaded.student, loaded.classes
    verdict = f"{high} where the logit exceeds {loaded.threshold:.6g}, else {low}"
    eight = isinstance(student, Int8)
    kind = "float32"
    if eight:
        W1 = student.W1
        kind = "int8 weights, float32 activations"
        if student.s_in is not None:
            kind = "int8 weights and activations"
    else:
        W1 = student["W1"]
    alive, model = np.count_nonzero(W1), kdb.model_bytes(student, loaded.prepare)
    arrays = (f"{key} {array.dtype}{list(array.shape)}" for key, array in held.items())
    return [
        ("id", loaded.id or "none"),
        ("verdict", verdict),
        ("columns", f"of a lot for the watcher: {RULE}"),
        ("student", f"{W1.shape[1]} readings, {W1.shape[0]} units, 1 logit; {kind}"),
        ("weights", f"{alive:,} of {W1.size:,} in the first layer are not 0"),
        ("bytes", f"model {model:,}; names, ranges, container {size - model:,}"),
        ("golden", f"{len(loaded.golden[1])} readings whose logits were repeated"),
        ("arrays", ", ".join(arrays)),
    ]

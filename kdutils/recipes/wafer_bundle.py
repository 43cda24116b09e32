"""recipes.wafer_bundle: the wafer student to ship, as the file that a device holds.

Chosen without a label: of those taught by teachers alone and within the bytes, the one
that best repeats its teachers' verdicts on validation maps. What the device's numpy
says of the test maps is measured beside what torch says in float32.
"""

from __future__ import annotations

import base64

import numpy as np

from kdutils import metrics, models
from kdutils.data import wafers
from kdutils.deploy import mapnet, waferbundle, waferpack
from kdutils.recipes import wafer_answers, wafer_students, wafer_teachers

STAGE = "06_prune_quantize"
GOLDEN = 2  # maps that are kept with the file


def plan(rows, *, limit: int) -> list[dict]:
    """One config: the first seed's student of the chosen net.

    rows: of `wafer_students`; limit: bytes of its eight-bit weights with their file.
    ValueError if no net of group 'ours' is as small.
    """
    ours = rows[rows["group"] == "ours"]
    ours = ours.assign(built=ours["net"] + ours["sizes"].astype(str))
    nets_of = ours.groupby("built")[["int8_bytes", "int8_fidelity"]].mean()
    fits = nets_of[nets_of["int8_bytes"] <= limit]
    if fits.empty:
        raise ValueError(f"no wafer student has at most {limit:,} bytes")
    named = ours[ours["built"] == fits["int8_fidelity"].idxmax()]
    row = named.sort_values("seed").iloc[0]
    return [{"source": row["site"], "seed": int(row["seed"]), "student": row["run"]}]


def digest(config: dict) -> str:
    """The data are the student's: its id names them."""
    return config["student"]


def compute(config: dict, run) -> dict:
    """Pack, read back, ask; one row with the file in it."""
    taught = run.need(wafer_students, config["student"])
    own, net = taught.config, wafer_teachers.trained(taught)
    source = run.need(wafer_answers, own["answers"])
    parts = wafer_teachers.split(source.config)
    side, patterns = parts.test.X.shape[1], wafers.classes()
    # The maps that take the fewest bytes: the first dozen are as good as any.
    few = sorted(parts.val.X[:12], key=lambda X: len(mapnet.squeezed(X[None])))
    how = {"id": f"{config['source']}-{config['student']}", **own["sizes"]}
    golden = np.stack(few[:GOLDEN])
    file = waferbundle.pack(net, own["net"], side, patterns, golden=golden, **how)
    said = mapnet.loads(file, "the student").logits(parts.test.X)
    y, told = parts.test.y, taught.arrays("answers")["test"]
    model = waferpack.pack(net, own["net"], side, len(patterns), **own["sizes"])
    row = {
        **wafer_teachers.facts(source.config, parts),
        "net": own["net"],
        "sizes": own["sizes"],
        "params": models.parameters(net),
        "model_bytes": len(model),
        "bundle_bytes": len(file),
        "fp32_exact": metrics.accuracy(y, told),
        "test_exact": metrics.accuracy(y, said),
        "same_verdicts": metrics.fidelity(told, said),
        "bundle": base64.b64encode(file).decode(),
    }
    return {"rows": [row]}


def shipped(rows) -> bytes:
    """The file of a row."""
    return base64.b64decode(rows["bundle"].iloc[0])

"""recipes.wafer_bundle: the wafer student to ship, as the file that a device holds.

Chosen without a label: of those taught by teachers alone and within the bytes, the one
that best repeats its teachers' verdicts on validation maps. What the device's numpy
says of the test maps is measured beside what torch says in float32.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from operator import itemgetter

from kdutils import metrics, models
from kdutils.compress import convert
from kdutils.data import wafers
from kdutils.deploy import bundle
from kdutils.recipes import net_teachers, tasks, wafer_answers, wafer_students
from kdutils.recipes.tasks import WAFERS
from kdutils.store.config import Natural

digest = itemgetter("student")  # the data are the student's: its id names them


@dataclass(frozen=True)
class Config:
    """One student."""

    source: str
    seed: Natural
    student: str


def plan(rows, *, limit: int) -> list[dict]:
    """One config: the first seed's student of the chosen net.

    rows: of `wafer_students`; limit: bytes that its file has at most, at
    every seed. ValueError if no net of group 'ours' is as small.
    """
    ours = rows[rows["group"] == "ours"]
    ours = ours.assign(built=ours["net"] + ours["sizes"].astype(str))
    quantities = {"int8_bytes": "max", "int8_fidelity": "mean"}
    nets_of = ours.groupby("built").agg(quantities)
    fits = nets_of[nets_of["int8_bytes"] <= limit]
    if fits.empty:
        raise ValueError(f"no wafer student has at most {limit:,} bytes")
    named = ours[ours["built"] == fits["int8_fidelity"].idxmax()]
    row = named.sort_values("seed").iloc[0]
    return [{"source": row["site"], "seed": int(row["seed"]), "student": row["run"]}]


def compute(config: dict, run) -> dict:
    """Pack, read back, predict; one row with the file in it."""
    taught = run.need(wafer_students, config["student"])
    own, net = taught.config, net_teachers.trained(taught)
    source = run.need(wafer_answers, own["answers"])
    parts = WAFERS.load(source.config)
    side, id = parts.test.X.shape[1], f"{config['source']}-{config['student']}"
    file, _ = convert.packed(net, side, wafers.classes(), id=id)
    shipped = bundle.loads(file, "the student")
    logits = shipped.score(parts.test.X)
    y, kept = parts.test.y, taught.arrays("answers")["test"]
    row = {
        **WAFERS.facts(source.config, parts),
        "net": own["net"],
        "model": tasks.called(own["net"], own["sizes"]),
        "params": models.parameters(net),
        "model_bytes": bundle.model_bytes(shipped.student),
        "bundle_bytes": len(file),
        "fp32_exact": metrics.accuracy(y, kept),
        "test_exact": metrics.accuracy(y, logits),
        "same_verdicts": metrics.fidelity(kept, logits),
        "bundle": base64.b64encode(file).decode(),
    }
    return {"rows": [row]}


def shipped(rows) -> bytes:
    """The file of a row."""
    return base64.b64decode(rows["bundle"].iloc[0])

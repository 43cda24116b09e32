"""recipes.bit_widths: the file of a finished net at several bit widths, a row for each.

Nothing is trained: the net of a run of `networks` is rounded, packed and judged as its
file is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter

from kdutils import metrics
from kdutils.recipes import networks
from kdutils.store.config import Count, Natural, following

LARGEST = 2**31  # bytes of a file, of which there is no limit here
digest = itemgetter("net")  # the data are the net's: its id names them


@dataclass(frozen=True)
class Config:
    """net: the id of a run of `networks`; bits: the widths of its weights, 2 to 8."""

    net: str
    source: str
    student: str
    method: str
    seed: Natural
    bits: list[Count]


def plan(rows, *, bits: list[int], method: str = "kd") -> list[dict]:
    """One config per student and seed that the method taught and that has a file.

    rows: of `networks`; of several cells of one seed that of the best validation
    accuracy is taken.
    """
    if "packed_bytes" not in rows or not bits:
        return []
    some = rows[(rows["method"] == method) & rows["packed_bytes"].notna()]
    best = some.loc[some.groupby(["student", "seed"], sort=False)["val_acc"].idxmax()]
    return following(best, "net", "student", "method", bits=bits)


def compute(config: dict, run) -> dict:
    """Pack and score; cost: the file's test accuracy minus the float net's."""
    source = run.need(networks, config["net"])
    own = networks.task(source.config)
    parts = own.load(source.config)
    net = networks.trained(source, parts)
    logits = source.arrays("logits")
    known = {
        **own.facts(source.config, parts),
        "test_acc": metrics.accuracy(parts.test.y, logits["test"]),
        "val_acc": metrics.accuracy(parts.val.y, logits["val"]),
    }
    rows = []
    for bits in config["bits"]:
        how = {**source.config, "bits": bits, "file_bytes": LARGEST}
        row = known | networks.filed(how, parts, net)
        rows.append(row | {"cost": row["packed_acc"] - row["test_acc"]})
    return {"rows": rows}

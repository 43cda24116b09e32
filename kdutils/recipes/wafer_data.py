"""recipes.wafer_data: what maps a site has: counts, copies, one map of each set.

The record holds all that the study shows of the maps themselves, so that a report can
be made again where the maps are not.
"""

from __future__ import annotations

import base64
import zlib

import numpy as np

from kdutils.data import wafers
from kdutils.recipes.tasks import WAFERS, Site

Config, digest = Site, WAFERS.digest


def plan(sites: dict) -> list[dict]:
    """One config per site: name -> {source, root, maps, options}, for seed 0."""
    return [{"site": name, **where, "seed": 0} for name, where in sites.items()]


def compute(config: dict, run) -> dict:
    """One row per set of patterns among the test maps.

    patterns: their names joined by '+', empty for none; count: test maps of that set;
    example: the first of them, its bytes (52, 52) under zlib and base64. copies: see
    `wafers.duplicates`, for files alone: what each seed draws anew has none to count.
    """
    parts = WAFERS.load(config)
    facts = WAFERS.facts(config, parts)
    if config["source"] != wafers.SIMULATED:
        found = wafers.duplicates(config["source"], config["root"])
        for key in ("exact_across", "symmetric_across", "labels_differ"):
            facts[key] = found[key]
        for key in ("within", "dropped"):
            facts[key] = sum(found[key].values())
    how = {"axis": 0, "return_index": True, "return_counts": True}
    rows, names = [], np.array(wafers.classes())
    for there, first, n in zip(*np.unique(parts.test.y, **how), strict=True):
        example = base64.b64encode(zlib.compress(parts.test.X[first].tobytes(), 9))
        row = {"patterns": "+".join(names[there == 1]), "count": int(n)}
        rows.append({**facts, **row, "example": example.decode()})
    return {"rows": rows}

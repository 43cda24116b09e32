"""recipes.columns: which columns of a table a publication's may be, by their moments.

A publication prints mean and standard deviation of each of its columns and keeps the
rows to itself. Each is given the column of a known table that lies nearest, in units
of the errors that a sample of the known table has; no column is given twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from kdutils.data import registry


@dataclass(frozen=True)
class Config:
    """A known table, and the means and deviations of a publication's columns."""

    source: str
    root: str
    mean: list[float]
    sd: list[float]


def digest(config: dict) -> str:
    """The content of the known table's files."""
    return registry.digest(config["source"], config["root"])


def compute(config: dict, run) -> dict:
    """A row for each published column: the known one, both moments, z of the means."""
    rows = registry.read(config["source"], config["root"])
    X, n = rows.X.astype(np.float64), len(rows.X)
    mean, sd = X.mean(0), X.std(0)
    published = np.array(config["mean"])[:, None], np.array(config["sd"])[:, None]
    z = (published[0] - mean) / (sd / np.sqrt(n))
    spread = (published[1] - sd) / (sd / np.sqrt(2 * n))
    found = zip(*linear_sum_assignment(z**2 + spread**2), strict=True)
    return {
        "rows": [
            {
                "column": int(i) + 1,
                "mean": float(published[0][i, 0]),
                "sd": float(published[1][i, 0]),
                "known": rows.features[j],
                "known_mean": float(mean[j]),
                "known_sd": float(sd[j]),
                "z": float(z[i, j]),
                "sd_ratio": float(published[1][i, 0] / sd[j]),
                "rows_read": n,
            }
            for i, j in found
        ]
    }

"""cells: how a table is printed: rounded once, as CSV or as plain HTML."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import pandas as pd

from kdutils import paths
from kdutils.views.names import decimals

JUDGED = {"claimed", "measured", "ci_low", "ci_high"}  # rounded as their row's metric


def write(frame: pd.DataFrame, name: str) -> Path:
    """Write tables/<name>.csv: text(frame) as UTF-8 with LF, no row numbers."""
    csv = text(frame).to_csv(index=False, lineterminator="\n")
    return paths.write(paths.tables() / f"{name}.csv", csv.encode())


def read(name: str) -> pd.DataFrame:
    """tables/<name>.csv as a frame."""
    return pd.read_csv(paths.tables() / f"{name}.csv")


def maybe(name: str) -> pd.DataFrame | None:
    """The same; None where no stage of the profile writes such a table."""
    return read(name) if (paths.tables() / f"{name}.csv").exists() else None


def claimed() -> pd.DataFrame:
    """The published numbers: system, metric, claimed, source, data, note."""
    return pd.read_csv(paths.claimed())


def text(frame: pd.DataFrame) -> pd.DataFrame:
    """Every cell as it is printed: fixed decimals per kind of column, NaN is empty.

    Rows of runs (column `run`) are read again, so they keep two decimals more; settings
    of their runs that are lists or mappings stay in the ledger.
    """
    more = 2 if "run" in frame else 0
    frame = frame.loc[:, [not _nested(frame[column]) for column in frame]]
    metric = frame["metric"] if "metric" in frame else [None] * len(frame)
    return pd.DataFrame(
        {
            column: [
                _cell(value, decimals(_kind(column, m), more))
                for value, m in zip(frame[column], metric, strict=True)
            ]
            for column in frame
        },
        dtype=object,
    )


class Plain:
    """A table that a notebook prints as plain HTML, without styles or row numbers."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def __repr__(self) -> str:
        return self.frame.to_string(index=False)

    def _repr_html_(self) -> str:
        return self.frame.to_html(index=False, border=0, render_links=True)


def show(frame: pd.DataFrame, columns: Iterable[str] | None = None) -> Plain:
    """The table for a notebook: q as `mean ± sd (n)`, its interval as `[low, high]`.

    columns: quantities and other columns to keep, in this order; default all.
    """
    cells, shown = text(frame), pd.DataFrame(index=frame.index)
    keep = [*columns] if columns is not None else [*cells]
    parts = {f"{c}_{end}" for c in cells for end in ("sd", "low", "high")} & set(cells)
    for column in (c for c in keep if c not in parts and c in cells):
        shown[column] = cells[column].to_numpy()
        if {f"{column}_sd", "n"} <= set(cells):
            mean, sd, n = cells[column], cells[f"{column}_sd"], " (" + cells["n"] + ")"
            lone = (mean + n).where(mean != "", "")
            shown[column] = (mean + " ± " + sd + n).where(sd != "", lone).to_numpy()
        if f"{column}_low" in cells:
            low, high = cells[f"{column}_low"], cells[f"{column}_high"]
            interval = "[" + low + ", " + high + "]"
            shown[f"{column} 95 %"] = interval.where(low != "", "").to_numpy()
    return Plain(shown)


def _kind(column: str, metric: str | None) -> str | None:
    """The column by which a cell is rounded: a claimed count is whole."""
    if column not in JUDGED:
        return column
    return "n" if (column, metric) == ("claimed", "errors") else metric


def _nested(cells: pd.Series) -> bool:
    """Whether a column holds lists or mappings."""
    return cells.dtype == object and cells.map(type).isin([list, dict]).any()


def _cell(value: object, digits: int | None) -> str:
    if value is None or value is pd.NA or value != value:
        return ""
    if isinstance(value, (bool, np.bool_, Integral)) or not isinstance(value, Real):
        return str(value)
    if digits is None:
        return f"{value:g}"
    number = f"{value:.{digits}f}"
    return number.lstrip("-") if not number.strip("-0.") else number

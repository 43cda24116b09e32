"""summary: flat rows in, one line per cell out: mean, sd, interval, n and p.

A quantity q stands in columns q, q_sd, q_low, q_high: mean, sd and 95 % interval over n
rows, one per seed and fold. Where folds or seeds share rows (rho > 0) the interval is
widened (`stats.paired`); that of a score in [0, 1] is on the logit scale
(`stats.scored`). Where every seed has the same test rows (`fixed`) seeds differ by
initial weights alone, so the interval is the mean of the rows' own DeLong intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from kdutils import stats
from kdutils.views import names

SETTING = ["source", "kind"]
DELONG = {"auc": ("ci_low", "ci_high")}  # where rows have it; else q_low, q_high, q_p


def summarise(
    rows: pd.DataFrame,
    by: Iterable[str],
    quantities: Iterable[str] | dict[str, str],
    means: Iterable[str] | dict[str, str] = (),
    *,
    p: dict[str, str] | None = None,
    extra: Callable[[pd.DataFrame], dict] | None = None,
    sort: Iterable[str] | None = None,
) -> pd.DataFrame:
    """One line per source, kind and value of `by`, in the order of `sort` (or of `by`).

    quantities, means: names of columns, or {name in the table: column of the rows}; a
    mean has no interval. p: {quantity: column for the p that its mean is 0}, by default
    of `gain`; extra: what else a group's rows give the line. sort=(): as the rows come.
    """
    by, lines, p = [*SETTING, *by], [], {"gain": "p"} if p is None else p
    quantities = _named(quantities)
    if rows.empty:
        columns = []
        for name in quantities:
            columns += [f"{name}{end}" for end in ("", "_sd", "_low", "_high")]
            columns += [p[name]] if name in p else []
        return pd.DataFrame(columns=[*by, *columns, "n", *means])
    for key, group in groups(rows, by):
        line, counts = dict(key), [0]
        for name, column in quantities.items():
            line |= spread(group, name, column, p.get(name))
            counts.append(line.pop("n"))
        line |= {"n": max(counts), **average(group, means)}
        lines.append(line | (extra(group) if extra else {}))
    frame = pd.DataFrame(lines)
    keys = by if sort is None else [*SETTING, *sort] if sort else []
    return names.ordered(frame, keys) if keys else frame


def groups(rows: pd.DataFrame, keys: list[str]) -> Iterable[tuple[dict, pd.DataFrame]]:
    """({key: value}, its rows) of each group, in the order of the rows."""
    for values, group in rows.groupby(keys, sort=False, dropna=False):
        yield dict(zip(keys, values, strict=True)), group


def spread(
    rows: pd.DataFrame, name: str, column: str | None = None, p: str | None = None
) -> dict:
    """{name, name_sd, n, name_low, name_high}, and p under that name, of a column.

    Rows without a value are not counted, unless none has one.
    """
    rho = float(rows["rho"].iloc[0]) if "rho" in rows else 0.0
    values = pd.to_numeric(rows[column or name])
    known = values if values.isna().all() else values.dropna()
    result = mean(name, known.tolist(), rho)
    ends = result.low, result.high, result.p if result.sd else np.nan
    if "fixed" in rows and rows["fixed"].any():
        own = tuple(f"{column or name}_{e}" for e in ("low", "high", "p"))
        kept = DELONG.get(name, own)
        ends = [*average(rows, kept).values(), np.nan][:3]
    line = {name: result.mean, f"{name}_sd": result.sd, "n": result.n}
    line |= {f"{name}_low": ends[0], f"{name}_high": ends[1]}
    return line | ({p: ends[2]} if p else {})


def mean(name: str, values: Iterable[float], rho: float = 0.0) -> stats.Paired:
    """Mean, sd and t interval of a quantity, on the logit scale where it is a score."""
    return (stats.scored if names.is_score(name) else stats.paired)(values, rho)


def one_more(values: Iterable[float], rho: float = 0.0) -> stats.Interval:
    """Mean of n values, and the interval of one more run: a prediction interval.

    Its variance is that of the mean (`stats.paired`) and of the run itself, together
    (1/n + rho + 1) s^2. One value has no ends.
    """
    of_mean = stats.paired(values, rho)
    half = (of_mean.high - of_mean.mean) * np.sqrt(1 + 1 / (1 / of_mean.n + rho))
    return stats.Interval(of_mean.mean, of_mean.mean - half, of_mean.mean + half)


def average(rows: pd.DataFrame, columns: Iterable[str] | dict[str, str]) -> dict:
    """Means of columns, NaN where there is none; a dict renames {new: column}."""
    return {
        new: float(pd.to_numeric(rows[column]).mean()) if column in rows else np.nan
        for new, column in _named(columns).items()
    }


def delta(
    rows: pd.DataFrame, base: pd.DataFrame, column: str, same: Iterable[str] = ()
) -> pd.Series:
    """Each row's column minus that of its pair in `base`, which has equal `same`.

    Equal are source, kind, seed and fold too. NaN where there is no pair; columns that
    the rows do not have, as `fold`, are no key.
    """
    keys = [key for key in (*SETTING, *same, "seed", "fold") if key in rows]
    theirs = base.set_index(keys)[column]
    pairs = theirs.reindex(pd.MultiIndex.from_frame(rows[keys]))
    return rows[column] - pairs.to_numpy()


def picked(rows: pd.DataFrame, by: Iterable[str], column: str) -> pd.DataFrame:
    """The row of the best validation `column`, the first of equals, per by and seed."""
    rows = rows.reset_index(drop=True)
    keys = [*SETTING, *by, "seed", *({"fold"} & set(rows))]
    return rows.loc[rows.groupby(keys, sort=False)[column].idxmax()]


def surface(
    rows: pd.DataFrame, by: list[str], cell: list[str], column: str, *what, **how
) -> pd.DataFrame:
    """`summarise` by `by` and cell; `chosen`: how many seeds and folds `picked` it.

    p_holm adjusts for all cells of one source and first of `by`.
    """
    rows = rows.reset_index(drop=True)
    rows = rows.assign(chosen=rows.index.isin(picked(rows, by, column).index))
    how["extra"] = lambda group: {"chosen": int(group["chosen"].sum())}
    return holm(summarise(rows, [*by, *cell], *what, **how), *by[:1])


def favourite(rows: pd.DataFrame, cell: list[str]) -> dict:
    """The most frequent values of the columns of `cell`, `chosen_in` their share."""
    counts = rows[cell].astype(float).value_counts(dropna=False)
    line = dict(zip(cell, counts.index[0], strict=True))
    return line | {"chosen_in": counts.iloc[0] / len(rows)}


def long(
    rows: pd.DataFrame, columns: Iterable[str], items: Iterable, into: str
) -> pd.DataFrame:
    """One row per row and item: `column_item` as `column`, the item as `into`."""
    rows = rows.reset_index(drop=True)
    parts = [
        rows.assign(**{into: item}, **{c: rows[f"{c}_{item}"] for c in columns})
        for item in items
    ]
    return pd.concat(parts).sort_index(kind="stable", ignore_index=True)


def contrast(
    rows: pd.DataFrame,
    column: str,
    one: object,
    other: object,
    value: str = "test_auc",
    by: Iterable[str] = (),
) -> pd.DataFrame:
    """Paired difference of a value, one minus other of a column, where both are."""
    mine, theirs = (rows[rows[column] == which] for which in (one, other))
    found = delta(mine, theirs, value, by)
    paired = mine.assign(difference=found)[found.notna()]
    return summarise(paired, by, ["difference"], sort=())


def extremes(
    rows: pd.DataFrame,
    column: str,
    by: Iterable[str] = (),
    ends: tuple[str, str] | None = None,
    means: Iterable[str] = (),
) -> pd.DataFrame:
    """A column's mean over n rows, and as its low and high the least and the most.

    ends: columns of each row's own interval, whose least and most are then taken.
    """
    low, high = ends or (column, column)
    how = {column: (column, "mean"), "n": (column, "size")}
    how |= {f"{column}_low": (low, "min"), f"{column}_high": (high, "max")}
    how |= {name: (name, "mean") for name in means}
    return rows.groupby([*SETTING, *by], sort=False).agg(**how).reset_index()


def holm(frame: pd.DataFrame, *family: str) -> pd.DataFrame:
    """The frame with p_holm behind p: adjusted for lines of one source and family."""
    lines = frame.groupby([*SETTING, *family], sort=False)
    adjusted = lines["p"].transform(stats.holm)
    frame = frame.drop(columns="p_holm", errors="ignore")
    frame.insert(frame.columns.get_loc("p") + 1, "p_holm", adjusted)
    return frame


def _named(columns: Iterable[str] | dict[str, str]) -> dict[str, str]:
    return columns if isinstance(columns, dict) else {name: name for name in columns}

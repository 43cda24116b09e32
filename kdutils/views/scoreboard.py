"""scoreboard: every published number beside what was measured, one verdict a row."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kdutils import stats
from kdutils.views import answers
from kdutils.views.answers import Measured

COLUMNS = ["seed", "system", "metric", "claimed", "measured", "ci_low", "ci_high", "n"]
COLUMNS += ["data", "verdict", "command", "basis", "reason"]
LESS_IS_MORE = ("bytes", "errors")
SAME_BYTES = 0.01  # sizes within 1 % are the same size


def scoreboard(
    claimed: pd.DataFrame,
    teachers_rows: pd.DataFrame | None,
    sweep_rows: pd.DataFrame | None,
    ladder_rows: pd.DataFrame | None,
    commands: dict[str, str],
    more: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One line per row of claimed.csv, and per published recipe that was repeated.

    sweep_rows: a method `published` there is the published distillation, unless the
    ladder has it. commands: by system, else by the part of it before the slash.
    more: values of other stages, a row per seed, with columns system, metric, seed,
    value, data, basis; they are judged against the claim as it stands.
    Verdicts: an interval wholly on the better side is `beaten`, one that covers the
    claim, or a better mean, is `reproduced`; sizes within 1 % are `reproduced`.
    """
    found = {}
    if teachers_rows is not None:
        found |= answers.tester(claimed, teachers_rows, sweep_rows, ladder_rows)
    if more is not None:
        found |= answers.others(claimed, more)
    lines = []
    for row in claimed.itertuples():
        for system in (row.system, f"{row.system}/as-published"):
            measured = found.get((system, row.metric))
            if measured or system == row.system:
                line = {"system": system, "metric": row.metric, "claimed": row.claimed}
                line["command"] = _command(system, commands)
                lines.append(line | _judged(row, measured))
    return pd.DataFrame(lines)[COLUMNS]


def _judged(row, measured: Measured | None) -> dict:
    if measured is None:
        figure = "published as a figure only, without a number"
        reason = "no stage of this report measures it"
        line = dict.fromkeys(("measured", "ci_low", "ci_high", "n"), np.nan)
        line |= dict.fromkeys(("seed", "data", "basis"), "")
        reason = figure if pd.isna(row.claimed) else reason
        return line | {"verdict": "not-run", "reason": reason}
    result, claim = measured.result, measured.claimed
    verdict = _verdict(row.metric, claim, result, bool(measured.reason))
    return {
        "claimed": claim,
        "measured": result.mean,
        "ci_low": result.low,
        "ci_high": result.high,
        "n": result.n,
        "seed": _span(measured.seeds),
        "data": measured.data,
        "verdict": verdict,
        "basis": measured.basis,
        "reason": measured.reason or _reason(row.metric, claim, result, verdict),
    }


def _verdict(metric: str, claim: float, result: stats.Paired, unfit: bool) -> str:
    """beaten, reproduced or short; `unfit`: it broke a condition of the claim."""
    if unfit:
        return "short"
    if metric == "bytes":
        if abs(result.mean / claim - 1) <= SAME_BYTES:
            return "reproduced"
        return "beaten" if result.mean < claim else "short"
    sign = -1 if metric in LESS_IS_MORE else 1
    low, high = sorted((sign * result.low, sign * result.high))
    if low > sign * claim:
        return "beaten"
    covered = low <= sign * claim <= high
    return "reproduced" if covered or sign * (result.mean - claim) >= 0 else "short"


def _reason(metric: str, claim: float, result: stats.Paired, verdict: str) -> str:
    if verdict != "short":
        return ""
    if metric == "bytes":
        return f"{result.mean / claim:.2f} times the published size"
    certain = ", the whole interval too" if result.n > 1 else ", a single value"
    return f"{abs(result.mean - claim):.4f} worse than claimed{certain}"


def _span(seeds: list[int]) -> str:
    """0..4 for seeds without a gap, else a list."""
    whole = list(range(seeds[0], seeds[-1] + 1)) == list(seeds) and len(seeds) > 1
    return f"{seeds[0]}..{seeds[-1]}" if whole else " ".join(map(str, seeds))


def _command(system: str, commands: dict[str, str]) -> str:
    name = system.removesuffix("/as-published")
    keys = (system, name, name.split("/")[0])
    return next((commands[key] for key in keys if key in commands), "")

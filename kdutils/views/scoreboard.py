"""scoreboard: every published number beside what was measured, one verdict a row.

A claim's row holds our best within the claim's bytes and data, of the kind that the
claim names; the recipe as published has a row of its own, `<system>/as-published`, if
it is another one. The tester's published data are confidential, so its rows are of the
simulator, and of a part of the table that it may be (HIGGS), and an AUC is a share
there: of the best teacher's AUC, seed by seed. Quality and bytes of a system come from
the same student.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from kdutils import stats
from kdutils.views import claims
from kdutils.views.images import OFFICIAL
from kdutils.views.names import START, TEACHERS
from kdutils.views.summary import mean, one_more

COLUMNS = ["seed", "system", "metric", "claimed", "measured", "ci_low", "ci_high", "n"]
COLUMNS += ["data", "verdict", "command", "basis", "reason", "source", "link", "runs"]
TESTERS = ("tester", "higgs")  # data that stand in for the published tester's
SHARES = ["published_auc", "auc", "claimed_above", "above"]  # of the tester's rows
ONE_RUN = ["run_low", "run_high", "margin"]  # what the verdict is made from
LESS_IS_MORE = ("bytes", "errors")
SAME_BYTES = 0.01  # sizes within 1 % are the same size
SAME_SHARE = 0.005  # of an AUC, as a share of the best teacher's

AGAIN = "/as-published"
AS_PUBLISHED = {  # the ladder's step that repeats a published recipe to the letter
    "student-kd": "published: distilled",
    "student-pruned": "published: pruned each layer 50 %",
    "student-int8": "published: pruned + dynamic int8",
}
OURS = {  # which steps of ours may answer a claim: its kind of student, not its recipe
    "student-kd": "precision == 'fp32' and sparsity == 0",
    "student-pruned": "precision == 'fp32' and sparsity > 0",
    "student-int8": "precision == 'int8'",
}
IMAGES = {  # which of our systems answers, fixed before any was measured; as published
    "mnist/teacher": ("teacher",),
    "mnist/student": ("student",),
    "mnist/student-kd": ("student-consistent", "student-kd"),
}
HALVES = ("teacher", "student-subclass", "student-kd", "student")


def scoreboard(
    claimed: pd.DataFrame,
    teachers_rows: pd.DataFrame | None,
    ladder_rows: pd.DataFrame | None,
    more: Iterable[pd.DataFrame] = (),
    profile: str = "paper",
) -> pd.DataFrame:
    """One line per row of claimed.csv, and per published recipe that was repeated.

    more: what other stages measured, as `part` makes it of rows. A claim is one
    run, so it is compared with one run of ours: run_low and run_high are the prediction
    interval of a run, widened by the sampling error of the claim's own `test_rows`.
    Verdicts: `beaten` where all of it is better than the claim; else `reproduced` where
    the mean is at most `margin` worse; else `short`. No interval decides between these
    two, so that a noisy measurement reproduces nothing. The margin knows the claim
    alone: that sampling error, or half a unit of the claim's last digit if that is
    more; half a point of a share of an AUC; 1 % of bytes, of which every file is a run.
    """
    both = teachers_rows, ladder_rows
    found = [one for name in TESTERS for one in tester(name, claimed, *both)]
    found += more
    found = pd.concat(found) if found else pd.DataFrame(columns=["system", "metric"])
    ledger = profile == "paper"  # whose runs are committed
    again = "make row SYSTEM={}" if ledger else "make report FRESH=1"
    values = dict(list(found.groupby(["system", "metric"], sort=False)))
    lines = []
    for row in claimed.to_dict("records"):
        for system in (row["system"], row["system"] + AGAIN):
            rows = values.pop((system, row["metric"]), None)
            if rows is not None:
                line = {**row, **_judged(row, rows)}
                line["command"] = f"{again.format(system)} PROFILE={profile}"
            elif system == row["system"]:
                known = "no stage of this report measures it"
                figure = "published as a figure only, without a number"
                reason = figure if pd.isna(row["claimed"]) else known
                if isinstance(row.get("needs"), str):
                    reason = f"needs {row['needs']}"
                line = {**row, "data": "", "verdict": "not-run", "reason": reason}
            else:
                continue
            lines.append(line | {"system": system})
    if values:
        raise ValueError(f"{' '.join(min(values))} is measured but not in claimed.csv")
    frame = pd.DataFrame(lines).reindex(columns=[*COLUMNS, *SHARES, *ONE_RUN])
    words = ["seed", "data", "command", "basis", "reason", "source", "link", "runs"]
    frame[words] = frame[words].astype(object).fillna("")
    return frame


def _judged(row: dict, rows: pd.DataFrame) -> dict:
    """The cells of a claim's row: the value, its verdict and what it falls short by.

    Of bytes the ends are the smallest and the largest file, not an interval.
    """
    metric, claim = row["metric"], row["claimed"]
    first, values = rows.iloc[0], rows["value"].astype(float)
    shared = "share_of" in rows and pd.notna(first["share_of"])
    error = 0.0 if shared else _error(metric, row)
    published = len(repr(float(claim)).partition(".")[2])  # decimals
    exact = 0.0 if shared or metric in LESS_IS_MORE else 0.5 * 10.0**-published
    margin = SAME_SHARE if shared else max(error, exact)
    claim = claim / first["share_of"] if shared else claim
    rho = first.get("rho", 0.0)
    rho = 0.0 if pd.isna(rho) else float(rho)
    result = mean("share" if shared else metric, values.tolist(), rho)
    run, side = one_more(values, rho), -1 if metric in LESS_IS_MORE else 1
    half = np.hypot(run.high - run.value, error)
    low, high = run.value - half, run.value + half
    if metric == "bytes":
        low, high = values.min(), values.max()
        result = result._replace(low=low, high=high)
        margin = exact = SAME_BYTES * claim
    beaten = claims.verdict(low, high, claim + side * exact, side) == "holds"
    worse = side * (claim - result.mean)
    short = worse > margin or first.get("unfit", 0) == 1
    verdict = "short" if short else "beaten" if beaten else "reproduced"
    reason = first.get("reason", "") if isinstance(first.get("reason"), str) else ""
    if verdict == "short" and not reason:
        reason = f"{worse:.4g} worse than claimed, {margin:.2g} allowed"
        if metric == "bytes":
            reason = f"{result.mean / claim:.2f} times the published size"
    line = {"seed": _span(sorted(rows["seed"])), "claimed": claim, "n": result.n}
    line |= {"run_low": low, "run_high": high, "margin": margin}
    line |= {"measured": result.mean, "ci_low": result.low, "ci_high": result.high}
    line |= {"data": first["kind"], "basis": first["basis"]}
    line |= {"runs": " ".join(dict.fromkeys(rows["run"]) if "run" in rows else ())}
    line |= {name: rows[name].mean() for name in SHARES if name in rows}
    return line | {"verdict": verdict, "reason": reason}


def _error(metric: str, row: dict) -> float:
    """Half the interval that a claim's own test rows leave it; 0 where not known.

    The binomial's sd of a share of rows, or of a count of errors, times 1.96.
    """
    n = row.get("test_rows", np.nan)
    if pd.isna(n) or metric not in ("accuracy", "errors"):
        return 0.0
    share, unit = (row["claimed"] / n, n) if metric == "errors" else (row["claimed"], 1)
    return stats.Z * unit * float(np.sqrt(share * (1 - share) / n))


def _span(seeds: list[int]) -> str:
    """0..4 for seeds without a gap, else a list."""
    whole = list(range(seeds[0], seeds[-1] + 1)) == seeds and len(seeds) > 1
    return f"{seeds[0]}..{seeds[-1]}" if whole else " ".join(map(str, seeds))


def tester(
    source: str,
    claimed: pd.DataFrame,
    teachers: pd.DataFrame | None,
    ladder: pd.DataFrame | None,
) -> list[pd.DataFrame]:
    """The parts of a stand-in for the tester: AUC as a share of the best teacher's, and
    bytes.

    Our best teacher, the ensemble included, has the best mean validation AUC; the best
    published one is the best of those published, whose ensemble is not among them.
    """
    none = pd.DataFrame(columns=["source", "model", "step"])
    teachers, ladder = (
        none if rows is None else rows[rows["source"] == source]
        for rows in (teachers, ladder)
    )
    teachers = teachers[teachers["model"].isin(TEACHERS)]
    if teachers.empty:
        return []
    known = claimed.set_index(["system", "metric"])["claimed"]
    aucs = known.xs("roc_auc", level="metric").filter(like=f"{source}/")
    best = teachers.groupby("model")["val_auc"].mean().idxmax()
    top = teachers[teachers["model"] == best].set_index("seed")["test_auc"]
    if aucs.empty:
        return []
    tuned = {m: teachers[teachers["model"] == m] for m in TEACHERS[:3]}
    answers = [
        (f"{source}/{model}", rows, "bytes", f"our {model}, tuned on validation", {})
        for model, rows in tuned.items()
        if len(rows)
    ]
    for name, step in AS_PUBLISHED.items() if len(ladder) else ():
        system = f"{source}/{name}"
        answers.append(_best(system, ladder, known[system, "bytes"]))
        rows = ladder[ladder["step"] == step]
        again = system + AGAIN, rows, "file_bytes", f"step {step!r}", {}
        answers += [again] if len(rows) else []
    parts = []
    for system, rows, size, what, unfit in (one for one in answers if one):
        rows = rows[rows["seed"].isin(top.index)]
        if rows.empty:
            raise ValueError(f"{system} shares no seed with the teacher {best!r}")
        published, mine = aucs[system.removesuffix(AGAIN)], rows["test_auc"]
        theirs = top.loc[rows["seed"]].to_numpy()
        shares = {"value": mine / theirs, "auc": mine}
        shares["above"] = (mine - 0.5) / (theirs - 0.5)
        shares |= {"published_auc": published, "share_of": aucs.max(), **unfit}
        shares["claimed_above"] = (published - 0.5) / (aucs.max() - 0.5)
        basis = f"{what}; teacher {best}, chosen on validation; published: "
        basis += aucs.idxmax().split("/")[1]
        parts.append(part(rows, system, "roc_auc", "test_auc", basis).assign(**shares))
        file = part(rows, system, "bytes", size, f"{size.replace('_', ' ')}; {what}")
        parts.append(file.assign(**unfit))
    return parts


def _best(system: str, ladder: pd.DataFrame, limit: float) -> tuple | None:
    """Our step of the best mean validation AUC within the bytes, else the smallest."""
    ours = ladder[(ladder["family"] == "ours") | (ladder["step"] == START)]
    ours, candidates = ours.query(OURS[system.partition("/")[2]]), []
    for step, rows in ours.groupby("step", sort=False):
        size = "bundle_bytes" if rows["bundle_bytes"].notna().all() else "file_bytes"
        weight = rows[size].astype(float).mean()
        rank = (True, rows["val_auc"].mean()) if weight <= limit else (False, -weight)
        candidates.append((rank, step, size, rows))
    if not candidates:
        return None
    rank, step, size, rows = max(candidates, key=lambda candidate: candidate[0])
    reason = "no student of ours of this kind fits the published bytes"
    unfit = {} if rank[0] else {"unfit": True, "reason": reason}
    return system, rows, size, f"step {step!r}", unfit


def part(
    rows: pd.DataFrame, system: str, metric: str, column: str, basis: str
) -> pd.DataFrame:
    """A column of rows as values of a system's metric: one of `scoreboard`'s `more`."""
    line = {"system": system, "metric": metric, "basis": basis}
    kept = [name for name in ("run", "seed", "kind", "rho") if name in rows]
    return rows[kept].assign(value=rows[column], **line)


def images(
    hinton: pd.DataFrame | None, subclass: pd.DataFrame | None
) -> list[pd.DataFrame]:
    """What stages 03 and 04 measured of claims on MNIST: `more` of `scoreboard`.

    hinton, subclass: rows of the recipes of those names, or None. Only rows of the real
    data on all official test images count. The test images have no say in which system
    or way answers: that is fixed in IMAGES and HALVES.
    """
    wanted = []
    for claim, systems in IMAGES.items():
        for end, name in zip(("", AGAIN), systems, strict=False):
            keys = (claim + end, "errors", "errors", {"system": name})
            wanted.append((hinton, *keys))
    for model in HALVES:
        keys = (f"mnist-halves/{model}", "accuracy", "test_acc")
        wanted.append((subclass, *keys, {"model": model, "way": "published"}))
    parts = []
    for rows, system, metric, column, which in wanted:
        if rows is not None:
            where = {"source": "mnist", "kind": "real", "n_test": OFFICIAL, **which}
            rows = rows[(rows[list(where)] == pd.Series(where)).all(axis=1)]
            basis = ", ".join(f"{key} {value!r}" for key, value in which.items())
            basis += f", on {OFFICIAL:,} test images"
            parts.append(part(rows, system, metric, column, basis))
    return [one for one in parts if len(one)]

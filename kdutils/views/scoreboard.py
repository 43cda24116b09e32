"""scoreboard: every published number beside what was measured, one verdict a row.

A claim's row holds our best within the claim's bytes and data; the recipe exactly as
published has a row of its own, `<system>/as-published`. The tester's published data
are confidential, so its rows are measured on the simulator and an AUC is compared as a
ratio: claimed = published AUC / best published teacher's, measured = AUC / our best
teacher's, seed by seed. MNIST's counts stand as they are published, on the same test
images. Quality and bytes of a system come from the same student: of
the steps that may answer (OURS) and fit, the best on validation AUC.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from kdutils import stats
from kdutils.views.images import OFFICIAL
from kdutils.views.names import START, TEACHERS
from kdutils.views.summary import mean

COLUMNS = ["seed", "system", "metric", "claimed", "measured", "ci_low", "ci_high", "n"]
COLUMNS += ["data", "verdict", "command", "basis", "reason"]
LESS_IS_MORE = ("bytes", "errors")
SAME_BYTES = 0.01  # sizes within 1 % are the same size

AGAIN = "/as-published"
AS_PUBLISHED = {  # the ladder's step that repeats a published recipe to the letter
    "tester/student-kd": "published: distilled",
    "tester/student-pruned": "published: pruned each layer 50 %",
    "tester/student-int8": "published: pruned + dynamic int8",
}
OURS = {  # which steps of ours may answer a claim: its kind of student, not its recipe
    "tester/student-kd": lambda steps: steps["step"].notna(),
    "tester/student-pruned": lambda steps: steps["sparsity"] > 0,
    "tester/student-int8": lambda steps: steps["precision"] == "int8",
}
IMAGES = {  # which of our systems answers, fixed before any was measured; as published
    "mnist/teacher": ("teacher", "teacher"),
    "mnist/student": ("student-jitter", "student"),
    "mnist/student-kd": ("student-consistent", "student-kd"),
}
HALVES = ("teacher", "student-subclass", "student-kd", "student")


class Measured(NamedTuple):
    """What was measured for one system and metric, on the scale of `claimed`."""

    claimed: float
    result: stats.Paired
    rows: pd.DataFrame  # its rows of runs: their seeds, and which data they are of
    basis: str
    reason: str = ""  # why it cannot hold: it broke a condition of the claim

    def judged(self, metric: str) -> dict:
        """The scoreboard's cells: the value, its verdict and why it falls short."""
        mean, low, high = self.result.mean, self.result.low, self.result.high
        verdict = _verdict(metric, self.claimed, self.result, bool(self.reason))
        reason = self.reason or _reason(metric, self.claimed, self.result, verdict)
        line = {"seed": _span(sorted(self.rows["seed"])), "claimed": self.claimed}
        line |= {"measured": mean, "ci_low": low, "ci_high": high, "n": self.result.n}
        line |= {"data": self.rows["kind"].iloc[0], "verdict": verdict}
        return line | {"basis": self.basis, "reason": reason}


Found = dict[tuple[str, str], Measured]  # by (system, metric)


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
    value, kind, basis; they are judged against the claim as it stands.
    Verdicts: an interval wholly on the better side is `beaten`, one that covers the
    claim, or a better mean, is `reproduced`; sizes within 1 % are `reproduced`.
    """
    found = tester(claimed, teachers_rows, sweep_rows, ladder_rows)
    found |= {} if more is None else others(claimed, more)
    lines = []
    for row in claimed.itertuples():
        for system in (row.system, row.system + AGAIN):
            measured = found.get((system, row.metric))
            if measured is None and system != row.system:
                continue
            keys = (system, row.system, row.system.split("/")[0])
            command = next((commands[key] for key in keys if key in commands), "")
            reason = "no stage of this report measures it"
            if pd.isna(row.claimed):
                reason = "published as a figure only, without a number"
            line = dict.fromkeys(COLUMNS, "") | {"system": system, "reason": reason}
            line |= dict.fromkeys(("measured", "ci_low", "ci_high", "n"), np.nan)
            line |= {"metric": row.metric, "claimed": row.claimed, "command": command}
            line["verdict"] = "not-run"
            lines.append(line | (measured.judged(row.metric) if measured else {}))
    return pd.DataFrame(lines)[COLUMNS]


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
    whole = list(range(seeds[0], seeds[-1] + 1)) == seeds and len(seeds) > 1
    return f"{seeds[0]}..{seeds[-1]}" if whole else " ".join(map(str, seeds))


def _claims(claimed: pd.DataFrame) -> dict[tuple[str, str], float]:
    return claimed.set_index(["system", "metric"])["claimed"].to_dict()


def tester(
    claimed: pd.DataFrame,
    teachers: pd.DataFrame | None,
    sweep: pd.DataFrame | None,
    ladder: pd.DataFrame | None,
) -> Found:
    """The tester's rows: AUC kept from the best teacher, bytes."""
    none = pd.DataFrame(columns=["source", "model", "method", "step"])
    teachers, sweep, ladder = (
        none if rows is None else rows[rows["source"] == "tester"]
        for rows in (teachers, sweep, ladder)
    )
    teachers = teachers[teachers["model"].isin(TEACHERS)]
    if teachers.empty:
        return {}
    yardstick, found = Yardstick(claimed, teachers), {}
    for model, rows in teachers.groupby("model"):
        if model in TEACHERS[:3]:
            what = f"our {model}, tuned on validation"
            found |= yardstick.both(f"tester/{model}", rows, "bytes", what)
    published = sweep[sweep["method"] == "published"]
    if len(published):
        system = "tester/student-kd" + AGAIN
        found |= yardstick.quality(system, published, "method 'published'")
    for system, step in AS_PUBLISHED.items() if len(ladder) else ():
        rows, what = ladder[ladder["step"] == step], f"step {step!r}"
        if len(rows):
            found |= yardstick.both(system + AGAIN, rows, "file_bytes", what)
        found |= _best(system, ladder, yardstick)
    return found


class Yardstick:
    """The best published AUC and our best teacher's AUC per seed, to divide by.

    Ours is the teacher, the ensemble included, of the best mean validation AUC; the
    published one the best of those published, whose ensemble is not among them.
    """

    def __init__(self, claimed: pd.DataFrame, teachers: pd.DataFrame) -> None:
        self.claims = _claims(claimed)
        aucs = claimed[claimed["system"].str.startswith("tester/")]
        aucs = aucs[aucs["metric"] == "roc_auc"].set_index("system")["claimed"]
        self.claim, self.claim_by = float(aucs.max()), aucs.idxmax().split("/")[1]
        self.best = teachers.groupby("model")["val_auc"].mean().idxmax()
        ours = teachers[teachers["model"] == self.best]
        self.auc = ours.set_index("seed")["test_auc"]

    def both(
        self, system: str, rows: pd.DataFrame, size: str, what: str, reason: str = ""
    ) -> Found:
        """Quality and bytes of the same rows; `reason` is why they cannot hold.

        The ends of bytes are the smallest and the largest file, not an interval.
        """
        claim = self.claims[system.removesuffix(AGAIN), "bytes"]
        sizes = rows[size].astype(float)
        result = stats.paired(sizes.tolist())
        result = result._replace(low=sizes.min(), high=sizes.max())
        basis = (
            f"{size.replace('_', ' ')}: {result.mean / claim:.3f} of the published "
            f"{claim:,.0f}; {what}"
        )
        found = self.quality(system, rows, what, reason)
        return found | {(system, "bytes"): Measured(claim, result, rows, basis)}

    def quality(
        self, system: str, rows: pd.DataFrame, what: str, reason: str = ""
    ) -> Found:
        """AUC / our best teacher's AUC, seed by seed."""
        claim = self.claims[system.removesuffix(AGAIN), "roc_auc"]
        rows = rows[rows["seed"].isin(self.auc.index)].sort_values("seed")
        if rows.empty:
            raise ValueError(f"{system} shares no seed with the teacher {self.best!r}")
        auc = rows.set_index("seed")["test_auc"]
        top = self.auc.loc[auc.index]
        basis = (
            f"AUC kept from the best teacher: published {claim:.4f} of "
            f"{self.claim:.4f} ({self.claim_by}); here {auc.mean():.4f} of "
            f"{top.mean():.4f} ({self.best}, chosen on validation), "
            f"{rows['kind'].iloc[0]} data; {what}"
        )
        result = stats.paired((auc / top).tolist(), float(rows["rho"].iloc[0]))
        kept = Measured(claim / self.claim, result, rows, basis, reason)
        return {(system, "roc_auc"): kept}


def _best(system: str, ladder: pd.DataFrame, yardstick: Yardstick) -> Found:
    """Our step of the best mean validation AUC within the bytes, else the smallest."""
    limit = yardstick.claims[system, "bytes"]
    ours = ladder[(ladder["family"] == "ours") | (ladder["step"] == START)]
    candidates = []
    for step, rows in ours[OURS[system](ours)].groupby("step", sort=False):
        size = "bundle_bytes" if rows["bundle_bytes"].notna().all() else "file_bytes"
        weight = rows[size].astype(float).mean()
        rank = (True, rows["val_auc"].mean()) if weight <= limit else (False, -weight)
        candidates.append((rank, step, size, rows))
    if not candidates:
        return {}
    rank, step, size, rows = max(candidates, key=lambda candidate: candidate[0])
    reason = "" if rank[0] else "no student of ours fits the published bytes"
    return yardstick.both(system, rows, size, f"step {step!r}", reason)


def part(
    rows: pd.DataFrame, system: str, metric: str, column: str, basis: str
) -> pd.DataFrame:
    """A column of rows as values of a system, one part of `more` of `scoreboard`."""
    line = {"system": system, "metric": metric, "basis": basis}
    return rows[["seed", "kind"]].assign(value=rows[column], **line)


def images(
    hinton: pd.DataFrame | None, subclass: pd.DataFrame | None
) -> pd.DataFrame | None:
    """What stages 03 and 04 say to claims on MNIST: `more` of `scoreboard`.

    hinton, subclass: rows of the recipes of those names, or None. Only rows of the real
    data on all official test images count; None where there are none. The test images
    have no say in which system or way answers: that is fixed in IMAGES and HALVES.
    """
    wanted = []
    for claim, systems in IMAGES.items():
        for end, name in zip(("", AGAIN), systems, strict=True):
            keys = (claim + end, "errors", "errors", {"system": name})
            wanted.append((hinton, *keys))
    for model in HALVES:
        for end in ("", AGAIN):
            keys = (f"mnist-halves/{model}{end}", "accuracy", "test_acc")
            wanted.append((subclass, *keys, {"model": model, "way": "published"}))
    parts = []
    for rows, system, metric, column, which in wanted:
        if rows is not None:
            where = {"source": "mnist", "kind": "real", "n_test": OFFICIAL, **which}
            rows = rows[(rows[list(where)] == pd.Series(where)).all(axis=1)]
            basis = ", ".join(f"{key} {value!r}" for key, value in which.items())
            basis += f", on {OFFICIAL:,} test images"
            parts.append(part(rows, system, metric, column, basis))
    return pd.concat(parts) if sum(map(len, parts)) else None


def others(claimed: pd.DataFrame, more: pd.DataFrame) -> Found:
    """Values of other stages, a row per seed, against the claim as it stands."""
    claims, found = _claims(claimed), {}
    for key, rows in more.groupby(["system", "metric"], sort=False):
        claim = claims.get((key[0].removesuffix(AGAIN), key[1]))
        if claim is None:
            raise ValueError(f"{' '.join(key)} is measured but not in claimed.csv")
        result = mean(key[1], rows["value"].tolist())
        found[key] = Measured(claim, result, rows, rows["basis"].iloc[0])
    return found

"""answers: which of our runs answer a published number, and on what scale.

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

import pandas as pd

from kdutils import stats
from kdutils.views.names import TEACHERS
from kdutils.views.summary import mean

STUDENT = "student fp32"  # the ladder's first step: distilled, neither pruned nor int8
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
OFFICIAL = 10_000  # MNIST's test images
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
    seeds: list[int]
    data: str
    basis: str
    reason: str = ""


def tester(
    claimed: pd.DataFrame,
    teachers: pd.DataFrame,
    sweep: pd.DataFrame | None,
    ladder: pd.DataFrame | None,
) -> dict[tuple[str, str], Measured]:
    """The tester's rows by (system, metric): AUC kept from the best teacher, bytes."""
    teachers, sweep, ladder = (_only(rows) for rows in (teachers, sweep, ladder))
    teachers = teachers[teachers["model"].isin(TEACHERS)] if len(teachers) else teachers
    if teachers.empty:
        return {}
    yardstick, found = Yardstick(claimed, teachers), {}
    for model in TEACHERS[:3]:
        rows = teachers[teachers["model"] == model]
        if len(rows):
            what = f"our {model}, tuned on validation"
            found |= yardstick.both(f"tester/{model}", rows, "bytes", what)
    for system, step in AS_PUBLISHED.items():
        named = f"{system}/as-published"
        rows = ladder[ladder["step"] == step] if len(ladder) else ladder
        if len(rows):
            found |= yardstick.both(named, rows, "file_bytes", f"step {step!r}")
        elif system == "tester/student-kd" and len(sweep):
            rows = sweep[sweep["method"] == "published"]
            if len(rows):
                found |= yardstick.quality(named, rows, "method 'published'")
        if len(ladder):
            found |= _best(system, ladder, yardstick)
    return found


class Yardstick:
    """The best published AUC and our best teacher's AUC per seed, to divide by.

    Ours is the teacher, the ensemble included, of the best mean validation AUC; the
    published one the best of those published, whose ensemble is not among them.
    """

    def __init__(self, claimed: pd.DataFrame, teachers: pd.DataFrame) -> None:
        self.claims = claimed.set_index(["system", "metric"])["claimed"].to_dict()
        aucs = claimed[claimed["system"].str.startswith("tester/")]
        aucs = aucs[aucs["metric"] == "roc_auc"].set_index("system")["claimed"]
        self.claim, self.claim_by = float(aucs.max()), aucs.idxmax().split("/")[1]
        self.best = teachers.groupby("model")["val_auc"].mean().idxmax()
        ours = teachers[teachers["model"] == self.best]
        self.auc = ours.set_index("seed")["test_auc"]

    def both(
        self, system: str, rows: pd.DataFrame, size: str, what: str, reason: str = ""
    ) -> dict[tuple[str, str], Measured]:
        """Quality and bytes of the same rows; `reason` is why they cannot hold.

        The ends of bytes are the smallest and the largest file, not an interval.
        """
        claim = self.claims[system.removesuffix("/as-published"), "bytes"]
        sizes = rows[size].astype(float)
        result = stats.paired(sizes.tolist())
        result = result._replace(low=sizes.min(), high=sizes.max())
        basis = (
            f"{size.replace('_', ' ')}: {result.mean / claim:.3f} of the published "
            f"{claim:,.0f}; {what}"
        )
        seeds, data = sorted(rows["seed"]), str(rows["kind"].iloc[0])
        found = self.quality(system, rows, what, reason)
        found[system, "bytes"] = Measured(claim, result, seeds, data, basis)
        return found

    def quality(
        self, system: str, rows: pd.DataFrame, what: str, reason: str = ""
    ) -> dict[tuple[str, str], Measured]:
        """AUC / our best teacher's AUC, seed by seed."""
        claim = self.claims[system.removesuffix("/as-published"), "roc_auc"]
        seeds = sorted(set(rows["seed"]) & set(self.auc.index))
        if not seeds:
            raise ValueError(f"{system} shares no seed with the teacher {self.best!r}")
        auc, top = rows.set_index("seed")["test_auc"].loc[seeds], self.auc.loc[seeds]
        data = str(rows["kind"].iloc[0])
        basis = (
            f"AUC kept from the best teacher: published {claim:.4f} of "
            f"{self.claim:.4f} ({self.claim_by}); here {auc.mean():.4f} of "
            f"{top.mean():.4f} ({self.best}, chosen on validation), {data} data; {what}"
        )
        result = stats.paired((auc / top).tolist(), float(rows["rho"].iloc[0]))
        measured = Measured(claim / self.claim, result, seeds, data, basis, reason)
        return {(system, "roc_auc"): measured}


def images(
    hinton: pd.DataFrame | None, subclass: pd.DataFrame | None
) -> pd.DataFrame | None:
    """What stages 03 and 04 say to claims on MNIST: `more` of `scoreboard`.

    hinton, subclass: rows of the recipes of those names, or None. Only rows of the real
    data on all official test images count; None where there are none. The test images
    have no say in which system or way answers: that is fixed in IMAGES and HALVES.
    """
    wanted = []
    for claim, (ours, published) in IMAGES.items():
        for system, name in ((claim, ours), (f"{claim}/as-published", published)):
            wanted.append((hinton, system, "errors", {"system": name}))
    for model in HALVES:
        for end in ("", "/as-published"):
            which = {"model": model, "way": "published"}
            wanted.append((subclass, f"mnist-halves/{model}{end}", "accuracy", which))
    lines = []
    for rows, system, metric, which in wanted:
        if rows is None:
            continue
        where = {"source": "mnist", "kind": "real", "n_test": OFFICIAL, **which}
        rows = rows[(rows[list(where)] == pd.Series(where)).all(axis=1)]
        basis = ", ".join(f"{column} {value!r}" for column, value in which.items())
        basis += f", on {OFFICIAL:,} test images"
        line = {"system": system, "metric": metric, "data": "real", "basis": basis}
        value = rows["errors" if metric == "errors" else "test_acc"]
        lines.append(rows[["seed"]].assign(value=value, **line))
    return pd.concat(lines) if sum(map(len, lines)) else None


def others(
    claimed: pd.DataFrame, more: pd.DataFrame
) -> dict[tuple[str, str], Measured]:
    """Values of other stages, a row per seed, against the claim as it stands."""
    claims = claimed.set_index(["system", "metric"])["claimed"].to_dict()
    found = {}
    for key, rows in more.groupby(["system", "metric"], sort=False):
        claim = claims.get((key[0].removesuffix("/as-published"), key[1]))
        if claim is None:
            raise ValueError(f"{' '.join(key)} is measured but not in claimed.csv")
        result, seeds = mean(key[1], rows["value"].tolist()), sorted(rows["seed"])
        found[key] = Measured(claim, result, seeds, *rows[["data", "basis"]].iloc[0])
    return found


def _only(rows: pd.DataFrame | None) -> pd.DataFrame:
    return pd.DataFrame() if rows is None else rows[rows["source"] == "tester"]


def _best(
    system: str, ladder: pd.DataFrame, yardstick: Yardstick
) -> dict[tuple[str, str], Measured]:
    """Our step of the best mean validation AUC within the bytes, else the smallest."""
    limit = yardstick.claims[system, "bytes"]
    ours = ladder[(ladder["family"] == "ours") | (ladder["step"] == STUDENT)]
    candidates = []
    for step, rows in ours[OURS[system](ours)].groupby("step", sort=False):
        bundled = rows["bundle_bytes"].notna().all()
        size = "bundle_bytes" if bundled else "file_bytes"
        weight = rows[size].astype(float).mean()
        rank = (True, rows["val_auc"].mean()) if weight <= limit else (False, -weight)
        candidates.append((rank, step, size, rows))
    if not candidates:
        return {}
    rank, step, size, rows = max(candidates, key=lambda candidate: candidate[0])
    reason = "" if rank[0] else "no student of ours fits the published bytes"
    return yardstick.both(system, rows, size, f"step {step!r}", reason)

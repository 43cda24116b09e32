"""edge.model: all that the watcher knows about a bundle."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdutils.deploy import bundle, drift

LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Model:
    """A student that is loaded once: what it reads, and what it answers.

    features: names in order; low, high: float64 (d,), the legal range of each reading
    in the unit of the bundle, at most what float32 holds; digest: SHA-256 of the file,
    64 hex digits; lots: what it knows of its training lots, or None. id: the column of
    a lot that names the unit; extra: `refuse` or `ignore` the columns that are neither
    this nor a reading.
    """

    bundle: bundle.Bundle
    digest: str
    low: np.ndarray
    high: np.ndarray
    lots: drift.Lots | None = None
    id: str = "id"
    extra: str = "refuse"

    @property
    def features(self) -> tuple[str, ...]:
        """The readings, in the order in which `judge` wants them."""
        return self.bundle.features

    @property
    def classes(self) -> tuple[str, str]:
        """The words of a verdict, as the bundle has them: up to the threshold, above.

        A word that CSV would quote is written as `pass` or `fail`.
        """
        plain = zip(self.bundle.classes, ("pass", "fail"), strict=True)
        return tuple(a if not {*a} & {*',"\r\n'} else b for a, b in plain)

    @property
    def key(self) -> str:
        """The digest, and another one where other units are named: 64 hex digits."""
        if self.id == "id":
            return self.digest
        return hashlib.sha256(f"{self.digest} {self.id}".encode()).hexdigest()

    def judge(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Readings (n, d), NaN where a test was not run -> logits float32 (n,), fails.

        fails: bool (n,), True where the logit is above the bundle's threshold.
        """
        scores = self.bundle.score(X)
        return scores, scores > self.bundle.threshold

    def typical(self, rng: np.random.Generator, rows: int) -> np.ndarray:
        """Readings (rows, d) as the student's scaler expects them, inside the range."""
        prepare = self.bundle.prepare
        spread = rng.normal(0, 1, (rows, len(self.features))) / prepare.scale
        return np.clip(prepare.center + spread, self.low, self.high)


def load(
    path: str | Path, *, id: str = "id", extra: str = "refuse", sha256: str = ""
) -> Model:
    """Read a bundle; BundleError or OSError in one sentence if it cannot be served.

    sha256: 64 hex digits that the file must have, '' if any will do.
    """
    data = bundle.content(path)
    digest = hashlib.sha256(data).hexdigest()
    if sha256 and sha256.lower() != digest:
        raise bundle.BundleError(f"{path} has the SHA-256 {digest}, expected {sha256}")
    loaded = bundle.loads(data, str(path))
    if not loaded.features:
        raise bundle.BundleError(
            f"{path} reads maps: expected a student of a table of readings"
        )
    if id in loaded.features:
        raise bundle.BundleError(
            f"{path} has a reading named {id!r}: expected another column for the "
            "unit's id, named by --id"
        )
    low, high = loaded.ranges.astype(float).T
    low, high = np.fmax(low, -LARGEST), np.fmin(high, LARGEST)
    lots = drift.lots(data, len(low), str(path))
    return Model(loaded, digest, low, high, lots, id, extra)

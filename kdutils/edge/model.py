"""edge.model: all that the watcher knows about a bundle.

Import rule: standard library, numpy and `kdutils.bundle`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdutils import bundle

LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Model:
    """A student that is loaded once: what it reads, and what it answers.

    features: names in order; low, high: float64 (d,), the legal range of each reading
    in the unit of the bundle, at most what float32 holds; digest: SHA-256 of the file,
    64 hex digits.
    """

    bundle: bundle.Bundle
    digest: str
    low: np.ndarray
    high: np.ndarray

    @property
    def features(self) -> tuple[str, ...]:
        """The columns after `id`, in the order in which a lot must have them."""
        return self.bundle.features

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


def load(path: str | Path) -> Model:
    """Read a bundle; BundleError or OSError in one sentence if it cannot be served."""
    data = Path(path).read_bytes()
    loaded = bundle.loads(data, str(path))
    low, high = loaded.ranges.astype(float).T
    low, high = np.fmax(low, -LARGEST), np.fmin(high, LARGEST)
    return Model(loaded, hashlib.sha256(data).hexdigest(), low, high)

"""drift: whether devices still look like those that the student learned from.

PSI, the population stability index of a reading: the sum over four ranges of (share -
share in training) * log(share / share in training). 0: nothing changed; above .25, by
convention, another population. Lots that differ from each other raise it too.
"""

from __future__ import annotations

import json

import numpy as np

from kdutils.deploy.bundle import shares

WINDOW, STEP = 400, 100  # devices: of a share, and until it is computed anew
FAR = 3.0  # spreads from the centre, where a student sees hardly any difference
SCORES = (-4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0)  # above the threshold


class Drift:
    """The last 400 devices against the bundle's training rows.

    bundle: a table's student; limit: of PSI, for `alarm`. psi: float64 (d,), NaN before
    400 devices and where the bundle keeps no shares of its training rows.
    """

    def __init__(self, bundle, limit: float = float("inf")):
        self.names, self.limit, self.bundle = bundle.features, limit, bundle
        self.count = self.due = 0
        self.missing, self.clipped, psi = np.zeros((3, len(self.names)))
        self.rows, self.scores = np.empty((0, len(psi)), "f4"), np.empty(0, "f4")
        self.psi = psi * np.nan

    def add(self, X: np.ndarray, scores: np.ndarray) -> None:
        """Judged readings (n, d), NaN where a test was not run, and logits (n,)."""
        prepare, known = self.bundle.prepare, self.bundle.shares
        with np.errstate(over="ignore"):
            z = (np.asarray(X, np.float32) - prepare.center) * prepare.scale
        self.count += len(z)
        self.missing += np.isnan(z).sum(0)
        self.clipped += (np.abs(z) > FAR).sum(0)
        self.rows = np.concatenate((self.rows, z))[-WINDOW:]
        self.scores = np.concatenate((self.scores, scores))[-WINDOW:]
        if known is not None and len(self.rows) == WINDOW and self.count >= self.due:
            self.due, least = self.count + STEP, 0.5 / WINDOW
            found, known = (np.fmax(a, least) for a in (shares(self.rows), known))
            self.psi = ((found - known) * np.log(found / known)).sum(1)

    def alarm(self) -> str:
        """A sentence where a reading's PSI is above the limit, else ''."""
        psi = np.nan_to_num(self.psi)
        if psi.max() <= self.limit:
            return ""
        name, at = self.names[psi.argmax()], f"over the last {WINDOW} devices"
        return f"{name!r} has PSI {psi.max():.2f} {at}, expected <= {self.limit:g}"

    def metrics(self) -> list[tuple[str, str, dict[str, float]]]:
        """Prometheus' name and kind, and values by label."""
        labels = [
            f"{{reading={json.dumps(n, ensure_ascii=False)}}}" for n in self.names
        ]
        above = self.scores - np.float32(self.bundle.threshold)
        counts = {f'{{le="{e:g}"}}': int((above <= e).sum()) for e in SCORES}
        share = (above <= 0).mean() if len(above) else float("nan")
        return [
            ("psi", "gauge", dict(zip(labels, self.psi, strict=True))),
            ("missing_total", "counter", dict(zip(labels, self.missing, strict=True))),
            ("clipped_total", "counter", dict(zip(labels, self.clipped, strict=True))),
            ("recent_scores_above_threshold", "gauge", counts),
            ("recent_yield", "gauge", {"": share}),
        ]

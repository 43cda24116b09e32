"""drift: whether devices still look like those that the student learned from.

Two measures of the last 400 devices, by what the bundle keeps of its training rows.

Shift, where these came in lots: lots differ, and may all the same be what they were.
What they have in common are a few process factors, which move many readings at once:
in training, the first principal components of the lots' means. What the components
leave of a mean hardly differs from lot to lot, so a reading that moves alone is seen
there: a regression-adjusted chart of each reading (Hawkins 1991, Technometrics 33:61),
the regression being on the components. A reading that makes up a component of its own,
and a shift of all that a component moves, look like one more lot and are not seen.

PSI, the population stability index, elsewhere: the sum over four ranges of (share -
share in training) * log(share / share in training). 0: nothing changed; above .25, by
convention, another population. Lots that differ from each other raise it too.
"""

from __future__ import annotations

import json

import numpy as np

from kdutils.deploy import container
from kdutils.deploy.bundle import shares
from kdutils.deploy.prepare import squash

WINDOW, STEP = 400, 100  # devices: of a mean, and until it is computed anew
FAR = 3.0  # spreads from the centre, where a student sees hardly any difference
SCORES = (-4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0)  # above the threshold
SHIFT, SURE = 0.6, 5.0  # the limit that is calibrated; errors of a held-out lot
COMPONENTS, FEWEST, LEAST = 7, 30, 20  # at most; lots, and their mean rows, at least
CODE = 64  # of a mean, which has a byte; the rest has half of one


class Lots:
    """What is known of the training lots, for the shift of each of d readings.

    unit: (d,), what one standard deviation of the training rows, added to a reading,
    does to its mean after `squash`; more where `SURE` errors of lots that were left out
    are more than SHIFT of it: that reading is noticed later. mean: (d,) of the lots, in
    units. basis: (d, k), orthonormal, the first components of the lots' means.
    """

    def __init__(self, kept: np.ndarray, d: int):
        """kept: of `known`; ValueError if it is not that of d readings."""
        k = 2 * (kept.size - d) // d - 1
        right = k >= 0 and kept.shape == (d - (-(1 + k) * d // 2),)
        if not right or kept.dtype != np.uint8:
            raise ValueError(f"lots of the shape {kept.shape} are not of {d} readings")
        self.mean = (kept[:d] - 128.0) / CODE
        halves = np.stack((kept[d:] & 15, kept[d:] >> 4), axis=1).ravel()
        unit, *components = halves[: (1 + k) * d].reshape(1 + k, d) - 8.0
        self.unit = 2 ** ((unit + 3) / 5)
        self.basis = np.linalg.qr(np.reshape(components, (k, d)).T)[0]

    def shift(self, z: np.ndarray) -> np.ndarray:
        """Of readings (n, d), in spreads from their centres, NaN = missing: (d,) in sd.

        The least-squares estimate of each reading's shift if it alone has moved.
        """
        means = _mean(z) / self.unit
        return _alone(np.where(np.isnan(means), 0, means - self.mean), self.basis)


def known(X: np.ndarray, group: np.ndarray, prepare) -> np.ndarray | None:
    """Training readings (n, d) and their lots (n,) -> uint8 bytes for a bundle.

    At most 5 bytes a reading, see `Lots`: its mean, then halves of a byte for its unit,
    a power of 2^(1/5) from .5 to 4, and for each component. None where there are fewer
    than 30 lots, or fewer than 20 rows in a lot on average: too few to tell them apart.
    """
    X, lots = np.asarray(X, float), np.unique(group)
    if len(lots) < FEWEST or len(X) < LEAST * len(lots):
        return None
    z = (X - prepare.center) * prepare.scale
    sd, here = np.nanstd(X, axis=0) * prepare.scale, _mean(z)
    unit = np.min([np.abs(_mean(z + side * sd) - here) for side in (-1, 1)], axis=0)
    means = np.array([_mean(z[group == lot]) for lot in lots])
    means = np.where(np.isnan(means), here, means)
    k, rest = min(COMPONENTS, len(lots) // 4, len(here) // 4), []
    for lot in range(len(lots)):
        others = np.delete(means / unit, lot, axis=0)
        away = means[lot] / unit - others.mean(0)
        rest.append(_alone(away, np.linalg.qr(_components(others, k))[0]))
    error = np.sqrt(np.mean(np.square(rest), axis=0))
    unit = np.maximum(unit * np.fmax(1, SURE * error / SHIFT), np.abs(here) / 1.9)
    power = np.clip(np.rint(5 * np.log2(unit) - 3), -8, 7)
    means /= 2 ** ((power + 3) / 5)
    mean = np.clip(np.rint(CODE * means.mean(0)) + 128, 0, 255).astype(np.uint8)
    halves = 8 + np.concatenate((power, _components(means, k).T.ravel()))
    halves = np.pad(halves, (0, halves.size % 2)).astype(np.uint8)
    return np.concatenate((mean, halves[::2] | halves[1::2] << 4))


def lots(file: bytes, d: int, name: str) -> Lots | None:
    """What the bundle `name` of d readings keeps of its training lots; None if nothing.

    BundleError, which names the file, where that is not of d readings.
    """
    held = container.read(file, name)[0].get("lots")
    try:
        return None if held is None else Lots(held, d)
    except ValueError as wrong:
        raise container.BundleError(f"{name}: {wrong}") from None


def kept(file: bytes, lots: np.ndarray | None) -> bytes:
    """A table's bundle with the `known` of its lots in place of its shares."""
    if lots is None:
        return file
    held, about = container.read(file, "the student")
    held.pop("shares", None)
    return container.write(held | {"lots": lots}, about)


def _mean(z: np.ndarray) -> np.ndarray:
    """The mean (d,) of `squash` over the rows that have the reading, else NaN."""
    there = ~np.isnan(z)
    with np.errstate(invalid="ignore"):
        return squash(z).sum(0, dtype=float) / there.sum(0)


def _components(means: np.ndarray, k: int) -> np.ndarray:
    """The first k principal components (d, k) of lots' means, whole numbers to 7."""
    found = np.linalg.svd(means - means.mean(0), full_matrices=False)[2][:k].T
    return np.rint(7 * found / np.maximum(np.abs(found).max(0, initial=0), 1e-9))


def _alone(away: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """What the components leave of (d,), over the share that they leave of each."""
    left = 1 - (basis**2).sum(1)
    return (away - basis @ (basis.T @ away)) / np.maximum(left, 0.1)


class Drift:
    """The last 400 devices against the training rows.

    student: a table's bundle; lots: what it knows of its lots, or None; limit: of PSI,
    for `alarm`; far: of a shift, in standard deviations. psi, shift: float64 (d,), NaN
    before 400 devices and where the bundle does not keep what they are held against.
    """

    def __init__(self, student, lots=None, limit: float = np.inf, far: float = np.inf):
        self.names, self.bundle, self.lots = student.features, student, lots
        self.limit, self.far = limit, far
        self.count = self.due = 0
        self.missing, self.clipped, unknown = np.zeros((3, len(self.names)))
        self.rows, self.scores = np.empty((0, len(unknown)), "f4"), np.empty(0, "f4")
        self.psi, self.shift = unknown * np.nan, unknown * np.nan

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
        if len(self.rows) < WINDOW or self.count < self.due:
            return
        self.due, least = self.count + STEP, 0.5 / WINDOW
        if self.lots is not None:
            self.shift = self.lots.shift(self.rows)
        if known is not None:
            found, known = (np.fmax(a, least) for a in (shares(self.rows), known))
            self.psi = ((found - known) * np.log(found / known)).sum(1)

    def alarm(self) -> str:
        """A sentence where a reading's shift or PSI is above its limit, else ''."""
        over = f"over the last {WINDOW} devices, expected"
        shift, psi = np.nan_to_num((self.shift, self.psi))
        if (size := np.abs(shift)).max() > self.far:
            name, moved = self.names[size.argmax()], shift[size.argmax()]
            moved = f"{name!r} has shifted by {moved:+.2f} standard deviations"
            return f"{moved} {over} at most {self.far:g}"
        if psi.max() > self.limit:
            name = self.names[psi.argmax()]
            return f"{name!r} has PSI {psi.max():.2f} {over} <= {self.limit:g}"
        return ""

    def metrics(self) -> list[tuple[str, str, dict[str, float]]]:
        """Prometheus' name and kind, and values by label."""
        names = (json.dumps(name, ensure_ascii=False) for name in self.names)
        labels = [f"{{reading={name}}}" for name in names]
        above = self.scores - np.float32(self.bundle.threshold)
        counts = {f'{{le="{e:g}"}}': int((above <= e).sum()) for e in SCORES}
        share = (above <= 0).mean() if len(above) else float("nan")
        by_reading = [("psi", "gauge", self.psi), ("shift", "gauge", self.shift)]
        by_reading.append(("missing_total", "counter", self.missing))
        by_reading.append(("clipped_total", "counter", self.clipped))
        found = [
            (*named, dict(zip(labels, v, strict=True))) for *named, v in by_reading
        ]
        found.append(("recent_scores_above_threshold", "gauge", counts))
        return [*found, ("recent_yield", "gauge", {"": share})]

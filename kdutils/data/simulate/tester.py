"""tester: a simulated semiconductor tester that knows its own P(fail | x).

A device has factors f ~ N(0, I), a site, and perhaps a defect with a severity. Its
readings are u = LOADS f + site offset + severity * moves + noise, mapped to units and
rounded. Given (site, defect, severity) all of it is Gaussian, and the verdict is a
probit in f. So P(fail | x) for one device is a finite sum, Bayes' rule over
4 * (1 + 6 * 9) components c:

    sum_c P(c | u) Phi((bias + w s + a.E[f|u,c]) / sqrt(1 + a'Var[f|u,c]a))

A missing reading is integrated out. Rounding enters as its variance, step^2 / 12
(Sheppard), which leaves the calibration error below what 10^6 devices show.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import log_ndtr, logsumexp

from kdutils.data import Part, Split
from kdutils.data.simulate import physics as ph

DEFECTS = tuple(defect.name for defect in ph.DEFECTS)  # 0 is "none"
LOG = np.array([r.log for r in ph.READINGS])
NOMINAL = np.array([r.nominal for r in ph.READINGS], float)
SPREAD = np.array([r.spread for r in ph.READINGS], float)
STEP = np.array([r.step for r in ph.READINGS], float)
ROUNDING = np.where(LOG, 0.0, STEP / SPREAD / np.sqrt(12))


def splits(
    *,
    seed: int,
    train_lots: int = 30,
    val_lots: int = 10,
    test_lots: int = 40,
    devices: int = 200,
) -> Iterator[Split]:
    """One split of a fresh production of lots: each seed simulates its own devices.

    Whole lots go to train, validation and test, chosen at random among the lots' times.
    """
    (X, y, lot, _), places = _drawn(seed, (train_lots, val_lots, test_lots), devices)
    whole = Part(X.astype(np.float32), y, lot, np.arange(len(y)), fail_probability(X))
    parts = [whole.take(rows) for rows in places]
    yield Split(*parts, ph.NAMES, ph.UNITS, "tester", "simulated")


def defects(
    seed: int, *, train_lots: int, val_lots: int, test_lots: int, devices: int
) -> tuple[np.ndarray, ...]:
    """The hidden defect of each device, a number in DEFECTS, int64 (n,), for each part.

    The rows are those of the parts of `splits` with the same seed and options, which do
    not show it: a teacher's subclasses can be held against this truth.
    """
    (*_, defect), places = _drawn(seed, (train_lots, val_lots, test_lots), devices)
    return tuple(defect[rows] for rows in places)


def _drawn(seed: int, counts: tuple[int, ...], devices: int) -> tuple[tuple, list]:
    """What `produce` gives, and the rows of each part."""
    if min(*counts, devices) < 1:
        raise ValueError(
            f"tester: lots {counts} and devices {devices} must all be at least 1"
        )
    rng = np.random.default_rng([seed, 28])
    made = produce(rng, lots=sum(counts), devices=devices)
    order = np.split(rng.permutation(sum(counts)), np.cumsum(counts)[:-1])
    return made, [np.flatnonzero(np.isin(made[2], lots)) for lots in order]


def produce(
    rng: np.random.Generator, *, lots: int, devices: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Readings (n, 28) with NaN, and verdicts, lots and defects (n,), of n devices.

    n = lots * devices.
    """
    n, k = lots * devices, len(ph.FACTORS)
    lot = np.repeat(np.arange(lots), devices)
    drift = rng.standard_normal((lots, k))
    for i in range(1, lots):
        fresh = np.sqrt(1 - ph.LOT_MEMORY**2) * drift[i]
        drift[i] = ph.LOT_MEMORY * drift[i - 1] + fresh
    own = rng.standard_normal((n, k))
    f = np.sqrt(ph.LOT_SHARE) * drift[lot] + np.sqrt(1 - ph.LOT_SHARE) * own
    site = rng.integers(ph.SITES, size=n)
    share = np.array([d.share for d in ph.DEFECTS])
    defect = rng.choice(len(ph.DEFECTS), size=n, p=share)
    severity = rng.choice(ph.SEVERITY, size=n, p=ph.SEVERITY_SHARE)

    u = f @ ph.LOADS.T + ph.SITE_OFFSETS[site] + ph.OWN * rng.standard_normal((n, 28))
    strain = np.empty(n)
    for number, d in enumerate(ph.DEFECTS):
        rows = defect == number
        moves, jitter = ph.vector(d.moves, ph.NAMES), ph.vector(d.jitter, ph.NAMES)
        u[rows] += severity[rows, None] * moves
        u[rows] += jitter * rng.standard_normal((rows.sum(), 28))
        corner = f[rows] @ ph.vector(d.corner, ph.FACTORS)
        strain[rows] = d.bias + d.severity_weight * severity[rows] + corner
    y = (strain + rng.standard_normal(n) > 0).astype(np.float32)

    X = _round(np.where(LOG, NOMINAL * np.exp(SPREAD * u), NOMINAL + SPREAD * u))
    for test in ph.TESTS:
        columns = [j for j, r in enumerate(ph.READINGS) if r.test == test]
        X[np.ix_(rng.random(n) < ph.ABORTED, columns)] = np.nan
    return X, y, lot, defect


def _round(X: np.ndarray) -> np.ndarray:
    linear = np.round(X / STEP) * STEP
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = 10.0 ** (np.floor(np.log10(np.abs(X))) - STEP + 1)
        ranged = np.round(X / unit) * unit
    return np.where(LOG, ranged, linear)


def fail_probability(X: np.ndarray) -> np.ndarray:
    """P(fail | x) of each device from its own readings X (n, 28) alone, shape (n,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        u = np.where(LOG, np.log(X / NOMINAL), X - NOMINAL) / SPREAD
    known = ~np.isnan(u)
    patterns, which = np.unique(known, axis=0, return_inverse=True)
    p = np.empty(len(u))
    for number, pattern in enumerate(patterns):
        rows = np.flatnonzero(which.ravel() == number)
        for chunk in np.array_split(rows, len(rows) // 5000 + 1):
            p[chunk] = _posterior(u[np.ix_(chunk, np.flatnonzero(pattern))], pattern)
    return p


def _posterior(u: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Bayes' rule over (site, defect, severity) for rows missing the same readings."""
    loads, offsets = ph.LOADS[known], ph.SITE_OFFSETS[:, known]
    weight, verdict = [], []
    for d in ph.DEFECTS:
        jitter, moves = (ph.vector(v, ph.NAMES)[known] for v in (d.jitter, d.moves))
        variance = ph.OWN[known] ** 2 + ROUNDING[known] ** 2 + jitter**2
        covariance = loads @ loads.T + np.diag(variance)
        root = np.linalg.cholesky(covariance)
        gain = np.linalg.solve(covariance, loads)  # E[f | u] = (u - mean) @ gain
        corner = ph.vector(d.corner, ph.FACTORS)
        spread = np.sqrt(1 + corner @ (corner - gain.T @ loads @ corner))
        grades = [(1.0, 0.0)]
        if d.moves:
            grades = list(zip(ph.SEVERITY_SHARE, ph.SEVERITY, strict=True))
        for share, severity in grades:
            for offset in offsets:
                rest = u - offset - severity * moves
                white = np.linalg.solve(root, rest.T)
                log_density = -0.5 * (white**2).sum(0) - np.log(np.diag(root)).sum()
                weight.append(np.log(d.share * share / ph.SITES) + log_density)
                level = d.bias + d.severity_weight * severity + rest @ (gain @ corner)
                verdict.append(log_ndtr(level / spread))
    weight, verdict = np.array(weight), np.array(verdict)
    return np.exp(logsumexp(weight + verdict, axis=0) - logsumexp(weight, axis=0))

"""synthetic: unlabelled rows like the training rows, for a teacher to label."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors


def munge(
    X: np.ndarray, count: int, *, seed: int, swap: float = 0.5, local: float = 1.0
) -> np.ndarray:
    """`count` rows drawn near the rows X, float32 (n, k) without gaps -> (count, k).

    MUNGE (Bucilă, Caruana & Niculescu-Mizil 2006, algorithm 1, continuous attributes):
    a row takes, for each reading with probability `swap`, a value drawn around its
    nearest neighbour's with standard deviation |difference| / local. It needs no model
    of the data; FAST-DAD (Fakoor et al. 2020) draws by Gibbs sampling from one instead.
    """
    if not 0 <= swap <= 1 or local <= 0:
        raise ValueError(
            f"munge: swap {swap} must lie in [0, 1] and local {local} above 0"
        )
    rng = np.random.default_rng([seed, 2006])
    near = NearestNeighbors(n_neighbors=2).fit(X).kneighbors(X, return_distance=False)
    order = np.concatenate(
        [rng.permutation(len(X)) for _ in range(-(-count // len(X)))]
    )[:count]
    row, other = X[order], X[near[order, 1]]
    drawn = other + np.abs(row - other) / local * rng.standard_normal(row.shape)
    return np.where(rng.random(row.shape) < swap, drawn, row).astype(np.float32)

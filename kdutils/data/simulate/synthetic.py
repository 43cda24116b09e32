"""synthetic: unlabelled rows like the training rows, for a teacher to label."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors


def munge(X: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """`count` rows drawn near the rows X, float32 (n, k) without gaps -> (count, k).

    MUNGE (Bucilă, Caruana & Niculescu-Mizil 2006, algorithm 1, continuous attributes):
    a row takes, for each reading with probability 1/2, a value drawn around its nearest
    neighbour's with standard deviation |difference|. It needs no model of the data;
    FAST-DAD (Fakoor et al. 2020) draws by Gibbs sampling from one instead.
    """
    rng = np.random.default_rng([seed, 2006])
    near = NearestNeighbors(n_neighbors=2).fit(X).kneighbors(X, return_distance=False)
    orders = [rng.permutation(len(X)) for _ in range(-(-count // len(X)))]
    order = np.concatenate(orders)[:count]
    row, other = X[order], X[near[order, 1]]
    drawn = other + np.abs(row - other) * rng.standard_normal(row.shape)
    return np.where(rng.random(row.shape) < 0.5, drawn, row).astype(np.float32)

"""teachers: XGBoost, TabNet and MLP behind one small interface.

A teacher reads prepared rows, float32 (n, k) in (-3, 3) with NaN where a reading is
missing: trees use the gap, networks read 0, the median. Networks stop early on the
validation AUC, trees on its log loss, which few fails move less; `tune` picks among a
stated number of settings by validation AUC.
"""

from __future__ import annotations

import contextlib
import functools
import io
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from kdutils import metrics, models
from kdutils.train.batches import Batches
from kdutils.train.fit import fit as fit_net

PULL = 5.0  # rows that the plain mean of the members is worth in `stack`

# The first value of each list is the default; the other tries are drawn at random.
SPACE = {
    "xgboost": {
        "max_depth": [4, 2, 3, 6],
        "learning_rate": [0.05, 0.02, 0.03],
        "min_child_weight": [5, 1, 20],
        "subsample": [0.8, 0.6],
        "colsample_bytree": [0.6, 0.3, 1.0],
        "reg_lambda": [1.0, 10.0],
    },
    "mlp": {
        "width": [128, 64, 256],
        "depth": [2, 3],
        "dropout": [0.3, 0.1, 0.5],
        "lr": [1e-3, 3e-3],
        "weight_decay": [1e-2, 1e-1, 1.0],
    },
    "tabnet": {
        "n_d": [16, 8, 32],
        "n_steps": [2, 3],
        "gamma": [1.3, 1.5],
        "lambda_sparse": [1e-4, 1e-3],
        "lr": [2e-2, 3e-2],
    },
}


@dataclass(frozen=True)
class Fitted:
    """A trained teacher: `logits` maps prepared rows (n, k) to (n,); file size."""

    logits: Callable[[np.ndarray], np.ndarray]
    bytes: int
    params: int
    val_auc: float
    settings: dict


def candidates(name: str, tries: int, seed: int) -> list[dict]:
    """`tries` different settings: the default first, then random ones from SPACE."""
    if name not in SPACE:
        raise ValueError(f"teacher {name!r} is none of {', '.join(SPACE)}")
    space, rng = SPACE[name], np.random.default_rng([seed, len(name)])
    found = [{key: values[0] for key, values in space.items()}]
    most = int(np.prod([len(values) for values in space.values()]))
    while len(found) < min(tries, most):
        drawn = {key: some[rng.integers(len(some))] for key, some in space.items()}
        if drawn not in found:
            found.append(drawn)
    return found


def fit(name, settings, *data, epochs, seed, device="cpu") -> Fitted:
    """Train one teacher; `epochs` bounds network passes (XGBoost: 20 trees each).

    data: rows and verdicts to train on, then those to validate on.
    device: where networks are trained; trees are always grown on the CPU.
    """
    fitter = {"xgboost": _xgboost, "mlp": _mlp, "tabnet": _tabnet}[name]
    logits, size, params = fitter(settings, *data, epochs, seed, device)
    *_, val_rows, val_verdicts = data
    val_auc = metrics.auc(val_verdicts, logits(val_rows))
    return Fitted(logits, size, params, float(val_auc), settings)


def tune(name, *data, tries, seed, **how) -> Fitted:
    """The best of `tries` settings by validation AUC; the first one wins a tie."""
    every = candidates(name, tries, seed)
    fitted = [fit(name, one, *data, seed=seed, **how) for one in every]
    return max(fitted, key=lambda one: one.val_auc)


def stack(oof: list[np.ndarray], verdicts: np.ndarray) -> Callable[[list], np.ndarray]:
    """The ensemble: a logistic regression on the members' out-of-fold logits.

    oof: (n,) per member; returns a map from the members' logits on any rows, (m,) each,
    to the ensemble's, float32 (m,). Stacked generalization (Wolpert 1992) with weights
    >= 0 (Breiman 1996), drawn to the plain mean where few rows say otherwise: a weak
    member's logits can be upside down out of fold by chance, and must not be turned.
    """
    Z, count = np.stack(oof, axis=1).astype(float), len(oof)

    def loss(w: np.ndarray) -> float:
        z = Z @ w[:-1] + w[-1]
        drawn = PULL * np.square(w[:-1] - 1 / count).sum() / len(Z)
        return float((np.logaddexp(0, z) - verdicts * z).mean() + drawn)

    start = np.append(np.full(count, 1 / count), 0.0)
    w = minimize(loss, start, bounds=[(0, None)] * count + [(None, None)]).x

    def together(logits: list[np.ndarray]) -> np.ndarray:
        return (np.stack(logits, axis=1) @ w[:-1] + w[-1]).astype(np.float32)

    return together


def _xgboost(settings, rows, verdicts, val_rows, val_verdicts, epochs, seed, device):
    import xgboost

    model = xgboost.XGBClassifier(
        **{"early_stopping_rounds": 60, **settings},
        n_estimators=20 * epochs,
        eval_metric="logloss",
        tree_method="hist",
        n_jobs=1,
        random_state=seed,
    )
    model.fit(rows, verdicts, eval_set=[(val_rows, val_verdicts)], verbose=False)
    booster = model.get_booster()[: model.best_iteration + 1]
    size = len(booster.save_raw("ubj"))
    nodes = sum(tree.count('"nodeid"') for tree in booster.get_dump(dump_format="json"))

    def logits(rows):
        return booster.inplace_predict(rows, predict_type="margin").astype(np.float32)

    return logits, size, nodes


def _mlp(settings, rows, verdicts, val_rows, val_verdicts, epochs, seed, device):
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as loss

    torch.manual_seed(seed)
    sizes = {key: settings[key] for key in ("width", "depth", "dropout")}
    model = models.MLP(rows.shape[1], **sizes)
    batches = Batches(np.nan_to_num(rows), verdicts, batch=256, seed=seed)
    rates = {key: settings[key] for key in ("lr", "weight_decay")}

    def logits(rows):
        return models.predict(model, np.nan_to_num(rows), batch=len(rows))

    fit_net(
        model,
        batches,
        loss,
        epochs=epochs,
        optimizer=functools.partial(torch.optim.AdamW, **rates),
        seed=seed,
        device=device,
        validate=lambda _: metrics.auc(val_verdicts, logits(val_rows)),
        patience=max(5, epochs // 5),
    )
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return logits, file.tell(), sum(p.numel() for p in model.parameters())


def _tabnet(settings, rows, verdicts, val_rows, val_verdicts, epochs, seed, device):
    import torch
    from pytorch_tabnet.tab_model import TabNetClassifier

    settings = dict(settings, n_a=settings["n_d"])
    lr = settings.pop("lr")
    model = TabNetClassifier(
        **settings,
        optimizer_params={"lr": lr},
        scheduler_fn=torch.optim.lr_scheduler.CosineAnnealingLR,
        scheduler_params={"T_max": epochs},
        seed=seed,
        verbose=0,
        device_name=device,
    )
    # By default, drop_last=True in batches of 1,024 trains nothing below 1,024 rows.
    batch = min(512, max(64, len(rows) // 16))
    batch += len(rows) % batch == 1  # a lone last row has no variance to normalise by
    with tempfile.TemporaryDirectory() as folder, _quiet():
        model.fit(
            np.nan_to_num(rows),
            verdicts.astype(int),
            eval_set=[(np.nan_to_num(val_rows), val_verdicts.astype(int))],
            eval_metric=["auc"],
            max_epochs=epochs,
            patience=max(5, epochs // 5),
            batch_size=batch,
            virtual_batch_size=min(128, batch),
            drop_last=False,
        )
        size = Path(model.save_model(str(Path(folder) / "tabnet"))).stat().st_size

    def logits(rows):
        p = np.clip(model.predict_proba(np.nan_to_num(rows))[:, 1], 1e-7, 1 - 1e-7)
        p = p.astype(float)
        return (np.log(p) - np.log1p(-p)).astype(np.float32)

    return logits, size, sum(p.numel() for p in model.network.parameters())


@contextlib.contextmanager
def _quiet():
    """TabNet reports each stop and each file; a run's own line says enough."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.filterwarnings("ignore", message="Best weights from best epoch")
        yield

"""One loop for every net: same bytes twice, best epoch kept, short batches used."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as loss

from kdutils import models
from kdutils.train import loop as train

ADAMW = functools.partial(torch.optim.AdamW, lr=1e-2)


def rows(n=70, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)).astype(np.float32)
    return X, (X[:, 0] - X[:, 1] > 0).astype(np.float32)


def fit(seed=1, dropout=0.2, **how):
    torch.manual_seed(0)
    model = models.MLP(3, width=8, depth=2, dropout=dropout)
    batches = train.Batches(*rows(), batch=32, seed=seed)
    how = {"epochs": 4, "optimizer": ADAMW, "seed": seed, **how}
    return model, train.fit(model, batches, loss, **how)


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_equal_arguments_give_equal_bits_whatever_the_global_seed():
    first, history = fit()
    torch.rand(7)
    second, again = fit()
    assert torch.equal(flat(first), flat(second))
    assert history == again and len(history.loss) == 4 and history.best_epoch == 4
    assert history.loss[-1] < history.loss[0]
    other, _ = fit(seed=2)
    assert not torch.equal(flat(first), flat(other))


def test_the_global_generator_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    batches = train.Batches(*rows(), batch=32, seed=0)
    model = models.Student(3, 4)
    torch.manual_seed(3)
    train.fit(model, batches, loss, epochs=1, optimizer=ADAMW)
    assert torch.equal(torch.rand(1), expected)


def test_batches_reshuffle_and_hold_every_row_once():
    X = np.arange(70, dtype=np.float32)[:, None]
    batches = train.Batches(X, X[:, 0], X[:, 0] + 1, batch=32, seed=4)
    orders = []
    for _ in range(2):
        parts = list(batches)
        assert [len(x) for x, *_ in parts] == [32, 32, 6] and len(batches) == 3
        orders.append(torch.cat([y for _, y, _ in parts]))
        assert all(torch.equal(x[:, 0] + 1, extra) for x, _, extra in parts)
        assert orders[-1].sort().values.tolist() == list(range(70))
    assert not torch.equal(*orders)
    again = torch.cat([y for _, y, _ in train.Batches(X, X[:, 0], X, batch=9, seed=4)])
    assert torch.equal(again, orders[0])


def test_batches_name_unequal_lengths():
    with pytest.raises(ValueError, match=r"\[70, 69\] rows"):
        train.Batches(rows()[0], rows()[1][1:], batch=8, seed=0)


def test_the_short_last_batch_trains():
    X, y = rows(9)

    def counting(z, y):
        seen.append(len(z))
        return loss(z, y)

    for model, expected in (
        (models.Student(3, 4), [4, 4, 1] * 2),
        (nn.Sequential(nn.BatchNorm1d(3), models.Student(3, 4)), [4, 4] * 2),
    ):
        seen = []
        batches = train.Batches(X, y, batch=4, seed=0)
        train.fit(model, batches, counting, epochs=2, optimizer=ADAMW)
        assert seen == expected


def test_the_best_epochs_weights_are_kept():
    scores, weights = [0.1, 0.9, 0.9, 0.3, 0.2], []

    def validate(model):
        assert not model.training
        weights.append(flat(model))
        return scores[len(weights) - 1]

    model, history = fit(epochs=5, validate=validate)
    assert history.val == scores and history.best_epoch == 2
    assert torch.equal(flat(model), weights[1])
    assert not torch.equal(flat(model), weights[4])


def test_patience_stops_early():
    scores = iter([0.5, 0.7, 0.6, 0.6, 0.6, 0.9])
    _, history = fit(epochs=6, validate=lambda _: next(scores), patience=2)
    assert len(history.loss) == 4 and history.best_epoch == 2


def test_the_learning_rate_follows_the_schedule():
    rates = []

    class Watched(torch.optim.SGD):
        def step(self, *args):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*args)

    watched = functools.partial(Watched, lr=0.5)
    fit(epochs=2, optimizer=watched)
    assert rates == pytest.approx([0.5 * train.cosine(i / 6) for i in range(6)])
    assert rates[0] == 0.5 and rates[3] == pytest.approx(0.25) and rates[5] < 0.05
    rates.clear()
    fit(epochs=1, optimizer=watched, schedule=train.constant)
    assert rates == [0.5] * 3


def test_a_loss_that_is_not_finite_is_an_error():
    with pytest.raises(ValueError, match="the loss is nan after epoch 1"):
        train.fit(
            models.Student(3, 4),
            train.Batches(*rows(), batch=32, seed=0),
            lambda z, y: z.mean() * float("nan"),
            epochs=2,
            optimizer=ADAMW,
        )


def test_students_become_arrays_and_come_back():
    torch.manual_seed(1)
    student = models.build("student", d=5, hidden=7)
    arrays = student.arrays()
    shapes = {name: a.shape for name, a in arrays.items()}
    assert shapes == {"W1": (7, 5), "b1": (7,), "w2": (7,), "b2": ()}
    assert all(a.dtype == np.float32 for a in arrays.values())
    x = torch.randn(6, 5)
    assert torch.equal(models.Student.from_arrays(arrays)(x), student(x))
    hidden = np.maximum(x.numpy() @ arrays["W1"].T + arrays["b1"], 0)
    by_hand = hidden @ arrays["w2"] + arrays["b2"]
    assert np.allclose(student(x).detach().numpy(), by_hand, atol=1e-6)
    arrays["W1"][:] = 0
    assert student.first.weight.abs().sum() > 0


def test_nets_are_built_by_name():
    net = models.build("mlp", d=5, width=6, depth=3, dropout=0.5)
    assert net(torch.zeros(2, 5)).shape == (2,)
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.5] * 3
    with pytest.raises(ValueError, match="'cnn' is none of student, mlp"):
        models.build("cnn", d=5)

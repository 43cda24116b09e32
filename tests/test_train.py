"""One loop for every net: same bytes twice, best epoch kept, short batches used."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as loss

from kdutils import models, train

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


# --- devices and checkpoints --------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gpu", "'gpu': expected auto, cpu, cuda"),
        ("cuda", "'cuda', but there is no CUDA"),
    ],
)
def test_a_device_that_is_not_there_is_refused_before_training(name, said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"device is {said}"):
        fit(device=name, optimizer=lambda _: pytest.fail("trained"))
    first, second = (fit(device=name)[0] for name in ("auto", "cpu"))
    assert torch.equal(flat(first), flat(second))


def test_bf16_products_and_channels_last_stay_close():
    def net():
        torch.manual_seed(0)
        first = (
            nn.Unflatten(1, (1, 3)),
            nn.Unflatten(2, (3, 1)),
            nn.Conv2d(1, 4, 2, padding=1),
        )
        return nn.Sequential(*first, nn.ReLU(), nn.Flatten(), models.Student(32, 8))

    found = []
    for how in ({}, {"bf16": True}, {"channels_last": True}):
        model, batches = net(), train.Batches(*rows(), batch=32, seed=0)
        train.fit(model, batches, loss, epochs=3, optimizer=ADAMW, **how)
        found.append(flat(model))
    assert 0 < (found[0] - found[1]).abs().max() < 0.05
    assert torch.allclose(found[0], found[2], atol=1e-5)
    assert model[2].weight.is_contiguous(memory_format=torch.channels_last)


def resumable(path, kill_at=None):
    """A training of six epochs of three steps, with dropout; killed in a step."""
    count = iter(range(100))

    def counted(z, y):
        if next(count) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(z, y)

    torch.manual_seed(0)
    model = models.MLP(3, width=8, depth=2, dropout=0.2)
    return model, train.fit(
        model,
        train.Batches(*rows(), batch=32, seed=1),
        counted,
        epochs=6,
        optimizer=ADAMW,
        validate=lambda net: -float((flat(net) - 0.1).square().sum()),
        checkpoint=path,
        checkpoint_every=0.0,
    )


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path):
    path = tmp_path / "deep" / "weights.checkpoint"
    code = f"import test_train as t; t.resumable(t.Path({str(path)!r}), 7)"
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    child = subprocess.run([sys.executable, "-c", code], env=env, timeout=120)
    assert child.returncode == -signal.SIGKILL
    model, history = resumable(path)
    whole, expected = resumable(tmp_path / "other.checkpoint")
    assert torch.equal(flat(model), flat(whole)) and history == expected
    assert len(history.loss) == 6
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    path = tmp_path / "weights.checkpoint"
    fit(checkpoint=path, checkpoint_every=0.0)
    assert fit(checkpoint=path)[1] == fit()[1]  # nothing is left to train
    with pytest.raises(ValueError, match="of seed 1 and 4 epochs, not of seed 1 and 5"):
        fit(checkpoint=path, epochs=5)
    fit(checkpoint=tmp_path / "early.checkpoint")
    assert not (tmp_path / "early.checkpoint").exists(), "seconds are not worth a file"

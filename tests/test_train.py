"""One loop for every net: its batches, epochs, checkpoints and predictions."""

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
from kdutils.data import symmetry
from kdutils.train.fit import MaxNorm

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
    model, generator = models.Student(3, 4), torch.random.get_rng_state()
    train.fit(
        model, train.Batches(*rows(), batch=32, seed=0), loss, epochs=1, optimizer=ADAMW
    )
    assert torch.equal(torch.random.get_rng_state(), generator), "it is left alone"
    torch.rand(7)
    second, again = fit()
    assert torch.equal(flat(first), flat(second))
    assert history == again and len(history.loss) == 4 and history.best_epoch == 4
    assert history.loss[-1] < history.loss[0]
    other, _ = fit(seed=2)
    assert not torch.equal(flat(first), flat(other))


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


def test_students_become_arrays():
    torch.manual_seed(1)
    student = models.build("student", d=5, hidden=7)
    arrays = student.arrays()
    shapes = {name: a.shape for name, a in arrays.items()}
    assert shapes == {"W1": (7, 5), "b1": (7,), "w2": (7,), "b2": ()}
    assert all(a.dtype == np.float32 for a in arrays.values())
    x = torch.randn(6, 5)
    hidden = np.maximum(x.numpy() @ arrays["W1"].T + arrays["b1"], 0)
    by_hand = hidden @ arrays["w2"] + arrays["b2"]
    assert np.allclose(student(x).detach().numpy(), by_hand, atol=1e-6)
    arrays["W1"][:] = 0
    assert student.first.weight.abs().sum() > 0


def test_a_teacher_of_tables_has_the_depth_and_dropout_that_are_named():
    net = models.build("mlp", d=5, width=6, depth=3, dropout=0.5)
    assert net(torch.zeros(2, 5)).shape == (2,)
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.5] * 3


# --- devices and checkpoints --------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gpu", "'gpu': expected auto, cpu or cuda"),
        ("cuda", "'cuda', but torch finds no GPU"),
    ],
)
def test_a_device_that_is_not_there_is_refused_before_training(name, said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"device is {said}"):
        fit(device=name, optimizer=lambda _: pytest.fail("trained"))
    first, second = (fit(device=name)[0] for name in ("auto", "cpu"))
    assert torch.equal(flat(first), flat(second))


def test_bf16_products_stay_close():
    def net():
        torch.manual_seed(0)
        first = (
            nn.Unflatten(1, (1, 3)),
            nn.Unflatten(2, (3, 1)),
            nn.Conv2d(1, 4, 2, padding=1),
        )
        return nn.Sequential(*first, nn.ReLU(), nn.Flatten(), models.Student(32, 8))

    found = []
    for how in ({}, {"bf16": True}):
        model, batches = net(), train.Batches(*rows(), batch=32, seed=0)
        train.fit(model, batches, loss, epochs=3, optimizer=ADAMW, **how)
        found.append(flat(model))
    assert 0 < (found[0] - found[1]).abs().max() < 0.05


OPTIMIZERS = {"adamw": ADAMW, "max-norm": functools.partial(MaxNorm, lr=0.05, norm=0.3)}


def resumable(path, kill_at=None, optimizer="adamw"):
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
        optimizer=OPTIMIZERS[optimizer],
        validate=lambda net: -float((flat(net) - 0.1).square().sum()),
        checkpoint=path,
        checkpoint_every=0.0,
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_killed_training_goes_on_to_the_same_bits(optimizer, tmp_path):
    path = tmp_path / "deep" / "weights.checkpoint"
    code = (
        f"import test_train as t; t.resumable(t.Path({str(path)!r}), 7, {optimizer!r})"
    )
    env = {**os.environ}
    env |= {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    child = subprocess.run([sys.executable, "-c", code], env=env, timeout=120)
    assert child.returncode == -signal.SIGKILL
    model, history = resumable(path, optimizer=optimizer)
    whole, expected = resumable(tmp_path / "other", optimizer=optimizer)
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


# --- batches ----------------------------------------------------------------------


def maps(n=12, side=5, seed=0):
    return np.random.default_rng(seed).integers(0, 3, (n, side, side), np.uint8)


def linear(side=5, patterns=3):
    """One linear layer: what it says depends on every die's place."""
    torch.manual_seed(1)
    layer = nn.Linear(side * side, patterns)
    return nn.Sequential(nn.Flatten(), Cast(), nn.BatchNorm1d(side * side), layer)


class Cast(nn.Module):
    def forward(self, x):
        return x.float()


def copy_number(shown, own):
    """Which of its eight copies a map is shown as."""
    eight = symmetry.copies(own[None])[:, 0]
    found = [k for k, copy in enumerate(eight) if np.array_equal(copy, shown)]
    assert len(found) == 1
    return found[0]


def test_all_eight_symmetries_are_shown_equally_often():
    X, row = maps(50), np.arange(50)
    batches = train.Batches(X, row, batch=20, seed=0, augment=symmetry.copies)
    seen = np.zeros((50, 8), int)
    for _ in range(40):
        for x, rows in batches:
            for shown, i in zip(x.numpy(), rows, strict=True):
                seen[i, copy_number(shown, X[i])] += 1
    assert (seen.sum(1) == 40).all() and (seen > 0).sum(1).min() >= 6
    deviation = (2000 * (1 / 8) * (7 / 8)) ** 0.5
    assert (abs(seen.sum(0) - 250) < 4 * deviation).all()


def test_maps_are_copied_before_they_are_shown():
    X = maps()
    batches = train.Batches(X, batch=12, seed=0, augment=symmetry.copies)
    kept = batches.views.clone()
    for (x,) in batches:
        x.zero_()
    assert torch.equal(batches.views, kept) and np.array_equal(X, maps())


@pytest.mark.parametrize(
    ("targets", "said"), [([11], "[11]"), ([12, 13], "[12, 13]"), ([0], "[0]")]
)
def test_targets_of_another_length_are_refused(targets, said):
    with pytest.raises(ValueError) as error:
        train.Batches(maps(), *map(np.zeros, targets), batch=4, seed=0)
    expected = f"batches: targets of {said} rows for 12 inputs, expected one length"
    assert str(error.value) == expected


# --- predictions ------------------------------------------------------------------


@pytest.mark.parametrize("views", [1, 3, 8])
def test_logits_are_the_mean_over_the_first_copies(views):
    X, model = maps(7), linear()
    found = models.predict(model, X, augment=symmetry.copies, views=views)
    assert found.shape == (7, 3) and found.dtype == np.float32
    model.eval()
    with torch.no_grad():
        each = [model(torch.tensor(copy.copy())) for copy in symmetry.copies(X)]
    expected = np.mean([z.numpy() for z in each[:views]], axis=0)
    assert np.allclose(found, expected, atol=1e-6)


def test_the_size_of_a_batch_changes_nothing():
    X, model, how = maps(11), linear(), {"augment": symmetry.copies, "views": 3}
    whole = models.predict(model, X, **how)
    for rows in (1, 4, 11):
        found = models.predict(model, X, **how, batch=rows)
        assert np.allclose(found, whole, atol=1e-6)


def test_predicting_neither_trains_nor_drops_anything():
    X, model = maps(), nn.Sequential(linear(), nn.Dropout(0.5)).train()
    kept = {k: v.clone() for k, v in model.state_dict().items()}
    assert np.array_equal(models.predict(model, X), models.predict(model.train(), X))
    assert not model.training
    assert all(torch.equal(v, kept[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("views", [0, 9, -1, 2.5])
def test_views_that_are_none_are_refused(views):
    with pytest.raises(ValueError) as error:
        models.predict(linear(), maps(), augment=symmetry.copies, views=views)
    assert str(error.value) == f"views is {views}: expected 1 to 8"


# --- images -----------------------------------------------------------------------


def images(n=20, side=28, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side), np.uint8)


def marked(n=50, side=6):
    """Images whose first pixel is their number."""
    X = images(n, side)
    X[:, 0, 0] = np.arange(n)
    return X


def test_every_image_comes_once_an_epoch_with_its_targets():
    X = marked()
    told = np.arange(100, dtype=np.float32).reshape(50, 2)
    batches = train.Batches(X, np.arange(50), told, batch=16, seed=3, scale=255)
    assert len(batches) == 4
    orders = []
    for _ in range(3):
        sizes, order = [], []
        for x, y, t in batches:
            assert x.dtype == torch.float32
            assert torch.equal(x, torch.from_numpy(X[y]).float() / 255)
            assert torch.equal(t, torch.from_numpy(told[y]))
            sizes.append(len(x))
            order += y.tolist()
        assert sizes == [16, 16, 16, 2] and sorted(order) == list(range(50))
        orders.append(order)
    assert orders[0] != orders[1] != orders[2] != orders[0]

    def first(seed):
        again = train.Batches(X, np.arange(50), batch=16, seed=seed)
        return [[y for _, ys in again for y in ys.tolist()] for _ in range(3)]

    assert first(3) == orders and first(4) != orders


def moved(X, down, right):
    """Images moved with zeros behind them: np.roll, and what came round made 0."""
    found = np.roll(X, (down, right), (1, 2))
    for axis, step in ((1, down), (2, right)):
        end = slice(None, step) if step > 0 else slice(step or X.shape[axis], None)
        found[(slice(None),) * axis + (end,)] = 0
    return found


@pytest.mark.parametrize("max_shift", [0, 1, 2])
def test_views_are_moves_with_zeros_behind_them(max_shift):
    X = images(4, 7)
    shown = list(train.Shifts(X, max_shift))
    steps = range(max_shift, -max_shift - 1, -1)
    moves = [(down, right) for down in steps for right in steps]
    assert len(shown) == len(moves) == (2 * max_shift + 1) ** 2
    for (down, right), view in zip(moves, shown, strict=True):
        assert view.dtype == torch.uint8
        assert np.array_equal(view.numpy(), moved(X, down, right)), (down, right)
    assert np.array_equal(shown[len(shown) // 2].numpy(), X)
    assert (train.shifts(max_shift) is None) == (max_shift == 0)


def test_moves_differ_from_image_to_image_and_max_shift_every_view():
    X = images(40, 7)
    shown = torch.stack(list(train.Shifts(X, 1))).float().div(255)
    count, epochs = np.zeros(9), []
    batches = train.Batches(
        X, np.arange(40), batch=16, seed=0, augment=train.shifts(1), scale=255
    )
    for _ in range(5):
        own = {}
        for x, y in batches:
            same = (shown[:, y] == x).all(-1).all(-1)  # (view, image)
            assert (same.sum(0) == 1).all()
            own |= dict(zip(y.tolist(), same.int().argmax(0).tolist(), strict=True))
        epochs.append([own[y] for y in range(40)])
        count += np.bincount(epochs[-1], minlength=9)
    assert count.min() > 5 and len(set(map(tuple, epochs))) == 5
    how = {"batch": 16, "seed": 0, "augment": train.shifts(1)}
    for (a,), (b,) in zip(
        train.Batches(X, **how), train.Batches(X, **how), strict=True
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("max_shift", [1, 2])
def test_the_view_targets_are_those_of_the_crop_that_is_shown(max_shift):
    """A teacher that says the sums of an image's rows and columns."""
    X = images(30, 8)
    says = [torch.cat([v.sum(1), v.sum(2)], 1) for v in train.Shifts(X, max_shift)]
    views = torch.stack(says).float()
    batches = train.Batches(
        X,
        np.arange(30),
        batch=7,
        seed=5,
        augment=train.shifts(max_shift),
        view_targets=views.numpy(),
        scale=255,
    )
    plain, still = 0, views[len(views) // 2]
    for _ in range(2):
        for x, y, told in batches:
            seen = torch.cat([x.sum(1), x.sum(2)], 1) * 255
            assert torch.allclose(seen, told, atol=1e-2)
            plain += (told == still[y]).all(1).sum().item()
    assert plain < 30  # of 60: most were moved


def test_targets_of_other_views_are_refused():
    X = images(20, 6)
    how = {"batch": 4, "seed": 0, "augment": train.shifts(1)}
    with pytest.raises(ValueError, match=r"\(9, 20, 'K'\) for 9 views"):
        train.Batches(X, **how, view_targets=np.zeros((25, 20, 3)))
    with pytest.raises(ValueError, match=r"shape \(9, 19, 3\)"):
        train.Batches(X, **how, view_targets=np.zeros((9, 19, 3)))


def coloured(n=6, side=5):
    return np.random.default_rng(0).integers(0, 256, (n, 3, side, side)).astype("u1")


def test_colour_images_move_by_reflection_and_are_mirrored():
    X = coloured()
    views = train.Shifts(X, 1)
    assert len(views) == 18
    assert np.array_equal(views[4], X) and np.array_equal(views[13], X[..., ::-1])
    down = np.pad(X, ((0, 0), (0, 0), (1, 1), (0, 0)), "reflect")[:, :, :5]
    assert np.array_equal(views[1], down)


def test_sets_show_each_image_once_in_each_and_mirror_it_in_every_second():
    X = coloured(40)
    sets = train.Sets(train.Shifts(X, 1), 40, 4, seed=0)
    assert len(sets) == 4 and sets[0][:].shape == X.shape
    mirrored = (sets.chosen >= 9).int()
    assert (mirrored[1:] != mirrored[:-1]).all() and 0 < mirrored[0].sum() < 40
    rows = torch.tensor([3, 1])
    assert torch.equal(sets[2][rows], sets[2][:][rows])


def test_batches_show_one_set_an_epoch_with_its_targets_also_after_a_resume():
    X, logits = coloured(8), torch.arange(16.0).view(2, 8, 1)
    sets = train.Sets(train.Shifts(X, 1), 8, 2, seed=0)
    batches = train.Batches(X, batch=3, seed=0, sets=sets, view_targets=logits)
    for epoch in range(3):
        if epoch == 2:  # as `fit` does when it resumes
            order = batches.generator
            batches = train.Batches(X, batch=3, seed=0, sets=sets, view_targets=logits)
            batches.generator, batches.epoch = order, epoch
        for x, t in batches:
            rows = (t[:, 0] % 8).long()
            assert torch.equal(t[:, 0] // 8, torch.full((len(x),), epoch % 2))
            assert torch.equal(x, sets[epoch % 2][rows])


def test_descent_gives_small_numbers_their_own_rate_and_leaves_what_is_frozen():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    net[1].weight.requires_grad = False
    steps = train.descent(net.parameters(), lr=0.5, bias_lr=8, decay=0.4, momentum=0.9)
    large, small = steps.param_groups
    assert (large["lr"], small["lr"], small["weight_decay"]) == (0.5, 4.0, 0.05)
    assert [p.shape for p in large["params"]] == [(2, 2)] and len(small["params"]) == 2

"""Pruning, int8 and sizes of a 28 -> 64 -> 1 student, and what one wild cell does."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from kdutils.compress import prune as compress
from kdutils.compress import quantize


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return {
        "W1": rng.normal(0, 0.3, (64, 28)).astype(np.float32),
        "b1": rng.normal(0, 0.2, 64).astype(np.float32),
        "w2": rng.normal(0, 0.9, 64).astype(np.float32),
        "b2": np.float32(-0.4),
    }


@pytest.fixture(scope="module")
def X():
    """Prepared readings, in (-3, 3)."""
    z = np.random.default_rng(1).standard_t(3, (600, 28))
    return (z / np.sqrt(1 + (z / 3) ** 2)).astype(np.float32)


def zeros(arrays):
    return int((arrays["W1"] == 0).sum()), int((arrays["w2"] == 0).sum())


def reference(student, X):
    """The device's arithmetic once more: plain loops over int64, one row at a time."""
    f4, logits = np.float32, []
    for row in np.rint(X / student.s_in).clip(-127, 127).astype(np.int64):
        total = 0
        for w, s, b, v in zip(
            student.W1, student.s1, student.b1, student.w2, strict=True
        ):
            product = f4(int(row @ w.astype(np.int64)))
            hidden = f4(f4(product * f4(f4(s) * student.s_in)) + f4(b))
            total += int(np.clip(np.rint(hidden / student.s_hidden), 0, 255)) * int(v)
        scale = f4(student.s_hidden * student.s2)
        logits.append(f4(f4(f4(total) * scale) + student.b2))
    return np.array(logits)


def test_network_computes_the_student(arrays, X):
    by_hand = np.maximum(X @ arrays["W1"].T + arrays["b1"], 0) @ arrays["w2"] - 0.4
    np.testing.assert_allclose(compress.logits(arrays, X), by_hand, atol=1e-5)


@pytest.mark.parametrize(
    "scope, expected",
    [("layer", (896, 32)), ("first", (896, 0)), ("global", (917, 11))],
)
def test_half_of_the_weights_go(arrays, scope, expected):
    arrays, mask = compress.pruned(arrays, 0.5, scope=scope)
    assert zeros(arrays) == expected
    assert zeros(mask) == expected
    assert set(np.unique(mask["W1"])) == {0.0, 1.0}


def test_the_smallest_weights_go_and_the_others_stay(arrays):
    pruned, mask = compress.pruned(arrays, 0.25, scope="first")
    gone = mask["W1"] == 0
    assert np.abs(arrays["W1"][gone]).max() <= np.abs(arrays["W1"][~gone]).min()
    np.testing.assert_array_equal(pruned["W1"], arrays["W1"] * mask["W1"])
    for kept in ("b1", "w2", "b2"):
        np.testing.assert_array_equal(pruned[kept], arrays[kept])


def test_global_pruning_ranks_both_layers_together(arrays):
    _, mask = compress.pruned(arrays, 0.5, scope="global")
    w = np.concatenate([np.ravel(arrays[k]) for k in ("W1", "w2")])
    alive = np.concatenate([np.ravel(mask[k]) for k in ("W1", "w2")]) == 1
    assert np.abs(w[~alive]).max() < np.abs(w[alive]).min()


def test_units_drop_what_contributes_least(arrays):
    weak = dict(arrays, w2=arrays["w2"].copy())
    weak["w2"][[3, 40]] = 1e-6
    smaller, mask = compress.fewer_units(weak, 62)
    left = np.delete(np.arange(64), [3, 40])
    np.testing.assert_array_equal(smaller["W1"], weak["W1"][left])
    np.testing.assert_array_equal(smaller["w2"], weak["w2"][left])
    assert mask["W1"].shape == (62, 28)
    with pytest.raises(ValueError, match="1 to 64 hidden units, not 65"):
        compress.fewer_units(arrays, 65)


@pytest.mark.parametrize("clip", ["max", "mse"])
def test_int8_weights_are_within_half_a_step(arrays, clip):
    student, W1 = quantize.weight_only(arrays, clip=clip), quantize.merged(arrays)[0]
    step = student.s1.astype(np.float32)[:, None]
    inside = np.abs(W1) <= 127 * step
    error = np.abs(student.W1 * step - W1)
    assert clip == "mse" or inside.all()
    assert (error[inside] <= 0.5001 * np.broadcast_to(step, error.shape)[inside]).all()
    assert abs(student.W1.astype(int)).max() == 127
    assert student.W1.dtype == student.w2.dtype == np.int8


def test_the_best_scale_of_a_row_beats_its_maximum(arrays):
    def error(clip):
        q = quantize.weight_only(arrays, clip=clip)
        W1 = quantize.merged(arrays)[0]
        return np.square(q.W1 * q.s1.astype(np.float32)[:, None] - W1).sum(1)

    assert (error("mse") <= error("max")).all()
    assert error("mse").sum() < 0.97 * error("max").sum()
    with pytest.raises(ValueError, match="'max' or 'mse', not 'kl'"):
        quantize.weight_only(arrays, clip="kl")


def test_an_empty_row_stays_empty(arrays):
    silent = dict(arrays, W1=arrays["W1"].copy())
    silent["W1"][7] = 0
    student = quantize.weight_only(silent)
    assert not student.W1[7].any()
    assert np.isfinite(student.s1).all()


def test_int8_logits_stay_close(arrays, X):
    exact = compress.logits(arrays, X)
    spread = exact.std()
    for student, bound in (
        (quantize.weight_only(arrays), 0.012),
        (quantize.static(arrays, X), 0.018),
        (quantize.static(arrays, X, hidden=100), 0.018),
        (quantize.dynamic(arrays), 0.04),
    ):
        error = np.sqrt(np.square(compress.logits(student, X) - exact).mean())
        assert 0 < error < bound * spread


def test_mse_calibration_is_the_best_of_the_fixed_scales(arrays, X):
    exact = compress.logits(arrays, X)
    best = quantize.static(arrays, X)

    def error(student):
        return np.square(student.logits(X) - exact).mean()

    for percentile in (100, 99, 90):
        assert error(best) <= error(quantize.static(arrays, X, hidden=percentile))
    assert error(best) < error(replace(best, s_hidden=best.s_hidden * 2))


def test_static_is_integer_arithmetic_row_by_row(arrays, X):
    student = quantize.static(arrays, X)
    logits = student.logits(X[:40])
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, reference(student, X[:40]))
    alone = [student.logits(row[None])[0] for row in X[:40]]
    np.testing.assert_array_equal(logits, alone)


def test_dynamic_leaves_torch_as_it_was_and_says_nothing(arrays):
    before = torch.backends.quantized.engine
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = quantize.dynamic(arrays)
    assert torch.backends.quantized.engine == before
    assert "DynamicQuantizedLinear" in str(net)


@pytest.fixture(scope="module")
def lesson(arrays, X):
    """A teacher unlike the student, and a loss that follows it."""
    teacher = torch.tensor(3 * X[:, 0] * X[:, 1] - X[:, 2])

    def loss(z, rows):
        return bce(z, torch.sigmoid(teacher[rows]))

    def distance(student):
        with torch.no_grad():
            z = torch.as_tensor(student.logits(X))
            return float(bce(z, torch.sigmoid(teacher)))

    return loss, distance


@pytest.mark.parametrize("learn_scales", [True, False])
def test_qat_learns_keeps_zeros_and_repeats(arrays, X, lesson, learn_scales):
    loss, distance = lesson
    pruned, mask = compress.pruned(arrays, 0.5, scope="first")

    def run(seed):
        return quantize.qat(
            pruned, X, loss, epochs=8, batch=64, seed=seed, learn_scales=learn_scales
        )

    first, again, other = run(0), run(0), run(1)
    before = quantize.static(pruned, X)
    assert distance(first) < 0.7 * distance(before)
    assert not first.W1[mask["W1"] == 0].any()
    np.testing.assert_array_equal(first.logits(X), again.logits(X))
    assert (first.logits(X) != other.logits(X)).any()
    assert (first.s1 == before.s1).all() != learn_scales
    np.testing.assert_array_equal(first.logits(X[:9]), reference(first, X[:9]))


def test_qat_trains_on_the_device_s_own_bits(arrays, X):
    """The last loss is computed from the logits that the result computes."""
    seen = {}

    def loss(z, rows):
        seen[len(seen)] = z.detach().numpy().copy()
        return (0 * z).sum()

    student = quantize.qat(arrays, X, loss, epochs=1, batch=len(X))
    np.testing.assert_array_equal(np.sort(seen[0]), np.sort(student.logits(X)))


def test_qat_returns_the_best_epoch_or_the_start(arrays, X, lesson):
    loss, distance = lesson
    scores = []

    def validate(student):
        scores.append(-distance(student))
        return scores[-1]

    best = quantize.qat(arrays, X, loss, epochs=4, batch=64, lr=0.05, validate=validate)
    assert len(scores) == 5
    assert -distance(best) == max(scores)
    start = quantize.qat(
        arrays, X, loss, epochs=2, validate=lambda q: -q.W1[0, 0] * 0.0
    )
    np.testing.assert_array_equal(start.W1, quantize.static(arrays, X).W1)


def test_sizes_are_plural(arrays, X):
    dense = compress.size(arrays)
    published = compress.size(compress.pruned(arrays, 0.5, scope="layer").arrays)
    dynamic = compress.size(quantize.dynamic(arrays))
    int8 = compress.size(quantize.static(arrays, X))
    assert dense[:3] == (1921, 1921, 7684)
    assert published[:3] == (1921, 993, 7684)
    assert dense.file_bytes == pytest.approx(9680, rel=0.05)
    assert dynamic.file_bytes == pytest.approx(5776, rel=0.05)
    assert published.file_bytes == dense.file_bytes  # zeros are stored like any number
    assert published.gzip_bytes < 0.75 * dense.gzip_bytes
    assert int8.params == dynamic.params == 1921
    assert int8.raw_bytes == 64 * 28 + 64 + 64 * 4 + 4 * 4
    assert int8.raw_bytes < dynamic.raw_bytes < dense.raw_bytes
    assert int8.gzip_bytes < int8.file_bytes
    assert compress.size(arrays) == dense
    smaller = compress.size(compress.fewer_units(arrays, 32).arrays)
    assert smaller.params == 28 * 32 + 32 + 32 + 1


def test_one_wild_cell_moves_its_neighbours_only_where_scales_follow_the_batch(arrays):
    X = np.random.default_rng(2).normal(0, 1, (300, 28)).astype(np.float32)
    threshold = float(np.median(compress.logits(arrays, X)))

    def wild(student, value):
        return compress.wild_cell(
            lambda batch: compress.logits(student, batch),
            X,
            row=5,
            column=3,
            value=value,
            threshold=threshold,
        )

    dynamic = quantize.dynamic(arrays)
    assert 0 < wild(dynamic, 100).moved < wild(dynamic, 1000).moved <= 1
    assert wild(dynamic, 1000).largest > 0.5
    assert wild(quantize.static(arrays, X), 1000) == (0, 0)
    assert wild(quantize.weight_only(arrays), 1000) == (0, 0)
    assert wild(arrays, 1000) == (0, 0)

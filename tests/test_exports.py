"""A student in other runtimes: the same logits from ONNX and from C."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from kdutils.deploy import __main__ as deploy
from kdutils.deploy import bundle, cheader, onnxfile
from kdutils.deploy.prepare import Prepare
from kdutils.deploy.runtime import Int8

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
ROOT = Path(__file__).parents[1]
D, HIDDEN = 28, 64
FEATURES = tuple(f"reading_{i:02d}" for i in range(D))
HOSTILE = ('*/ int x; /*"', "a\\", "new\nline", "Öl 5 µA ??/", '%s"); //', "\0 nul")
COMPILER = next((cc for cc in ("cc", "gcc", "clang") if shutil.which(cc)), None)
C_FLAGS = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]
DRIVER = """
#include <stdio.h>
#include "student.h"

int main(void)
{
    float x[KD_FEATURES], z;
    int k;
    for (k = 0; k < KD_GOLDEN; k++)
        if (kd_logit(KD_GOLDEN_X[k]) != KD_GOLDEN_Z[k])
            return 1;
    while (fread(x, sizeof x, 1, stdin) == 1) {
        z = kd_logit(x);
        fwrite(&z, sizeof z, 1, stdout);
        fputc(z > KD_THRESHOLD, stdout);
    }
    return 0;
}
"""
SPELLED = """
#include <stdio.h>
#include "student.h"

int main(void)
{
    int i;
    fwrite(KD_MODEL, sizeof KD_MODEL, 1, stdout);
    fwrite(KD_FAIL, sizeof KD_FAIL, 1, stdout);
    for (i = 0; i < KD_FEATURES; i++)
        printf("%s|%s|", KD_NAMES[i], KD_UNITS[i]);
    return (kd_logit(KD_GOLDEN_X[0]) != KD_GOLDEN_Z[0]) + !*KD_PASS;
}
"""


def static(d: int = D, hidden: int = HIDDEN, seed: int = 0) -> Int8:
    """A student whose activations use their whole range."""
    rng = np.random.default_rng(seed)
    return Int8(
        W1=rng.integers(-127, 128, (hidden, d)).astype(np.int8),
        s1=(2.0 ** (-rng.integers(130, 150, hidden) / 16)).astype(np.float16),
        b1=rng.normal(0, 0.2, hidden).astype(np.float16),
        w2=rng.choice([-1, 1], hidden).astype(np.int8),
        s2=np.float32(1),
        b2=np.float32(0.3),
        s_in=np.float32(3 / 127),
        s_hidden=np.float32(0.01),
    )


def weights(seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    arrays = {"W1": (HIDDEN, D), "b1": HIDDEN, "w2": HIDDEN, "b2": ()}
    return {k: np.float32(rng.normal(0, 0.2, size)) for k, size in arrays.items()}


def halves() -> Int8:
    """A student whose hidden activations often lie between two integers."""
    scales = {"s_in": 2.0**-5, "s_hidden": 1.0, "s2": 0.01}
    return replace(
        static(seed=4),
        s1=np.full(HIDDEN, 0.25, np.float16),
        b1=np.zeros(HIDDEN, np.float16),
        **{name: np.float32(scale) for name, scale in scales.items()},
    )


STUDENTS = {"static": static(), "halves": halves()}
STUDENTS |= {"coarse inputs": replace(static(seed=2), s_in=np.float32(0.02))}
STUDENTS |= {"weight-only": replace(static(seed=3), s_in=None, s_hidden=None)}
STUDENTS |= {"fp32": weights()}
ONLY_STATIC = [name for name, of in STUDENTS.items() if getattr(of, "s_in", None)]


def bundled(student, features: tuple[str, ...] = FEATURES, **named) -> bundle.Bundle:
    """The student from a file's bytes; named: of its schema."""
    d, rng = len(features), np.random.default_rng(5)
    center = (400 * 10.0 ** rng.integers(-3, 4, d)).astype(np.float32)
    prepare = Prepare(np.arange(d), features, center, np.float32(10) / center)
    schema = bundle.Schema(**{"units": ("mV",) * d, "id": "a1b2"} | named)
    return bundle.loads(bundle.packed(student, prepare, 0.25, schema), "a file")


def floats(student, Z: np.ndarray) -> np.ndarray:
    """Logits in float64 of the weights times their scales."""
    if isinstance(student, Int8):
        W1 = student.W1 * student.s1.astype(float)[:, None]
        student = vars(student) | {"W1": W1, "w2": student.w2 * float(student.s2)}
    W1, b1, w2, b2 = (np.asarray(student[k], float) for k in ("W1", "b1", "w2", "b2"))
    return np.maximum(Z.astype(float) @ W1.T + b1, 0) @ w2 + b2


def readings(made, n: int, seed: int) -> np.ndarray:
    """Raw readings, usual ones and such as a tester should never send."""
    rng = np.random.default_rng(seed)
    prepare = made.prepare
    X = prepare.center + rng.standard_t(2, (n, len(prepare.center))) / prepare.scale
    X = X.astype(np.float32)
    odd = np.array([np.nan, np.inf, -np.inf, 1e30, -3.4e38, 3.4e38, 0, -0.0, 1e-44])
    places = rng.random(X.shape) < 0.05
    X[places] = rng.choice(odd, places.sum())
    X[0], X[1], X[2] = np.nan, np.inf, -np.inf
    return X


def run(model: bytes, X: np.ndarray, level: str = "ORT_ENABLE_ALL") -> list[np.ndarray]:
    """What onnxruntime makes of readings: logit and fail."""
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, level)
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = runtime.InferenceSession(model, options, ["CPUExecutionProvider"])
    return session.run(["logit", "fail"], {"readings": X})


@pytest.mark.parametrize("n", [1, 1000])
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("fp32", onnxfile.exact),
        ("weight-only", onnxfile.exact),
        ("weight-only", onnxfile.qdq),
    ],
)
def test_float_activations_are_float_arithmetic_on_raw_readings(name, write, n):
    made = bundled(STUDENTS[name])
    X = readings(made, 1000, seed=7)[-n:]
    logit, fail = run(write(made), X)
    assert (logit.dtype, fail.dtype) == (np.float32, np.bool_)
    with np.errstate(over="ignore"):
        expected = floats(made.student, made.prepare.transform(X))
    np.testing.assert_allclose(logit, expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(fail, logit > made.threshold)


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
@pytest.mark.parametrize("name", [*ONLY_STATIC, "wide"])
def test_onnx_gives_the_same_bits(name, level):
    made = bundled((STUDENTS | {"wide": static(hidden=500)})[name])
    X = readings(made, 1000, seed=12)
    logit, fail = run(deploy.export(made, "onnx"), X, level)
    expected = made.score(X)
    np.testing.assert_array_equal(logit.view("<u4"), expected.view("<u4"))
    np.testing.assert_array_equal(fail, expected > made.threshold)
    assert 0.05 < fail.mean() < 0.95
    alone = [run(onnxfile.exact(made), X[i : i + 1], level)[0][0] for i in (0, 1, 9)]
    assert alone == [*expected[[0, 1, 9]]]


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
@pytest.mark.parametrize("name", ONLY_STATIC)
def test_qdq_is_int8_arithmetic_but_for_a_step(name, level):
    made = bundled(STUDENTS[name])
    X = readings(made, 1000, seed=8)
    logit, fail = run(onnxfile.qdq(made), X, level)
    expected = made.score(X)
    step = float(made.student.s_hidden * made.student.s2)
    off = np.abs(logit - expected)
    assert off.max() <= 2.01 * step and (off < 1e-5).mean() >= 0.95
    sure = np.abs(expected - made.threshold) > 2.01 * step
    assert sure.mean() > 0.9 and 0.05 < fail.mean() < 0.95
    np.testing.assert_array_equal(fail[sure], (expected > made.threshold)[sure])
    alone = [run(onnxfile.qdq(made), X[i : i + 1], level)[0][0] for i in (0, 1, 9)]
    np.testing.assert_allclose(alone, logit[[0, 1, 9]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("write", [onnxfile.exact, onnxfile.qdq])
@pytest.mark.parametrize("name", ["static", "weight-only"])
def test_an_onnx_model_is_valid_and_says_whose_it_is(name, write):
    student = replace(STUDENTS[name], W1=static(6).W1)
    made = bundled(student, HOSTILE, id=HOSTILE[0])
    data = write(made)
    model = onnx.load_model_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert tuple(json.loads(said["features"])) == HOSTILE
    assert json.loads(said["units"]) == ["mV"] * len(HOSTILE)
    assert json.loads(said["classes"]) == ["pass", "fail"]
    assert (said["id"], float(said["threshold"])) == (HOSTILE[0], 0.25)
    assert data == write(made)


def test_qdq_holds_the_weights_in_eight_bits():
    model = onnx.load_model_from_string(onnxfile.qdq(bundled(static())))
    kept = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    np.testing.assert_array_equal(kept["W1"], static().W1.T)
    assert kept["W1"].dtype == kept["w2"].dtype == np.int8
    made = [node.op_type for node in model.graph.node]
    assert (made.count("QuantizeLinear"), made.count("DequantizeLinear")) == (2, 4)


def compiled(tmp_path: Path, made, source: str, *flags: str) -> list[str]:
    """The command of a C program around a student's header."""
    if COMPILER is None:
        pytest.skip("no C compiler on this machine: neither cc nor gcc nor clang")
    (tmp_path / "student.h").write_text(cheader.header(made), "ascii")
    (tmp_path / "main.c").write_text(source)
    files = [str(tmp_path / "main.c"), "-o", str(tmp_path / "main"), "-lm"]
    subprocess.run([COMPILER, *C_FLAGS, *flags, *files], check=True)
    return [str(tmp_path / "main")]


@pytest.mark.parametrize("optimise", ["-O0", "-O3"])
@pytest.mark.parametrize("name", ONLY_STATIC)
def test_c_gives_the_same_bits(tmp_path, name, optimise):
    made = bundled(STUDENTS[name])
    program = compiled(tmp_path, made, DRIVER, optimise)
    X = readings(made, 3000, seed=10)
    said = subprocess.run(program, input=X.tobytes(), capture_output=True)
    assert said.returncode == 0, "a golden vector"
    rows = np.frombuffer(said.stdout, [("z", "<f4"), ("fail", "u1")])
    expected = made.score(X)
    np.testing.assert_array_equal(rows["z"].view("<u4"), expected.view("<u4"))
    np.testing.assert_array_equal(rows["fail"], expected > made.threshold)
    assert 0.05 < rows["fail"].mean() < 0.95


def test_c_refuses_a_wrong_golden_vector_and_fast_math(tmp_path):
    made = bundled(static())
    X, z = made.golden
    other = replace(made, golden=(X, np.nextafter(z, np.float32(9))))
    assert subprocess.run(compiled(tmp_path, other, DRIVER), input=b"").returncode == 1
    with pytest.raises(subprocess.CalledProcessError):
        compiled(tmp_path, made, DRIVER, "-ffast-math")
    text = cheader.header(replace(made, golden=None))
    assert "#define KD_GOLDEN 0\n" in text and "KD_GOLDEN_X[" not in text


@pytest.mark.parametrize(("d", "hidden"), [(1, 1), (3, 5), (6, 17)])
def test_c_of_other_sizes(tmp_path, d, hidden):
    made = bundled(static(d, hidden), FEATURES[:d])
    X = readings(made, 200, seed=11)
    program = compiled(tmp_path, made, DRIVER, "-O2")
    said = subprocess.run(program, input=X.tobytes(), capture_output=True, check=True)
    rows = np.frombuffer(said.stdout, [("z", "<f4"), ("fail", "u1")])
    np.testing.assert_array_equal(rows["z"].view("<u4"), made.score(X).view("<u4"))


def test_c_spells_hostile_names(tmp_path):
    named = {"id": HOSTILE[0], "classes": ("ok", HOSTILE[3])}
    made = bundled(static(6), HOSTILE, units=(*HOSTILE[1:], "V"), **named)
    program = compiled(tmp_path, made, SPELLED, "-O1")
    said = subprocess.run(program, capture_output=True, check=True).stdout.decode()
    pairs = zip(HOSTILE, made.units, strict=True)
    listed = "".join(f"{text.split(chr(0))[0]}|" for pair in pairs for text in pair)
    assert said == f"{HOSTILE[0]}\0{HOSTILE[3]}\0{listed}"


def test_the_kernel_is_short_and_the_header_needs_two_headers():
    text = cheader.header(bundled(static()))
    start = text.index("static float kd_logit(const float readings[KD_FEATURES])\n{")
    assert text[start : text.index("\n}\n", start) + 2].count("\n") < 40
    assert re.findall(r"#include <(.*)>", text) == ["math.h", "stdint.h"]
    assert not re.search(r"\b(malloc|calloc|free|double)\b", text)


@pytest.mark.parametrize(
    ("student", "words"),
    [
        (weights(), "fixed activation scales"),
        (STUDENTS["weight-only"], "fixed activation scales"),
        (replace(static(), w2=np.full(HIDDEN, 3, np.int8)), "-1 and 1"),
        (static(hidden=0), "hidden unit"),
        (replace(static(), b2=np.float32("nan")), "b2"),
    ],
)
def test_a_student_that_is_not_for_c(student, words):
    with pytest.raises(ValueError, match=words):
        cheader.header(replace(bundled(static()), student=student))


def filed(tmp_path, student) -> Path:
    """The student's file, as the command line reads it."""
    made, path = bundled(student), tmp_path / "student.file"
    path.write_bytes(bundle.packed(made.student, made.prepare, 0.25, made.schema))
    return path


@pytest.mark.parametrize(
    ("to", "write"),
    [("onnx", onnxfile.exact), ("onnx-int8", onnxfile.qdq), ("c", cheader.header)],
)
def test_the_command_line(tmp_path, capsys, to, write):
    path, out = filed(tmp_path, static()), tmp_path / "new" / "student"
    assert deploy.main(["export", str(path), "--to", to, "-o", str(out)]) == 0
    expected = write(bundle.load(path))
    assert out.read_bytes() == (expected.encode() if to == "c" else expected)
    assert [path.name for path in out.parent.iterdir()] == ["student"]
    said = f"{out}: {len(expected):,} bytes; {deploy.FORMATS[to]}\n"
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("to", "out", "words"),
    [
        ("onnx-int8", "o", "no int8 weights"),
        ("c", "o", "fixed activation"),
        ("onnx", ".", "is a folder"),
    ],
)
def test_the_command_line_says_no(tmp_path, capsys, to, out, words):
    path, out = filed(tmp_path, weights()), str(tmp_path / out)
    assert deploy.main(["export", str(path), "--to", to, "-o", out]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and not said.out
    assert [*tmp_path.iterdir()] == [path]


def test_c_needs_numpy_alone():
    code = """
import sys
for name in ("onnx", "onnxruntime", "torch", "sklearn", "pandas", "scipy"):
    sys.modules[name] = None
from kdutils.deploy import __main__ as deploy
try:
    deploy.export(None, "onnx")
except ValueError as problem:
    print(problem)
"""
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert said.stdout.startswith("an ONNX model needs the package onnx"), said.stderr

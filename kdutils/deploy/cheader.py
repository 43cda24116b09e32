"""cheader: a static int8 student as one C99 header.

The header holds constant arrays, one function and golden vectors; it allocates nothing
and needs <math.h> and <stdint.h> alone. A float is written in hexadecimal, so that no
compiler rounds it. The function repeats `prepare.squash` and `int8.Int8.logits`
operation by operation and gives their logits bit for bit, as long as the compiler
neither fuses a product with a sum (-ffp-contract=off) nor reorders (-ffast-math). W1
lies transposed, so that compilers can vectorise the innermost loop.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from kdutils.deploy.prepare import LIMIT
from kdutils.deploy.runtime import Int8

OPENING = """\
/* One student: raw readings in, one logit out; fail if it is above KD_THRESHOLD.

   kd_logit() reads KD_FEATURES readings in the order of KD_NAMES and in the units of
   KD_UNITS; NAN is a missing reading, an infinite one is allowed. Compile with
   -ffp-contract=off, without -ffast-math, floats computed as floats (on 32-bit x86:
   -msse2 -mfpmath=sse), and it gives the KD_GOLDEN logits KD_GOLDEN_Z of the readings
   KD_GOLDEN_X bit for bit. C99; written by kdutils. */
#ifndef KD_STUDENT_H
#define KD_STUDENT_H

#include <math.h>
#include <stdint.h>

#ifdef __FAST_MATH__
#error "kd_logit: -ffast-math would change its logits"
#endif
"""

KERNEL = """\
static float kd_logit(const float readings[KD_FEATURES])
{
    int32_t sum[KD_HIDDEN] = {0}, total = 0;
    int i, j;

    for (i = 0; i < KD_FEATURES; i++) {
        float z = (readings[i] - KD_CENTER[i]) * KD_SCALE[i];
        int8_t x;
        if (isnan(z)) {
            z = 0.0f;
        } else if (fabsf(z) > 1e18f) {
            z = z > 0.0f ? KD_LIMIT : -KD_LIMIT;
        } else {
            const float t = z / KD_LIMIT;
            z = z / sqrtf(1.0f + t * t);
        }
        z = rintf(z / KD_S_IN); /* halves to even */
        x = (int8_t)(z < -127.0f ? -127.0f : z > 127.0f ? 127.0f : z);
        for (j = 0; j < KD_HIDDEN; j++)
            sum[j] += KD_W1[i][j] * x;
    }
    for (j = 0; j < KD_HIDDEN; j++) {
        float h = rintf(((float)sum[j] * KD_S1[j] + KD_B1[j]) / KD_S_HIDDEN);
        h = h < 0.0f ? 0.0f : h > 255.0f ? 255.0f : h; /* the ReLU */
        total += KD_W2[j] > 0 ? (int32_t)h : -(int32_t)h;
    }
    return (float)total * KD_S2 + KD_B2;
}

#endif
"""


def header(bundle) -> str:
    """The text of the header of a `bundle.Bundle`: ASCII, whatever the names hold.

    ValueError if the student is not int8 with fixed activation scales and output
    weights of -1 and 1 alone, has no hidden unit, or holds a number that is not finite.
    """
    student, prepare = bundle.student, bundle.prepare
    _check(student, prepare)
    s_in, s_hidden = np.float32(student.s_in), np.float32(student.s_hidden)
    hidden, d = student.W1.shape
    readings, logits = (np.asarray(a, np.float32) for a in bundle.golden or ((), ()))
    lines = [
        OPENING,
        f"#define KD_FEATURES {d}",
        f"#define KD_HIDDEN {hidden}",
        f"#define KD_GOLDEN {len(logits)}",
        f"#define KD_MODEL {_string(bundle.id)}",
        f"#define KD_PASS {_string(bundle.classes[0])}",
        f"#define KD_FAIL {_string(bundle.classes[1])}",
        f"#define KD_THRESHOLD ({_float(bundle.threshold)})",
        f"#define KD_LIMIT {_float(LIMIT)}",
        f"#define KD_S_IN {_float(s_in)}",
        f"#define KD_S_HIDDEN {_float(s_hidden)}",
        f"#define KD_S2 {_float(s_hidden * np.float32(student.s2))}",
        f"#define KD_B2 ({_float(student.b2)})",
        "",
        *_array("char *const KD_NAMES[KD_FEATURES]", map(_string, bundle.features)),
        *_array("char *const KD_UNITS[KD_FEATURES]", map(_string, bundle.units)),
        *_array("float KD_CENTER[KD_FEATURES]", map(_float, prepare.center)),
        *_array("float KD_SCALE[KD_FEATURES]", map(_float, prepare.scale)),
        *_array("int8_t KD_W1[KD_FEATURES][KD_HIDDEN]", map(_integers, student.W1.T)),
        *_array(
            "float KD_S1[KD_HIDDEN]", map(_float, student.s1.astype(np.float32) * s_in)
        ),
        *_array("float KD_B1[KD_HIDDEN]", map(_float, student.b1)),
        *_array("int8_t KD_W2[KD_HIDDEN]", map(str, student.w2.tolist())),
    ]
    if len(logits):
        lines += _array(
            "float KD_GOLDEN_X[KD_GOLDEN][KD_FEATURES]",
            ("{" + ", ".join(map(_float, row)) + "}" for row in readings),
        )
        lines += _array("float KD_GOLDEN_Z[KD_GOLDEN]", map(_float, logits))
    return "\n".join([*lines, "", KERNEL])


def _check(student, prepare) -> None:
    """ValueError unless the kernel can compute this student."""
    if not isinstance(student, Int8) or student.s_in is None:
        raise ValueError(
            "a C header needs an int8 student with fixed activation scales (static)"
        )
    if not student.W1.size:
        raise ValueError("a C header needs a student with at least one hidden unit")
    if not np.isin(student.w2, (-1, 1)).all():
        raise ValueError("a C header needs output weights of -1 and 1 alone")
    parts = {name: getattr(student, name) for name in ("s1", "b1", "s2", "b2")}
    parts |= {"s_in": student.s_in, "s_hidden": student.s_hidden}
    parts |= {"center": prepare.center, "scale": prepare.scale}
    for name, values in parts.items():
        if not np.isfinite(values).all():
            raise ValueError(f"a C header needs finite numbers, {name} holds others")


def _float(value: float) -> str:
    """A float32 as a C99 literal, exactly."""
    value = np.float32(value)
    if np.isnan(value):
        return "NAN"
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    digits, exponent = float(value).hex().split("p")
    return f"{digits.rstrip('0').rstrip('.')}p{exponent}f"


def _string(text: str) -> str:
    """A C string literal of the UTF-8 bytes of `text`: nothing in it ends it."""
    plain = {byte: chr(byte) for byte in range(32, 127)}
    plain |= {byte: f"\\{chr(byte)}" for byte in b'"\\?'}  # ??/ is a trigraph
    return '"' + "".join(plain.get(b, f"\\{b:03o}") for b in text.encode()) + '"'


def _integers(row: np.ndarray) -> str:
    return "{" + ", ".join(map(str, row.tolist())) + "}"


def _array(declaration: str, items: Iterable[str]) -> list[str]:
    """`static const declaration = {items};`, one item a line."""
    return [f"static const {declaration} = {{", *(f"    {i}," for i in items), "};"]

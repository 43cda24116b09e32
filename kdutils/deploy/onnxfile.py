"""onnxfile: a student as an ONNX model, from raw readings to a verdict.

The models take "readings" float32 (n, d) in the order of the bundle's features, NaN
where a reading is missing, and give "logit" float32 (n,) and "fail" bool (n,). Scaler
and `prepare.squash` are in the graph. The metadata hold `features`, `units` and
`classes` as JSON lists, `id` and `threshold`.
"""

from __future__ import annotations

import json

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from kdutils import __version__
from kdutils.deploy.int8 import Int8
from kdutils.deploy.prepare import LIMIT

# The oldest that has every operator used here: the most runtimes read it.
OPSET, IR_VERSION = 17, 8
# squash((+-)FAR) is LIMIT exactly, and FAR squared is still a float32.
FAR = np.float32(LIMIT * 2.0**58)


def fp32(bundle) -> bytes:
    """The student of a `bundle.Bundle` in float32 arithmetic.

    An int8 student's weights are multiplied by their scales; nothing else is rounded,
    so its logits are not those of `Int8.logits` but of the student before rounding
    activations.
    """
    W1, b1, w2, b2 = _floats(bundle.student)
    graph = _Graph()
    z = _prepared(graph, bundle.prepare)
    hidden = graph.add("Gemm", z, graph.put("W1", W1), graph.put("b1", b1), transB=1)
    hidden = graph.add("Relu", hidden)
    logit = graph.add("MatMul", hidden, graph.put("w2", w2[:, None]))
    return _model(graph, bundle, graph.add("Add", logit, graph.put("b2", b2)))


def exact(bundle) -> bytes:
    """A static int8 student as the device computes it, in float32 operations.

    They are those of `Int8.logits`, in its order, on whole numbers where it has
    integers: sums below 2^24 (up to 1,040 readings) are exact in any order, so logits
    and verdicts are the same to the bit. Other students: `fp32`, whose float sums a
    runtime may round in another order.
    """
    student = bundle.student
    if not isinstance(student, Int8) or student.s_in is None:
        return fp32(bundle)
    graph = _Graph()

    def put(name: str, values) -> str:
        return graph.put(name, np.asarray(values, np.float32))

    def rounded(value: str, name: str, scale, low: int, high: int) -> str:
        whole = graph.add("Round", graph.add("Div", value, put(f"s_{name}", scale)))
        ends = put(f"{name}_low", low), put(f"{name}_high", high)
        return graph.add("Clip", whole, *ends)

    x = rounded(_prepared(graph, bundle.prepare), "in", student.s_in, -127, 127)
    hidden = graph.add("MatMul", x, put("W1", student.W1.T))
    s1 = student.s1.astype(np.float32) * student.s_in
    hidden = graph.add("Mul", hidden, put("s1", s1))
    hidden = graph.add("Add", hidden, put("b1", student.b1))
    h = rounded(hidden, "hidden", student.s_hidden, 0, 255)
    signed = graph.add("Mul", h, put("w2", student.w2))
    # Not MatMul: onnxruntime would fuse it with the scale and round in between.
    last = graph.put("units", np.array([1], np.int64))
    logit = graph.add("ReduceSum", signed, last, keepdims=1)
    logit = graph.add("Mul", logit, put("s2", student.s_hidden * student.s2))
    return _model(graph, bundle, graph.add("Add", logit, put("b2", student.b2)))


def qdq(bundle) -> bytes:
    """The int8 student of a `bundle.Bundle` with quantized weights and activations.

    Weights are int8 with a scale per hidden unit, prepared readings int8, hidden
    activations uint8, each behind a DequantizeLinear and each activation behind a
    QuantizeLinear too, the pattern that runtimes fuse. The operations are those of
    `Int8.logits` in its order, but not to the bit: onnxruntime fuses b1 as an int32,
    and a runtime that fuses nothing sums floats, so that a hidden activation now and
    then rounds to its neighbour and a logit moves by s_hidden * s2. On x86 without VNNI
    onnxruntime's int8 products saturate unless its session has the configuration entry
    "session.x64quantprecision" at "1".
    Weights alone are quantized if the student has no activation scales. ValueError for
    a float32 student: it has no int8 weights.
    """
    student = bundle.student
    if not isinstance(student, Int8):
        raise ValueError("a float32 student has no int8 weights: export it as fp32")
    graph = _Graph()
    z = _prepared(graph, bundle.prepare)
    if student.s_in is not None:
        top = np.float32(127) * np.float32(student.s_in)
        z = graph.add("Clip", z, graph.put("lowest", -top), graph.put("highest", top))
        z = _rounded(graph, z, "in", student.s_in, np.int8)
    W1 = _weights(graph, "W1", student.W1.T, student.s1.astype(np.float32), axis=1)
    b1 = graph.put("b1", student.b1.astype(np.float32))
    hidden = graph.add("Relu", graph.add("Add", graph.add("MatMul", z, W1), b1))
    if student.s_in is not None:
        hidden = _rounded(graph, hidden, "hidden", student.s_hidden, np.uint8)
    w2 = _weights(graph, "w2", student.w2[:, None], np.float32(student.s2))
    logit = graph.add("MatMul", hidden, w2)
    b2 = graph.put("b2", np.float32(student.b2))
    return _model(graph, bundle, graph.add("Add", logit, b2))


class _Graph:
    """Nodes and constants in the order in which they were named."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def add(self, op: str, *inputs: str, output: str = "", **attributes) -> str:
        """One more node; returns the name of its output."""
        output = output or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def put(self, name: str, values: np.ndarray) -> str:
        """One more constant; returns its name."""
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name


def _floats(student) -> tuple[np.ndarray, ...]:
    """W1, b1, w2, b2 in float32, an int8 student's times their scales."""
    if isinstance(student, Int8):
        W1 = student.W1 * student.s1.astype(np.float32)[:, None]
        parts = W1, student.b1, student.w2 * student.s2, student.b2
    else:
        parts = (student[name] for name in ("W1", "b1", "w2", "b2"))
    return tuple(np.asarray(part, np.float32) for part in parts)


def _prepared(graph: _Graph, prepare) -> str:
    """Raw readings as `Prepare.transform` has them: 0 where missing, else squashed."""
    center = graph.put("center", np.asarray(prepare.center, np.float32))
    scale = graph.put("scale", np.asarray(prepare.scale, np.float32))
    z = graph.add("Mul", graph.add("Sub", "readings", center), scale)
    z = graph.add("Where", graph.add("IsNaN", z), graph.put("zero", np.float32(0)), z)
    z = graph.add("Clip", z, graph.put("-far", -FAR), graph.put("far", FAR))
    share = graph.add("Div", z, graph.put("limit", np.float32(LIMIT)))
    square = graph.add("Mul", share, share)
    root = graph.add("Sqrt", graph.add("Add", square, graph.put("one", np.float32(1))))
    return graph.add("Div", z, root)


def _rounded(graph: _Graph, value: str, name: str, scale: float, dtype: type) -> str:
    """An activation through eight bits and back."""
    pair = (
        graph.put(f"s_{name}", np.float32(scale)),
        graph.put(f"zero_{name}", np.zeros((), dtype)),
    )
    quantized = graph.add("QuantizeLinear", value, *pair)
    return graph.add("DequantizeLinear", quantized, *pair)


def _weights(
    graph: _Graph, name: str, values: np.ndarray, scale: np.ndarray, **axis
) -> str:
    """int8 weights, dequantized in the graph."""
    return graph.add(
        "DequantizeLinear",
        graph.put(name, np.ascontiguousarray(values)),
        graph.put(f"s_{name}", scale),
        graph.put(f"zero_{name}", np.zeros(np.shape(scale), np.int8)),
        **axis,
    )


def _model(graph: _Graph, bundle, logit: str) -> bytes:
    """The whole file; `logit` names what has shape (n, 1)."""
    threshold = np.float32(bundle.threshold)
    last = graph.put("last_axis", np.array([1], np.int64))
    logit = graph.add("Squeeze", logit, last, output="logit")
    graph.add("Greater", logit, graph.put("threshold", threshold), output="fail")
    made, FLOAT = helper.make_tensor_value_info, TensorProto.FLOAT
    whole = helper.make_graph(
        graph.nodes,
        "student",
        [made("readings", FLOAT, ["n", len(bundle.features)])],
        [
            made("logit", TensorProto.FLOAT, ["n"]),
            made("fail", TensorProto.BOOL, ["n"]),
        ],
        graph.constants,
    )
    model = helper.make_model(
        whole,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="kdutils",
        producer_version=__version__,
    )
    texts = {
        "features": json.dumps(list(bundle.features)),
        "units": json.dumps(list(bundle.units)),
        "classes": json.dumps(list(bundle.classes)),
        "id": bundle.id,
        "threshold": repr(float(threshold)),
    }
    helper.set_model_props(model, texts)
    return model.SerializeToString(deterministic=True)

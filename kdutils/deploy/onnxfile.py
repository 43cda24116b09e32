"""onnxfile: a student as an ONNX model, from raw inputs to a verdict.

The models take "readings" float32 (n, d) in the order of the bundle's features, NaN
where a reading is missing, and give "logit" float32 (n,) and "fail" bool (n,). Scaler
and `prepare.squash` are in the graph. Of maps they take "maps" uint8 (n, side, side)
and give "logit" and "there", (n, classes). Of colour images they take "images" uint8
(n, 3, side, side) and give "logit" and "class" int64 (n,), from 0. The metadata hold
`features`, `units` and `classes` as JSON lists, `id` and `threshold`.
"""

from __future__ import annotations

import json

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from kdutils import __version__
from kdutils.deploy.bundle import Maps
from kdutils.deploy.prepare import LIMIT
from kdutils.deploy.runtime import Int8, Step

# The oldest that has every operator used here: the most runtimes read it.
OPSET, IR_VERSION = 17, 8
# squash((+-)FAR) is LIMIT exactly, and FAR squared is still a float32.
FAR = np.float32(LIMIT * 2.0**58)


def exact(bundle) -> bytes:
    """The steps of a `bundle.Bundle` as the device computes them, in float32.

    A static int8 student's are in the device's order, on whole numbers where it has
    integers: sums below 2^24 (up to 1,040 readings) are exact in any order, so logits
    and verdicts are the same to the bit. Of other students a runtime may round the
    float sums in another order.
    """
    graph, kept = _Graph(), []
    x = _input(bundle)
    for step in bundle.steps:
        if step.word == "keep":
            kept.append(x)
        elif step.word == "add":
            x = graph.add("Add", x, kept.pop())
        else:
            x = globals()[f"_{step.word}"](graph, x, step)
    return _model(graph, bundle, x)


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
        raise ValueError("this student has no int8 weights for onnx-int8: choose onnx")
    graph = _Graph()
    z = _squash(graph, "readings", bundle.steps[0])
    if student.s_in is not None:
        top = np.float32(127) * np.float32(student.s_in)
        z = graph.add("Clip", z, graph.put(-top), graph.put(top))
        z = graph.eight(z, student.s_in, np.int8)
    W1 = graph.weights("W1", student.W1.T, student.s1, axis=1)
    hidden = graph.add("Add", graph.add("MatMul", z, W1), graph.put(student.b1))
    hidden = graph.add("Relu", hidden)
    if student.s_in is not None:
        hidden = graph.eight(hidden, student.s_hidden, np.uint8)
    w2 = graph.weights("w2", student.w2[:, None], student.s2)
    logit = graph.add("MatMul", hidden, w2)
    return _model(graph, bundle, graph.add("Add", logit, graph.put(student.b2)))


class _Graph:
    """Nodes and constants in the order in which they were made."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def add(self, op: str, *inputs: str, output: str = "", **attributes) -> str:
        """One more node; returns the name of its output."""
        output = output or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def put(self, values, name: str = "", dtype: type = np.float32) -> str:
        """One more constant; returns its name."""
        name = name or f"constant_{len(self.constants)}"
        values = np.array(values, dtype, order="C")
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def eight(self, value: str, scale: float, dtype: type) -> str:
        """An activation through eight bits and back."""
        pair = self.put(scale), self.put(0, dtype=dtype)
        whole = self.add("QuantizeLinear", value, *pair)
        return self.add("DequantizeLinear", whole, *pair)

    def weights(self, name: str, values: np.ndarray, scale, **axis) -> str:
        """int8 weights, dequantized in the graph."""
        zero = self.put(np.zeros(np.shape(scale)), dtype=np.int8)
        held = self.put(values, name, np.int8), self.put(scale), zero
        return self.add("DequantizeLinear", *held, **axis)


def _squash(graph: _Graph, x: str, step: Step) -> str:
    """Raw readings as `Prepare.transform` has them: 0 where missing, else squashed."""
    z = graph.add("Mul", graph.add("Sub", x, graph.put(step.W)), graph.put(step.scale))
    z = graph.add("Where", graph.add("IsNaN", z), graph.put(0), z)
    z = graph.add("Clip", z, graph.put(-FAR), graph.put(FAR))
    share = graph.add("Div", z, graph.put(LIMIT))
    square = graph.add("Mul", share, share)
    root = graph.add("Sqrt", graph.add("Add", square, graph.put(1)))
    return graph.add("Div", z, root)


def _round(graph: _Graph, x: str, step: Step) -> str:
    whole = graph.add("Round", graph.add("Div", x, graph.put(step.scale)))
    return graph.add("Clip", whole, *map(graph.put, step.numbers))


def _linear(graph: _Graph, x: str, step: Step) -> str:
    W = np.asarray(step.W, np.float32)
    if step.W.ndim == 1 and step.scale is not None:
        # Not MatMul: onnxruntime would fuse it with the scale and round in between.
        signed = graph.add("Mul", x, graph.put(W))
        y = graph.add("ReduceSum", signed, graph.put([1], dtype=np.int64), keepdims=1)
    else:
        y = graph.add("MatMul", x, graph.put(np.atleast_2d(W).T))
    y = y if step.scale is None else graph.add("Mul", y, graph.put(step.scale))
    y = y if step.b is None else graph.add("Add", y, graph.put(step.b))
    return _closed(graph, y, step)


def _closed(graph: _Graph, y: str, step: Step) -> str:
    if step.numbers[-1] == 2:
        return graph.add("Clip", y, graph.put(0), graph.put(6))
    return graph.add("Relu", y) if step.numbers[-1] else y


def _planes(graph: _Graph, x: str, step: Step) -> str:
    x = graph.add("Cast", x, to=TensorProto.FLOAT)
    x = graph.add("Unsqueeze", x, graph.put([1], dtype=np.int64))
    if step.numbers == (1,):
        return graph.add("Div", x, graph.put(2))
    parts = (graph.add("Greater", x, graph.put(n)) for n in (0, 1))
    return graph.add("Cast", graph.add("Concat", *parts, axis=1), to=TensorProto.FLOAT)


def _colours(graph: _Graph, x: str, step: Step) -> str:
    x = graph.add("Cast", x, to=TensorProto.FLOAT)
    return graph.add("Div", graph.add("Sub", x, graph.put(128)), graph.put(64))


def _input(bundle) -> str:
    """What the model's input is called."""
    if not isinstance(bundle.student, Maps):
        return "readings"
    return "images" if bundle.student.colours else "maps"


def _conv(graph: _Graph, x: str, step: Step) -> str:
    k, stride, padding, *_ = step.numbers[-5:]
    alone = step.word == "each"
    W = step.W.transpose(2, 0, 1)[:, None] if alone else step.W.transpose(3, 2, 0, 1)
    inputs = [x, graph.put(W), *([] if step.b is None else [graph.put(step.b)])]
    how = {"kernel_shape": [k] * 2, "strides": [stride] * 2, "pads": [padding] * 4}
    y = graph.add("Conv", *inputs, group=len(W) if alone else 1, **how)
    return _closed(graph, y, step)


_each = _conv


def _max(graph: _Graph, x: str, step: Step) -> str:
    (k,) = step.numbers
    return graph.add("MaxPool", x, kernel_shape=[k, k], strides=[k, k])


def _mean(graph: _Graph, x: str, step: Step) -> str:
    return graph.add("Flatten", graph.add("GlobalAveragePool", x))


def _flatten(graph: _Graph, x: str, step: Step) -> str:
    return graph.add("Flatten", x)


def _model(graph: _Graph, bundle, logit: str) -> bytes:
    """The whole file; `logit` names what has shape (n, 1), or of maps (n, classes)."""
    x, threshold = _input(bundle), float(bundle.threshold)
    made, FLOAT = helper.make_tensor_value_info, TensorProto.FLOAT
    if x != "readings":
        graph.add("Identity", logit, output="logit")
        side, shape, verdict = bundle.student.side, ["n", len(bundle.classes)], "there"
        planes = [3] if x == "images" else []
        inputs = made(x, TensorProto.UINT8, ["n", *planes, side, side])
    else:
        graph.add("Squeeze", logit, graph.put([1], dtype=np.int64), output="logit")
        shape, verdict = ["n"], "fail"
        inputs = made("readings", FLOAT, ["n", len(bundle.features)])
    outputs = [made("logit", FLOAT, shape)]
    if x == "images":
        graph.add("ArgMax", "logit", output="class", axis=1, keepdims=0)
        outputs += [made("class", TensorProto.INT64, ["n"])]
    else:
        graph.add("Greater", "logit", graph.put(threshold), output=verdict)
        outputs += [made(verdict, TensorProto.BOOL, shape)]
    parts = graph.nodes, "student", [inputs], outputs, graph.constants
    whole = helper.make_graph(*parts)
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
        "threshold": repr(float(np.float32(threshold))),
    }
    helper.set_model_props(model, texts)
    return model.SerializeToString(deterministic=True)

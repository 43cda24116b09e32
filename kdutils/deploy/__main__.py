"""deploy: what a student's file holds and says, and the student for other runtimes.

python -m kdutils.deploy FILE readings.csv|maps.npy|images.npy   # row,score,verdict
python -m kdutils.deploy FILE sentences.txt|-         # one a line; -: standard input
python -m kdutils.deploy inspect FILE                 # what is inside, for a person
python -m kdutils.deploy export FILE --to onnx|onnx-int8|c -o OUT
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from pathlib import Path

import numpy as np

from kdutils import paths
from kdutils.deploy import bundle, cheader, container
from kdutils.deploy.bundle import Bundle, BundleError, Maps
from kdutils.deploy.readings import RULE, read_table
from kdutils.deploy.runtime import Int8

FORMATS = {
    "onnx": "the logits and verdicts of the numpy runtime, bit for bit if the student "
    "has int8 activations, else up to the order of float sums; the one to prefer",
    "onnx-int8": "quantized operators that runtimes fuse into int8 kernels: an "
    "activation may round to its neighbour, so a verdict next to the threshold may "
    "flip; for a runtime that is fast in int8 alone",
    "c": "a C header, the numpy runtime's logits bit for bit; int8 activations only",
}


def export(student: Bundle, to: str) -> bytes:
    """A student in one of FORMATS; ValueError if that cannot hold it."""
    if to not in FORMATS:
        raise ValueError(f"to must be one of {', '.join(FORMATS)}, not {to!r}")
    held = getattr(student, "student", None)
    if isinstance(held, Maps) and held.sentences:
        raise ValueError("a student of sentences is for numpy alone: its file ships")
    if to == "c":
        return cheader.header(student).encode("ascii")
    try:
        from kdutils.deploy import onnxfile
    except ImportError as problem:
        raise ValueError(f"an ONNX model needs the package onnx: {problem}") from None
    return onnxfile.exact(student) if to == "onnx" else onnxfile.qdq(student)


def inspect(path: str | Path) -> str:
    """What a file holds, as lines; BundleError, as loading it gives, if it is none."""
    data, name = bundle.content(path), str(path)
    loaded, (held, _) = bundle.loads(data, name), container.read(data, name)
    student, model = loaded.student, bundle.model_bytes(loaded.student, loaded.prepare)
    of_maps = isinstance(student, Maps)
    inputs, other = ("inputs", "steps") if of_maps else ("readings", "ranges")
    parts = (f"{key} {array.dtype}{list(array.shape)}" for key, array in held.items())
    lines = {
        "id": loaded.id or "none",
        **(_about_maps(loaded) if of_maps else _about_table(loaded)),
        "bytes": f"model {model:,}; names, {other}, container {len(data) - model:,}",
        "golden": f"{len(loaded.golden[1])} {inputs} whose logits were repeated",
        "arrays": ", ".join(parts),
    }
    head = f"{name}: {len(data):,} bytes, checksum and golden logits right"
    about = [f"{what:<8} {value}" for what, value in lines.items()]
    rest = _steps(loaded) if of_maps else _readings(loaded)
    return "\n".join([head, *about, "", *rest])


def _about_table(loaded: Bundle) -> dict[str, str]:
    student, (low, high) = loaded.student, loaded.classes
    W1 = student["W1"] if isinstance(student, dict) else student.W1
    kind = "float32"
    if isinstance(student, Int8):
        kind = "int8 weights, float32 activations"
        if student.s_in is not None:
            kind = "int8 weights and activations"
    alive = np.count_nonzero(W1)
    return {
        "verdict": f"{high} where the logit exceeds {loaded.threshold:.6g}, else {low}",
        "columns": f"of a lot for the watcher: {RULE}",
        "student": f"{W1.shape[1]} readings, {W1.shape[0]} units, 1 logit; {kind}",
        "weights": f"{alive:,} of {W1.size:,} in the first layer are not 0",
    }


def _about_maps(loaded: Bundle) -> dict[str, str]:
    side, colours = loaded.student.side, loaded.student.colours
    rule = f"a pattern is there where its logit exceeds {loaded.threshold:g}"
    inputs, cells = ("colour images", "pixels") if colours else ("wafer maps", "dies")
    said = f"{inputs} of {side} x {side} {cells}"
    if loaded.student.sentences:
        colours, said = True, "sentences in words, whose hashes choose a table's rows"
    weights = sum(step.W.size for step in loaded.steps if step.W is not None)
    return {
        "verdict": "the class with the largest logit" if colours else rule,
        "classes" if colours else "patterns": ", ".join(loaded.classes),
        "student": f"{said}, {len(loaded.classes)} logits",
        "weights": f"{weights:,} whole numbers, deflated; float32 activations",
    }


def _readings(loaded: Bundle) -> list[str]:
    width = max(map(len, loaded.features))
    head = f"{'reading':<{width}} {'unit':<6} {'legal from':>11} {'to':>11}"
    ends = loaded.ranges, loaded.prepare.center, 1 / loaded.prepare.scale
    lines = [f"{head} {'center':>11} {'spread':>11}"]
    for feature, unit, row in zip(
        loaded.features, loaded.units, np.column_stack(ends), strict=True
    ):
        cells = " ".join(f"{number:>11.5g}" for number in row)
        lines.append(f"{feature:<{width}} {unit:<6} {cells}")
    return lines


def _steps(loaded: Bundle) -> list[str]:
    lines = [f"{'step':<5} {'what':<20} {'leaves':<13} weights"]
    for place, step in enumerate(loaded.steps, 1):
        what = " ".join(map(str, (step.word, *step.numbers)))
        shapes = step.shape, () if step.W is None else step.W.shape
        left, held = (" x ".join(map(str, shape)) for shape in shapes)
        lines.append(f"{place:<5} {what:<20} {left:<13} {held}".rstrip())
    return lines


def predict(loaded: Bundle, path: str) -> list[list]:
    """Lines of row, logits and verdict of a CSV of readings or a .npy of images."""
    student, names = loaded.student, np.array(loaded.classes)
    if not isinstance(student, Maps):
        scores = loaded.score(read_table(path, loaded.features))[:, None]
        head, found = ["score"], names[np.ravel(scores > loaded.threshold).astype(int)]
    else:
        scores = loaded.score(_lines(path) if student.sentences else _images(path))
        head = loaded.classes
        if student.sentences or student.colours:
            found = names[scores.argmax(1)]
        else:
            found = ["+".join(names[row > loaded.threshold]) for row in scores]
    both = enumerate(zip(scores, found, strict=True), 1)
    return [["row", *head, "verdict"], *([i, *z, word] for i, (z, word) in both)]


def _images(path: str) -> np.ndarray:
    """The maps or colour images of a .npy file."""
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as problem:
        raise BundleError(f"{path} is not a .npy file of arrays: {problem}") from None


def _lines(path: str) -> list[str]:
    """The sentences of a file, or of standard input, one a line."""
    data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    name = "standard input" if path == "-" else path
    try:
        found = data.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BundleError(f"{name}, line {line}: expected text in UTF-8") from None
    if not found:
        raise BundleError(f"{name} has no sentence")
    return found


def main(arguments: list[str] | None = None) -> int:
    """The command line; exit code 2 and one sentence if it cannot."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="kdutils.deploy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if arguments[:1] == ["export"]:
        parser.add_argument("export", help="the word export")
        parser.add_argument("file", type=Path, help="a student's file")
        formats = ". ".join(f"{name}: {what}" for name, what in FORMATS.items())
        parser.add_argument("--to", choices=FORMATS, required=True, help=formats)
        parser.add_argument("-o", "--out", type=Path, required=True, help="to write")
    else:
        parser.add_argument("file", help="a student's file, or the word inspect")
        inputs = "a CSV file whose header names the readings, in any order, beside "
        inputs += "others; a .npy file of maps or colour images; sentences, one a "
        inputs += "line, - for standard input; after inspect, a student's file"
        parser.add_argument("inputs", help=inputs)
    chosen = parser.parse_args(arguments)
    try:
        if "export" in chosen:
            if chosen.out.is_dir():
                raise ValueError(f"{chosen.out} is a folder, expected a file to write")
            content = export(bundle.load(chosen.file), chosen.to)
            paths.write(chosen.out, content)
            print(f"{chosen.out}: {len(content):,} bytes; {FORMATS[chosen.to]}")
        elif chosen.file == "inspect":
            print(inspect(chosen.inputs))
        else:
            lines = predict(bundle.load(chosen.file), chosen.inputs)
            csv.writer(sys.stdout, lineterminator="\n").writerows(lines)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

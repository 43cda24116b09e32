"""export: a student for runtimes that know nothing of bundles: ONNX or C.

python -m kdutils.deploy.export FILE --to onnx|onnx-int8|c -o OUT
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kdutils import paths
from kdutils.deploy import bundle, cheader

FORMATS = {
    "onnx": "the logits and verdicts of the numpy runtime, bit for bit if the student "
    "has int8 activations, else up to the order of float sums; the one to prefer",
    "onnx-int8": "quantized operators that runtimes fuse into int8 kernels: an "
    "activation may round to its neighbour, so a verdict next to the threshold may "
    "flip; for a runtime that is fast in int8 alone",
    "c": "a C header, the numpy runtime's logits bit for bit; int8 activations only",
}


def export(student, to: str) -> bytes:
    """A `bundle.Bundle` in one of FORMATS; ValueError if that cannot hold it."""
    if to not in FORMATS:
        raise ValueError(f"to must be one of {', '.join(FORMATS)}, not {to!r}")
    if to == "c":
        return cheader.header(student).encode("ascii")
    try:
        from kdutils.deploy import onnxfile
    except ImportError as problem:
        raise ValueError(f"an ONNX model needs the package onnx: {problem}") from None
    return onnxfile.exact(student) if to == "onnx" else onnxfile.qdq(student)


def main(arguments: list[str] | None = None) -> int:
    """Write a student as ONNX or C; exit code 2 and one sentence if it cannot."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "file", type=Path, help="a student, written by kdutils.deploy.bundle"
    )
    told = ". ".join(f"{name}: {what}" for name, what in FORMATS.items())
    parser.add_argument("--to", choices=FORMATS, required=True, help=told)
    parser.add_argument("-o", "--out", type=Path, required=True, help="file to write")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.out.is_dir():
            raise ValueError(f"{chosen.out} is a folder, expected a file to write")
        content = export(bundle.load(chosen.file), chosen.to)
        paths.write(chosen.out, content)
    except (ValueError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 2
    print(f"{chosen.out}: {len(content):,} bytes; {FORMATS[chosen.to]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""config: a recipe's settings, checked against its dataclass before anything trains."""

from __future__ import annotations

import math
import types
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from kdutils import ranges

WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
WORDS |= {list: "a list", dict: "a mapping", type(None): "null"}

# Types of numbers: what they are called where one does not fit, and which ones fit.
Share = Annotated[float, *ranges.SHARE]
Positive = Annotated[float, *ranges.POSITIVE]
NotNegative = Annotated[float, *ranges.NOT_NEGATIVE]
Count = Annotated[int, "of at least 1", lambda x: x >= 1]
Natural = Annotated[int, *ranges.NOT_NEGATIVE]


@dataclass(frozen=True)
class Taught:
    """What every config has that follows a teacher's run; teacher: the run's id."""

    source: str
    seed: Natural
    teacher: str


def check(kind: type, values: dict, name: str) -> None:
    """Refuse a key that is unknown, missing, of another type or impossible.

    kind: a dataclass whose fields have the types of this module, bool, int, float, str,
    Literal, list, dict, unions with None and dataclasses like it; a field without a
    default must be there. Of a union of dataclasses, the one that shares most keys
    counts. name: what `values` are, for the ValueError.
    """
    kinds = get_args(kind) or [kind]
    kind = max(kinds, key=lambda one: len(values.keys() & get_type_hints(one).keys()))
    hints = get_type_hints(kind, include_extras=True)
    needed = [f.name for f in fields(kind) if f.default is MISSING]
    if unknown := sorted(set(values) - set(hints)):
        raise ValueError(f"{name} has no key {unknown[0]}: expected {', '.join(hints)}")
    if missing := [key for key in needed if key not in values]:
        raise ValueError(f"{name} lacks {', '.join(missing)}")
    for key, value in values.items():
        _check(hints[key], value, f"{name}: {key}")


def _check(kind: Any, value: object, name: str) -> None:
    """Raise ValueError unless `value` is of the type `kind`."""
    origin, args = get_origin(kind), get_args(kind)
    base = origin or kind
    if origin is Annotated:
        base, words, fits = args[0], *kind.__metadata__
        _check(base, value, name)
        _refuse(not fits(value), name, value, f"{WORDS[base]} {words}")
    elif origin in (Union, types.UnionType):
        if value is not None or type(None) not in args:
            _check(next(one for one in args if one is not type(None)), value, name)
    elif origin is Literal:
        _refuse(value not in args, name, value, " or ".join(map(str, args)))
    elif is_dataclass(base):
        _refuse(type(value) is not dict, name, value, WORDS[dict])
        check(base, value, name)
    else:
        fits = type(value) is base or (base is float and type(value) is int)
        finite = not isinstance(value, float) or math.isfinite(value)
        _refuse(not (fits and finite), name, value, WORDS[base])
        if args:
            for key, inner in value.items() if base is dict else enumerate(value):
                _check(args[-1], inner, f"{name}[{key}]")


def _refuse(wrong: bool, name: str, value: object, expected: str) -> None:
    if wrong:
        raise ValueError(f"{name} is {value!r}: expected {expected}")


def following(rows: Any, key: str, *columns: str, **settings) -> list[dict]:
    """One config per run of `rows`: its source and seed, its id as `key`, settings.

    rows: a DataFrame of `runs.map`; columns: what else of it is kept.
    """
    first = rows.drop_duplicates("run").to_dict("records")
    kept = ("source", "seed", *columns)
    return [{**{k: row[k] for k in kept}, key: row["run"], **settings} for row in first]

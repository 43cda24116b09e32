"""mapsteps: the arithmetic of a wafer net, step by step, one map at a time.

A program is a list of steps; each takes what the one before left, first a map (H, W),
then channels (c, H, W) or numbers (n,). What is computed is float32.

| step                                              | what it does                   |
| ------------------------------------------------- | ------------------------------ |
| planes, p                                         | 1: the map as 0, .5 and 1;     |
|                                                   | 2: its dies, its failed dies   |
| conv, out, k, stride, padding, groups, bias, relu | k x k; groups: 1, or as many   |
|                                                   | as channels, each on its own   |
| linear, out, bias, relu                           | of numbers                     |
| keep                                              | remembers what there is        |
| add                                               | adds what was remembered last  |
| max, k                                            | the largest of each k x k,     |
|                                                   | without what is left over      |
| mean                                              | of each channel                |
| flatten                                           | channels, then rows            |
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

NUMBERS = {"planes": 1, "conv": 7, "linear": 3, "max": 1}
NUMBERS |= {"keep": 0, "add": 0, "mean": 0, "flatten": 0}


class Step(NamedTuple):
    """A step, its float32 weights and biases, and the shape of what it leaves."""

    word: str
    numbers: list[int]
    W: np.ndarray | None = None
    b: np.ndarray | None = None
    shape: tuple[int, ...] = ()


def ask(steps: tuple[Step, ...], x: np.ndarray) -> np.ndarray:
    """What the last step leaves of a map (H, W) of 0, 1 and 2."""
    kept = []
    for step in steps:
        x = _done(step, x, kept)
    return x


def steps(program: list, x: np.ndarray, tensors: dict) -> tuple[Step, ...]:
    """The steps of a program with their weights, found by doing them on a map x.

    tensors: flat arrays that the steps use up in order, `weights` int8 in C order and
    `halves` float16, a layer's scales, one for each output, then its biases if it has
    any. A weight is its int8 times the scale of its output. ValueError names a step
    that is none, and arrays that are too long or too short; a step that does not fit
    what it is given fails with an error of numpy or Python.
    """
    at, kept, found = dict.fromkeys(("weights", "halves"), 0), [], []

    def cut(key: str, count: int) -> np.ndarray:
        start, at[key] = at[key], at[key] + count
        if at[key] > tensors[key].size:
            raise ValueError(f"it has {tensors[key].size} {key}, too few")
        return tensors[key][start : at[key]].astype(np.float32)

    for place, (word, *numbers) in enumerate(program, 1):
        whole = all(type(n) is int and n >= 0 for n in numbers)
        if not whole or NUMBERS.get(word) != len(numbers):
            raise ValueError(f"step {place} is none: {word} {numbers}")
        W = b = None
        if word in ("conv", "linear"):
            shape = (numbers[0], *_inner(word, numbers, x))
            scales = cut("halves", shape[0])[:, None]
            W = cut("weights", math.prod(shape)).reshape(len(scales), -1) * scales
            W = W.reshape(shape)
            b = cut("halves", shape[0]) if numbers[-2] else None
        step = Step(word, numbers, W, b)
        x = _done(step, x, kept)
        found.append(step._replace(shape=x.shape))
    if kept:
        raise ValueError("it keeps what it never adds")
    for key, used in at.items():
        if used != tensors[key].size:
            raise ValueError(f"it has {tensors[key].size} {key}, expected {used}")
    return tuple(found)


def _inner(word: str, numbers: list[int], x: np.ndarray) -> tuple[int, ...]:
    """The shape of one output's weights."""
    if word == "linear":
        return x.shape
    out, k, _, _, groups, *_ = numbers
    if groups != 1 and not groups == len(x) == out:
        raise ValueError(f"{len(x)} channels in {groups} groups give no {out} channels")
    return len(x) // groups, k, k


def _done(step: Step, x: np.ndarray, kept: list[np.ndarray]) -> np.ndarray:
    word, numbers = step.word, step.numbers
    if word == "conv":
        x = _conv(x, step.W, *numbers[2:5])
        if step.b is not None:
            x += step.b[:, None, None]
    elif word == "linear":
        x = step.W @ x
        if step.b is not None:
            x += step.b
    elif word == "keep":
        kept.append(x)
    elif word == "add":
        x = x + kept.pop()
    elif word == "max":
        x = _largest(x, *numbers)
    elif word == "mean":
        x = x.mean((1, 2))
    elif word == "flatten":
        x = x.reshape(-1)
    elif numbers == [2]:
        x = np.stack((x > 0, x > 1)).astype(np.float32)
    elif numbers == [1]:
        x = x[None].astype(np.float32) / 2
    else:
        raise ValueError(f"{numbers[0]} planes, expected 1 or 2")
    return np.maximum(x, 0, out=x) if step.W is not None and numbers[-1] else x


def _conv(x: np.ndarray, W: np.ndarray, stride: int, padding: int, groups: int):
    """x (c, H, W) -> (out, H', W'): a matrix product, or a sum if c stand alone."""
    out, _, k, _ = W.shape
    if padding:
        framed = np.zeros((len(x), *(n + 2 * padding for n in x.shape[1:])), np.float32)
        framed[:, padding:-padding, padding:-padding] = x
        x = framed
    windows = sliding_window_view(x, (k, k), (1, 2))[:, ::stride, ::stride]
    if groups == 1:
        columns = windows.transpose(0, 3, 4, 1, 2).reshape(W[0].size, -1)
        return (W.reshape(out, -1) @ columns).reshape(out, *windows.shape[1:3])
    y = np.zeros(windows.shape[:3], np.float32)
    for i, j in np.ndindex(k, k):
        y += windows[..., i, j] * W[:, 0, i, j, None, None]
    return y


def _largest(x: np.ndarray, k: int) -> np.ndarray:
    rows, columns = (n - n % k for n in x.shape[1:])
    parts = [x[:, i:rows:k, j:columns:k] for i, j in np.ndindex(k, k)]
    return np.maximum.reduce(parts)

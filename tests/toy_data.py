"""Miniatures spoilt on purpose, and the sentence that refuses them."""

import numpy as np
import pytest


def rewrite(file, key, change):
    """The npz file with one array changed, or left out where `change` gives None."""
    arrays = dict(np.load(file))
    arrays[key] = change(arrays.get(key))
    np.savez(file, **{k: a for k, a in arrays.items() if a is not None})


def put(index, value):
    """A change: the array with `value` at `index`."""

    def change(array):
        array[index] = value
        return array

    return change


def parts(split):
    return split.train, split.val, split.test


def sentence(function, *given, **named):
    """The one sentence with which a call is refused."""
    with pytest.raises(ValueError) as error:
        function(*given, **named)
    assert "\n" not in str(error.value)
    return str(error.value)

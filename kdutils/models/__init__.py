"""models: networks by name and size from one registry."""

from __future__ import annotations

from torch import nn

from kdutils.models import images, lite, photographs, text, wafers
from kdutils.models.images import ARRAYS, MLP, Perceptron, Student
from kdutils.models.net import (
    arrays,
    autocast,
    load,
    parameters,
    predict,
    straight_through,
)

__all__ = ["ARRAYS", "MLP", "MODELS", "Perceptron", "Student", "arrays", "autocast"]
__all__ += ["build", "load", "parameters", "predict", "straight_through"]

MODELS = images.MODELS | wafers.MODELS | photographs.MODELS
MODELS |= lite.MODELS | text.MODELS


def build(name: str, *shape: int, **sizes) -> nn.Module:
    """The net called `name` with torch's own initial weights.

    shape: side and classes of a net for images, side and patterns of one for wafer
    maps, d of one for tables; sizes: widths and the like. ValueError for no such name.
    """
    if name not in MODELS:
        raise ValueError(f"model '{name}' is none of {', '.join(MODELS)}")
    return MODELS[name](*shape, **sizes)

"""CONTRIBUTING.md: its steps are short, name what is there, and work as written.

A new data set is followed in test_registry.py, a new table in test_views.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kdutils import losses, models
from kdutils.losses import binary

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
SECTIONS = dict(re.findall(r"^## (A new [^\n]*)\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S))


def test_each_kind_of_addition_has_its_section():
    assert [*SECTIONS] == [
        "A new data set",
        "A new loss",
        "A new student network",
        "A new table",
    ]


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_is_short_and_names_files_that_are_there(name):
    assert len(SECTIONS[name].strip().splitlines()) < 20
    for path in re.findall(
        r"`((?:kdutils|tests|notebooks)/[\w/]+\.py)`", SECTIONS[name]
    ):
        assert (ROOT / path).is_file(), path


def test_a_new_loss_is_one_term(monkeypatch):
    def square(z, t, *, T):
        return T**2 * ((z - t) / T).square().mean(-1)

    monkeypatch.setitem(binary.TERMS, "square", square)
    monkeypatch.setattr(losses, "LOSSES", losses._registry())
    z, t, y = (
        torch.tensor([0.5, -1.0]),
        torch.tensor([1.0, 0.0]),
        torch.tensor([1.0, 0]),
    )
    found = losses.get("square", "binary")(z, t, y, alpha=0.25, T=3.0)
    hard = nn.functional.binary_cross_entropy_with_logits(z, y)
    assert found.item() == pytest.approx(0.75 * hard.item() + 0.25 * 0.625)
    assert "square" in losses.names("binary")


def test_a_new_network_is_one_entry(monkeypatch):
    class Toy(nn.Module):
        def __init__(self, side: int, classes: int, width: int = 2) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(side * side, width))
            self.last = nn.Linear(width, classes)

        def forward(self, x):
            return self.last(self.body(x.float() / 255))

    monkeypatch.setitem(models.MODELS, "toy", Toy)
    net = models.build("toy", 4, 3, width=5)
    X = np.zeros((7, 4, 4), np.uint8)
    assert models.predict(net, X, "cpu").shape == (7, 3)
    assert models.parameters(net) == 16 * 5 + 5 + 5 * 3 + 3

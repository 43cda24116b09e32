"""Typed configs: every recipe refuses what cannot be, and takes every ledger line."""

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from kdutils.store import config
from kdutils.store.config import Count, Natural, Positive, Share

ROOT = Path(__file__).resolve().parent.parent
LEDGER = sorted((ROOT / "reports/paper/ledger").glob("*.jsonl"))
LINES = [json.loads(line) for path in LEDGER for line in path.read_text().splitlines()]


@dataclass(frozen=True)
class Sizes:
    widths: list[Count]
    depth: Natural = 0


@dataclass(frozen=True)
class Config:
    alpha: Share
    T: Positive
    epochs: Count
    halved: bool
    way: Literal["ours", "published"]
    sizes: Sizes
    tries: dict[str, Count]
    maps: list[Count] | None = None


GOOD = {"alpha": 1, "T": 4.0, "epochs": 1, "halved": True, "way": "ours"}
GOOD |= {"sizes": {"widths": [4]}, "tries": {"mlp": 2}}


def test_a_config_that_fits_is_taken():
    config.check(Config, GOOD, "toy")
    config.check(Config, GOOD | {"maps": None}, "toy")
    config.check(Config, GOOD | {"maps": [3]}, "toy")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("alpha", 1.2, "alpha is 1.2: expected a number from 0 to 1"),
        ("alpha", "1", "alpha is '1': expected a number"),
        ("alpha", float("nan"), "alpha is nan: expected a number"),
        ("T", 0, "T is 0: expected a number above 0"),
        ("epochs", 0, "epochs is 0: expected a whole number of at least 1"),
        ("epochs", 1.5, "epochs is 1.5: expected a whole number"),
        ("epochs", True, "epochs is True: expected a whole number"),
        ("epochs", None, "epochs is None: expected a whole number"),
        ("halved", 1, "halved is 1: expected true or false"),
        ("way", "other", "way is 'other': expected ours or published"),
        ("sizes", {}, "sizes lacks widths"),
        ("sizes", [], "sizes is []: expected a mapping"),
        ("sizes", {"width": [4]}, "sizes has no key width: expected widths, depth"),
        ("sizes", {"widths": [4, 0]}, "sizes: widths[1] is 0: expected a whole number"),
        ("tries", {"mlp": 0}, "tries[mlp] is 0: expected a whole number of at least 1"),
        ("maps", [0], "maps[0] is 0: expected a whole number of at least 1"),
        ("alfa", 1, "toy has no key alfa: expected alpha, T, epochs"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence_that_names_the_key(key, value, said):
    with pytest.raises(ValueError) as caught:
        config.check(Config, GOOD | {key: value}, "toy")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_key_is_named():
    with pytest.raises(ValueError, match=r"^toy lacks T$"):
        config.check(Config, {k: v for k, v in GOOD.items() if k != "T"}, "toy")


@pytest.mark.parametrize("name", sorted({line["recipe"] for line in LINES}))
def test_every_line_of_the_ledger_fits_its_recipe(name):
    recipe = importlib.import_module(f"kdutils.recipes.{name}")
    for line in LINES:
        if line["recipe"] == name:
            config.check(recipe.Config, line["config"], name)

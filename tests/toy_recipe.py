"""A recipe that takes a moment and leaves a trace of each time it really computes."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdutils.store.config import Natural


@dataclass(frozen=True)
class Config:
    seed: Natural
    seconds: float = 0.0


def digest(config):
    return "toy"


def compute(config, run):
    with Path(os.environ["TOY_TRACE"]).open("a") as trace:
        trace.write(f"{config['seed']}\n")

    def slow():
        time.sleep(config.get("seconds", 0.0))
        return {"value": np.array(config["seed"] ** 2)}

    value = run.step("value", slow)["value"]
    return {"rows": [{"value": int(value), "source": "toy"}]}

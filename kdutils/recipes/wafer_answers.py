"""recipes.wafer_answers: teachers' mean logits on the maps that students learn from.

One run is one set of teachers and one site. No label is read but to say, for the
record, how often the answers are right. Students learn from the answers on the site's
training maps and on `simulated` maps, drawn for them: neither needs a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kdutils import metrics
from kdutils.recipes import net_teachers
from kdutils.recipes.tasks import PARTS, WAFERS, Site
from kdutils.store.config import Count, Natural

digest = WAFERS.digest  # of the site's source; the teachers' ids are in the config


@dataclass(frozen=True)
class Config(Site):
    """One set of teachers and one site."""

    answers: str
    teachers: list[str]
    views: Count
    simulated: Natural
    simulated_views: Literal[1]


def plan(teachers, *, sites: dict, groups: dict) -> list[dict]:
    """One config per group and seed.

    teachers: rows of `net_teachers`; groups: name -> {teacher, site, views, together,
    seeds, simulated}. together: 'one' is the teacher of the seed, the first again
    after the last, 'others' all but that one; the mean of their logits is kept.
    """
    configs = []
    for name, group in groups.items():
        how = {"simulated": 0, "simulated_views": 1, **group}
        seeds, together = how.pop("seeds"), how.pop("together")
        if together not in ("one", "others"):
            raise ValueError(f"together is '{together}': expected one or others")
        mine = teachers[teachers["teacher"] == how.pop("teacher")]
        mine = mine.drop_duplicates("run").set_index("seed")["run"]
        for seed in range(seeds):
            chosen = mine[mine.index != seed]
            if together == "one":
                chosen = mine[mine.index == seed % max(1, len(mine))]
            if chosen.empty:
                raise ValueError(f"answers '{name}' have no teacher for seed {seed}")
            about = {"answers": name, **sites[how["site"]], "seed": seed}
            configs.append({**about, "teachers": sorted(chosen), **how})
    return configs


def compute(config: dict, run) -> dict:
    """Keep the mean logits of the teachers; one row that says how good they are."""
    parts = WAFERS.load(config)
    sets = {name: getattr(parts, name).X for name in PARTS}
    if config["simulated"]:
        sets["added"] = WAFERS.drawn(config)[0]

    def predict() -> dict[str, np.ndarray]:
        total = {name: np.zeros((len(X), 8), np.float32) for name, X in sets.items()}
        for id in config["teachers"]:
            one = run.need(net_teachers, id)
            for name, own in predicted(config, one, sets).items():
                total[name] += own / len(config["teachers"])
        return total

    logits = run.step("answers", predict)
    row = {**WAFERS.facts(config, parts), "members": len(config["teachers"])}
    row |= net_teachers.scores(parts, logits)
    train = metrics.calibration(parts.train.y, logits["train"])
    row |= {f"train_{key}": train[key] for key in ("ece", "entropy", "pseudo_error")}
    return {"rows": [row]}


def predicted(config: dict, teacher, sets: dict) -> dict[str, np.ndarray]:
    """A teacher's logits of each set of maps; those that it kept are looked up."""
    same = WAFERS.same(teacher.config, config)
    kept = teacher.arrays("answers") if same else {}
    found, net = {}, None
    for name, X in sets.items():
        views = 1 if name == "added" else config["views"]
        if (key := f"{name}{views}") in kept:
            found[name] = kept[key]
            continue
        net = net or net_teachers.predictor(teacher)
        found[name] = WAFERS.predict(net, X, views=views)
    return found

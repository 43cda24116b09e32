"""ship: which student to hand over, and the model card of each candidate.

A file is recommended only where whole intervals lie above chance: of its quality on its
own test rows, of its recipe's over all seeds, and of the share of fails that it catches
at its threshold, against the share of passes that it fails there.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from kdutils import stats
from kdutils.views.claims import verdict
from kdutils.views.names import called

COLUMNS = ["data", "kind", "file", "bytes", "metric", "value", "low", "high", "n"]
COLUMNS += ["teacher", "threshold", "escapes", "fails", "overkill", "passes"]
COLUMNS += ["decision", "reason"]
CAUGHT = "the share of fails that it catches"
PASSES = "the share of passes that it fails,"
USE = {
    "AUC": "Pass or fail of one device from its readings, on the line that it was "
    "trained for: a second opinion beside the test limits, not in their place.",
    "exact match": "The set of defect patterns on one wafer map, of the line that it "
    "was trained for.",
}
LIMITS = {
    "simulated": " Simulated data compare methods, and do not say what a factory sees.",
    "generated": " Generated miniatures prove that the path works, nothing else.",
}
THRESHOLD = """
A device fails where its logit is above {threshold:.4f}. {rule} Where
an escape costs more than an overkill, choose a lower one.
"""
RULE = """With that threshold the share
of validation rows that fail is that of the training rows; no test row took part."""
CARD = """# {file}

**{decision}**: {reason}.

| on its own {n:,} test rows | |
| --- | --- |
| file | {bytes:,} bytes |
| {metric} | {value:.4f} [{low:.4f}, {high:.4f}] |
| its teacher's {metric} | {teacher:.4f} |
{measured}

## How it was chosen

{chosen} Its test rows were opened after the choice.
{threshold_text}
## Intended use

{use}

## Data

{data}, {kind}: {n:,} rows that neither training nor any choice has seen.

## Limits

The interval is of this file and other rows like these.{limit} A reading outside the
file's legal ranges is refused, not judged. Rows from another product, tester or time
need a test of their own before the file is used there.
"""


def table(
    own: pd.DataFrame, recipes: pd.DataFrame, teachers: dict[str, float]
) -> pd.DataFrame:
    """One line per candidate: its own test value, the decision, the reason.

    own: rows of the recipe `shipped`. recipes: by source auc, auc_low, auc_high over
    all seeds; teachers: by source the value on the same test rows.
    """
    lines = []
    for row in own.to_dict("records"):
        metric, constant, source = row["metric"], row["constant"], row["source"]
        found = [(f"{metric} on its own test rows", row["low"], row["high"], constant)]
        if source in recipes.index:
            ends = recipes.loc[source, ["auc_low", "auc_high"]]
            found.append((f"{metric} over all seeds", *ends, constant))
        if metric == "AUC":
            passes, fails = row["n_test"] - row["fails"], row["fails"]
            caught = stats.share(int(fails - row["escapes"]), int(fails))[1:]
            flagged = row["overkill"] / passes
            found.append((CAUGHT, *caught, flagged))
        bad = [one for one in found if verdict(*one[1:]) != "holds"]
        how = "not wholly above" if bad else "above"
        reason = "; ".join(
            f"{name} lies in [{low:.4f}, {high:.4f}], {how} "
            f"{PASSES if name == CAUGHT else 'a constant predictor with'} {chance:.4f}"
            for name, low, high, chance in bad or found
        )
        line = {"data": source, "file": f"student-{source}.safetensors"}
        line |= {"bytes": row["file_bytes"], "n": row["n_test"], "reason": reason}
        line |= {"teacher": teachers.get(source, np.nan)}
        line |= {"decision": "Do not ship" if bad else "Ship"}
        lines.append({"fails": np.nan, **row, **line})
    frame = pd.DataFrame(lines)
    frame["passes"] = frame["n"] - frame["fails"]
    recalls = [name for name in frame if name.startswith("recall_")]
    return frame.reindex(columns=[*COLUMNS, *recalls])


def files(
    table: pd.DataFrame,
    bundles: dict[str, bytes],
    chosen: dict[str, str],
    rule: str = RULE,
) -> dict[str, bytes]:
    """What the ship folder holds: a card per candidate, a file where it may ship.

    table: `table`; bundles, chosen: by source the file, and how it was chosen; rule:
    how the thresholds were.
    """
    found = {}
    for line in table.to_dict("records"):
        stem = line["file"].removesuffix(".safetensors")
        if line["decision"] == "Ship":
            found[line["file"]] = bundles[line["data"]]
        found[f"{stem}.md"] = card(line, chosen[line["data"]], rule).encode()
    return found


def card(line: dict, chosen: str, rule: str = RULE) -> str:
    """The model card of a line of `table`, as Markdown, its decision first."""
    recalls = {name.removeprefix("recall_"): value for name, value in line.items()}
    measured = [
        f"| recall of {name} | {value:.4f} |"
        for name, value in recalls.items()
        if name not in line and value == value
    ]
    threshold = ""
    if line["threshold"] == line["threshold"]:
        threshold = f"\n## Threshold\n{THRESHOLD.format(**line, rule=rule)}"
        measured = [
            "| escapes | {escapes:,.0f} of {fails:,.0f} fails pass |",
            "| overkill | {overkill:,.0f} of {passes:,.0f} passes fail |",
        ]
        measured = [text.format(**line) for text in measured]
    line |= {"measured": "\n".join(measured), "threshold_text": threshold}
    line |= {"data": called(line["data"]), "limit": LIMITS.get(line["kind"], "")}
    return CARD.format(**line, chosen=chosen, use=USE[line["metric"]])

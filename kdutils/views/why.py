"""why: which student to ship, in sentences that an engineer can pass on."""

from __future__ import annotations

import pandas as pd


def sentences(
    choice: dict, ladder: pd.DataFrame, tolerance: float, *, size: int, fp32: int
) -> str:
    """What was chosen, by which rule, and what the test rows say of it afterwards.

    choice: of `prune_quantize.choose`; ladder: `tables.ladder` of one source; size,
    fp32: bytes of the file that ships, and of the same student's file in float32.
    """
    steps = ladder.set_index("step")
    ours = steps.loc[choice["step"]]
    alone = steps.loc["label-only student fp32"]
    return (
        f"Ship '{choice['step']}': {size:,} bytes, against {fp32:,} for the same "
        "student in float32.\n"
        f"Why: of {choice['candidates']} students with a bundle it is the smallest "
        f"whose mean validation AUC stays within {tolerance:g} of the float32 "
        f"student's ({choice['drop_val']:+.4f}).\n"
        f"Test rows, opened after the choice: AUC {ours['auc']:.4f} "
        f"[{ours['auc_low']:.4f}, {ours['auc_high']:.4f}], n = {ours['n']:.0f}; "
        f"{ours['drop']:+.4f} against float32, {ours['to_teacher']:+.4f} against the "
        f"teacher ensemble, {ours['auc'] - alone['auc']:+.4f} against a student "
        "without a teacher.\n"
        "File and bytes are those of seed 0, fold 0; the AUC is the mean over all.\n"
    )

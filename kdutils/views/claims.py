"""claims: what the intervals say of each sentence, in tables/claims.csv and checks.csv.

One rule decides: a claim `holds` where the whole interval lies on the claimed side, is
`refuted` where the whole interval lies on the other, and is `undecided` else. Checks of
software (bytes, kills, refusals) have no interval: they pass or fail.

A notebook at work keeps its rows in files of its own. `accept`, called when it has come
to its end, puts them in place of the stage's old ones; a notebook that stopped half way
leaves both tables as they were.
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import pandas as pd

from kdutils import paths
from kdutils.views.names import called

COLUMNS = {
    "claims": ["stage", "claim", "on", "kind", "verdict", "detail", "headline"],
    "checks": ["stage", "check", "on", "passed", "detail"],
}
SIGNS = {"holds": "✓", "undecided": "○", "refuted": "✗", "True": "✓", "False": "✗"}
UNITS = {  # scale, decimals, whether it is a difference, which has a sign
    "AUC": (1, 4, True),
    "points": (100, 2, True),
    "errors fewer": (1, 1, True),
    "ECE": (1, 4, True),
    "ARI": (1, 3, True),
    "%": (100, 2, False),
    "errors": (1, 1, False),
    "": (1, 3, False),
}
_stage = ""  # of the notebook at work, since `begin`


def begin(stage: str) -> None:
    """Start the stage's claims anew, so that a reworded one leaves no stale row."""
    global _stage
    _stage = stage
    for name in COLUMNS:
        _write(_read(name, None), _own(name, stage))


def verdict(low: float, high: float, bound: float = 0.0, side: int = 1) -> str:
    """holds, refuted or undecided: where [low, high] lies of bound; side 1 is above."""
    low, high = sorted((side * low, side * high))
    if low > side * bound:
        return "holds"
    return "refuted" if high < side * bound else "undecided"


def above(
    table: pd.DataFrame,
    claim: str,
    column: str = "gain",
    bound: float | str = 0.0,
    *,
    on: str = "{source}",
    unit: str = "AUC",
    headline: bool = False,
    side: int = 1,
) -> None:
    """One claim per row of a table: its column lies above the bound.

    The row has column, column_low and column_high; the bound is a number or a column.
    claim and on may name columns in braces; on says on which data. A headline opens
    the results.
    """
    for row in table.to_dict("records"):
        low, high = row[f"{column}_low"], row[f"{column}_high"]
        limit = row[bound] if isinstance(bound, str) else bound
        line = {"kind": row.get("kind", ""), "headline": str(headline)}
        line["verdict"] = verdict(low, high, limit, side)
        _keep("claims", claim, on, _detail(row, column, unit), row, line)


def below(*args: object, **kwargs: object) -> None:
    """The same where the column is claimed to lie below the bound."""
    above(*args, **kwargs, side=-1)


def check(
    table: pd.DataFrame, what: str, passed: pd.Series, detail: str, on: str = "{source}"
) -> None:
    """One check of software per row; what, detail and on name columns.

    Raises ValueError where `passed` does not hold truth values.
    """
    if not pd.api.types.is_bool_dtype(passed):
        raise ValueError(f"check {what!r}: passed must be True or False in every row")
    for row, good in zip(table.to_dict("records"), passed, strict=True):
        _keep("checks", what, on, detail, row, {"passed": str(good)})


class Paragraph(str):
    """A text that a notebook shows as Markdown."""

    def _repr_markdown_(self) -> str:
        return str(self)


def answer(*sentences: str) -> Paragraph:
    """The answer under a notebook's question."""
    return Paragraph(" ".join(sentences))


def listed(
    table: pd.DataFrame, text: str, column: str = "gain", unit: str = "AUC"
) -> str:
    """`text` for each row: columns, and {it} (value, interval, n), in braces."""
    parts = []
    for row in table.to_dict("records"):
        spoken = {k: called(v) if isinstance(v, str) else v for k, v in row.items()}
        parts.append(text.format(**spoken | {"it": _detail(row, column, unit)}))
    return "; ".join(parts) or "nothing to compare here"


def headlines(claims: pd.DataFrame) -> pd.DataFrame:
    """One line per headline claim: on which data it holds, and where it does not."""
    first, lines = claims[claims["headline"] == "True"], []
    for claim, rows in first.groupby("claim", sort=False):
        line = {"claim": claim, **dict.fromkeys(("holds", "undecided", "refuted"), "")}
        rows = rows.sort_values("kind", kind="stable")  # real data before simulated
        made = rows["kind"].map(lambda kind: "" if kind == "real" else f" ({kind})")
        cells = rows["on"] + made + ": " + rows["detail"]
        lines.append(line | cells.groupby(rows["verdict"]).agg("; ".join).to_dict())
    return pd.DataFrame(lines)


def read(name: str = "claims") -> pd.DataFrame:
    """All claims or `checks` as text; of a notebook at work, its own ones."""
    frame = _read(name, paths.tables() / f"{name}.csv")
    for path in sorted(paths.tables().glob(f"{name}.*.part.csv")):
        frame = _merged(frame, _read(name, path), path.name.split(".")[1])
    return frame


def accept(stage: str) -> None:
    """Let the rows that a notebook made be those of its stage; none made, no change."""
    if not _own("claims", stage).exists():
        return
    folder = os.open(paths.tables(), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # stages may run side by side
        for name in COLUMNS:
            own, path = _own(name, stage), paths.tables() / f"{name}.csv"
            _write(_merged(_read(name, path), _read(name, own), stage), path)
            own.unlink()
    finally:
        os.close(folder)


def refuse(stage: str) -> None:
    """Forget the rows of a notebook that stopped half way."""
    for name in COLUMNS:
        _own(name, stage).unlink(missing_ok=True)


def demand(phrase: str) -> str:
    """One line saying that every claim with this phrase holds and every check passed.

    Raises ValueError with the first that does not, or where no claim has the phrase.
    """
    found, checks = read(), read("checks")
    found = found[found["claim"].str.contains(phrase, regex=False)]
    if not len(found):
        raise ValueError(f"no claim in {paths.reports().name} says '{phrase}'")
    for row in found[found["verdict"] != "holds"].itertuples():
        raise ValueError(f"{row.verdict}: {row.claim} on {row.on} ({row.detail})")
    for row in checks[checks["passed"] != "True"].itertuples():
        raise ValueError(f"failed: {row.check} on {row.on} ({row.detail})")
    return f"{len(found)} claims that say '{phrase}' hold, {len(checks)} checks passed"


def _keep(
    name: str, sentence: str, on: str, detail: str, row: dict, line: dict
) -> None:
    """Print one line, and keep it: one row per stage, sentence and data."""
    spoken = {k: called(v) if isinstance(v, str) else v for k, v in row.items()}
    line |= {"stage": _stage, name.removesuffix("s"): sentence.format(**spoken)}
    line |= {"on": on.format(**spoken), "detail": detail.format(**spoken)}
    path, key = _own(name, _stage), [*COLUMNS[name][:3]]
    frame = pd.concat([_read(name, path), pd.DataFrame([line])[COLUMNS[name]]])
    _write(frame.drop_duplicates(key, keep="last"), path)
    sign = SIGNS[line.get("verdict") or line["passed"]]
    print(f"{sign} {line[key[1]]} on {line['on']}: {line['detail']}")


def _detail(row: dict, column: str, unit: str) -> str:
    """`+0.43 points [+0.29, +0.58], n = 5`."""
    scale, digits, delta = UNITS[unit]
    ends = [scale * row[f"{column}{end}"] for end in ("", "_low", "_high")]
    sign = "+" if delta else ""
    value, *rest = [f"{round(v, digits) + 0:{sign}.{digits}f}" for v in ends]
    interval = "" if ends[1] != ends[1] else f" [{', '.join(rest)}]"
    n = f", n = {row['n']:.0f}" if "n" in row else ""
    return (f"{value} {unit}".rstrip() + interval + n).replace("-", "−")


def _own(name: str, stage: str) -> Path:
    return paths.tables() / f"{name}.{stage}.part.csv"


def _merged(frame: pd.DataFrame, new: pd.DataFrame, stage: str) -> pd.DataFrame:
    """The rows with those of one stage replaced, stages in order of their names."""
    frame = pd.concat([frame[frame["stage"] != stage], new], ignore_index=True)
    return frame.sort_values("stage", kind="stable", ignore_index=True)


def _read(name: str, path: Path | None) -> pd.DataFrame:
    if path is None or not path.exists():
        return pd.DataFrame(columns=COLUMNS[name], dtype=object)
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    return frame.reindex(columns=COLUMNS[name], fill_value="")  # older columns go


def _write(frame: pd.DataFrame, path: Path) -> None:
    paths.write(path, frame.to_csv(index=False, lineterminator="\n").encode())


if __name__ == "__main__":
    try:
        print(demand(sys.argv[1]))
    except ValueError as error:
        sys.exit(str(error))

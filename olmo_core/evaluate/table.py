"""The table of a model's scores on every held-out document or task item, from which all metrics are computed.

It is stored as `documents.jsonl.gz`, so that a new metric needs no new pass of a model. Numbers are rounded before they
enter the table and metrics are computed from the rounded ones, so a reader of the file gets exactly the same results.
"""

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DIGITS = 7  # Significant digits kept: the precision of fp32 scoring.


@dataclass(frozen=True)
class HeldoutRow:
    """One held-out document: `bits` to code its `bytes` (UTF-8) as `tokens` tokens."""

    source: str
    id: str
    bits: float
    bytes: int
    tokens: int


@dataclass(frozen=True)
class ChoiceScore:
    """One choice of an item: its natural log-likelihood after the context, and the sizes to normalise it by.

    `unconditional` is its log-likelihood without the question, None if that was not scored.
    """

    loglikelihood: float
    tokens: int
    characters: int
    bytes: int
    unconditional: float | None = None


@dataclass(frozen=True)
class TaskRow:
    """One item of a task; `truncated` counts the tokens its context lost on the left to fit the model."""

    task: str
    id: int
    gold: int
    choices: tuple[ChoiceScore, ...]
    truncated: int = 0


Row = HeldoutRow | TaskRow


def rounded(value: float) -> float:
    """Round `value` to the significant digits of the table."""
    return float(f"{value:.{DIGITS}g}")


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Write one JSON line per row; equal rows give equal bytes."""
    with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as out:
        for row in rows:
            out.write(json.dumps(asdict(row), sort_keys=True, ensure_ascii=False).encode() + b"\n")


def read_table(path: Path) -> Iterator[Row]:
    """Yield the rows of a result's table in order."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield _row(json.loads(line))


def _row(fields: dict[str, Any]) -> Row:
    if "source" in fields:
        return HeldoutRow(**fields)
    return TaskRow(**{**fields, "choices": tuple(ChoiceScore(**choice) for choice in fields["choices"])})

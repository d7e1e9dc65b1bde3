"""What a record or a result is in MLflow's terms: metrics by section of charts, tags, steps, times, a note in Markdown.

Which run it belongs to is left to `lineage`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE

from olmo_core.artifact.record import Record
from tasks.flatten import TAG_LENGTH, key, numbers


def scores(result: Mapping[str, Any]) -> dict[str, float]:
    """What is followed from checkpoint to checkpoint: bits per byte of each held-out source, main metric of each task.

    What stands before the last slash is a section of charts, so a section compares sources by one metric.
    """
    heldout = {
        f"bits_per_byte/{source}": row["bits_per_byte"]
        for source, row in result.get("heldout", {}).items()
        if row["documents"]
    }
    tasks = {
        f"{row['primary']}/{task}": row[row["primary"]]
        for task, row in result.get("tasks", {}).items()
        if row["documents"]
    }
    return numbers(heldout, "heldout/") | numbers(tasks, "tasks/")


def training_values(values: Mapping[str, Any]) -> dict[str, float]:
    """What a run measures at a training step; the step itself is the axis."""
    return {key(f"train/{name}"): float(value) for name, value in sorted(values.items()) if name != "step"}


def record_tags(record: Record) -> dict[str, str]:
    """What a record says of itself, to search by."""
    return {
        "olmo.kind": record.kind,
        "olmo.name": record.name,
        "olmo.version": str(record.version),
        "olmo.host": record.host,
        "olmo.environment": record.environment.digest,
        **code_tags(record.code.model_dump()),
    }


def code_tags(code: Mapping[str, Any]) -> dict[str, str]:
    """The code that worked, as far as it is known."""
    known = {MLFLOW_GIT_COMMIT: code["commit"], "olmo.dirty": code["dirty"]}
    return {name: str(value).lower() for name, value in known.items() if value is not None}


def source_tags(recipe: str) -> dict[str, str]:
    """What was called: the source MLflow shows beside the commit."""
    return {MLFLOW_SOURCE_NAME: f"olmo run {recipe}", MLFLOW_SOURCE_TYPE: "LOCAL"}


def artifact_table(head: str, rows: Sequence[Sequence[str]]) -> str:
    """Rows of names that end with the id of an artifact as Markdown, as many as a tag can hold."""
    text = f"| {head} | | artifact |\n|---|---|---|\n"
    for number, (*names, artifact) in enumerate(rows):
        row = f"| {' | '.join(names)} | `{artifact[:12]}` |\n"
        if len(text) + len(row) > TAG_LENGTH - 50:
            return f"{text}\nand {len(rows) - number} more"
        text += row
    return text


def training_step(step: Any) -> int:
    """A training step as an axis has it.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(step, int) or step < 0:
        raise ValueError(f"training step {step!r} is no whole number from 0 on")
    return step


def milliseconds(seconds: float) -> int:
    """A time as MLflow has it."""
    return int(seconds * 1000)


def moment(text: str) -> int:
    """A time of a record, ISO 8601, as MLflow has it."""
    return milliseconds(datetime.fromisoformat(text).timestamp())

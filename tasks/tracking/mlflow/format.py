"""Convert records and results to MLflow's terms: metrics by section of charts, tags, steps, times, Markdown notes.

Nested values become the flat keys and short texts that MLflow accepts. `writer` decides which run they belong to.
"""

import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE

from olmo_core.artifact.record import Record

KEY_LENGTH = 250  # MLflow: MAX_ENTITY_KEY_LENGTH.
PARAM_LENGTH = 6000  # MLflow: MAX_PARAM_VAL_LENGTH.
TAG_LENGTH = 8000  # MLflow: MAX_TAG_VAL_LENGTH.

_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_\-. :/]")


def scores(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics to plot over checkpoints: bits per byte of each held-out source, main metric of each task.

    The part of a key before its last slash is a section of charts, so each section compares sources by one metric.
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
    """Return the metrics of a run at a training step, without the step itself, which is the axis."""
    return {key(f"train/{name}"): float(value) for name, value in sorted(values.items()) if name != "step"}


def record_tags(record: Record) -> dict[str, str]:
    """Return the tags of a record, for searching."""
    return {
        "olmo.kind": record.kind,
        "olmo.name": record.name,
        "olmo.version": str(record.version),
        "olmo.host": record.host,
        "olmo.environment": record.environment.digest,
        **code_tags(record.code.model_dump()),
    }


def code_tags(code: Mapping[str, Any]) -> dict[str, str]:
    """Return tags for the state of the code, as far as it is known."""
    known = {MLFLOW_GIT_COMMIT: code["commit"], "olmo.dirty": code["dirty"]}
    return {name: str(value).lower() for name, value in known.items() if value is not None}


def source_tags(recipe: str) -> dict[str, str]:
    """Return tags for the command, which MLflow shows as the source, next to the commit."""
    return {MLFLOW_SOURCE_NAME: f"olmo run {recipe}", MLFLOW_SOURCE_TYPE: "LOCAL"}


def artifact_table(head: str, rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of rows of names and an artifact id, with as many rows as fit into a tag."""
    text = f"| {head} | | artifact |\n|---|---|---|\n"
    for number, (*names, artifact) in enumerate(rows):
        row = f"| {' | '.join(names)} | `{artifact[:12]}` |\n"
        if len(text) + len(row) > TAG_LENGTH - 50:
            return f"{text}\nand {len(rows) - number} more"
        text += row
    return text


def training_step(step: Any) -> int:
    """Return `step` if it is a training step.

    Raises:
        ValueError: not a non-negative integer.
    """
    if not isinstance(step, int) or step < 0:
        raise ValueError(f"training step {step!r} is not a non-negative integer")
    return step


def milliseconds(seconds: float) -> int:
    """Return a time in seconds since 1970 as MLflow's milliseconds."""
    return int(seconds * 1000)


def moment(text: str) -> int:
    """Return a time of a record, ISO 8601, as MLflow's milliseconds since 1970."""
    return milliseconds(datetime.fromisoformat(text).timestamp())


def params(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return dotted path -> text of every leaf; lists are JSON, and long texts are truncated with a note."""
    found: dict[str, str] = {}
    for path, value in _leaves(values):
        text = value if isinstance(value, str) else json.dumps(value)
        found[unused(key(prefix + ".".join(path)), found)] = truncate(text, PARAM_LENGTH)
    return found


def numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return slashed path -> value of every leaf that is a number; booleans count as 0 and 1."""
    found: dict[str, float] = {}
    for path, value in _leaves(values):
        if isinstance(value, int | float):
            found[unused(key(prefix + "/".join(path)), found)] = float(value)
    return found


def key(text: str) -> str:
    """Return `text` as a valid MLflow key: other characters become `_`, and a long text loses its beginning.

    MLflow allows slashes only if the key is a valid relative path.
    """
    plain = _NOT_IN_KEYS.sub("_", text)[-KEY_LENGTH:]
    path = posixpath.normpath(plain)
    is_path = path == plain and path != "." and not path.startswith(("..", "/"))
    return plain if is_path else plain.replace("/", "_").strip(".") or "_"


def unused(name: str, taken: Mapping[str, Any]) -> str:
    """Return `name`, with the first number appended that makes it differ from all keys in `taken`."""
    number, free = 2, name
    while free in taken:
        free, number = f"{name[: KEY_LENGTH - 8]}_{number}", number + 1
    return free


def truncate(text: str, length: int) -> str:
    """Return `text` in at most `length` characters; a truncated text ends with its original length."""
    note = f"... ({len(text)} characters)"
    return text if len(text) <= length else text[: length - len(note)] + note


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for name in sorted(value):
            yield from _leaves(value[name], (*path, name))
    else:
        yield path, value

"""What a record or a result is in MLflow's terms: metrics by section of charts, tags, steps, times, a note in Markdown.

Nested values become the flat keys and short texts that MLflow takes. Which run they belong to is decided in `writer`.
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


def params(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Every leaf under its dotted path; lists as JSON; what is too long is cut and says so."""
    found: dict[str, str] = {}
    for path, value in _leaves(values):
        text = value if isinstance(value, str) else json.dumps(value)
        found[unused(key(prefix + ".".join(path)), found)] = cut(text, PARAM_LENGTH)
    return found


def numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Every leaf that is a number, under its path with slashes; truth values count as 0 and 1."""
    found: dict[str, float] = {}
    for path, value in _leaves(values):
        if isinstance(value, int | float):
            found[unused(key(prefix + "/".join(path)), found)] = float(value)
    return found


def key(text: str) -> str:
    """`text` as a key MLflow takes: other characters become `_`, what is too long loses its beginning.

    MLflow takes slashes only where the key could be a relative path.
    """
    plain = _NOT_IN_KEYS.sub("_", text)[-KEY_LENGTH:]
    path = posixpath.normpath(plain)
    is_path = path == plain and path != "." and not path.startswith(("..", "/"))
    return plain if is_path else plain.replace("/", "_").strip(".") or "_"


def unused(name: str, taken: Mapping[str, Any]) -> str:
    """`name`, or with the first number behind it that makes it another key than those taken."""
    number, free = 2, name
    while free in taken:
        free, number = f"{name[: KEY_LENGTH - 8]}_{number}", number + 1
    return free


def cut(text: str, length: int) -> str:
    """`text` in at most `length` characters; says how long it was when it is cut."""
    note = f"... ({len(text)} characters)"
    return text if len(text) <= length else text[: length - len(note)] + note


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for name in sorted(value):
            yield from _leaves(value[name], (*path, name))
    else:
        yield path, value

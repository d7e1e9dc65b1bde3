"""`lineage.json`: all steps behind a revision, so that it can be traced and reproduced.

One entry per step, inputs first: its settings (enough to recompute its id), the digests of its output, its source and
its environment. It holds no time, host, path or commit: the same recipe, source and environment give
the same bytes, wherever and whenever. The commit is in the record of each step and in the message of a Hub's commit.
`files` lists every other file of the revision, so a later publication knows which files of a branch are its own.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from olmo_core.artifact.identity import Step
from olmo_core.artifact.record import FileEntry, Record

LINEAGE_FILE = "lineage.json"
FORMAT = 2

Lineage = dict[str, Any]


def lineage(revision: Step, model: Step, records: Mapping[str, Record]) -> Lineage:
    """Return the lineage of a revision as plain JSON, without `files`: the card, one of them, is made of it.

    Args:
        revision: the step that makes it; its entry has no digest, because the lineage is one of its files.
        model: the checkpoint or soup with its weights.
        records: id -> record of the steps before it. Runs are left out: a run commits checkpoints before it is
            complete, so whether it has a record depends on the time.
    """
    steps = list(revision.closure())
    known = [records[step.id] for step in steps if step.id in records]
    environments = {record.environment.digest: record.environment.model_dump(mode="json") for record in known}
    return {
        "format": FORMAT,
        "revision": revision.name,
        "id": revision.id,
        "model": model.id,
        "steps": [_entry(step, records.get(step.id)) for step in steps],
        "environments": environments,
    }


def _entry(step: Step, record: Record | None) -> dict[str, Any]:
    asked = {"name": step.name, "id": step.id, **step.payload}
    if record is None:
        return asked
    return {
        **asked,
        "digest": record.digest,
        "files": [entry.model_dump(mode="json") for entry in record.files],
        "result": record.result,
        "source": record.source.digest,
        "environment": record.environment.digest,
    }


def encode(lineage: Lineage, files: Iterable[FileEntry]) -> bytes:
    """Return the content of `lineage.json` beside these files."""
    listed = [entry.model_dump(mode="json") for entry in sorted(files, key=lambda entry: entry.path)]
    return (json.dumps({**lineage, "files": listed}, indent=1, sort_keys=True) + "\n").encode()


def listed_files(content: bytes) -> dict[str, str]:
    """Return path -> sha256 of the files that a `lineage.json` lists; none if it has another format."""
    try:
        return {entry.path: entry.sha256 for entry in map(FileEntry.model_validate, json.loads(content)["files"])}
    except (ValueError, TypeError, KeyError):
        return {}


def steps_of(lineage: Lineage, kind: str) -> list[dict[str, Any]]:
    """Return the entries of one kind, inputs first."""
    return [entry for entry in lineage["steps"] if entry["kind"] == kind]


def step_of(lineage: Lineage, step_id: str) -> dict[str, Any]:
    """Return the entry with this id."""
    return next(entry for entry in lineage["steps"] if entry["id"] == step_id)

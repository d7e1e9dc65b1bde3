"""A release as recorded: the plan, the record of every step that is made, and why other steps cannot be used.

The page takes all its content from here. The store is read once and not changed; the only files read are the histories
of runs, each checked against its record.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import stale_inputs
from olmo_core.artifact.record import Record
from olmo_core.artifact.store import Store
from olmo_core.recipe.plan import Plan, Run
from olmo_core.train.step import HISTORY_FILE

State = Literal["made", "set aside", "missing"]


class HistoryRow(msgspec.Struct, frozen=True):
    """One training step: tokens of the run so far, loss in nats per token, learning rate."""

    tokens: int
    loss: float
    lr: float


@dataclass(frozen=True)
class ReleaseView:
    """The recorded state of a release.

    Attributes:
        plan: all its steps.
        records: id -> record of each step that is complete.
        problems: id -> why a step that was complete cannot be used.
        histories: id of a run -> its training steps so far, in order.
    """

    plan: Plan
    records: Mapping[str, Record]
    problems: Mapping[str, str]
    histories: Mapping[str, list[HistoryRow]]

    def record(self, step: Step) -> Record | None:
        """Return the record of a step, None if the step is not made."""
        return self.records.get(step.id)

    def state(self, step: Step) -> State:
        """Return whether a step is made, was made but cannot be used, or is missing."""
        if step.id in self.records:
            return "made"
        return "set aside" if step.id in self.problems else "missing"

    def tokens_seen(self, model: Step) -> int:
        """Return the tokens a checkpoint has seen in this release; for a soup, the most any ingredient has."""
        if model.kind == "soup":
            return max(self.tokens_seen(source) for source in model.inputs.values())
        if model.kind != "checkpoint":  # weights trained elsewhere
            return 0
        run = self.plan.run_of(model)
        start = run.step.inputs.get("start")
        before = self.tokens_seen(start) if start is not None else 0
        return before + int(model.fields["step"]) * run.config.batch_tokens


def read_release(plan: Plan, store: Store) -> ReleaseView:
    """Read the state of a release from the store."""
    records: dict[str, Record] = {}
    problems: dict[str, str] = {}
    held = store.snapshot()
    for step in plan.steps:
        record = held.peek(step)
        if record is None:
            problem = held.problem(step)
        elif roles := stale_inputs(record, step, held.peek):
            problem = f"its input {', '.join(roles)} was made again with other content"
        else:
            records[step.id] = record
            continue
        if problem:
            problems[step.id] = problem
    histories: dict[str, list[HistoryRow]] = {}
    for run in (run for runs in plan.runs.values() for run in runs):
        try:
            histories[run.step.id] = _history(run, records, store)
        except DamagedFileError as error:
            histories[run.step.id] = []
            records.pop(run.step.id, None)
            problems[run.step.id] = str(error)
    return ReleaseView(plan, records, problems, histories)


class DamagedFileError(ValueError):
    """A file does not have the digest in its record."""


def _history(run: Run, records: Mapping[str, Record], store: Store) -> list[HistoryRow]:
    """Read a run's history: its own if it has ended, else those of its checkpoints up to the first missing one."""
    sources: Iterable[Record]
    if run.step.id in records:
        sources = [records[run.step.id]]
    else:
        found = [records.get(run.checkpoints[at].id) for at in sorted(run.checkpoints)]
        sources = found[: found.index(None)] if None in found else found  # type: ignore[assignment]
    data = b"".join(_read(record, HISTORY_FILE, store) for record in sources)
    return msgspec.json.Decoder(HistoryRow).decode_lines(data)


def _read(record: Record, path: str, store: Store) -> bytes:
    data = store.objects.read(f"{record.files_folder}/{path}")
    expected = next((entry.sha256 for entry in record.files if entry.path == path), None)
    if data is None or hashlib.sha256(data).hexdigest() != expected:
        raise DamagedFileError(f"{path} of {record.label} does not have the digest in its record")
    return data

"""Why a step would be reused or made: on a miss, the exact declared fields that differ and the step they belong to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import stale_inputs
from olmo_core.artifact.record import Record
from olmo_core.artifact.source import source_of
from olmo_core.artifact.store import Store

_ABSENT = object()


@dataclass(frozen=True)
class Difference:
    """One declared value that differs: in which step, at which dotted path, what was recorded and what is wanted."""

    step: str
    path: str
    recorded: Any
    wanted: Any

    def __str__(self) -> str:
        """Return it as one line for people."""
        return f"{self.step}: {self.path} was {_show(self.recorded)}, is now {_show(self.wanted)}"


@dataclass(frozen=True)
class Why:
    """The answer. `differences` are against `nearest`, the label of the most similar record; '' where there is none."""

    hit: bool
    reason: str
    differences: list[Difference] = field(default_factory=list)
    code_changed: list[str] = field(default_factory=list)
    nearest: str = ""


def why(step: Step, store: Store, strict_code: bool = False) -> Why:
    """Say whether `make` would reuse the step's artifact, and if not, why. Reads records only; changes nothing."""
    record = store.peek(step)
    if record is not None:
        return _why_present(record, step, store, strict_code)
    if problem := store.problem(step):
        return Why(False, f"its artifact was complete once, but {problem}")
    nearest = _nearest(step, store)
    if nearest is None:
        return Why(False, f"no {step.kind} was ever made in this store")
    differences = _root_causes(nearest, step, store)
    reason = f"nearest is {nearest.label}-{nearest.id[:12]}, of which {len(differences)} declared value(s) differ"
    return Why(False, reason, differences, nearest=f"{nearest.label}-{nearest.id[:12]}")


def _why_present(record: Record, step: Step, store: Store, strict_code: bool) -> Why:
    changed = record.source.changed(source_of(step.work)) if step.work else []
    if roles := stale_inputs(record, step, store):
        return Why(False, f"its input {', '.join(roles)} was made again with other content", code_changed=changed)
    if changed:
        reason = f"complete; code changed since in {', '.join(changed)}"
        return Why(not strict_code, reason, code_changed=changed)
    return Why(True, "complete")


def _nearest(step: Step, store: Store) -> Record | None:
    """Return the record of the same kind that differs least: the same name first, then the fewest leaves."""

    def distance(record: Record) -> tuple[bool, int, str]:
        return record.name != step.name, len(_leaf_differences(record.payload, step.payload)), record.id

    return min(store.records(step.kind), key=distance, default=None)


def _root_causes(record: Record, step: Step, store: Store) -> list[Difference]:
    """Return what differs between a record and a step; an input that differs is followed to where it began to."""
    found: dict[tuple[str, str], Difference] = {}
    for path, (recorded, wanted) in _leaf_differences(record.payload, step.payload).items():
        role = path.removeprefix("inputs.")
        source = step.inputs.get(role) if role != path else None
        causes: list[Difference] = []
        if source is not None and role in record.inputs:
            old = record.inputs[role]
            before = next((r for r in store.records(old.kind) if r.id == old.id), None)
            causes = _root_causes(before, source, store) if before is not None else []
        for cause in causes or [Difference(step.label, path, recorded, wanted)]:
            found.setdefault((cause.step, cause.path), cause)
    return list(found.values())


def _leaf_differences(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    old, new = dict(_leaves(recorded)), dict(_leaves(wanted))
    return {
        path: (old.get(path, _ABSENT), new.get(path, _ABSENT))
        for path in sorted(old.keys() | new.keys())
        if old.get(path, _ABSENT) != new.get(path, _ABSENT)
    }


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, value) of every value that holds no others; an empty list or mapping is a leaf."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, value


def _show(value: Any) -> str:
    return "absent" if value is _ABSENT else repr(value)

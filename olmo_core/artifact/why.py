"""Why a step would be reused or made: on a miss, the exact declared fields that differ and the step they belong to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import stale_inputs
from olmo_core.artifact.record import Record
from olmo_core.artifact.source import source_of
from olmo_core.artifact.store import Store

ABSENT = "(absent)"


@dataclass(frozen=True)
class Difference:
    """One declared value that differs: in which step, at which dotted path, what was recorded and what is wanted."""

    step: str
    path: str
    recorded: Any
    wanted: Any

    def __str__(self) -> str:
        """Return it as one line for people."""
        was, now = (value if value == ABSENT else repr(value) for value in (self.recorded, self.wanted))
        return f"{self.step}: {self.path} was {was}, is now {now}"


@dataclass(frozen=True)
class Why:
    """The answer. `differences` are against `nearest`, folder of the most similar record; '' where there is none."""

    hit: bool
    reason: str
    differences: list[Difference] = field(default_factory=list)
    code_changed: list[str] = field(default_factory=list)
    nearest: str = ""


def why(step: Step, store: Store, strict_code: bool = False) -> Why:
    """Say whether `make` would reuse the step's artifact, and if not, why; sizes are checked, digests are not."""
    return Explainer(store, strict_code).why(step)


class Explainer:
    """Answers `why` for many steps of one plan; lists the records of a kind once. Reads only, changes nothing."""

    def __init__(self, store: Store, strict_code: bool = False) -> None:
        self.store = store
        self.strict_code = strict_code
        self._kinds: dict[str, list[Record]] = {}

    def why(self, step: Step) -> Why:
        """See the function `why`."""
        record = self.store.peek(step)
        if record is not None:
            return self._present(record, step)
        if problem := self.store.problem(step):
            return Why(False, f"it was complete once, but {problem}")
        nearest = self._nearest(step)
        if nearest is None:
            return Why(False, f"no {step.kind} was ever made in this store")
        differences = list(self._causes(nearest, step).values())
        reason = f"{len(differences)} declared value(s) differ from {nearest.folder}"
        return Why(False, reason, differences, nearest=nearest.folder)

    def _present(self, record: Record, step: Step) -> Why:
        changed = record.source.changed(source_of(step.work)) if step.work else []
        if roles := stale_inputs(record, step, self.store):
            return Why(False, f"its input {', '.join(roles)} was made again with other content", code_changed=changed)
        if changed:
            reason = f"complete; code changed since in {', '.join(changed)}"
            return Why(not self.strict_code, reason, code_changed=changed)
        return Why(True, "complete")

    def _nearest(self, step: Step) -> Record | None:
        """Return the record of the same kind that differs least: the same name first, then the fewest leaves."""

        def distance(record: Record) -> tuple[bool, int, str]:
            return record.name != step.name, len(_differing(record.payload, step.payload)), record.id

        return min(self._records(step.kind), key=distance, default=None)

    def _causes(self, record: Record, step: Step) -> dict[tuple[str, str], Difference]:
        """Return what differs, by step and path; an input that differs is followed to the step where that began."""
        found: dict[tuple[str, str], Difference] = {}
        for path, (recorded, wanted) in _differing(record.payload, step.payload).items():
            causes = {(step.label, path): Difference(step.label, path, recorded, wanted)}
            role = path.removeprefix("inputs.")
            if path.startswith("inputs.") and role in step.inputs and role in record.inputs:
                old = record.inputs[role]
                before = next((other for other in self._records(old.kind) if other.id == old.id), None)
                if before is not None and old.kind == step.inputs[role].kind:
                    causes = self._causes(before, step.inputs[role])
            for key, cause in causes.items():
                found.setdefault(key, cause)
        return found

    def _records(self, kind: str) -> list[Record]:
        if kind not in self._kinds:
            self._kinds[kind] = list(self.store.records(kind))
        return self._kinds[kind]


def _differing(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return dotted path -> (recorded, wanted) of every leaf that differs."""
    old, new = dict(_leaves(recorded)), dict(_leaves(wanted))
    pairs = {path: (old.get(path, ABSENT), new.get(path, ABSENT)) for path in sorted(old.keys() | new.keys())}
    return {path: pair for path, pair in pairs.items() if pair[0] != pair[1]}


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

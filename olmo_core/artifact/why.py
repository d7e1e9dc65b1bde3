"""Explains why a step would be reused or made; on a miss, names the declared fields that differ and their step."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any

from olmo_core.artifact.identity import Step, canonical
from olmo_core.artifact.make import stale_inputs
from olmo_core.artifact.record import Record
from olmo_core.artifact.snapshot import Snapshot
from olmo_core.artifact.source import environment, source_of
from olmo_core.artifact.store import Store

ABSENT = "(absent)"
ARITHMETIC = "olmo_core.model.arithmetic"  # imported by every work that multiplies matrices
# Most records of other names that a step is compared with: OLMo 2 1B has 1,980 checkpoints, each with its own name.
MAX_COMPARED = 32


@dataclass(frozen=True)
class Difference:
    """One declared value that differs: the step, the dotted path, the recorded value and the wanted one."""

    step: str
    path: str
    recorded: Any
    wanted: Any

    def __str__(self) -> str:
        """Format the difference as one line for a message."""
        was, now = (value if value == ABSENT else repr(value) for value in (self.recorded, self.wanted))
        return f"{self.step}: {self.path} was {was}, is now {now}"


@dataclass(frozen=True)
class Why:
    """Why a step is a hit or a miss; `differences` are from `nearest`, the folder of the most similar record or ''."""

    hit: bool
    reason: str
    differences: list[Difference] = field(default_factory=list)
    code_changed: list[str] = field(default_factory=list)
    nearest: str = ""


def why(step: Step, store: Store, strict_code: bool = False) -> Why:
    """Return whether `make` would reuse the step's artifact and why (not); check sizes but not digests."""
    return Explainer(store.snapshot(), strict_code).why(step)


class Explainer:
    """Answers `why` for many steps of one plan. Changes nothing."""

    def __init__(self, held: Snapshot, strict_code: bool = False) -> None:
        self.strict_code = strict_code
        self._held = held
        self._kinds: dict[str, _Kind] = {}
        self._traced: dict[tuple[str, str], dict[tuple[str, str], Difference]] = {}
        self._source = cache(source_of)

    def why(self, step: Step) -> Why:
        """See the function `why`."""
        record = self._held.peek(step)
        if record is not None:
            return self._present(record, step)
        if problem := self._held.problem(step):
            return Why(False, f"was complete, but {problem}")
        nearest = self._of_kind(step.kind).nearest(step)
        if nearest is None:
            return Why(False, f"no {step.kind} was ever made in this store")
        differences = list(self._causes(nearest, step).values())
        reason = f"{len(differences)} declared value(s) differ from {nearest.folder}"
        return Why(False, reason, differences, nearest=nearest.folder)

    def _present(self, record: Record, step: Step) -> Why:
        changed = record.source.changed(self._source(step.work)) if step.work else []
        if roles := stale_inputs(record, step, self._held.peek):
            return Why(False, f"its input {', '.join(roles)} was made again with other content", code_changed=changed)
        if changed:
            reason = f"complete; code changed since in {', '.join(changed)}"
            return Why(not self.strict_code, reason, code_changed=changed)
        return Why(True, f"complete{self._other_arithmetic(record)}")

    def _other_arithmetic(self, record: Record) -> str:
        """Return a note if this machine would compute the record's matrix products with other bits, else ''."""
        made, here = record.environment.arithmetic, environment().arithmetic
        if ARITHMETIC not in record.source.modules or made in ("", here):
            return ""
        return f"; computed with {made}, this machine would use {here}: other bits, losses within 1e-3"

    def _causes(self, record: Record, step: Step) -> dict[tuple[str, str], Difference]:
        """Return the differences by step and path; an input that differs is traced to the step that caused it."""
        key = (record.id, step.id)
        if key not in self._traced:
            self._traced[key] = self._follow(record, step)
        return self._traced[key]

    def _follow(self, record: Record, step: Step) -> dict[tuple[str, str], Difference]:
        found: dict[tuple[str, str], Difference] = {}
        for path, (recorded, wanted) in _differing(record.payload, step.payload).items():
            causes = {(step.label, path): Difference(step.label, path, recorded, wanted)}
            role = path.removeprefix("inputs.")
            if path.startswith("inputs.") and role in step.inputs and role in record.inputs:
                old = record.inputs[role]
                before = self._of_kind(old.kind).by_id.get(old.id)
                if before is not None and old.kind == step.inputs[role].kind:
                    causes = self._causes(before, step.inputs[role])
            for each, cause in causes.items():
                found.setdefault(each, cause)
        return found

    def _of_kind(self, kind: str) -> "_Kind":
        if kind not in self._kinds:
            self._kinds[kind] = _Kind(self._held.records(kind))
        return self._kinds[kind]


class _Kind:
    """The records of one kind."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.by_id = {record.id: record for record in records}
        self._by_name: dict[str, list[Record]] = {}
        for record in self.by_id.values():
            self._by_name.setdefault(record.name, []).append(record)
        self._values: dict[str, frozenset[tuple[str, Any]]] = {}

    def nearest(self, step: Step) -> Record | None:
        """Return the record that differs least: prefer the same name, then the fewest differing leaves."""
        own = self._by_name.get(step.name)
        wanted = _values(step.payload)

        def distance(record: Record) -> tuple[int, str]:
            if record.id not in self._values:
                self._values[record.id] = _values(record.payload)
            return len({path for path, _ in self._values[record.id] ^ wanted}), record.id

        return min(own or islice(self.by_id.values(), MAX_COMPARED), key=distance, default=None)


def _values(payload: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    """Return (dotted path, value) of every leaf as a set, for comparison."""
    return frozenset(
        (path, canonical(value) if isinstance(value, list | Mapping) else value) for path, value in _leaves(payload)
    )


def _differing(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return dotted path -> (recorded, wanted) of every leaf that differs."""
    old, new = dict(_leaves(recorded)), dict(_leaves(wanted))
    pairs = {path: (old.get(path, ABSENT), new.get(path, ABSENT)) for path in sorted(old.keys() | new.keys())}
    return {path: pair for path, pair in pairs.items() if pair[0] != pair[1]}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, value) of every leaf; an empty list or mapping is a leaf too."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, value

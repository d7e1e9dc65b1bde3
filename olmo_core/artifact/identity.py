"""The identity of a step, as pure functions over declared values.

A step is `(kind, version, fields, ids of inputs)`; its id is the sha256 of that in canonical JSON. Where and how a step
runs (hosts, workers, threads, folders) does not enter the id. `store` keeps what a step makes.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from olmo_core.artifact.job import Work


def unused(value: object) -> bool:
    """Return whether a field means "not used" (None, False or empty) and is therefore left out of the identity.

    Serves as `exclude_if` in configs, so that adding a capability does not change the id of steps that do not use it.
    """
    return value is None or value is False or value == ()


class UnstableValueError(TypeError):
    """A declared value has no stable canonical form, so it cannot be part of an identity."""


def canonical(value: object, where: str = "value") -> str:
    """Return `value` as canonical JSON: sorted keys, no spaces, ASCII; equal values give the same text everywhere.

    Raises:
        UnstableValueError: for anything but None, bool, int, finite float, str, list, tuple or a mapping with str keys.
    """
    return json.dumps(_plain(value, where), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _plain(value: object, where: str) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UnstableValueError(f"{where} is {value}; only finite numbers have a canonical form")
        return int(value) if value.is_integer() else value
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise UnstableValueError(f"{where} has the key {key!r}; keys must be strings")
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    raise UnstableValueError(
        f"{where} is a {type(value).__name__}; declare it as JSON (a pydantic model: use model_dump(mode='json'))"
    )


@dataclass(frozen=True)
class Step:
    """One unit of work of a release, known before anything runs.

    Attributes:
        kind: what it makes, one noun: `corpus`, `tokens`, `checkpoint`.
        name: for people and paths, such as `stage1-step400`; not part of the identity.
        version: integer kept next to the step's code, raised by hand when its output changes.
        fields: every declared value its output depends on, as plain JSON.
        inputs: role -> the step whose artifact it reads.
        work: function that makes the artifact, None where another step commits it; not part of the identity. It is
            defined at the top of its module, since steps are pickled to workers by reference, and imports what is
            heavy in its body, so that planning stays light.
    """

    kind: str
    name: str
    version: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, "Step"] = field(default_factory=dict)
    work: "Work | None" = None

    @cached_property
    def payload(self) -> dict[str, Any]:
        """The values that the id is the digest of."""
        return {
            "kind": self.kind,
            "version": self.version,
            "fields": json.loads(canonical(self.fields, f"{self.kind}/{self.name}.fields")),
            "inputs": {role: step.id for role, step in sorted(self.inputs.items())},
        }

    @cached_property
    def id(self) -> str:
        """Sha256 of the canonical payload, 64 hex digits."""
        return hashlib.sha256(canonical(self.payload).encode()).hexdigest()

    @property
    def folder(self) -> str:
        """Folder of its artifact below the store's root: `<kind>/<name>-<id12>`."""
        return f"{self.kind}/{self.name}-{self.id[:12]}"

    @property
    def label(self) -> str:
        """Its name in messages and on the command line: `<kind>/<name>`."""
        return f"{self.kind}/{self.name}"

    def closure(self) -> Iterator["Step"]:
        """Yield every step this one depends on and then itself; inputs come first, each id once."""
        return closure([self])


def closure(steps: Iterable[Step]) -> Iterator[Step]:
    """Yield these steps and all their dependencies, inputs first, each id once."""
    seen: set[str] = set()
    for step in steps:
        yield from _closure(step, seen)


def _closure(step: Step, seen: set[str]) -> Iterator[Step]:
    if step.id in seen:
        return
    seen.add(step.id)
    for _, source in sorted(step.inputs.items()):
        yield from _closure(source, seen)
    yield step

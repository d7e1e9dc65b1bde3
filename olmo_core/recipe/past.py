"""Rates, seconds and bytes of recorded steps that are similar to a step still to be made."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from olmo_core.artifact.identity import Step, canonical
from olmo_core.artifact.record import Record
from olmo_core.evaluate.step import group_of
from olmo_core.recipe.kinds import RUN_KINDS


class Past:
    """Records, grouped by similarity.

    Steps about a model are similar if kind and model shape agree, and preferably the name, otherwise the group of a
    result. Other steps must agree in kind, name and declared fields: one corpus does not predict another.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._by_id = {record.id: record for record in records}
        self._shapes: dict[str, str] = {}
        self._like: dict[tuple[str, ...], list[Record]] = {}
        self._means: dict[tuple[str, tuple[str, ...]], float | None] = {}
        for record in self._by_id.values():
            about = (record.payload["fields"], self._shape(record), group_of(record.inputs))
            for key in _keys(record.kind, record.name, *about):
                self._like.setdefault(key, []).append(record)

    def training_rates(self, run: Step) -> list[float]:
        """Return the tokens per second of recorded runs with the same name and model, else of all with that model."""
        found = self._like.get(self._nearest(run), [])
        return [record.payload["fields"]["tokens"] / record.seconds for record in found if record.seconds > 0]

    def seconds(self, step: Step) -> float | None:
        """Return the mean seconds of similar steps, None if there are none."""
        return self._mean("seconds", step, lambda record: record.seconds)

    def bytes(self, step: Step) -> float | None:
        """Return the mean bytes of similar steps, None if there are none."""
        return self._mean("bytes", step, lambda record: sum(entry.size for entry in record.files))

    def _mean(self, what: str, step: Step, value: Callable[[Record], float]) -> float | None:
        """Return the mean of a value over similar steps; computed once per key."""
        likeness = self._nearest(step)
        if (what, likeness) not in self._means:
            values = [value(record) for record in self._like.get(likeness, [])]
            self._means[what, likeness] = sum(values) / len(values) if values else None
        return self._means[what, likeness]

    def _nearest(self, step: Step) -> tuple[str, ...]:
        """Return the most specific key that has records, () if none has."""
        if not self._by_id:
            return ()
        about = (step.payload["fields"], self._shape_of(step), group_of(step.inputs))
        return next((key for key in _keys(step.kind, step.name, *about) if key in self._like), ())

    def _shape(self, record: Record) -> str:
        """Return the shape of the model that a record is about, '' if there is none."""
        if record.id not in self._shapes:
            if record.kind in RUN_KINDS:
                self._shapes[record.id] = canonical(record.payload["fields"].get("model"))
            else:
                sources = [self._by_id[each.id] for each in record.inputs.values() if each.id in self._by_id]
                self._shapes[record.id] = next((shape for each in sources if (shape := self._shape(each))), "")
        return self._shapes[record.id]

    def _shape_of(self, step: Step) -> str:
        """Return the shape of the model that a step is about, '' if there is none."""
        if step.id not in self._shapes:
            if step.kind in RUN_KINDS:
                self._shapes[step.id] = canonical(step.fields["model"])
            else:
                shapes = (self._shape_of(source) for source in step.inputs.values())
                self._shapes[step.id] = next((shape for shape in shapes if shape), "")
        return self._shapes[step.id]


def _keys(kind: str, name: str, fields: Mapping[str, Any], shape: str, group: str) -> list[tuple[str, ...]]:
    """Return the keys of similarity, the most specific first. Only results have a group other than the default."""
    return [(kind, shape, name), (kind, shape, "", group)] if shape else [(kind, name, canonical(fields))]

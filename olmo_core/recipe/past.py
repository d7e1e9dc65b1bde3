"""What records say of the steps like one that has still to be made: rates, seconds and bytes."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from olmo_core.artifact.identity import Step, canonical
from olmo_core.artifact.record import Record
from olmo_core.evaluate.step import group_of
from olmo_core.recipe.kinds import RUN_KINDS


class Past:
    """Records by what makes them like a step that has still to be made.

    What is about a model: the kind, the shape of the model, the group of a result, and the name where one has that. All
    else: the kind, the name and the declared fields, for a corpus tells nothing of another one.
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
        """Return tokens a second of the recorded runs of this name with the same model, else of all with that model."""
        found = self._like.get(self._nearest(run), [])
        return [record.payload["fields"]["tokens"] / record.seconds for record in found if record.seconds > 0]

    def seconds(self, step: Step) -> float | None:
        """Return the mean seconds of what is like the step."""
        return self._mean("seconds", step, lambda record: record.seconds)

    def bytes(self, step: Step) -> float | None:
        """Return the mean size of what is like the step."""
        return self._mean("bytes", step, lambda record: sum(entry.size for entry in record.files))

    def _mean(self, what: str, step: Step, value: Callable[[Record], float]) -> float | None:
        """Return the mean of a value over what is like the step, computed once for all steps that it is like."""
        likeness = self._nearest(step)
        if (what, likeness) not in self._means:
            values = [value(record) for record in self._like.get(likeness, [])]
            self._means[what, likeness] = sum(values) / len(values) if values else None
        return self._means[what, likeness]

    def _nearest(self, step: Step) -> tuple[str, ...]:
        """Return the nearest likeness of which there are records, () where there is none."""
        if not self._by_id:
            return ()
        about = (step.payload["fields"], self._shape_of(step), group_of(step.inputs))
        return next((key for key in _keys(step.kind, step.name, *about) if key in self._like), ())

    def _shape(self, record: Record) -> str:
        """Return the shape of the model that a record is about, '' where it is about none."""
        if record.id not in self._shapes:
            if record.kind in RUN_KINDS:
                self._shapes[record.id] = canonical(record.payload["fields"].get("model"))
            else:
                sources = [self._by_id[each.id] for each in record.inputs.values() if each.id in self._by_id]
                self._shapes[record.id] = next((shape for each in sources if (shape := self._shape(each))), "")
        return self._shapes[record.id]

    def _shape_of(self, step: Step) -> str:
        """Return the shape of the model that a step is about, '' where it is about none."""
        if step.id not in self._shapes:
            if step.kind in RUN_KINDS:
                self._shapes[step.id] = canonical(step.fields["model"])
            else:
                shapes = (self._shape_of(source) for source in step.inputs.values())
                self._shapes[step.id] = next((shape for shape in shapes if shape), "")
        return self._shapes[step.id]


def _keys(kind: str, name: str, fields: Mapping[str, Any], shape: str, group: str) -> list[tuple[str, ...]]:
    """Return what likeness goes by, the nearest first. Only results are of different groups."""
    return [(kind, shape, name), (kind, shape, "", group)] if shape else [(kind, name, canonical(fields))]

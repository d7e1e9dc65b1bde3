"""The content of a store at one moment, for code that looks up many steps. Changes and hashes nothing.

Names do not bear identity, so `Store.peek` lists all folders of a kind to find a step stored under another name.
OLMo 2 1B has 20,000 results: a snapshot lists each kind once and reads each record once.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from olmo_core.artifact.identity import Step
from olmo_core.artifact.record import Record

if TYPE_CHECKING:
    from olmo_core.artifact.store import Store


class Snapshot:
    """A cache of a store: it reads each kind and record once. To wait for a step, take a new snapshot each time."""

    def __init__(self, store: "Store") -> None:
        """Create an empty cache; nothing is read yet.

        Args:
            store: store to read from; `Store.snapshot` calls this.
        """
        self.root = store.root
        self._store = store
        self._names: dict[str, list[str]] = {}
        self._by_id: dict[str, dict[str, list[str]]] = {}
        self._records: dict[str, Record | None] = {}
        self._peeked: dict[str, Record | None] = {}

    def peek(self, step: Step) -> Record | None:
        """See `Store.peek`."""
        if step.id not in self._peeked:
            records = map(self._record, self._folders(step))
            self._peeked[step.id] = next((record for record in records if self._store.holds(record, step)), None)
        return self._peeked[step.id]

    def problem(self, step: Step) -> str:
        """See `Store.problem`."""
        return self._store.problem(step) if self._store.folder(step) in self._folders(step) else ""

    def records(self, kind: str | None = None) -> Iterator[Record]:
        """See `Store.records`."""
        for each in self._store.objects.names("") if kind is None else [kind]:
            for name in self._listed(each):
                if (record := self._record(f"{each}/{name}")) is not None:
                    yield record

    def _folders(self, step: Step) -> list[str]:
        """Return the folders whose names end with the id of a step, its own name first."""
        own = self._store.folder(step)
        if step.kind not in self._by_id:
            found = self._by_id[step.kind] = {}
            for name in self._listed(step.kind):
                found.setdefault(name.rpartition("-")[2], []).append(f"{step.kind}/{name}")
        return sorted(self._by_id[step.kind].get(step.id[:12], []), key=lambda folder: folder != own)

    def _listed(self, kind: str) -> list[str]:
        if kind not in self._names:
            self._names[kind] = self._store.objects.names(kind)
        return self._names[kind]

    def _record(self, folder: str) -> Record | None:
        if folder not in self._records:
            self._records[folder] = self._store.record(folder)
        return self._records[folder]

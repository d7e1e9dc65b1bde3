"""The source of a dataset: an artifact of a store, in a form that MLflow can store and load."""

from pathlib import Path
from typing import Any, Self

from mlflow.data.dataset_source import DatasetSource

from olmo_core.artifact.store import Store


class ArtifactSource(DatasetSource):
    """A corpus, a mix or the items of a task in an artifact store."""

    def __init__(self, root: str, kind: str, name: str, id: str, digest: str) -> None:
        self.root, self.kind, self.name, self.id, self.digest = root, kind, name, id, digest

    def load(self) -> Path:
        """Return the folder of the artifact's verified files on local disk.

        Raises:
            LookupError: the store has no such artifact with this content.
        """
        store = Store(self.root)
        for record in store.records(self.kind):
            if record.id == self.id and record.digest == self.digest:
                problem = store.verifier.sizes(record) or store.verifier.digests(record)
                if problem:
                    raise LookupError(f"{record.label}: {problem}")
                return store.verifier.path(record)
        raise LookupError(f"{self.root} does not hold {self.kind}/{self.name} with the digest {self.digest}")

    def to_dict(self) -> dict[Any, Any]:
        """Return the fields of the source."""
        return {"root": self.root, "kind": self.kind, "name": self.name, "id": self.id, "digest": self.digest}

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> Self:
        """Return the source with the fields that `to_dict` returned."""
        return cls(**source_dict)

    @staticmethod
    def _get_source_type() -> str:
        return "olmo_artifact"

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> Self:
        raise NotImplementedError(f"{raw_source!r} is not an artifact of a store")

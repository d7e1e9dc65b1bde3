"""What a corpus is read from, as all readers are seen from outside: which packages, and which documents are a shard's.

Each reader is a file beside this one. One that reads an archive says how documents come out of it and is cut by
counting them; one whose files can be read from any place says itself what its part of them is.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from olmo_core.documents.document import Document


class DocumentSource(BaseModel, ABC):
    """A reader and what it reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def packages(self) -> tuple[str, ...]:
        """Names of the packages it reads, among the recipe's."""
        return ()

    @abstractmethod
    def read_shard(self, archives: Mapping[str, Path], shard: int, shards: int) -> Iterator[Document]:
        """Yield the documents of one shard; those of all shards are all documents, each once.

        Args:
            archives: package -> its file.
            shard: which one, from 0.
            shards: how many there are.
        """


class ArchiveSource(DocumentSource):
    """A reader of the archive of one package; a shard has every n-th of its documents."""

    package: str = Field(description="Name of the package under `packages`.")

    @property
    def packages(self) -> tuple[str, ...]:
        """The one."""
        return (self.package,)

    @abstractmethod
    def documents(self, archive: Path) -> Iterator[Document]:
        """Yield all documents of the archive, in the same order every time."""

    def read_shard(self, archives: Mapping[str, Path], shard: int, shards: int) -> Iterator[Document]:
        """Yield every n-th document; the whole archive is read for it."""
        return islice(self.documents(archives[self.package]), shard, None, shards)

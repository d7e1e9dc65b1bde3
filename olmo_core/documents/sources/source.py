"""The interface of all readers of documents: which packages they need, and which documents belong to a shard.

Each reader is a module in this folder. A reader of an archive yields all documents of it, and its shards are cut by
counting them; `files` has the interface of readers of files, whose shards are ranges of bytes.
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
        """Names of the packages it reads, as listed in the recipe."""
        return ()


class CountedSource(DocumentSource):
    """A reader of text that comes with a package or with this project; the recipe gives the number of shards."""

    @abstractmethod
    def read_shard(self, archives: Mapping[str, Path], shard: int, shards: int) -> Iterator[Document]:
        """Yield the documents of one shard; each document is in exactly one shard.

        Args:
            archives: package -> its file.
            shard: number of the shard, from 0.
            shards: number of shards.
        """


class ArchiveSource(CountedSource):
    """A reader of one package's archive; a shard has every n-th document."""

    package: str = Field(description="Name of the package under `packages`.")

    @property
    def packages(self) -> tuple[str, ...]:
        """The one package."""
        return (self.package,)

    @abstractmethod
    def documents(self, archive: Path) -> Iterator[Document]:
        """Yield all documents of the archive, in the same order every time."""

    def read_shard(self, archives: Mapping[str, Path], shard: int, shards: int) -> Iterator[Document]:
        """Yield every n-th document; reads the whole archive."""
        return islice(self.documents(archives[self.package]), shard, None, shards)

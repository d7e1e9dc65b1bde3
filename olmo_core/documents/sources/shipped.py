"""Reader of the text included in this project, for the recipe that must work without a network.

`micro.jsonl.gz` is a part of the American Standard Version of 1901 (public domain), one document per chapter.
"""

import hashlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Literal

import msgspec
from pydantic import Field

from olmo_core.documents.document import Document, read_documents
from olmo_core.documents.sources.source import CountedSource


class ShippedSource(CountedSource):
    """Documents of a file included in this project; needs no network."""

    reader: Literal["shipped"] = Field(description="Kind of reader.")
    file: Literal["micro.jsonl.gz"] = Field(description="Name of the file.")
    sha256: str = Field(description="SHA-256 of the file, 64 hex digits.", pattern=r"^[0-9a-f]{64}$")
    books: tuple[str, ...] = Field(description="Books to read, by the beginning of their ids.", min_length=1)

    def documents(self) -> Iterator[Document]:
        """Yield the chapters of `books`, in the order of the file.

        Raises:
            ValueError: the file has another digest or lacks a book.
        """
        path = Path(__file__).parent / self.file
        got = hashlib.sha256(path.read_bytes()).hexdigest()
        if got != self.sha256:
            raise ValueError(f"{self.file} has sha256 {got}, the recipe pins {self.sha256}; correct the recipe")
        missing = set(self.books)
        for document in read_documents(path):
            book = document.id.partition("/")[0]
            if book in self.books:
                missing.discard(book)
                yield msgspec.structs.replace(document, source=self.file)
        if missing:
            raise ValueError(f"{self.file} has no books {sorted(missing)}; correct `books`")

    def read_shard(self, archives: Mapping[str, Path], shard: int, shards: int) -> Iterator[Document]:
        """Yield the chapters of one shard: every n-th."""
        return islice(self.documents(), shard, None, shards)

"""What the readers of files share: which files, the size of a shard, and what happens to a bad row."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, ClassVar, Literal

import msgspec
from pydantic import Field

from olmo_core.documents.byte_stream import DamagedFileError
from olmo_core.documents.document import Document
from olmo_core.documents.listing import File
from olmo_core.documents.pieces import Piece, shards_of_files
from olmo_core.documents.sources.source import DocumentSource


class BadRow(msgspec.Struct, frozen=True):
    """A row that is not a document.

    Attributes:
        where: file and line, or row.
        reason: kind of fault, under which it is counted.
        detail: the fault itself, for the message.
    """

    where: str
    reason: str
    detail: str


class BadRowError(ValueError):
    """A row that is not a document, in a corpus that must have none."""


class FileSource(DocumentSource):
    """A reader of files at any address that fsspec reads."""

    paths: tuple[str, ...] = Field(
        min_length=1, description="Addresses, patterns (`*`, `**`) or folders; relative to the recipe's folder."
    )
    shard_bytes: int = Field(
        256_000_000, ge=1, description="Most bytes of the files in one shard; a file that cannot be cut is whole."
    )
    on_bad_row: Literal["fail", "skip"] = Field(
        "fail", description="`skip` drops rows that are not documents, and counts them by reason."
    )

    # Ends of the names of its files, without that of a compression; files of other names are read by an explicit path.
    SUFFIXES: ClassVar[tuple[str, ...]] = ()
    # Left out of the identity of a shard: its files, with their tags, stand for them.
    LISTED: ClassVar = {"paths", "shard_bytes"}

    def shards(self, files: Sequence[File]) -> list[tuple[Piece, ...]]:
        """Return the pieces of every shard."""
        return shards_of_files(files, self.shard_bytes, self.can_be_cut)

    def documents(self, pieces: Iterable[Piece]) -> Iterator[Document | BadRow]:
        """Yield the documents of a shard, and the rows that are left out: those that repeat an id among them.

        Takes about 80 bytes of memory per document, for its id.

        Raises:
            BadRowError: a row is not a document, and none may be skipped; names file, row and remedy.
        """
        ids: set[bytes] = set()
        for piece in pieces:
            for row in self._all_rows(piece):
                if isinstance(row, Document):
                    digest = blake2b(row.id.encode(errors="surrogatepass"), digest_size=8).digest()
                    if digest not in ids:
                        ids.add(digest)
                        yield row
                        continue
                    row = BadRow(piece.address, "duplicate id", f"id {row.id!r} occurs twice")
                if self.on_bad_row == "fail":
                    raise BadRowError(f"{row.where}: {row.detail}; correct it, or set on_bad_row: skip to leave it out")
                yield row

    def _all_rows(self, piece: Piece) -> Iterator[Document | BadRow]:
        """Yield the rows of a piece; a damaged file is one bad row after those before the damage, an empty one too."""
        number = 0
        try:
            for row in self.rows(piece):
                number += 1
                yield row
        except DamagedFileError as error:
            yield BadRow(piece.address, "damaged file", str(error))
        else:
            if not number and piece.end - piece.start == piece.bytes:
                yield BadRow(piece.address, "empty file", "it has no rows")

    @classmethod
    @abstractmethod
    def can_be_cut(cls, name: str) -> bool:
        """Return whether a file of this name can be read from any position."""

    @abstractmethod
    def rows(self, piece: Piece) -> Iterator[Document | BadRow]:
        """Yield the documents that begin in a piece of a file, in order, and a `BadRow` for every other row."""

    def raw_rows(self, piece: Piece) -> Iterator[Mapping[str, Any]]:
        """Yield the rows that begin in a piece with all of their columns, for a look at files that have no recipe yet.

        A reader of files without columns yields none.
        """
        return iter(())

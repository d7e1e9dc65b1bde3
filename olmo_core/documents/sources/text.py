"""Reader of plain text and Markdown: one document a file."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from olmo_core.documents.byte_stream import opened
from olmo_core.documents.document import Document
from olmo_core.documents.pieces import Piece
from olmo_core.documents.sources.files import BadRow, FileSource

MAX_BYTES = 100_000_000


class TextSource(FileSource):
    """Files of text in UTF-8, optionally compressed; each is one document, and its address is its id."""

    reader: Literal["text"] = Field(description="Kind of reader.")

    SUFFIXES: ClassVar[tuple[str, ...]] = (".txt", ".md", ".markdown")

    @classmethod
    def can_be_cut(cls, name: str) -> bool:
        """Return False: a file is one document."""
        return False

    def rows(self, piece: Piece) -> Iterator[Document | BadRow]:
        """Yield the document of a file."""
        with opened(piece) as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            detail = f"it has more than {MAX_BYTES:,} bytes; one file is one document"
            yield BadRow(piece.address, "file too long", detail)
            return
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            yield BadRow(piece.address, "not UTF-8", str(error))
            return
        yield Document(piece.address, text, source=piece.address)

"""Reader of Parquet files: one document a row; a large file is cut at its row groups."""

from collections.abc import Iterator
from typing import Any, Literal

from fsspec.core import url_to_fs
from pydantic import Field

from olmo_core.documents.byte_stream import DamagedFileError, check_unchanged
from olmo_core.documents.document import Document
from olmo_core.documents.pieces import Piece
from olmo_core.documents.sources.files import BadRow, FileSource
from olmo_core.documents.sources.row import Columns

# Rows decoded at once: of web pages, some 10 MB.
_BATCH_ROWS = 1024


class ParquetSource(FileSource):
    """Parquet files."""

    reader: Literal["parquet"] = Field(description="Kind of reader.")
    columns: Columns = Field(default_factory=Columns, description="Which columns are what.")

    @classmethod
    def can_be_cut(cls, name: str) -> bool:
        """Return True: a piece has the row groups that begin in it."""
        return True

    def rows(self, piece: Piece) -> Iterator[Document | BadRow]:
        """Yield the documents of the row groups that begin in the piece; only the columns needed are read.

        A document without an id is named by its file and row.
        """
        import pyarrow
        from pyarrow import parquet

        store, path = url_to_fs(piece.address)
        check_unchanged(piece, store.info(path))
        with store.open(path, "rb") as raw:
            try:
                file = parquet.ParquetFile(raw)
                yield from self._documents(file, piece)
            except (pyarrow.ArrowException, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise DamagedFileError(f"the file is truncated, damaged or no Parquet: {error}") from error

    def _documents(self, file: Any, piece: Piece) -> Iterator[Document | BadRow]:
        wanted = [name for name in self.columns.needed if name in file.schema_arrow.names]
        if self.columns.text.partition(".")[0] not in wanted:
            there = ", ".join(file.schema_arrow.names)
            yield BadRow(piece.address, "no text", f"there is no column {self.columns.text!r}; there are {there}")
            return
        row = 0
        for group in range(file.num_row_groups):
            about = file.metadata.row_group(group)
            if piece.start <= _offset(about) < piece.end:
                number = row
                for batch in file.iter_batches(_BATCH_ROWS, [group], wanted, use_threads=False):
                    for values in batch.to_pylist():
                        where = f"{piece.address}, row {number}"
                        yield self.columns.document(values, where, f"{piece.name}:{number}")
                        number += 1
            row += about.num_rows


def _offset(group: Any) -> int:
    """Return the byte at which a row group begins: that of the pages of its first column."""
    column = group.column(0)
    pages: int = column.data_page_offset
    return min(pages, column.dictionary_page_offset) if column.has_dictionary_page else pages

"""Reader of Parquet files: one document a row; a large file is cut at its row groups."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

from pydantic import Field

from olmo_core.documents.byte_stream import DamagedFileError, check_unchanged
from olmo_core.documents.document import Document
from olmo_core.documents.listing import store_of
from olmo_core.documents.pieces import Piece
from olmo_core.documents.sources.files import BadRow, FileSource
from olmo_core.documents.sources.row import Columns

# Rows decoded at once: of web pages, some 10 MB.
_BATCH_ROWS = 1024


class ParquetSource(FileSource):
    """Parquet files."""

    reader: Literal["parquet"] = Field(description="Kind of reader.")
    columns: Columns = Field(default_factory=Columns, description="Which columns are what.")

    SUFFIXES: ClassVar[tuple[str, ...]] = (".parquet",)

    @classmethod
    def can_be_cut(cls, name: str) -> bool:
        """Return True: a piece has the row groups that begin in it."""
        return True

    def rows(self, piece: Piece) -> Iterator[Document | BadRow]:
        """Yield the documents of the row groups that begin in the piece; only the columns needed are read.

        A document without an id is named by its file and row.
        """
        with _opened(piece) as file:
            names = file.schema_arrow.names
            wanted = [name for name in self.columns.needed if name in names]
            if self.columns.text.partition(".")[0] not in wanted:
                detail = f"there is no column {self.columns.text!r}; there are {', '.join(names)}"
                yield BadRow(piece.address, "no text", detail)
                return
            for number, row in _rows(file, piece, wanted):
                yield self.columns.document(row, f"{piece.address}, row {number}", piece.address, number)

    def raw_rows(self, piece: Piece) -> Iterator[Mapping[str, Any]]:
        """Yield the rows of the row groups that begin in the piece, with all columns."""
        with _opened(piece) as file:
            yield from (row for _, row in _rows(file, piece, None))


@contextmanager
def _opened(piece: Piece) -> Iterator[Any]:
    """Open a file with pyarrow; what is wrong with its bytes is a `DamagedFileError`."""
    import pyarrow
    from pyarrow import parquet

    store, path = store_of(piece.address)
    check_unchanged(piece, store, path)
    with store.open(path, "rb") as raw:
        try:
            yield parquet.ParquetFile(raw)
        except (pyarrow.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DamagedFileError(f"the file is truncated, damaged or no Parquet: {error}") from error


def _rows(file: Any, piece: Piece, columns: Sequence[str] | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield number and values of each row of the row groups that begin in a piece."""
    first = 0
    for group in range(file.num_row_groups):
        about = file.metadata.row_group(group)
        if piece.start <= _offset(about) < piece.end:
            number = first
            for batch in file.iter_batches(_BATCH_ROWS, [group], columns, use_threads=False):
                for row in batch.to_pylist():
                    yield number, row
                    number += 1
        first += about.num_rows


def _offset(group: Any) -> int:
    """Return the byte at which a row group begins: that of the pages of its first column."""
    column = group.column(0)
    pages: int = column.data_page_offset
    return min(pages, column.dictionary_page_offset) if column.has_dictionary_page else pages

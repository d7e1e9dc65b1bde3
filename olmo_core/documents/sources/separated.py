"""Reader of tables as text: CSV and TSV with a header, one document a row."""

import csv
import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Literal

from pydantic import Field

from olmo_core.documents.byte_stream import opened
from olmo_core.documents.document import Document
from olmo_core.documents.pieces import Piece
from olmo_core.documents.sources.files import BadRow, FileSource
from olmo_core.documents.sources.row import Columns

MAX_FIELD_CHARACTERS = 100_000_000


class SeparatedSource(FileSource):
    """Files of separated values (RFC 4180) in UTF-8, optionally compressed; the first row names the columns."""

    reader: Literal["csv"] = Field(description="Kind of reader.")
    delimiter: str = Field(",", min_length=1, max_length=1, description='Character between values; "\\t" for TSV.')
    columns: Columns = Field(default_factory=Columns, description="Which columns are what.")

    SUFFIXES: ClassVar[tuple[str, ...]] = (".csv",)

    @classmethod
    def can_be_cut(cls, name: str) -> bool:
        """Return False: a value may have line breaks, so a row is found only from the start."""
        return False

    def rows(self, piece: Piece) -> Iterator[Document | BadRow]:
        """Yield the documents of a file; one without an id is named by its file and row.

        What follows a row that cannot be parsed, or bytes that are not UTF-8, is left out as one `BadRow`.
        """
        csv.field_size_limit(MAX_FIELD_CHARACTERS)
        with opened(piece) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as lines:
            table = csv.reader(lines, delimiter=self.delimiter, strict=True)
            number = 0
            try:
                names = next(table, [])
                for number, values in enumerate(table, start=1):
                    where = f"{piece.address}, line {table.line_num}"
                    if len(values) == len(names):
                        row = dict(zip(names, values, strict=True))
                        yield self.columns.document(row, where, piece.address, number)
                    elif values:
                        detail = f"it has {len(values)} values, the header has {len(names)}"
                        yield BadRow(where, "wrong number of values", detail)
            except (csv.Error, UnicodeDecodeError) as error:
                where = f"{piece.address}, after line {table.line_num}"
                yield BadRow(where, "not CSV", f"the rest is left out: {error}")

    def raw_rows(self, piece: Piece) -> Iterator[Mapping[str, Any]]:
        """Yield the rows of a file up to the first that cannot be parsed."""
        csv.field_size_limit(MAX_FIELD_CHARACTERS)
        with opened(piece) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as lines:
            table = csv.reader(lines, delimiter=self.delimiter, strict=True)
            with suppress(csv.Error, UnicodeDecodeError):
                names = next(table, [])
                yield from (dict(zip(names, values, strict=False)) for values in table)

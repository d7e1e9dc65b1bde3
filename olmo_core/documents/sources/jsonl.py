"""Reader of JSON lines, plain or compressed: one document a line, as Dolma and most others write text."""

import json
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, ClassVar, Literal

import msgspec
from pydantic import Field

from olmo_core.documents.byte_stream import COMPRESSED, opened
from olmo_core.documents.document import Document
from olmo_core.documents.pieces import Piece
from olmo_core.documents.sources.files import BadRow, FileSource
from olmo_core.documents.sources.row import Columns

MAX_LINE_BYTES = 100_000_000
_SHOWN_CHARACTERS = 120


class JsonlSource(FileSource):
    """Files of JSON lines: `.jsonl` or `.json`, optionally `.gz`, `.zst`, `.bz2` or `.xz`."""

    reader: Literal["jsonl"] = Field(description="Kind of reader.")
    columns: Columns = Field(default_factory=Columns, description="Which fields of a line are what.")

    SUFFIXES: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson", ".json")

    @classmethod
    def can_be_cut(cls, name: str) -> bool:
        """Return whether the file is not compressed."""
        return not name.endswith(COMPRESSED)

    def rows(self, piece: Piece) -> Iterator[Document | BadRow]:
        """Yield the documents of the lines that begin in the piece; blank lines are skipped.

        A document without an id is named by its file and the byte its line begins at.
        """
        decode = self._decoder()
        for number, (start, line) in enumerate(_lines(piece), start=1):
            where = f"{piece.address}, " + (f"line at byte {start}" if piece.start else f"line {number}")
            line = line.removeprefix(BOM_UTF8) if not start else line
            if len(line) > MAX_LINE_BYTES and len(line.rstrip(b"\r\n")) > MAX_LINE_BYTES:
                yield BadRow(where, "line too long", f"it has more than {MAX_LINE_BYTES:,} bytes")
            elif line.strip():
                row = decode(line)
                if isinstance(row, dict):
                    yield self.columns.document(row, where, piece.address, start)
                else:
                    yield BadRow(where, "not a JSON object", row)

    def raw_rows(self, piece: Piece) -> Iterator[Mapping[str, Any]]:
        """Yield the objects of the lines that begin in the piece; lines that are none are left out."""
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        for start, line in _lines(piece):
            try:
                yield decode(line if start else line.removeprefix(BOM_UTF8))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                if isinstance(row := _slowly(line, str(error)), dict):
                    yield row

    def _decoder(self) -> Callable[[bytes], dict[str, Any] | str]:
        """Return a function that turns a line into the columns needed, or into what is wrong with it."""
        columns = {f"column{number}": name for number, name in enumerate(self.columns.needed)}
        row_type = msgspec.defstruct("Row", [(field, Any, None) for field in columns], rename=columns)
        decode = msgspec.json.Decoder(row_type).decode

        def decoded(line: bytes) -> dict[str, Any] | str:
            try:
                values = msgspec.structs.astuple(decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                return _slowly(line, str(error))
            if values[0] is None:  # no text: the message names the columns that there are
                return _slowly(line, "")
            return dict(zip(columns.values(), values, strict=True))

        return decoded


def _slowly(line: bytes, error: str) -> dict[str, Any] | str:
    """Read a line that msgspec refuses: lone surrogates are JSON to Python, and cleaned later."""
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError):
        row = None
    if isinstance(row, dict):
        return row
    shown = line[:_SHOWN_CHARACTERS].decode(errors="replace").rstrip()
    return f"it is not a JSON object ({error}): {shown}"


def _lines(piece: Piece) -> Iterator[tuple[int, bytes]]:
    """Yield where each line of a piece begins, and the line; of one that is too long, its first bytes."""
    at, end = piece.start, piece.end if JsonlSource.can_be_cut(piece.address) else None
    with opened(piece, max(0, at - 1)) as file:
        if at:
            at += _skip_line(file, piece.end - at + 1) - 1  # a line may begin just here
        while end is None or at < end:
            line = file.readline(MAX_LINE_BYTES + 2)
            if not line:
                return
            yield at, line
            at += len(line)
            if not line.endswith(b"\n"):
                at += _skip_line(file, None if end is None else end - at)


def _skip_line(file: IO[bytes], most: int | None) -> int:
    """Read to the end of a line, or at least `most` bytes of it; return the number of bytes."""
    skipped = 0
    while (most is None or skipped < most) and (part := file.readline(1 << 20)):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped

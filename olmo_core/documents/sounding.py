"""A sounding of the files of one reader: some of their rows are read, to estimate what all of them have."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from olmo_core.documents.byte_stream import DamagedFileError
from olmo_core.documents.columns import Column, columns_seen, id_column, shortened, text_column
from olmo_core.documents.languages import languages
from olmo_core.documents.listing import File
from olmo_core.documents.sources.files import FileSource
from olmo_core.documents.spread import spread
from olmo_core.documents.tally import EMPTY, BadRows, Documents, Tally

SAMPLES = 10
SAMPLE_CHARACTERS = 200
_LISTED = 30
_ROWS = 1000  # of a piece, for its columns


class Sample(msgspec.Struct, frozen=True):
    """A document: its id, its file, and its first characters on one line."""

    id: str
    source: str
    text: str


class Sounding(msgspec.Struct, frozen=True):
    """What the files of one reader have.

    Attributes:
        columns: the columns of the rows; none if the format has none.
        text: column with the text, if there is one.
        text_guessed: whether it was guessed.
        id: column with the id, if one is in every row and never repeats.
        documents: how many documents, and how large.
        bad: rows that are not documents, by reason, the most frequent first.
        languages: ISO 639 code -> share of documents, the most frequent first.
        samples: some documents, spread over the files.
    """

    columns: tuple[Column, ...]
    text: str | None
    text_guessed: bool
    id: str | None
    documents: Documents
    bad: tuple[BadRows, ...]
    languages: dict[str, float]
    samples: tuple[Sample, ...]

    @property
    def bad_rows(self) -> int:
        """Number of rows that a corpus fails on unless it skips bad rows."""
        return sum(each.rows for each in self.bad if each.reason != EMPTY)

    @property
    def problem(self) -> str:
        """Why no document was found; empty if one was."""
        if self.documents.looked_at:
            return ""
        if self.columns and self.text not in {each.name for each in self.columns}:
            listed = ", ".join(
                f"{shortened(each.name, 60)} ({' or '.join(each.types) or 'null'})" for each in self.columns[:_LISTED]
            )
            return f"no text column{f' {self.text}' if self.text else ''}; name one with --text; there are {listed}"
        return f"no document: {shortened(self.bad[0].places[0], 300)}" if self.bad else "empty: no rows"


def sound(reader: type[FileSource], name: str, files: Sequence[File], text: str | None, most: int) -> Sounding:
    """Return what files have, from about `most` bytes of them.

    Args:
        reader: reader of the files.
        name: its name in a recipe.
        files: the files, in the order of the listing.
        text: column with the text; guessed if not given.
        most: bytes to read, decompressed.
    """
    pieces = spread(files, most, reader.can_be_cut)
    fields = {"reader": name, "paths": [file.address for file in files[:1]]}
    source = reader.model_validate(fields)
    columns = columns_seen(row for piece in pieces for row in _undamaged(islice(source.raw_rows(piece), _ROWS)))
    guess, id_ = text_column(columns), id_column(columns)
    column = text or (guess.name if guess else None)
    identity = id_.name if id_ else None
    tally = Tally()
    if column is not None and "columns" in reader.model_fields:
        own = {"text": column} | ({"id": identity} if identity else {})
        source = reader.model_validate({**fields, "columns": own})
    if column is not None or not columns:
        for piece in pieces:
            tally.read(source, piece)
    return Sounding(
        tuple(columns),
        column,
        not text,
        identity,
        tally.documents(files),
        tally.bad(),
        languages(beginning for _, _, beginning in tally.kept),
        tuple(
            Sample(name, source, shortened(beginning, SAMPLE_CHARACTERS))
            for name, source, beginning in tally.kept.evenly(SAMPLES)
        ),
    )


def _undamaged(rows: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield rows up to where a file is damaged; reading its documents names the place."""
    try:
        yield from rows
    except DamagedFileError:
        return

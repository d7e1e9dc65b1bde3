"""Counts the documents of some pieces of files, and scales the counts to all files."""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from olmo_core.documents.byte_stream import DamagedFileError, compression_of
from olmo_core.documents.digests import digest
from olmo_core.documents.document import Document, clean
from olmo_core.documents.languages import CHARACTERS
from olmo_core.documents.listing import File
from olmo_core.documents.pieces import Piece
from olmo_core.documents.sources.files import BadRow, FileSource
from olmo_core.documents.spread import Thinned, inflation

TEXTS = 2000  # whose beginning is kept; a share of them is right to two points
EMPTY = "no characters"  # the reason for which a reader has no bad row
_PLACES = 3


class BadRows(msgspec.Struct, frozen=True):
    """Rows that are not documents for one reason: their share of the rows looked at, and the first places."""

    reason: str
    rows: int
    share: float
    places: tuple[str, ...]


class Documents(msgspec.Struct, frozen=True):
    """The documents of all files, from those that were looked at.

    Attributes:
        exact: whether all files were read; else `count` and `bytes` are estimates.
        count: documents of all files.
        bytes: UTF-8 bytes of their text.
        looked_at: documents that were read.
        looked_at_bytes: bytes of the files that were read, as they are there.
        mean: bytes of text per document.
        median: half of the documents have no more bytes of text.
        p95: 95% of the documents have no more bytes of text.
        duplicates: documents that were read whose text repeats an earlier one; case and spacing are ignored.
    """

    exact: bool
    count: int
    bytes: int
    looked_at: int
    looked_at_bytes: int
    mean: float
    median: float
    p95: float
    duplicates: int


class Tally:
    """Counts documents and the rows that are not documents."""

    def __init__(self) -> None:
        self.sizes = array("Q")
        self.read_bytes: Counter[str] = Counter()
        self.found: dict[str, tuple[int, int]] = {}
        self.texts: set[bytes] = set()
        self.kept = Thinned[tuple[str, str, str]](TEXTS)
        self.reasons: Counter[str] = Counter()
        self.places: dict[str, list[str]] = {}

    def read(self, source: FileSource, piece: Piece) -> None:
        """Count the rows that begin in a piece.

        A file that can neither be cut nor ends with its head is left when that many bytes of text were read.
        """
        kind = compression_of(piece.address)
        endless = not kind and not source.can_be_cut(piece.address) and piece.end < piece.bytes
        count = size = 0
        for row in _whole(source, piece):
            if isinstance(row, BadRow):
                self.drop(row.reason, f"{row.where}: {row.detail}")
            elif added := self.add(clean(row)):
                count, size = count + 1, size + added
                if endless and size >= piece.end:
                    break
        self.read_bytes[kind] += piece.end - piece.start
        before = self.found.get(kind, (0, 0))
        self.found[kind] = before[0] + count, before[1] + size

    def add(self, document: Document) -> int:
        """Count a document; return its bytes of text."""
        if not document.text:
            self.drop(EMPTY, f"{document.source}, document {document.id}: it has no characters")
            return 0
        size = document.bytes
        self.sizes.append(size)
        self.texts.add(digest(document.text)[:16])
        self.kept.add((document.id, document.source, document.text[:CHARACTERS]) if self.kept.wanted else ("", "", ""))
        return size

    def drop(self, reason: str, place: str) -> None:
        """Count a row that is not a document."""
        self.reasons[reason] += 1
        if self.reasons[reason] <= _PLACES:
            self.places.setdefault(reason, []).append(place)

    def documents(self, files: Sequence[File]) -> Documents:
        """Return the documents of files, of which pieces were read.

        Plain files and those of each compression are scaled apart, as their bytes hold unlike numbers of documents. A
        kind that was not read is taken to have as many as the others, decompressed.
        """
        sizes = np.frombuffer(self.sizes, dtype=np.uint64) if self.sizes else np.zeros(0, dtype=np.uint64)
        whole: Counter[str] = Counter()
        for file in files:
            whole[compression_of(file.address)] += file.bytes
        read = self.read_bytes
        seen = sum(size * inflation(kind) for kind, size in read.items())
        count = total = 0.0
        for kind, size in whole.items():
            if read[kind]:
                scale, own = size / read[kind], self.found[kind]
            else:
                scale, own = size * inflation(kind) / max(1, seen), (len(sizes), int(sizes.sum()))
            count += own[0] * scale
            total += own[1] * scale
        mean, median, p95 = (
            (float(sizes.mean()), *map(float, np.percentile(sizes, [50, 95]))) if len(sizes) else (0.0, 0.0, 0.0)
        )
        return Documents(
            exact=read == whole,
            count=round(count),
            bytes=round(total),
            looked_at=len(sizes),
            looked_at_bytes=read.total(),
            mean=mean,
            median=median,
            p95=p95,
            duplicates=len(sizes) - len(self.texts),
        )

    def bad(self) -> tuple[BadRows, ...]:
        """Return the rows that are not documents, the most frequent reason first."""
        rows = self.reasons.total() + len(self.sizes)
        return tuple(
            BadRows(reason, count, count / rows, tuple(self.places[reason]))
            for reason, count in self.reasons.most_common()
        )


def _whole(source: FileSource, piece: Piece) -> Iterator[Document | BadRow]:
    """Yield the rows of a piece without the last of a compressed file that is read in part: it may be cut in two."""
    rows = _until_damage(source, piece)
    if piece.end < piece.bytes and compression_of(piece.address):
        before = next(rows, None)
        for row in rows:
            if before is not None:
                yield before
            before = row
    else:
        yield from rows


def _until_damage(source: FileSource, piece: Piece) -> Iterator[Document | BadRow]:
    """Yield the rows of a piece; a file that is damaged is a `BadRow` where it cannot be read further."""
    try:
        yield from source.rows(piece)
    except DamagedFileError as error:
        yield BadRow(piece.address, "damaged file", str(error))

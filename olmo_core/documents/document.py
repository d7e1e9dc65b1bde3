"""A document, the cleaning of its text, and files of documents: gzipped JSON lines, the same bytes on every run.

`corpus` decides which documents a corpus keeps.
"""

import gzip
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import msgspec
import numpy as np
from isal import igzip
from numpy.typing import NDArray

# Defined here and not in `corpus`, so that code that reads this file does not import the readers of sources.
HELDOUT_FILE = "heldout.jsonl.gz"
# Not text: control characters other than line separators, the byte order mark and two non-characters.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Line separators: CR, vertical tab, form feed (a page), the ASCII separators, NEL, and the two of Unicode.
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x1c-\x1f\x85\u2028\u2029]")
# Level 6 takes twice the time of level 3 and saves 4% of the bytes on this kind of text.
_GZIP_LEVEL = 3

Value = str | int | float | bool | None
Spans = dict[str, list[tuple[int, int, Value]]]


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One text of a corpus; on disk, a line of JSON without the empty fields.

    Attributes:
        id: unique in its corpus.
        text: the text.
        group: documents with the same group are held out or trained on together (questions about one passage); if
            empty, the text is the group.
        source: address it was read from, `archive!member` for a file inside an archive.
        metadata: name -> value, about the whole document.
        spans: name -> `[start, end, value]` in characters of the text, end exclusive (Dolma's form of attributes).
    """

    id: str
    text: str
    group: str = ""
    source: str = ""
    metadata: dict[str, Value] = {}
    spans: Spans = {}

    @property
    def bytes(self) -> int:
        """Size of the text in UTF-8."""
        return len(self.text.encode())


def sanitise(text: str) -> str:
    """Return `text` in a form every encoder accepts: newlines as LF, no control characters, no lone surrogates.

    A lone surrogate becomes U+FFFD, which shows that a character is missing. White space at both ends is removed.
    """
    return _safe(text).strip()


def clean(document: Document) -> Document:
    """Return a document as it is stored in a corpus: its text sanitised, its spans moved to match.

    The id and the source are put on one line, because they are columns of a table. A lone surrogate in the group or in
    a value of the metadata becomes U+FFFD, as in the text.

    Raises:
        ValueError: a span is outside the text, or JSON cannot express a number; names document and field.
    """
    spans = _moved(document) if document.spans else document.spans
    for name, value in document.metadata.items():
        _check_value(document, f"metadata {name}", value)
    return msgspec.structs.replace(
        document,
        id=_one_line(document.id),
        text=sanitise(document.text),
        group=_SURROGATE.sub("\ufffd", document.group),
        metadata={name: _whole(value) for name, value in document.metadata.items()},
        source=_one_line(document.source),
        spans=spans,
    )


class DocumentWriter:
    """Writes documents as gzipped JSON lines; equal documents give equal bytes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._gzip = gzip.GzipFile(filename="", fileobj=self._file, mode="wb", compresslevel=_GZIP_LEVEL, mtime=0)
        self._encode = msgspec.json.Encoder(order="deterministic").encode
        self.documents = 0
        self.bytes = 0

    def write(self, document: Document) -> None:
        """Append one document, and count it in `documents` and `bytes` (of UTF-8 text)."""
        self._gzip.write(self._encode(document) + b"\n")
        self.documents += 1
        self.bytes += document.bytes

    def __enter__(self) -> "DocumentWriter":
        """Return the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._gzip.close()
        self._file.close()


def read_documents(path: Path, rows: NDArray[np.bool_] | None = None) -> Iterator[Document]:
    """Yield the documents of one `.jsonl.gz`, in order.

    Args:
        path: the file.
        rows: (documents,) which of them to yield; the others are not decoded. All if not given.

    Raises:
        ValueError: a line is not a document, or the number of lines differs from that of `rows`; names file and line.
    """
    decode = msgspec.json.Decoder(Document).decode
    wanted = None if rows is None else rows.tobytes()
    number = 0
    with igzip.open(path, "rb") as lines:  # type: ignore[no-untyped-call]
        for number, line in enumerate(lines, start=1):
            if wanted is not None and wanted[number - 1 : number] != b"\x01":
                continue
            try:
                document = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ValueError(
                    f'{path.name}, line {number}: {error}; a document is {{"id": string, "text": string}}, '
                    "optionally with group, source, metadata and spans"
                ) from error
            yield document
    if rows is not None and number != len(rows):
        raise ValueError(f"{path.name} has {number} documents, expected {len(rows)}; make the step again")


def _safe(text: str) -> str:
    return _SURROGATE.sub("\ufffd", _CONTROL.sub("", _LINE_END.sub("\n", text)))


def _whole(value: Value) -> Value:
    return _SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value


def _one_line(text: str) -> str:
    return text if text.isprintable() else sanitise(text).replace("\n", " ")


def _check_value(document: Document, field: str, value: Value) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"document {document.id}: {field} is {value}, which JSON cannot express; leave it out")


def _moved(document: Document) -> Spans:
    """Return the spans of a document in its sanitised text; removed characters are no longer covered."""
    text, wanted = document.text, set()
    for name, rows in document.spans.items():
        for start, end, value in rows:
            _check_value(document, f"span {name}", value)
            if not 0 <= start <= end <= len(text):
                raise ValueError(
                    f"document {document.id}: span {name} is from {start} to {end}, its text has {len(text)} "
                    "characters; count characters of the text before cleaning"
                )
            wanted |= {start, end}
    now = _places(text, wanted)
    return {
        name: [(now[start], now[end], value) for start, end, value in rows] for name, rows in document.spans.items()
    }


def _places(text: str, wanted: set[int]) -> Mapping[int, int]:
    """Map positions in a text to positions in the sanitised text, in one pass over the text."""
    safe = _safe(text)
    blank, whole = len(safe) - len(safe.lstrip()), len(safe.strip())
    places, at, length = {}, 0, 0
    for place in sorted(wanted):
        # CR LF becomes one character: a position between the two moves behind it.
        cut = place + 1 if text[max(place - 1, 0) : place + 1] == "\r\n" else place
        length += len(_safe(text[at:cut]))
        at = cut
        places[place] = min(max(length - blank, 0), whole)
    return places

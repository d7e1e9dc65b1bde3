"""One document, how its text is made safe, and the files of documents: JSON lines, gzip, the same bytes on every run.

Which documents a corpus keeps is decided in `corpus`.
"""

import gzip
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import msgspec
import numpy as np
from numpy.typing import NDArray

# Named here and not in `corpus`, so that the code of what reads this file does not include the readers of sources.
HELDOUT_FILE = "heldout.jsonl.gz"
# Control characters other than those that part lines, the byte order mark and the two non-characters; none is text.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# What parts lines or more: vertical tab, form feed (a page), the separators, NEL, and the two of Unicode.
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x1c-\x1f\x85\u2028\u2029]")
# Level 6 costs twice the time of level 3 for 4% fewer bytes on this kind of text.
_GZIP_LEVEL = 3

Value = str | int | float | bool | None
Spans = dict[str, list[tuple[int, int, Value]]]


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One text of a corpus. On disk it is a line of JSON without the fields that are empty.

    Attributes:
        id: names it, unique in its corpus.
        text: its text.
        group: what must stay on one side of the held-out line together with it (a passage several questions share);
            the text itself when empty.
        source: address it was read from, `archive!member` for a file inside an archive.
        metadata: what is known of it as a whole, by name.
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
    """Return `text` in a form every encoder takes: newlines as LF, no control characters, no lone surrogates.

    A lone surrogate becomes U+FFFD, so that a reader sees that something was there. Blanks at both ends are taken off.
    """
    return _safe(text).strip()


def clean(document: Document) -> Document:
    """Return a document as a corpus holds it: its text sanitised, its spans where their characters are now.

    Its id and its source are put on one line, so that a row of a table holds them.

    Raises:
        ValueError: a span is not within the text, or a number has no form in JSON; names document and field.
    """
    spans = _moved(document) if document.spans else document.spans
    for name, value in document.metadata.items():
        _check_value(document, f"metadata {name}", value)
    return msgspec.structs.replace(
        document,
        id=_one_line(document.id),
        text=sanitise(document.text),
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
        """Append one document; `documents` and `bytes` (of UTF-8 text) are counted."""
        self._gzip.write(self._encode(document) + b"\n")
        self.documents += 1
        self.bytes += document.bytes

    def __enter__(self) -> "DocumentWriter":
        """Give itself."""
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
        rows: (documents,) which of them are wanted; the others are not decoded. All when not given.

    Raises:
        ValueError: a line is not a document, or the file has another number of lines than `rows`; names file and line.
    """
    decode = msgspec.json.Decoder(Document).decode
    wanted = None if rows is None else rows.tobytes()
    number = 0
    with gzip.open(path, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            if wanted is not None and wanted[number - 1 : number] != b"\x01":
                continue
            try:
                document = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ValueError(
                    f'{path.name}, line {number}: {error}; a document is {{"id": string, "text": string}}, with '
                    "group, source, metadata and spans where it has any"
                ) from error
            yield document
    if rows is not None and number != len(rows):
        raise ValueError(f"{path.name} has {number} documents, {len(rows)} were written; make the step again")


def _safe(text: str) -> str:
    return _SURROGATE.sub("\ufffd", _CONTROL.sub("", _LINE_END.sub("\n", text)))


def _one_line(text: str) -> str:
    return text if text.isprintable() else sanitise(text).replace("\n", " ")


def _check_value(document: Document, field: str, value: Value) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"document {document.id}: {field} is {value}, which JSON does not have; leave it out")


def _moved(document: Document) -> Spans:
    """Return the spans of a document as they are in its sanitised text; of what is taken away, nothing is left."""
    text, wanted = document.text, set()
    for name, rows in document.spans.items():
        for start, end, value in rows:
            _check_value(document, f"span {name}", value)
            if not 0 <= start <= end <= len(text):
                raise ValueError(
                    f"document {document.id}: span {name} is from {start} to {end}, its text has {len(text)} "
                    "characters; count in characters of the text as it was read"
                )
            wanted |= {start, end}
    now = _places(text, wanted)
    return {
        name: [(now[start], now[end], value) for start, end, value in rows] for name, rows in document.spans.items()
    }


def _places(text: str, wanted: set[int]) -> Mapping[int, int]:
    """Return where each place of a text is in the sanitised one; the text is gone through once."""
    safe = _safe(text)
    blank, whole = len(safe) - len(safe.lstrip()), len(safe.strip())
    places, at, length = {}, 0, 0
    for place in sorted(wanted):
        # CR LF becomes one character: a place between the two is behind it.
        cut = place + 1 if text[max(place - 1, 0) : place + 1] == "\r\n" else place
        length += len(_safe(text[at:cut]))
        at = cut
        places[place] = min(max(length - blank, 0), whole)
    return places

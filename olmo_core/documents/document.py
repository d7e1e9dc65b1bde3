"""One document and the files documents lie in: JSON lines, gzip, the same bytes on every run.

Also the two things every corpus does to a text before anything else: make it safe to encode, and give it the digest by
which it is set apart and compared. Which documents a corpus keeps is left to `corpus`.
"""

import gzip
import hashlib
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import msgspec

# Named here and not in `corpus`, so that the code of what reads this file does not include the readers of sources.
HELDOUT_FILE = "heldout.jsonl.gz"
# Control characters other than those that part lines, the byte order mark and the two non-characters; none is text.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# What parts lines or more: vertical tab, form feed (a page), the separators, NEL, and the two of Unicode.
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x1c-\x1f\x85\u2028\u2029]")
# Level 6 costs twice the time of level 3 for 4% fewer bytes on this kind of text.
_GZIP_LEVEL = 3


class Document(msgspec.Struct, frozen=True):
    """One text of a corpus.

    Attributes:
        id: where it comes from, unique in its corpus.
        text: its text.
        group: what must stay on one side of the held-out line together with it (a passage several questions share);
            the text itself when empty.
    """

    id: str
    text: str
    group: str = ""


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    text: str


def sanitise(text: str) -> str:
    """Return `text` in a form every encoder takes: newlines as LF, no control characters, no lone surrogates.

    A lone surrogate becomes U+FFFD, so that a reader sees that something was there. Blanks at both ends are taken off.
    """
    text = _LINE_END.sub("\n", text)
    text = _CONTROL.sub("", text)
    return _SURROGATE.sub("\ufffd", text).strip()


def digest(text: str, salt: str = "") -> bytes:
    """Sha256 of the text as a reader compares it: case, spacing and Unicode composition make no difference."""
    plain = " ".join(unicodedata.normalize("NFC", text).casefold().split())
    return hashlib.sha256(f"{salt}\n{plain}".encode()).digest()


class DocumentWriter:
    """Writes documents as gzipped JSON lines `{"id", "text"}`; equal documents give equal bytes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._gzip = gzip.GzipFile(filename="", fileobj=self._file, mode="wb", compresslevel=_GZIP_LEVEL, mtime=0)
        self._encode = msgspec.json.Encoder().encode
        self.documents = 0
        self.bytes = 0

    def write(self, document: Document) -> None:
        """Append one document; `documents` and `bytes` (of UTF-8 text) are counted."""
        self._gzip.write(self._encode(_Line(document.id, document.text)) + b"\n")
        self.documents += 1
        self.bytes += len(document.text.encode())

    def __enter__(self) -> "DocumentWriter":
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._gzip.close()
        self._file.close()


def read_documents(path: Path) -> Iterator[Document]:
    """Yield the documents of one `.jsonl.gz`, in order.

    Raises:
        ValueError: naming file and line, when a line is no `{"id": str, "text": str}`.
    """
    decode = msgspec.json.Decoder(_Line).decode
    with gzip.open(path, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ValueError(
                    f'{path.name}, line {number}: {error}; every line must be {{"id": string, "text": string}}'
                ) from error
            yield Document(row.id, row.text)

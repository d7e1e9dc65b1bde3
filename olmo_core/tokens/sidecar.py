"""The sidecars of a token file: where each document is in it, and the document's metadata and spans.

`part-<shard>.csv.gz` has OLMo's format: a row `start,end,id` per document, positions in tokens, including EOS. A
document with a source has its address as a fourth column, as in Dolma. OLMo's readers split each line at its commas and
use the first two values, so a row is one line. `part-<shard>.attributes.jsonl.gz` has a line of JSON for each document
with metadata or spans; it exists only if there are such documents.
"""

import csv
import gzip
import io
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from olmo_core.documents.document import Document, Spans, Value


class Attributes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A line of the attributes file.

    Attributes:
        row: number of the document's row in the `.csv.gz`, from 0.
        metadata: metadata of the document.
        spans: spans of the document, in characters of its text.
    """

    row: int
    metadata: dict[str, Value] = {}
    spans: Spans = {}


class SidecarWriter:
    """Writes both sidecars; their bytes do not depend on the clock."""

    def __init__(self, folder: Path, shard: int) -> None:
        self._stem = folder / f"part-{shard:05d}"
        self._files = ExitStack()
        text = io.TextIOWrapper(self._open(".csv.gz"), encoding="utf-8", newline="")
        self._row = csv.writer(self._files.enter_context(text), lineterminator="\n").writerow
        self._attributes: gzip.GzipFile | None = None
        self._encode = msgspec.json.Encoder(order="deterministic").encode
        self._rows = 0

    def write(self, start: int, end: int, document: Document) -> None:
        """Append a document with the tokens from `start` to `end` (exclusive)."""
        self._row((start, end, document.id, document.source) if document.source else (start, end, document.id))
        if document.metadata or document.spans:
            if self._attributes is None:
                self._attributes = self._open(".attributes.jsonl.gz")
            self._attributes.write(self._encode(Attributes(self._rows, document.metadata, document.spans)) + b"\n")
        self._rows += 1

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(self, _kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        """Close the files."""
        self._files.close()

    def _open(self, suffix: str) -> gzip.GzipFile:
        raw = self._files.enter_context(self._stem.with_name(self._stem.name + suffix).open("wb"))
        return self._files.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0))

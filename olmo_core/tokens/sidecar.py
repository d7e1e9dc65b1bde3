"""The sidecars of a token file: where each document is in it, and the document's metadata and spans.

`part-<shard>.csv.gz` has OLMo's format: a row `start,end,id` per document, positions in tokens, including EOS. A
document with a source has its address as a fourth column, as in Dolma. OLMo's readers split each line at its commas and
use the first two values, so a row is one line. `part-<shard>.attributes.jsonl.gz` has a line of JSON for each document
with metadata or spans; it exists only if there are such documents.
"""

import csv
import gzip
import io
from collections.abc import Sequence
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
        self._write_rows = csv.writer(self._files.enter_context(text), lineterminator="\n").writerows
        self._attributes: gzip.GzipFile | None = None
        self._encode = msgspec.json.Encoder(order="deterministic").encode
        self._rows = 0

    def write(self, start: int, ends: Sequence[int], documents: Sequence[Document]) -> None:
        """Append documents that follow each other: the first from token `start`, each up to its end (exclusive)."""
        places = zip([start, *ends], ends, documents, strict=False)
        self._write_rows(
            (begin, end, each.id, each.source) if each.source else (begin, end, each.id) for begin, end, each in places
        )
        lines = [
            self._encode(Attributes(row, each.metadata, each.spans)) + b"\n"
            for row, each in enumerate(documents, start=self._rows)
            if each.metadata or each.spans
        ]
        if lines:
            if self._attributes is None:
                self._attributes = self._open(".attributes.jsonl.gz")
            self._attributes.write(b"".join(lines))
        self._rows += len(documents)

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(self, _kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        """Close the files."""
        self._files.close()

    def _open(self, suffix: str) -> gzip.GzipFile:
        raw = self._files.enter_context(self._stem.with_name(self._stem.name + suffix).open("wb"))
        return self._files.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0))

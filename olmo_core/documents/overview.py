"""An overview of files that no recipe describes yet: formats, columns, documents, and the source of a corpus of them.

A small corpus is read whole. Of a large one, pieces of some files spread over the listing are read, and what they have
is scaled to all bytes: an estimate, and marked as one. Nothing is written, and no file is digested.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from olmo_core.documents.formats import Format, format_of, known_suffixes, readers
from olmo_core.documents.listing import File, list_files, time_of_change
from olmo_core.documents.sounding import Sounding, sound

# Takes two or three seconds: a document of 1 kB is read at 20 MB a second, with its digest.
LOOK_BYTES = 32_000_000

Report = Callable[[str], None]


class OverviewError(ValueError):
    """Files that no corpus can be made of; the message is complete."""


class FormatCount(msgspec.Struct, frozen=True):
    """The files of one format.

    Attributes:
        format: their suffix, compression and reader.
        files: how many.
        bytes: their size as they are, compressed or not.
    """

    format: Format
    files: int
    bytes: int


class Corpus(msgspec.Struct, frozen=True):
    """The files of one reader as a corpus.

    Attributes:
        reader: name of the reader.
        paths: addresses or patterns that match these files and no others.
        files: how many.
        bytes: their size as they are.
        sounding: their columns and documents.
    """

    reader: str
    paths: tuple[str, ...]
    files: int
    bytes: int
    sounding: Sounding

    @property
    def source(self) -> dict[str, Any]:
        """The fields of `source` in a recipe; those that have their default are left out."""
        columns = {"text": self.sounding.text, "id": self.sounding.id}
        named = {role: name for role, name in columns.items() if name not in (None, role)}
        source = {"reader": self.reader, "paths": list(self.paths)} | ({"columns": named} if named else {})
        return source | ({"on_bad_row": "skip"} if self.sounding.bad_rows else {})


class Overview(msgspec.Struct, frozen=True):
    """What there is at an address or pattern.

    Attributes:
        path: the address or pattern.
        formats: the formats of the files, the one with most bytes first.
        corpora: a corpus for each reader that has files, in the order of their bytes.
    """

    path: str
    formats: tuple[FormatCount, ...]
    corpora: tuple[Corpus, ...]

    @property
    def files(self) -> int:
        """Number of files."""
        return sum(each.files for each in self.formats)

    @property
    def bytes(self) -> int:
        """Size of the files."""
        return sum(each.bytes for each in self.formats)


def overview(path: str, text: str | None = None, most: int = LOOK_BYTES, report: Report = lambda _: None) -> Overview:
    """Return what there is at an address, in a folder or of a pattern.

    Args:
        path: address that fsspec reads, or absolute path; a folder or pattern as in a recipe.
        text: column with the text; guessed if not given.
        most: bytes to read for each reader, decompressed.
        report: called with what is being done.

    Raises:
        ListingError: nothing is there, or it cannot be listed.
        OverviewError: the files are empty, of no known format, or have no column with text; names those there are.
    """
    report("listing files")
    files = list_files([path], time_of_change)
    groups: dict[Format, list[File]] = {}
    for file in files:
        groups.setdefault(format_of(file.address), []).append(file)
    counts = [FormatCount(each, len(own), sum(file.bytes for file in own)) for each, own in groups.items()]
    counts.sort(key=lambda each: (-each.bytes, each.format))
    if not any(file.bytes for file in files):
        raise OverviewError(f"{path}: empty: {len(files):,} {'file' if len(files) == 1 else 'files'} of 0 bytes")
    names = dict.fromkeys(each.format.reader for each in counts if each.format.reader and each.bytes)
    if not names:
        found = ", ".join(each.format.suffix or "no suffix" for each in counts)
        raise OverviewError(f"{path}: unknown format ({found}); there are {known_suffixes()}")
    corpora = []
    for name in names:
        own = [file for file in files if format_of(file.address).reader == name]
        report(f"reading {name}")
        sounding = sound(readers()[name], name, own, text, most)
        if sounding.problem:
            raise OverviewError(f"{path}: {sounding.problem}")
        paths = (path,) if len(own) == len(files) else _patterns(path, own, counts)
        corpora.append(Corpus(name, paths, len(own), sum(file.bytes for file in own), sounding))
    return Overview(path, tuple(counts), tuple(corpora))


def _patterns(path: str, own: Sequence[File], counts: Sequence[FormatCount]) -> tuple[str, ...]:
    """Return patterns that match the files of one reader and no others; their addresses if there are no such patterns.

    Only suffixes that no other format ends in are safe, which listing again shows.
    """
    reader = format_of(own[0].address).reader
    suffixes = [each.format.suffix for each in counts if each.format.reader == reader]
    folder = f"{path.rstrip('/')}/**/*"
    patterns = [f"{path if path.endswith('*') else folder}{suffix}" for suffix in sorted(suffixes)]
    try:
        same = [file.address for file in list_files(patterns, time_of_change)] == [file.address for file in own]
    except ValueError:
        same = False
    return tuple(patterns) if same else tuple(file.address for file in own)

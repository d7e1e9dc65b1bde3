"""The format of a file by the end of its name: what it is compressed with, and which reader reads it."""

from collections.abc import Mapping
from functools import cache
from typing import get_args

import msgspec

from olmo_core.documents.byte_stream import COMPRESSED, compression_of
from olmo_core.documents.shard import Source
from olmo_core.documents.sources.files import FileSource


class Format(msgspec.Struct, frozen=True, order=True):
    """How files of a suffix are read.

    Attributes:
        suffix: end of the name, with that of the compression: `.jsonl.gz`; empty for a name without a dot.
        compression: `gz`, `zst`, `bz2` or `xz`; empty for plain files.
        reader: name of the reader in a recipe; empty if there is none.
    """

    suffix: str
    compression: str
    reader: str


@cache
def readers() -> Mapping[str, type[FileSource]]:
    """Return the readers of files by their names in a recipe."""
    sources = [each for each in get_args(get_args(Source)[0]) if issubclass(each, FileSource)]
    return {get_args(each.model_fields["reader"].annotation)[0]: each for each in sources}


def known_suffixes() -> str:
    """Return the suffixes of every reader, for messages: `jsonl: .jsonl, .json`."""
    each = [f"{name} ({', '.join(reader.SUFFIXES)})" for name, reader in readers().items()]
    return f"{'; '.join(each)}; each also with {', '.join(COMPRESSED)}"


def format_of(address: str) -> Format:
    """Return the format of a file."""
    name = address.rpartition("/")[2]
    compression = compression_of(name)
    plain = name.removesuffix(compression)
    for reader, source in readers().items():
        for suffix in source.SUFFIXES:
            if plain.endswith(suffix):
                return Format(suffix + compression, compression[1:], reader)
    return Format(
        "".join(plain.rpartition(".")[1:]) + compression if "." in plain else compression, compression[1:], ""
    )

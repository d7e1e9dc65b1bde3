"""Cuts the files of a corpus into shards: each a list of ranges of files, as large as the recipe asks.

A file that can be read from any position is cut, so that one large file is many shards; small files share a shard.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from olmo_core.documents.listing import File


class Piece(msgspec.Struct, frozen=True):
    """The bytes from `start` to `end`, exclusive, of a file: the rows that begin in them."""

    address: str
    bytes: int
    tag: str
    start: int
    end: int


def shards_of_files(
    files: Sequence[File], shard_bytes: int, can_be_cut: Callable[[str], bool]
) -> list[tuple[Piece, ...]]:
    """Return the shards of these files, in order; every byte is in exactly one piece.

    Args:
        files: the files.
        shard_bytes: most bytes of a shard, unless it is one file that cannot be cut.
        can_be_cut: whether a file of this name can be read from any position.
    """
    shards: list[list[Piece]] = []
    room = 0
    for piece in (each for file in files for each in _cut(file, shard_bytes if can_be_cut(file.address) else 0)):
        size = piece.end - piece.start
        if not shards or size > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(piece)
        room -= size
    return [tuple(shard) for shard in shards]


def _cut(file: File, most: int) -> Iterator[Piece]:
    """Yield a file in equal pieces of at most `most` bytes; whole if that is 0."""
    count = max(1, -(-file.bytes // most)) if most else 1
    for number in range(count):
        start, end = (file.bytes * each // count for each in (number, number + 1))
        yield Piece(file.address, file.bytes, file.tag, start, end)


def by_address(pieces: Iterable[Piece]) -> dict[str, dict[str, int | str]]:
    """Return the pieces of a shard as the declared fields of its step; a file has at most one piece in a shard."""
    return {each.address: {f: getattr(each, f) for f in ("bytes", "tag", "start", "end")} for each in pieces}


def pieces_of(files: Mapping[str, Mapping[str, Any]]) -> list[Piece]:
    """Return the pieces that the declared fields of a step name, in the order of their addresses."""
    return [Piece(address=address, **files[address]) for address in sorted(files)]

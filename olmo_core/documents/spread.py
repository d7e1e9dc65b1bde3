"""Which bytes of a corpus a look reads: all of a small one, else pieces spread evenly over its listing."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from olmo_core.documents.byte_stream import compression_of
from olmo_core.documents.listing import File
from olmo_core.documents.pieces import Piece

PLACES = 16
MAX_PLACES = 256  # opening a file takes a millisecond on a disk, and 50 over a network
INFLATION = 4  # bytes that one byte of a compressed file becomes, about: text in gzip 3, in zstd 4

Item = TypeVar("Item")


def spread(files: Sequence[File], most: int, can_be_cut: Callable[[str], bool]) -> list[Piece]:
    """Return pieces of about `most` bytes of these files, in order; all files whole if they have no more.

    The places are even over the bytes, decompressed, so that a large file has more of them. A file that cannot be cut
    is read from its start. Small files get more places, up to `MAX_PLACES`.

    Args:
        files: the files, in the order of the listing.
        most: bytes to read, decompressed.
        can_be_cut: whether a file of this name can be read from any position.
    """
    if sum(file.bytes * _inflation(file) for file in files) <= most:
        return [Piece(file.address, file.bytes, file.tag, 0, file.bytes) for file in files]
    places, pieces = PLACES, _pieces(files, PLACES, most // PLACES, can_be_cut)
    while places < MAX_PLACES and _bytes(pieces) < most // 2:
        places *= 2
        pieces = _pieces(files, places, most // places, can_be_cut)
    return pieces


def _pieces(files: Sequence[File], places: int, most: int, can_be_cut: Callable[[str], bool]) -> list[Piece]:
    ends = list(accumulate(file.bytes * _inflation(file) for file in files))
    found: list[Piece] = []
    for place in range(places):
        centre = ends[-1] * (2 * place + 1) // (2 * places)
        number = bisect_right(ends, centre)
        file = files[number]
        if can_be_cut(file.address):
            centre -= ends[number] - file.bytes
            start, end = max(0, centre - most // 2), min(file.bytes, centre + -(-most // 2))
        else:
            again = bool(found) and found[-1].address == file.address
            start, end = 0, (found.pop().end if again else 0) + max(1, most // _inflation(file))
        found.append(Piece(file.address, file.bytes, file.tag, start, min(end, file.bytes)))
    return found


def _bytes(pieces: Iterable[Piece]) -> int:
    return sum((piece.end - piece.start) * _inflation(piece) for piece in pieces)


def _inflation(file: File | Piece) -> int:
    return inflation(compression_of(file.address))


def inflation(compression: str) -> int:
    """Return about how many bytes of rows a byte of a file stands for."""
    return INFLATION if compression else 1


class Thinned(Generic[Item]):
    """Keeps some of any number of items, evenly spread: every n-th, where n doubles when there are too many."""

    def __init__(self, most: int) -> None:
        """Keep `most` items at most, and half as many at least if there are as many."""
        self._most = most
        self._step = 1
        self._seen = 0
        self._kept: list[Item] = []

    @property
    def wanted(self) -> bool:
        """Whether the next item is kept: one that is costly to make need not be made."""
        return self._seen % self._step == 0

    def add(self, item: Item) -> None:
        """Take the next item."""
        if self.wanted:
            self._kept.append(item)
        self._seen += 1
        if len(self._kept) > self._most:
            self._kept = self._kept[::2]
            self._step *= 2

    def evenly(self, count: int) -> Iterator[Item]:
        """Yield at most this many of the kept items, evenly spread."""
        count = min(count, len(self._kept))
        for each in range(count):
            yield self._kept[len(self._kept) * (2 * each + 1) // (2 * count)]

    def __iter__(self) -> Iterator[Item]:
        """Yield the kept items in order."""
        return iter(self._kept)

"""The bytes of a file of a corpus, decompressed by the end of its name and bounded: a bomb is not unpacked."""

import bz2
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, cast

from fsspec.core import url_to_fs
from isal import igzip

from olmo_core.artifact.files import refuse_pointer
from olmo_core.documents.listing import ListingError, tag_of
from olmo_core.documents.pieces import Piece

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# igzip is three times as fast as zlib. Most packages for zstd take a truncated file for a whole one; this does not.
_DECOMPRESS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    ".gz": lambda file: cast(IO[bytes], igzip.GzipFile(fileobj=file, mode="rb")),  # type: ignore[no-untyped-call]
    ".zst": lambda file: cast(IO[bytes], zstd.ZstdFile(file)),
    ".bz2": lambda file: cast(IO[bytes], bz2.BZ2File(file)),
    ".xz": lambda file: cast(IO[bytes], lzma.LZMAFile(file)),  # noqa: SIM115 (the reader of the stream closes it)
}
COMPRESSED = tuple(_DECOMPRESS)
# Text in logs reaches 1:100; below the smallest size, a bomb does no harm.
MAX_RATIO = 1000
_BUFFER_BYTES = 1 << 20
_HEAD_STEP_BYTES = 1 << 13
_HARMLESS_BYTES = 100_000_000
# What the libraries raise for damaged or truncated bytes; OSError only without a number, all others are of the disk.
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError, igzip.BadGzipFile)


def compression_of(name: str) -> str:
    """Return the end of a file's name that says how it is compressed; empty for a plain file."""
    return next((each for each in COMPRESSED if name.endswith(each)), "")


class DamagedFileError(ValueError):
    """A file that cannot be decompressed to its end, or that grows beyond all measure."""


@contextmanager
def opened(piece: Piece) -> Iterator[IO[bytes]]:
    """Open the file of a piece at its first byte, decompressed; the caller stops at the end of the piece.

    A piece that is only the head of a compressed file is decompressed as far as its bytes go, and ends there.

    Raises:
        ListingError: the file has changed since the release was planned; names it.
        DamagedFileError: raised while reading; says what is wrong with the file.
    """
    store, path = url_to_fs(piece.address)
    check_unchanged(piece, store.info(path))
    with store.open(path, "rb") as raw:
        head = raw.read(256)
        refuse_pointer(piece.address, head)
        raw.seek(piece.start)
        compression = compression_of(piece.address)
        stream = _Bounded(raw, piece, compression) if compression else raw
        with io.BufferedReader(cast(io.RawIOBase, stream), _BUFFER_BYTES) as file:
            yield file


def check_unchanged(piece: Piece, info: Mapping[str, Any]) -> None:
    """Check what a store says about a file against the listing.

    Raises:
        ListingError: the file has changed since the release was planned; names it.
    """
    now = info["size"], tag_of(piece.address, info) if "://" in piece.address else piece.tag
    if now != (piece.bytes, piece.tag):
        raise ListingError(
            f"{piece.address} has changed since the release was planned: it had {piece.bytes} bytes, {piece.tag}, and "
            f"now has {now[0]}, {now[1]}; run the same command again"
        )


class _Head(io.RawIOBase):
    """The first bytes of a file, as if it ended there."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        super().__init__()
        self._file = file
        self._left = most

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; return the number of bytes."""
        data = self._file.read(min(len(buffer), self._left))
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


class _Bounded(io.RawIOBase):
    """Decompressed bytes, counted against the size of the file."""

    def __init__(self, raw: IO[bytes], piece: Piece, suffix: str) -> None:
        super().__init__()
        self._cut = piece.end < piece.bytes
        self._file = _DECOMPRESS[suffix](cast(IO[bytes], _Head(raw, piece.end)) if self._cut else raw)
        # Of a head, what the last call would have returned is lost: calls are short, and `read1` makes one of each.
        self._read = self._file.read1 if self._cut else self._file.read  # type: ignore[attr-defined]
        self._most = _HEAD_STEP_BYTES if self._cut else _BUFFER_BYTES
        self._piece = piece
        self._left = max(_HARMLESS_BYTES, MAX_RATIO * piece.bytes)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; return the number of bytes."""
        try:
            data = self._read(min(len(buffer), self._most))
        except (*_DAMAGE, OSError) as error:
            if self._cut and isinstance(error, EOFError):
                return 0
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise self._damaged(f"is truncated or damaged: {error}") from error
        self._left -= len(data)
        if self._left < 0:
            raise self._damaged(f"decompresses to more than {MAX_RATIO} times its size")
        buffer[: len(data)] = data
        return len(data)

    def _damaged(self, why: str) -> DamagedFileError:
        return DamagedFileError(f"the file {why}")

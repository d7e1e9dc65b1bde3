"""The bytes of a file of a corpus, decompressed by the end of its name and bounded: a bomb is not unpacked."""

import bz2
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from isal import isal_zlib
from isal.igzip_lib import IsalError

from olmo_core.artifact.files import refuse_pointer
from olmo_core.documents.file_digests import FileDigests
from olmo_core.documents.frames import Frames
from olmo_core.documents.listing import ListingError, store_of, tag_of, time_of_change
from olmo_core.documents.pieces import Piece

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# isal reads gzip three times as fast as zlib.
_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    ".gz": lambda: isal_zlib.decompressobj(16 + zlib.MAX_WBITS),
    ".zst": zstd.ZstdDecompressor,
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lzma.LZMADecompressor,
}
COMPRESSED = tuple(_DECOMPRESSORS)
# Text in logs reaches 1:100; below the smallest size, a bomb does no harm.
MAX_RATIO = 1000
_BUFFER_BYTES = 1 << 20
_POINTER_BYTES = 256
_HARMLESS_BYTES = 100_000_000
# What the libraries raise for damaged or truncated bytes; OSError only without a number, all others are of the disk.
_DAMAGE = (
    EOFError,
    zlib.error,
    cast(type[Exception], IsalError),  # its stub declares an exception, not a class
    lzma.LZMAError,
    zstd.ZstdError,
    OSError,
)
# Files are read by whichever process makes a shard; one that makes several shards of a file reads its digest once.
_DIGESTS = FileDigests()


def compression_of(name: str) -> str:
    """Return the end of a file's name that says how it is compressed; empty for a plain file."""
    return next((each for each in COMPRESSED if name.endswith(each)), "")


class DamagedFileError(ValueError):
    """A file that cannot be decompressed to its end, or that grows beyond all measure; says why, without its name."""


@contextmanager
def opened(piece: Piece, start: int = 0) -> Iterator[IO[bytes]]:
    """Open the file of a piece, decompressed; the caller stops at the end of the piece.

    A piece that is only the head of a compressed file is decompressed as far as its bytes go, and ends there.

    Args:
        piece: which file.
        start: byte of the file to begin at; 0 for a compressed file.

    Raises:
        ListingError: the file has changed since the release was planned, or its server sends whole files only; names
            it.
        LfsPointerError: it is a Git LFS pointer.
        DamagedFileError: raised while reading.
    """
    store, path = store_of(piece.address)
    check_unchanged(piece, store, path)
    # fsspec asks a server for a file in ranges of 5 MB, one after the other, and not every server sends ranges.
    options = {"block_size": 0} if not start and piece.address.startswith(("http://", "https://")) else {}
    with store.open(path, "rb", **options) as raw:
        if start:
            _seek(raw, start, piece)
        with io.BufferedReader(cast(io.RawIOBase, raw), _BUFFER_BYTES) as plain:
            if not start:
                refuse_pointer(piece.address, plain.peek(_POINTER_BYTES)[:_POINTER_BYTES])
            if not (compression := compression_of(piece.address)):
                yield plain
            else:
                bounded = cast(io.RawIOBase, _Bounded(plain, piece, compression))
                with io.BufferedReader(bounded, _BUFFER_BYTES) as file:
                    yield file


def _seek(raw: IO[bytes], start: int, piece: Piece) -> None:
    try:
        raw.seek(start)
        raw.read(1)  # a server refuses only now
        raw.seek(start)
    except ValueError as error:  # fsspec, of HTTP without ranges
        raise ListingError(
            f"{piece.address}: its server does not send parts of a file; give a larger shard_bytes than the "
            f"{piece.bytes} bytes it has, or copy it to a disk or a bucket"
        ) from error


def check_unchanged(piece: Piece, store: Any, path: str) -> None:
    """Check a file against the listing.

    Raises:
        ListingError: it has changed since the release was planned, or is not there; names it.
    """
    try:
        now = _state(piece, store, path)
    except FileNotFoundError as error:
        raise ListingError(f"{piece.address} was there when the release was planned, and is not now") from error
    if now != (piece.bytes, piece.tag):
        raise ListingError(
            f"{piece.address} has changed since the release was planned: it had {piece.bytes} bytes, {piece.tag}, and "
            f"now has {now[0]}, {now[1]}; run the same command again"
        )


def _state(piece: Piece, store: Any, path: str) -> tuple[int, str]:
    """Return size and tag of a file as it is now.

    Of a local file that is cut, only the size is looked at: each of its shards would read all of it.
    """
    if "://" in piece.address:
        info = store.info(path)
        return info["size"], tag_of(piece.address, info)
    whole, size = piece.end - piece.start == piece.bytes, Path(path).stat().st_size
    if piece.tag.startswith("mtime:"):
        return size, time_of_change(Path(path))
    return size, _DIGESTS.of(Path(path)) if whole else piece.tag


class _Bounded(io.RawIOBase):
    """Decompressed bytes, counted against the size of the file."""

    def __init__(self, file: IO[bytes], piece: Piece, suffix: str) -> None:
        super().__init__()
        self._is_head = piece.end < piece.bytes
        self._file = Frames(file, _DECOMPRESSORS[suffix], piece.end)
        self._left = max(_HARMLESS_BYTES, MAX_RATIO * piece.bytes)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; return the number of bytes."""
        try:
            data = self._file.read(len(buffer))
        except _DAMAGE as error:
            if self._is_head and isinstance(error, EOFError):
                return 0
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DamagedFileError(f"it is truncated or damaged: {error}") from error
        self._left -= len(data)
        if self._left < 0:
            raise DamagedFileError(f"it decompresses to more than {MAX_RATIO} times its size")
        buffer[: len(data)] = data
        return len(data)

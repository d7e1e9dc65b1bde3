"""Decompresses a file of frames, one after the other: gzip's members, zstandard's frames, the streams of bz2 and xz.

The readers of files of the libraries are not used: zstandard's does not notice a truncated file, and igzip's drops up
to 512 kB before the damage.
"""

from collections.abc import Callable
from typing import IO, Any

# Compressed bytes that are decompressed at once: four bytes of zstandard may become 128 kB.
_READ_BYTES = 4096


class Frames:
    """The bytes of all frames of a file."""

    def __init__(self, file: IO[bytes], decompressor: Callable[[], Any], most: int) -> None:
        """Read a compressed file.

        Args:
            file: the compressed file.
            most: bytes of the file to read, from its start.
            decompressor: returns an object with `decompress`, `eof` and `unused_data`, which decompresses one frame.
        """
        self._file = file
        self._decompressor = decompressor
        self._frame: Any = None
        self._compressed = b""
        self._left = most
        self._ready = memoryview(b"")

    def read(self, size: int) -> memoryview:
        """Return up to `size` bytes; none at the end of the file.

        Raises:
            EOFError: the file ends within a frame.
            Exception: of the library, if the bytes are damaged.
        """
        while not self._ready:
            self._compressed = self._compressed or self._read()
            if not self._compressed:
                if self._frame is not None:
                    raise EOFError("it ends within a frame")
                break
            if self._frame is None:
                self._compressed = self._compressed.lstrip(b"\0")  # padding
                if not self._compressed:
                    continue
                self._frame = self._decompressor()
            self._ready = memoryview(self._frame.decompress(self._compressed))
            self._compressed = b""
            if self._frame.eof:
                self._compressed, self._frame = self._frame.unused_data, None
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def _read(self) -> bytes:
        data = self._file.read(min(_READ_BYTES, self._left))
        self._left -= len(data)
        return data

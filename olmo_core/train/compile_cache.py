"""Repairs the cache of compiled kernels after a compiler was killed.

In torch's inductor, the linker writes directly to the path that later processes load. A run killed during that write
leaves a truncated library behind, and every later run would fail with `file too short`.
"""

import logging
import struct
from pathlib import Path

log = logging.getLogger(__name__)

_ELF = b"\x7fELF"
_HEADER = 64  # bytes of an ELF64 header: section table offset at byte 40, size and number of its entries at byte 58


def remove_torn(cache: Path) -> list[Path]:
    """Remove incomplete libraries that no process is writing, and return them. They are recompiled when needed.

    Args:
        cache: inductor's folder; its `locks` show what is being compiled.
    """
    torn = [path for path in sorted(cache.glob("*/*.so")) if not whole(path)]
    return [path for path in torn if _remove(path, cache / "locks")]


def whole(library: Path) -> bool:
    """Return whether a shared library is as long as its ELF64 header says; in other formats, whether it is not empty.

    A file that no longer exists counts as whole.
    """
    try:
        with library.open("rb") as file:
            header = file.read(_HEADER)
        size = library.stat().st_size
    except FileNotFoundError:
        return True  # removed meanwhile
    if len(header) < _HEADER:
        return False
    if not header.startswith(_ELF):
        return any(header)
    (offset,) = struct.unpack_from("<Q", header, 40)
    entry, count = struct.unpack_from("<HH", header, 58)
    return bool(size >= offset + entry * count and offset)


def _remove(library: Path, locks: Path) -> bool:
    from filelock import FileLock, Timeout

    lock = locks / f"{library.name.partition('.')[0]}.lock"
    try:
        with FileLock(lock, timeout=0):
            library.unlink(missing_ok=True)
    except (Timeout, OSError):
        return False  # another process is compiling it
    log.warning("%s was left incomplete by a compiler that was killed; removed", library)
    return True

"""The cache of compiled kernels, made whole again after a compiler was killed at work.

torch's inductor lets the linker write straight to the place later processes load from. A run that was killed in that
moment would leave half a library there, and every run after it would fail with `file too short`.
"""

import logging
import struct
from pathlib import Path

log = logging.getLogger(__name__)

_ELF = b"\x7fELF"
_HEADER = 64  # bytes of an ELF64 header: the section table's offset is at 40, size and number of its entries at 58


def remove_torn(cache: Path) -> list[Path]:
    """Remove libraries that are not whole and that nobody is writing; return them. They are compiled anew when needed.

    Args:
        cache: inductor's folder; its `locks` tell who is compiling.
    """
    torn = [path for path in sorted(cache.glob("*/*.so")) if not whole(path)]
    return [path for path in torn if _remove(path, cache / "locks")]


def whole(library: Path) -> bool:
    """Whether a shared library is as long as its header says; of other formats than ELF64, that it is not empty."""
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
        return False  # somebody is compiling it
    log.warning("%s was left half written by a compiler that was killed; removed", library)
    return True

"""Files of an artifact on local disk: their paths, sizes, digests and durability.

This module knows nothing of records, leases or remote roots.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

_HASH_THREADS = 4
# Bytes below which starting threads costs more than hashing.
_SMALL = 2**20
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class UnsafePathError(ValueError):
    """A path leads out of its folder, or is not a regular file."""


class LfsPointerError(ValueError):
    """A file is a Git LFS pointer instead of the large file it stands for."""


def safe_path(path: str) -> str:
    """Return `path` if it is a relative POSIX path that stays below its folder.

    Raises:
        UnsafePathError: for an absolute or empty path, `..`, a backslash or a NUL.
    """
    plain = PurePosixPath(path)
    if not plain.parts or plain.is_absolute() or ".." in plain.parts or str(plain) != path or {"\\", "\0"} & set(path):
        raise UnsafePathError(f"{path!r} is not a relative path that stays below its folder")
    return path


def name_full_disk(error: OSError, folder: Path) -> None:
    """Add the folder to a disk-full error that names no file; leave other errors unchanged."""
    if error.errno == errno.ENOSPC and error.filename is None:
        error.filename = str(folder)


def list_files(folder: Path) -> dict[str, Path]:
    """Return every file below `folder` by its relative POSIX path, sorted.

    Raises:
        UnsafePathError: for a link, a socket or anything else that is neither a regular file nor a folder.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            found[safe_path(path.relative_to(folder).as_posix())] = path
        elif not stat.S_ISDIR(mode):
            raise UnsafePathError(f"{path} is neither a regular file nor a folder; artifacts hold regular files only")
    return dict(sorted(found.items()))


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_files(paths: Iterable[Path]) -> Iterator[str]:
    """Yield the sha256 of each file in order; large files are hashed in parallel (hashing releases the GIL)."""
    todo = list(paths)
    if len(todo) < 2 or sum(path.stat().st_size for path in todo) < _SMALL:
        yield from map(sha256_file, todo)
        return
    with ThreadPoolExecutor(min(_HASH_THREADS, len(todo))) as pool:
        yield from pool.map(sha256_file, todo)


def refuse_pointer(address: str | Path, head: bytes) -> None:
    """Raise an error if the first bytes of a file are those of a Git LFS pointer.

    Raises:
        LfsPointerError: the file is a pointer; names the file and the remedy.
    """
    if head.startswith(_LFS_POINTER):
        raise LfsPointerError(f"{address} is a Git LFS pointer, not the file itself; run `git lfs pull` in its clone")


def sync(path: Path) -> None:
    """Flush the bytes of a file, or the names in a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():  # SMB cannot sync folders
            raise
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flush every file below `folder` to disk: bytes first, then names."""
    for path in list_files(folder).values():
        sync(path)
    for path in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
        sync(path)
    sync(folder)

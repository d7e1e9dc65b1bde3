"""Reads files from wheels, zips and source archives as data; nothing is unpacked to disk or imported."""

import errno
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

# Errors of the libraries for damaged bytes. RuntimeError: a flag that claims encryption or an unknown compression.
# TypeError: a gzip header cut in its middle.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    UnicodeDecodeError,
    RuntimeError,
    TypeError,
)


class ArchiveError(ValueError):
    """An archive that cannot be read, contains an unsafe name, or lacks a requested file."""


def address(path: Path, member: str) -> str:
    """Return the address of a member of an archive, such as `gensim-4.4.0.tar.gz!gensim-4.4.0/PKG-INFO`."""
    return f"{path.name}!{member}"


def read_members(path: Path, patterns: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield `(name, content)` of every file of the archive whose name matches one of `patterns`, in archive order.

    Args:
        path: a `.whl`, `.zip`, `.tar.gz`, `.tgz` or `.tar.bz2` file.
        patterns: shell patterns over the whole member name; `*` also matches `/`.

    Raises:
        ArchiveError: the file is of another kind or damaged, a member name anywhere in it is absolute or contains
            `..`, a pattern matches a link, or a pattern matches nothing.
    """
    kind = _zip_members if path.suffix in (".whl", ".zip") else _tar_members
    if kind is _tar_members and not path.name.endswith((".tar.gz", ".tgz", ".tar.bz2")):
        raise ArchiveError(f"{path.name} is not a supported archive; give a .whl, .zip, .tar.gz or .tar.bz2")
    missing = set(patterns)
    try:
        for name, content in kind(path, patterns):
            missing -= {pattern for pattern in missing if fnmatchcase(name, pattern)}
            yield name, content
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    except OSError as error:
        # An error of bz2 has no number, and a wrong offset is an invalid argument of `seek`; with any other number, the
        # file itself cannot be read.
        if error.errno not in (None, errno.EINVAL):
            raise
        raise _damaged(path, error) from error
    if missing:
        raise ArchiveError(f"{path.name} has no file that matches {sorted(missing)}; correct the pattern")


def _damaged(path: Path, error: Exception) -> ArchiveError:
    return ArchiveError(f"{path.name} is damaged: {error}; fetch the package again")


def _safe(path: Path, name: str) -> str:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or (len(name) > 1 and name[1] == ":"):
        raise ArchiveError(f"{path.name} contains the unsafe name {name!r}; do not use this archive")
    return name


def _link(path: Path, name: str) -> ArchiveError:
    return ArchiveError(f"{path.name}: {name} is a link or device; give patterns that match files")


def _wanted(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _zip_members(path: Path, patterns: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if _wanted(_safe(path, info.filename), patterns) and not info.is_dir():
                if stat.S_ISLNK(info.external_attr >> 16):  # its content would be the path that it points to
                    raise _link(path, info.filename)
                yield info.filename, archive.read(info)


def _tar_members(path: Path, patterns: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            if not _wanted(_safe(path, member.name), patterns) or member.isdir():
                continue
            file = archive.extractfile(member) if member.isreg() else None
            if file is None:
                raise _link(path, member.name)
            yield member.name, file.read()

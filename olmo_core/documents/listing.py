"""The files that a corpus is read from, as they are when a release is planned: address, size, and a tag of the content.

The listing bears the identity of what is read: a file that changes gets another tag, and what is made of it another id.
The tag of a remote file is what its store says about it; the caller chooses that of a local file: a release takes the
sha256, a look at 100 GB the time of the last change. `pieces` cuts files into shards.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from fsspec import filesystem
from fsspec.core import split_protocol, url_to_fs
from fsspec.implementations.local import LocalFileSystem

SCHEMES = ("file", "gs", "hf", "http", "https", "memory", "s3")
# What stores say about the content of a file, best first: S3 and HTTP; Google, whose etag changes with metadata too;
# the Hub; the time of its last change.
_TAGS = (
    "ETag",
    "md5Hash",
    "blob_id",
    "etag",
    "Content-MD5",
    "LastModified",
    "Last-Modified",
    "mtime",
    "updated",
    "created",
)
_PATTERN = frozenset("*?[")

LocalTag = Callable[[Path], str]


class ListingError(ValueError):
    """Files that cannot be listed: no such file, no access, or a store that does not tell one version from another."""


class File(msgspec.Struct, frozen=True, order=True):
    """One file: its address, its size in bytes, and a tag that changes with its content."""

    address: str
    bytes: int
    tag: str


def list_files(patterns: Sequence[str], local_tag: LocalTag) -> list[File]:
    """Return the files that match addresses or patterns, sorted by address, each once.

    Args:
        patterns: addresses that fsspec reads or absolute paths, with `*`, `**` and `?`; a folder is all its files.
            Names that begin with a dot or an underscore below a folder or pattern are not data.
        local_tag: returns the tag of a local file: `FileDigests.of`, or `time_of_change`, which reads nothing.

    Raises:
        ListingError: nothing matches, or a file cannot be read or told from its older versions; names the address.
    """
    found: dict[str, File] = {}
    for pattern in patterns:
        found |= {file.address: file for file in _matching(pattern, local_tag)}
    return [found[address] for address in sorted(found)]


def time_of_change(path: Path) -> str:
    """Return the time of the last change of a local file as a tag, for files that no step is made of."""
    return f"mtime:{path.stat().st_mtime_ns}"


def store_of(address: str) -> tuple[Any, str]:
    """Return the file system of an address, without listings from before, and the path in it."""
    if "://" not in address:
        return filesystem("file"), address  # fsspec would take `::` in a name for a chain of file systems
    store, path = url_to_fs(address)
    store.invalidate_cache()
    return store, str(path)


def one_line(error: Exception) -> str:
    """Return the type and message of an error on one line; fsspec takes a refused address for a missing one."""
    first = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error
    return " ".join(f"{type(first).__name__}: {first}".split())


def _matching(pattern: str, local_tag: LocalTag) -> Iterator[File]:
    scheme = split_protocol(pattern)[0] if "://" in pattern else "file"
    if scheme not in SCHEMES:
        raise ListingError(f"{pattern}: {scheme}:// is not read from; there are {', '.join(SCHEMES)}")
    try:
        store, path = store_of(pattern)
        infos = _infos(store, _without_dots(path) if scheme == "file" else path)
    except ListingError:
        raise
    except Exception as error:  # every store has errors of its own
        if isinstance(error, FileNotFoundError) and error.__cause__ is None:
            raise ListingError(
                f"{pattern}: no such file; give an address, a pattern or a folder that has files"
            ) from error
        raise ListingError(f"{pattern} cannot be listed: {one_line(error)}") from error
    if not infos:
        raise _missing(pattern)
    for name, info in infos.items():
        if scheme == "file":
            yield _local(name, local_tag)
        else:
            address = str(store.unstrip_protocol(name))
            size = info.get("size")
            if size is None:
                raise ListingError(f"{address}: its server does not say how large it is; copy it to a disk or a bucket")
            yield File(address, int(size), tag_of(address, info))


def _missing(pattern: str) -> ListingError:
    return ListingError(f"{pattern}: no such file; give an address, a pattern or a folder that has files")


def _local(name: str, local_tag: LocalTag) -> File:
    try:
        return File(name, Path(name).stat().st_size, local_tag(Path(name)))
    except OSError as error:
        raise ListingError(f"{name} cannot be read: {error.strerror}") from error


def _without_dots(path: str) -> str:
    """Return a local path without `..`, so that a file has one address."""
    head, dots, rest = path.rpartition("/../")
    return f"{os.path.realpath(head + '/..').rstrip('/')}/{rest}" if dots else path


def _infos(store: Any, path: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the files at a path, in a folder, or of a pattern, by name."""
    if not _PATTERN & set(path) or store.exists(path):
        info = store.info(path)
        if info["type"] != "directory":
            return {path: info}
        found, start, begun = store.find(path, detail=True), len(path), ""
        for name in found:
            if _is_data(name[start:]) and _is_link(store, name) and Path(name).is_dir():
                raise ListingError(f"{name} is a link to a folder, which is not followed; list that folder by its path")
    else:
        found, start = store.glob(path, detail=True), min(path.index(each) for each in _PATTERN if each in path)
        begun = path[:start].rpartition("/")[2] and "x"  # `data/_a*` asks for a name with an underscore
    return {
        name: info for name, info in found.items() if _is_file(store, name, info) and _is_data(begun + name[start:])
    }


def _is_link(store: Any, name: str) -> bool:
    return isinstance(store, LocalFileSystem) and Path(name).is_symlink()


def _is_file(store: Any, name: str, info: Mapping[str, Any]) -> bool:
    """Return whether a name is a file; a link to no file is listed too, and refused when it is read."""
    return info["type"] == "file" or (_is_link(store, name) and not Path(name).is_dir())


def _is_data(name: str) -> bool:
    return not any(part.startswith((".", "_")) for part in name.split("/"))


def tag_of(address: str, info: Mapping[str, Any]) -> str:
    """Return what the store of a remote file says about its content.

    Raises:
        ListingError: it says nothing that changes with the content.
    """
    for key in _TAGS:
        if info.get(key):
            return f"{key}:{str(info[key]).strip(chr(34))}"
    raise ListingError(
        f"{address}: its server gives neither an ETag nor a time of change, so a changed file would not be noticed; "
        "copy it to a disk or a bucket"
    )

"""The files that a corpus is read from, as they are when a release is planned: address, size, and a tag of the content.

The listing bears the identity of what is read: a file that changes gets another tag, and what is made of it another id.
The tag of a remote file is what its store says about it; the caller chooses that of a local file: a release takes the
sha256, a look at 100 GB the time of the last change. `pieces` cuts files into shards.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from fsspec.core import split_protocol, url_to_fs

SCHEMES = ("file", "gs", "hf", "http", "https", "memory", "s3")
# What stores say about the content of a file, best first: S3, Google and HTTP; the Hub; the time of its last change.
_TAGS = ("ETag", "etag", "md5Hash", "blob_id", "LastModified", "mtime", "updated", "created")
_NO_FILE = "no such file; give an address, a pattern or a folder that has files"
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


def _matching(pattern: str, local_tag: LocalTag) -> Iterator[File]:
    scheme = split_protocol(pattern)[0] or "file"
    if scheme not in SCHEMES:
        raise ListingError(f"{pattern}: {scheme}:// is not read from; there are {', '.join(SCHEMES)}")
    try:
        store, path = url_to_fs(pattern)
        infos = _infos(store, path)
    except Exception as error:  # every store has errors of its own; HTTP finds no file where no server answers
        if scheme == "file" and isinstance(error, FileNotFoundError):
            raise ListingError(f"{pattern}: {_NO_FILE}") from error
        raise ListingError(f"{pattern} cannot be listed: {type(error).__name__}: {error}") from error
    if not infos:
        raise ListingError(f"{pattern}: {_NO_FILE}")
    for name, info in infos.items():
        address = name if scheme == "file" else str(store.unstrip_protocol(name))
        size = info.get("size")
        if size is None:
            raise ListingError(f"{address}: its server does not say how large it is; copy it to a disk or a bucket")
        yield File(address, int(size), local_tag(Path(name)) if scheme == "file" else tag_of(address, info))


def _infos(store: Any, path: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the files at a path, in a folder, or of a pattern, by name."""
    if not _PATTERN & set(path) or store.exists(path):
        info = store.info(path)
        if info["type"] != "directory":
            return {path: info}
        found, root = store.find(path, detail=True), path
    else:
        found = store.glob(path, detail=True)
        root = path[: min(path.index(each) for each in _PATTERN if each in path)].rpartition("/")[0]
    return {name: info for name, info in found.items() if _is_file(name, info) and _is_data(name[len(root) :])}


def _is_file(name: str, info: Mapping[str, Any]) -> bool:
    return info["type"] == "file" or (bool(info.get("islink")) and Path(name).is_file())


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

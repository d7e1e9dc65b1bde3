"""The few storage operations an artifact store needs, on a local folder or on any allowed fsspec URL.

Small objects are created exclusively or replaced atomically; files are uploaded and downloaded. Keys are relative POSIX
paths. `lease` and `store` define what the objects mean.
"""

import contextlib
import os
import shutil
import threading
import uuid
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import fsspec

from olmo_core.artifact.files import sync
from olmo_core.artifact.s3_errors import bucket_is_missing, explain_errors

SCHEMES = ("file", "memory", "s3")


class RootError(ValueError):
    """An artifact root is not an allowed URL."""


class Objects(Protocol):
    """Objects below one root."""

    root: str

    def read(self, key: str) -> bytes | None:
        """Return an object's bytes, None if it does not exist."""

    def create(self, key: str, data: bytes) -> None:
        """Create an object atomically; FileExistsError if it exists already."""

    def write(self, key: str, data: bytes) -> None:
        """Create or replace an object atomically."""

    def delete(self, key: str) -> None:
        """Delete an object or everything below a prefix; do nothing if there is nothing."""

    def names(self, key: str) -> list[str]:
        """Return the names directly below a prefix, sorted; an empty list if the prefix does not exist."""

    def sizes(self, key: str) -> dict[str, int]:
        """Return the size in bytes of every object below a prefix, keyed by its path below the prefix."""


class LocalObjects:
    """A folder of this machine or of a shared file system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = str(folder)

    def read(self, key: str) -> bytes | None:
        """See `Objects.read`."""
        try:
            return (self.folder / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def create(self, key: str, data: bytes) -> None:
        """See `Objects.create`: a durable temporary file is linked to the name, so no reader sees a partial file.

        On a file system without hard links (exFAT, SMB, some of FUSE) the file is written in place. A reader may then
        see it half written for a moment; a lease log reads such an entry again.
        """
        target = self.folder / key
        temporary = self._durable(target, data)
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise
        except OSError:
            _create_file(target, data)
        finally:
            temporary.unlink(missing_ok=True)
        sync(target.parent)

    def write(self, key: str, data: bytes) -> None:
        """See `Objects.write`."""
        target = self.folder / key
        temporary = self._durable(target, data)
        try:
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(target.parent)

    def delete(self, key: str) -> None:
        """See `Objects.delete`."""
        target = self.folder / key
        if target.is_dir():
            shutil.rmtree(target, ignore_errors=True)
        else:
            target.unlink(missing_ok=True)

    def names(self, key: str) -> list[str]:
        """See `Objects.names`."""
        try:
            return sorted(os.listdir(self.folder / key))  # noqa: PTH208 (names are wanted, not paths)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def sizes(self, key: str) -> dict[str, int]:
        """See `Objects.sizes`."""
        base = self.folder / key
        return {path.relative_to(base).as_posix(): path.stat().st_size for path in base.rglob("*") if path.is_file()}

    def _durable(self, target: Path, data: bytes) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        _create_file(temporary, data)
        return temporary


def _create_file(target: Path, data: bytes) -> None:
    """Create a file that must not exist yet and flush it to disk; remove it if the write fails."""
    with target.open("xb") as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            target.unlink()
            raise


class RemoteObjects:
    """An object store reached through fsspec: writes are atomic and creation is exclusive (S3: If-None-Match)."""

    # The memory file system checks for a file and writes it in two steps.
    _memory_lock = threading.Lock()

    def __init__(self, filesystem: Any, prefix: str, root: str) -> None:
        self.filesystem = filesystem
        self.prefix = prefix.rstrip("/")
        self.root = root

    @explain_errors
    def read(self, key: str) -> bytes | None:
        """See `Objects.read`."""
        try:
            # These objects are small; otherwise s3fs first requests the size and, on a miss, lists the folder.
            return bytes(self.filesystem.cat_file(self._at(key), max_concurrency=1))
        except FileNotFoundError as error:
            if bucket_is_missing(error):
                raise
            return None

    @explain_errors
    def create(self, key: str, data: bytes) -> None:
        """See `Objects.create`."""
        guard = self._memory_lock if self.root.startswith("memory:") else contextlib.nullcontext()
        with guard:
            self.filesystem.pipe_file(self._at(key), data, mode="create")

    @explain_errors
    def write(self, key: str, data: bytes) -> None:
        """See `Objects.write`."""
        self.filesystem.pipe_file(self._at(key), data)

    @explain_errors
    def delete(self, key: str) -> None:
        """See `Objects.delete`."""
        with contextlib.suppress(FileNotFoundError):  # no bucket: nothing to delete
            self.filesystem.rm(self._at(key), recursive=True)

    @explain_errors
    def names(self, key: str) -> list[str]:
        """See `Objects.names`."""
        try:
            found = self.filesystem.ls(self._at(key), detail=False)
        except FileNotFoundError as error:
            if bucket_is_missing(error):
                raise
            return []
        return sorted({name.rstrip("/").rsplit("/", 1)[-1] for name in found})

    @explain_errors
    def sizes(self, key: str) -> dict[str, int]:
        """See `Objects.sizes`."""
        base = self.filesystem._strip_protocol(self._at(key)).rstrip("/") + "/"
        found = self.filesystem.find(base, detail=True)
        return {name.removeprefix(base): int(info["size"]) for name, info in found.items()}

    @explain_errors
    def send(self, source: Path, key: str) -> None:
        """Upload a file."""
        self.filesystem.put_file(str(source), self._at(key))

    @explain_errors
    def fetch(self, key: str, target: Path) -> None:
        """Download an object to a local file; FileNotFoundError if it does not exist."""
        self.filesystem.get_file(self._at(key), str(target))

    def _at(self, key: str) -> str:
        return f"{self.prefix}/{key}" if key else self.prefix


def open_objects(root: str | Path) -> LocalObjects | RemoteObjects:
    """Return the objects of an artifact root; credentials come from the environment only.

    Args:
        root: a path, or a URL with one of `file://`, `memory://` and `s3://`.

    Raises:
        RootError: for another scheme, a chain of file systems, credentials or `..` in the URL.
    """
    text = str(root)
    scheme, separator, rest = text.partition("://")
    if "::" in text or (separator and scheme not in SCHEMES):
        raise RootError(f"artifact root {text!r}: use a path or one of {', '.join(s + '://' for s in SCHEMES)}")
    if not text or (separator and not rest.strip("/")):
        raise RootError(f"artifact root {text!r} names no folder or bucket")
    if not separator:
        return LocalObjects(Path(os.path.abspath(Path(text).expanduser())))  # noqa: PTH100 (keeps links)
    url = urlsplit(text)
    if "@" in url.netloc:
        raise RootError("artifact root contains credentials; set them in the environment instead")
    if ".." in rest.split("/") or url.query or url.fragment:
        raise RootError(f"artifact root {text!r} contains '..', a query or a fragment")
    if scheme == "file":
        if url.netloc:
            raise RootError(f"artifact root {text!r}: a local URL has three slashes, file:///folder")
        return LocalObjects(Path(unquote(url.path)))
    options = {"use_listings_cache": False} if scheme == "s3" else {}
    return RemoteObjects(fsspec.filesystem(scheme, **options), text.rstrip("/"), text.rstrip("/"))

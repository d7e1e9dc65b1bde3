"""Check the files of an artifact against its record: sizes always, digests on first use in a process.

Checking digests downloads the files of a remote root. `store` decides what to do about a mismatch.
"""

import threading
import uuid
from pathlib import Path

from olmo_core.artifact.files import sha256_file, sha256_files
from olmo_core.artifact.objects import LocalObjects, RemoteObjects
from olmo_core.artifact.record import Record

_FETCH_TRIES = 2

# (size, time of last change in ns, inode) of each file; while these are unchanged, so are the bytes that were hashed.
_Signature = tuple[tuple[int, int, int] | None, ...]


class Verifier:
    """Checks files of artifacts below one root and remembers which it hashed. Safe to share between threads."""

    def __init__(self, objects: LocalObjects | RemoteObjects, base: Path) -> None:
        """Check the objects of a root; their files are in, or will be downloaded to, the local folder `base`."""
        self.objects = objects
        self.base = base
        self._hashed: dict[str, tuple[str, _Signature]] = {}
        self._lock = threading.Lock()

    def path(self, record: Record) -> Path:
        """Return the local folder of an artifact's files."""
        return self.base / record.files_folder

    def sizes(self, record: Record) -> str:
        """Return a message about the first file that is missing or has the wrong size, '' if all are right."""
        if isinstance(self.objects, LocalObjects):
            found = {entry.path: _size(self.path(record) / entry.path) for entry in record.files}
        else:
            found = dict(self.objects.sizes(record.files_folder)) if record.files else {}
        for entry in record.files:
            size = found.get(entry.path)
            if size is None:
                return f"file {entry.path} is missing"
            if size != entry.size:
                return f"file {entry.path} has {size} bytes, recorded {entry.size}"
        return ""

    def digests(self, record: Record) -> str:
        """Return a message about the first file with a wrong digest, '' if all are right and are below `path`."""
        paths = self._paths(record)
        with self._lock:
            hashed = self._hashed.get(record.files_folder)
        if hashed == (record.digest, _signature(paths)):
            return ""
        if isinstance(self.objects, RemoteObjects):
            for entry, path in zip(record.files, paths, strict=True):
                if problem := self._fetch(self.objects, f"{record.files_folder}/{entry.path}", path, entry.sha256):
                    return f"file {entry.path} {problem}"
            self.remember(record)
            return ""
        before = _signature(paths)
        for entry, digest in zip(record.files, sha256_files(paths), strict=True):
            if digest != entry.sha256:
                return f"file {entry.path} has the sha256 {digest}, recorded {entry.sha256}"
        self._remember(record, before)
        return ""

    def remember(self, record: Record) -> None:
        """Mark the local files of a record as verified; the caller has just hashed them."""
        self._remember(record, _signature(self._paths(record)))

    def _remember(self, record: Record, signature: _Signature) -> None:
        with self._lock:
            self._hashed[record.files_folder] = (record.digest, signature)

    def _paths(self, record: Record) -> list[Path]:
        return [self.path(record) / entry.path for entry in record.files]

    def _fetch(self, objects: RemoteObjects, key: str, path: Path, sha256: str) -> str:
        """Download an object to `path` and check its bytes; return a message if they are wrong, else ''."""
        if path.is_file() and sha256_file(path) == sha256:
            return ""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{uuid.uuid4().hex}")
        digest = ""
        try:
            for _ in range(_FETCH_TRIES):  # a bit may have flipped in transit
                try:
                    objects.fetch(key, temporary)
                except FileNotFoundError:
                    return "is missing"
                digest = sha256_file(temporary)
                if digest == sha256:
                    temporary.replace(path)
                    return ""
        finally:
            temporary.unlink(missing_ok=True)
        return f"has the sha256 {digest}, recorded {sha256}"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _signature(paths: list[Path]) -> _Signature:
    """Return size, time and inode of each file, None if it is missing."""
    found: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            state = path.stat()
            found.append((state.st_size, state.st_mtime_ns, state.st_ino))
        except (FileNotFoundError, NotADirectoryError):
            found.append(None)
    return tuple(found)

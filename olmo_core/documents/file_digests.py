"""Digests of local files, kept by size, time of change and inode, so that an unchanged file is read once."""

import os
import time
from pathlib import Path

import msgspec

from olmo_core.artifact.files import sha256_file

# A file changed this shortly before it was read may change again without another time of change (as in git's index).
_SETTLED_NS = 2 * 10**9


class _Seen(msgspec.Struct, frozen=True, array_like=True):
    bytes: int
    changed_ns: int
    inode: int
    sha256: str


class FileDigests:
    """The digests of files; `save` keeps them for the next plan."""

    def __init__(self, cache: Path | None = None) -> None:
        """Read the digests kept in a file; keep none without one. A damaged file is as good as none."""
        self._cache = cache
        self._seen: dict[str, _Seen] = {}
        self._changed = False
        if cache is not None and cache.is_file():
            try:
                self._seen = msgspec.json.decode(cache.read_bytes(), type=dict[str, _Seen])
            except (msgspec.DecodeError, UnicodeDecodeError):
                self._changed = True

    def of(self, path: Path) -> str:
        """Return `sha256:<hex>` of a file; it is read only if it may have changed since it was last read."""
        now, stat = time.time_ns(), path.stat()
        # A copy that keeps the time of its original (`rsync -t`) has changed now, in the eyes of the disk.
        changed_ns = max(stat.st_mtime_ns, stat.st_ctime_ns)
        state = (stat.st_size, changed_ns, stat.st_ino)
        known = self._seen.get(str(path))
        if known is not None and (known.bytes, known.changed_ns, known.inode) == state:
            return f"sha256:{known.sha256}"
        read = _Seen(*state, sha256_file(path))
        if now - changed_ns > _SETTLED_NS:
            self._seen[str(path)] = read
            self._changed = True
        return f"sha256:{read.sha256}"

    def save(self) -> None:
        """Write the digests to the file they came from, atomically."""
        if self._cache is None or not self._changed:
            return
        self._cache.parent.mkdir(parents=True, exist_ok=True)
        beside = self._cache.with_name(f"{self._cache.name}.{os.getpid()}")
        beside.write_bytes(msgspec.json.encode(self._seen, order="sorted"))
        beside.replace(self._cache)
        self._changed = False

"""A local folder in the Hub cache layout as a target: `from_pretrained(repo, revision=..., cache_dir=...)` reads it.

    models--org--name/{blobs/<sha256>, snapshots/<commit>/<file> -> blob, refs/<revision>, revisions.txt}

The commit id is the sha1 of the file list, so equal files give an equal id in every folder.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from olmo_core.artifact.files import safe_path, sha256_file, sha256_files, sync
from olmo_core.artifact.lock import locked
from olmo_core.artifact.record import FileEntry
from olmo_core.hub.names import check_name, in_order
from olmo_core.hub.revision import LIST_FILE
from olmo_core.hub.target import Head, PublishError, RevisionFiles

_CHUNK = 1 << 20  # Bytes of one read.


class LocalCache:
    """Publishes to a folder on this machine. Concurrent writers wait for each other."""

    def __init__(self, folder: Path, repo: str) -> None:
        self.repo = repo
        self.folder = folder.absolute()
        self.root = self.folder / f"models--{repo.replace('/', '--')}"

    def __str__(self) -> str:
        """Return how messages name the folder."""
        return f"the folder {self.root}"

    def state(self) -> str:
        """See `Target.state`."""
        return str(self)

    def published(self) -> dict[str, str]:
        """Return name -> commit id of every published revision."""
        refs = self.root / "refs"
        if not refs.is_dir():
            return {}
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(refs.iterdir())}

    def upload(self, revision: RevisionFiles) -> str:
        """Copy the files and link them below their commit, without giving it a name; return the commit id."""
        check_name(revision.name)
        commit = commit_id(revision)
        snapshot = self.root / "snapshots" / commit
        with self._lock():
            snapshot.mkdir(parents=True, exist_ok=True)
            for entry in revision.files:
                self._store(revision.folder / entry.path, entry)
                self._link(snapshot / safe_path(entry.path), entry)
            sync(snapshot.parent)
        return commit

    def holds(self, commit: str, revision: RevisionFiles) -> bool:
        """Return whether the commit consists of exactly these files, by size and digest."""
        snapshot = self.root / "snapshots" / commit
        paths = [snapshot / entry.path for entry in revision.files]
        if commit != commit_id(revision) or not all(path.is_file() for path in paths):
            return False
        if any(path.stat().st_size != entry.size for path, entry in zip(paths, revision.files, strict=True)):
            return False
        return list(sha256_files(paths)) == [entry.sha256 for entry in revision.files]

    @contextmanager
    def cache(self, commit: str, revision: RevisionFiles) -> Iterator[Path]:
        """Yield the folder itself."""
        yield self.folder

    def move_name(self, commit: str, revision: RevisionFiles) -> Head:
        """Point the name at the commit, and list all published names in `revisions.txt`."""
        with self._lock():
            if self.published().get(revision.name) != commit:
                self._replace(self.root / "refs" / revision.name, commit)
            self._replace(self.root / LIST_FILE, "".join(f"{name}\n" for name in in_order(self.published())))
        return Head(commit)

    def _blob(self, entry: FileEntry) -> Path:
        return self.root / "blobs" / entry.sha256

    def _link(self, link: Path, entry: FileEntry) -> None:
        """Link a path of a snapshot to its blob; copy the blob on a file system without links."""
        link.parent.mkdir(parents=True, exist_ok=True)
        target = Path(os.path.relpath(self._blob(entry), link.parent))
        if link.is_symlink() and link.readlink() == target:
            return
        link.unlink(missing_ok=True)
        try:
            link.symlink_to(target)
        except OSError:
            shutil.copyfile(self._blob(entry), link)
            sync(link)
        sync(link.parent)

    def _store(self, source: Path, entry: FileEntry) -> None:
        blob = self._blob(entry)
        if blob.is_file() and blob.stat().st_size == entry.size and sha256_file(blob) == entry.sha256:
            return
        blob.parent.mkdir(exist_ok=True)
        part = blob.with_suffix(".incomplete")
        digest = hashlib.sha256()
        with source.open("rb") as read, part.open("wb") as write:
            while chunk := read.read(_CHUNK):
                digest.update(chunk)
                write.write(chunk)
            write.flush()
            os.fsync(write.fileno())
        if digest.hexdigest() != entry.sha256:
            part.unlink()
            raise PublishError(
                f"{source} has sha256 {digest.hexdigest()}, but {entry.sha256} in its record; it changed after it was "
                "made: run the release again to rebuild it"
            )
        part.replace(blob)
        sync(blob.parent)

    def _replace(self, path: Path, text: str) -> None:
        """Replace a small file atomically and durably: readers find the old or the new text, even after a crash."""
        path.parent.mkdir(exist_ok=True)
        part = self.root / ".incomplete"  # Outside refs, where every file is a name.
        with part.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync(path.parent)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with locked(self.root / ".lock"):
            yield


def commit_id(revision: RevisionFiles) -> str:
    """Return the id of a revision's content: the sha1 of its sorted paths, sizes and digests, 40 hex digits."""
    lines = sorted(f"{entry.path} {entry.size} {entry.sha256}\n" for entry in revision.files)
    return hashlib.sha1("".join(lines).encode(), usedforsecurity=False).hexdigest()

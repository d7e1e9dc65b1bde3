"""A local folder of the Hub cache layout as a target: `from_pretrained(repo, revision=..., cache_dir=...)` reads it.

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
    """Publishes into a folder on this machine. Writers in several processes wait for each other."""

    def __init__(self, folder: Path, repo: str) -> None:
        self.repo = repo
        self.folder = folder.absolute()
        self.root = self.folder / f"models--{repo.replace('/', '--')}"

    def __str__(self) -> str:
        """Name the folder."""
        return f"the folder {self.root}"

    def state(self) -> str:
        """Return the folder."""
        return str(self)

    def published(self) -> dict[str, str]:
        """Name -> commit id of every revision that is shown."""
        refs = self.root / "refs"
        if not refs.is_dir():
            return {}
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(refs.iterdir())}

    def upload(self, revision: RevisionFiles) -> str:
        """Copy the files in and link them below their commit, which no name shows yet; return the commit id."""
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
        """Whether the commit consists of exactly these files, by size and digest."""
        snapshot = self.root / "snapshots" / commit
        paths = [snapshot / entry.path for entry in revision.files]
        if commit != commit_id(revision) or not all(path.is_file() for path in paths):
            return False
        if any(path.stat().st_size != entry.size for path, entry in zip(paths, revision.files, strict=True)):
            return False
        return list(sha256_files(paths)) == [entry.sha256 for entry in revision.files]

    @contextmanager
    def cache(self, commit: str, revision: RevisionFiles) -> Iterator[Path]:
        """The folder itself."""
        yield self.folder

    def show(self, commit: str, revision: RevisionFiles) -> Head:
        """Let the name show the commit, and list what is shown in `revisions.txt`."""
        with self._lock():
            if self.published().get(revision.name) != commit:
                self._replace(self.root / "refs" / revision.name, commit)
            self._replace(self.root / LIST_FILE, "".join(f"{name}\n" for name in in_order(self.published())))
        return Head(commit)

    def _blob(self, entry: FileEntry) -> Path:
        return self.root / "blobs" / entry.sha256

    def _link(self, link: Path, entry: FileEntry) -> None:
        """Let a path of a snapshot be a blob: a link to it, a copy on file systems without links."""
        link.parent.mkdir(parents=True, exist_ok=True)
        goal = Path(os.path.relpath(self._blob(entry), link.parent))
        if link.is_symlink() and link.readlink() == goal:
            return
        link.unlink(missing_ok=True)
        try:
            link.symlink_to(goal)
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
                f"{source} has sha256 {digest.hexdigest()}, its record says {entry.sha256}; it changed since it was "
                "made: run the release again to make it anew"
            )
        part.replace(blob)
        sync(blob.parent)

    def _replace(self, path: Path, text: str) -> None:
        """Write a small file such that readers find the old text or the new one, also after a crash."""
        path.parent.mkdir(exist_ok=True)
        part = self.root / ".incomplete"  # Outside of refs, where every file is a name.
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
    """Return the id of a revision's content: sha1 over its sorted paths, sizes and digests, 40 hex digits."""
    lines = sorted(f"{entry.path} {entry.size} {entry.sha256}\n" for entry in revision.files)
    return hashlib.sha1("".join(lines).encode(), usedforsecurity=False).hexdigest()

"""The files of a folder as a record and as a Hub list them; unlike conftest, without torch."""

from pathlib import Path

from hub_server import FakeHub

from olmo_core.artifact.files import list_files, sha256_file
from olmo_core.artifact.record import FileEntry
from olmo_core.hub.target import RevisionFiles

REPO = "olmo/tiny"
EARLY, LATE = "stage1-step40-tokens200K", "stage1-step400-tokens2M"


def entries(folder: Path) -> tuple[FileEntry, ...]:
    return tuple(
        FileEntry(path=path, size=full.stat().st_size, sha256=sha256_file(full))
        for path, full in list_files(folder).items()
    )


def content(revision: RevisionFiles) -> dict[str, bytes]:
    return {entry.path: (revision.folder / entry.path).read_bytes() for entry in revision.files}


def shows(hub: FakeHub, name: str, revision: RevisionFiles) -> bool:
    return hub.files(REPO, name) == content(revision)

"""The files of a folder as a record lists them. Apart from conftest, so that it can be had without torch."""

from pathlib import Path

from olmo_core.artifact.files import list_files, sha256_file
from olmo_core.artifact.record import FileEntry


def entries(folder: Path) -> tuple[FileEntry, ...]:
    return tuple(
        FileEntry(path=path, size=full.stat().st_size, sha256=sha256_file(full))
        for path, full in list_files(folder).items()
    )

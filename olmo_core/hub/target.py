"""What is published and where to: a revision's files, and what a publisher needs of a place that shows revisions.

The places are `cache` (a local folder) and `endpoint` (a Hub); the order of things is `publish`.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from olmo_core.artifact.job import Artifact
from olmo_core.artifact.record import FileEntry


class PublishError(RuntimeError):
    """A revision could not be published; its name shows what it showed before."""


@dataclass(frozen=True)
class Revision:
    """Files to be shown under a name.

    Attributes:
        name: what it is shown as.
        folder: holds `files`.
        files: with their sizes and digests.
        code: git commit of the code that put it together, where that is known.
    """

    name: str
    folder: Path
    files: tuple[FileEntry, ...]
    code: str | None = None

    @classmethod
    def of(cls, artifact: Artifact) -> "Revision":
        """The revision that an artifact of kind `revision` holds."""
        record = artifact.record
        return cls(artifact.step.fields["revision"], artifact.path, tuple(record.files), record.code.commit)


class Target(Protocol):
    """A place that shows revisions. Every method can be called again after an interruption at any point."""

    repo: str

    def published(self) -> dict[str, str]:
        """Name -> commit id of every revision that is shown."""
        ...

    def upload(self, revision: Revision) -> str:
        """Bring the files in place without showing the name; return the commit id."""
        ...

    def holds(self, commit: str, revision: Revision) -> bool:
        """Whether the commit consists of exactly these files."""
        ...

    def cache(self, commit: str, revision: Revision) -> AbstractContextManager[Path]:
        """A Hub cache folder from which the commit can be loaded; bytes fetched over a network are checked first."""
        ...

    def show(self, commit: str, revision: Revision) -> str:
        """Let the name show the commit's files in one atomic move; return the commit id it shows."""
        ...

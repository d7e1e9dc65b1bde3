"""The files of a revision, and the interface of a target that they are published to.

Targets are `cache` (a local folder) and `endpoint` (a Hub); `publication` calls them in order.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from olmo_core.artifact.job import Artifact
from olmo_core.artifact.record import FileEntry


class PublishError(RuntimeError):
    """A revision could not be published; its name is unchanged."""


class PauseError(PublishError):
    """The target accepts no requests for `seconds`; finished work is kept, and another call continues it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        """Return a message with the duration and the remedy."""
        return f"the Hub asks for a pause of {self.seconds:.0f} s; run it again then: published revisions are kept"


@dataclass(frozen=True)
class RevisionFiles:
    """The files of a revision.

    Attributes:
        name: name to publish them under.
        folder: folder that holds them.
        files: paths below `folder`, sizes and digests.
        code: git commit of the code that made the revision, None if unknown.
    """

    name: str
    folder: Path
    files: tuple[FileEntry, ...]
    code: str | None = None

    @classmethod
    def of(cls, artifact: Artifact) -> "RevisionFiles":
        """Return the files in an artifact of kind `revision`."""
        record = artifact.record
        return cls(artifact.step.fields["revision"], artifact.path, tuple(record.files), record.code.commit)


@dataclass(frozen=True)
class Head:
    """The commit that a name points at.

    Attributes:
        commit: 40 hex digits.
        kept: paths of the revision at which the commit keeps a file of others instead of ours.
    """

    commit: str
    kept: tuple[str, ...] = ()


class Target(Protocol):
    """A place where revisions are published. Every method can be called again after an interruption at any point."""

    repo: str

    def state(self) -> str:
        """Return a description of the target and its visibility.

        Raises:
            PublishError: `main` of this target holds a model that others published.
        """
        ...

    def published(self) -> dict[str, str]:
        """Return name -> commit id of every published revision."""
        ...

    def upload(self, revision: RevisionFiles) -> str:
        """Upload the files without moving the name; return the commit id."""
        ...

    def holds(self, commit: str, revision: RevisionFiles) -> bool:
        """Return whether the commit holds these files and no others of ours; it may also hold files of others."""
        ...

    def cache(self, commit: str, revision: RevisionFiles) -> AbstractContextManager[Path]:
        """Open a Hub cache folder from which the commit can be loaded; verify downloaded files first."""
        ...

    def move_name(self, commit: str, revision: RevisionFiles) -> Head:
        """Move the name to the commit's files atomically; files of others under the name stay."""
        ...

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


class PauseError(PublishError):
    """The Hub takes no requests for `seconds`; what was done so far is kept, and calling again goes on."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        """Say how long, and what to do."""
        return f"the Hub asks for a pause of {self.seconds:.0f} s; run it again then: what was published is kept"


@dataclass(frozen=True)
class RevisionFiles:
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
    def of(cls, artifact: Artifact) -> "RevisionFiles":
        """The revision that an artifact of kind `revision` holds."""
        record = artifact.record
        return cls(artifact.step.fields["revision"], artifact.path, tuple(record.files), record.code.commit)


@dataclass(frozen=True)
class Head:
    """What a name shows.

    Attributes:
        commit: 40 hex digits.
        kept: paths of the revision that hold a file of others, in place of ours.
    """

    commit: str
    kept: tuple[str, ...] = ()


class Target(Protocol):
    """A place that shows revisions. Every method can be called again after an interruption at any point."""

    repo: str

    def state(self) -> str:
        """Return where revisions go and who can see them there, for people.

        Raises:
            PublishError: `main` of this place holds a model that others put there.
        """
        ...

    def published(self) -> dict[str, str]:
        """Name -> commit id of every revision that is shown."""
        ...

    def upload(self, revision: RevisionFiles) -> str:
        """Bring the files in place without showing the name; return the commit id."""
        ...

    def holds(self, commit: str, revision: RevisionFiles) -> bool:
        """Whether the commit holds these files and no other of ours; files of others may be beside them."""
        ...

    def cache(self, commit: str, revision: RevisionFiles) -> AbstractContextManager[Path]:
        """A Hub cache folder from which the commit can be loaded; bytes fetched over a network are checked first."""
        ...

    def show(self, commit: str, revision: RevisionFiles) -> Head:
        """Let the name show the commit's files in one atomic move; files of others that it shows stay."""
        ...

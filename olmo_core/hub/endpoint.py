"""A Hub as a target, spoken to through huggingface_hub; the token comes from the environment or the client's own file.

A branch on the Hub is not atomic while files go up, so they go to a staging branch first. Names appear by creating a
branch at the proven commit, or by one commit where the name exists already. Every write is followed by reading back,
and no write is repeated before that: the Hub may answer 500 to a commit it has made.
"""

import hashlib
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from httpx2 import TransportError
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from olmo_core.artifact.files import safe_path, sha256_file
from olmo_core.artifact.record import FileEntry
from olmo_core.hub.names import MAIN, check_name
from olmo_core.hub.target import PublishError, Revision

STAGING = "staging-"
ATTEMPTS = 6  # Of one request; with doubling waits about a minute in all, or what Retry-After asks for.
LONGEST_WAIT = 600.0  # Seconds; a server that asks for more is an outage.
_OWN_FILES = {".gitattributes"}  # Written by the Hub itself into every repository.
_XET_STATUS = re.compile(r"HTTP status \w+ error \((\d{3})")  # hf_xet raises a ConnectionError that only says it.
_LOST = (TransportError, ConnectionError, TimeoutError)  # No answer came; hf_xet raises Python's own.

T = TypeVar("T")


class HubEndpoint:
    """Publishes into a repository of a Hub."""

    def __init__(self, repo: str, endpoint: str | None = None, wait: Callable[[float], None] = time.sleep) -> None:
        """Speak to `endpoint` (the client's default when None); `wait` is called with seconds between attempts."""
        self.repo = repo
        self.api = HfApi(endpoint=endpoint)
        self._wait = wait

    def published(self) -> dict[str, str]:
        """Name -> commit id of every revision that is shown; `main` counts once it holds a model."""
        try:
            branches = self._branches()
        except RepositoryNotFoundError:
            return {}
        shown = {name: commit for name, commit in branches.items() if not name.startswith(STAGING)}
        if MAIN in shown and "config.json" not in self._tree(shown[MAIN]):
            del shown[MAIN]
        return shown

    def upload(self, revision: Revision) -> str:
        """Bring the files onto a staging branch; return its commit id."""
        check_name(revision.name)
        self._patiently(lambda: self.api.create_repo(self.repo, exist_ok=True))
        branch = STAGING + revision.name
        self._patiently(lambda: self.api.create_branch(self.repo, branch=branch, exist_ok=True))
        return self._bring(branch, revision)

    def holds(self, commit: str, revision: Revision) -> bool:
        """Whether the commit consists of exactly these files, by the digests the Hub itself computed."""
        tree = self._tree(commit)
        return tree.keys() == {entry.path for entry in revision.files} and not self._missing(tree, revision)

    @contextmanager
    def cache(self, commit: str, revision: Revision) -> Iterator[Path]:
        """Download the commit to a temporary folder and check every digest."""
        with tempfile.TemporaryDirectory(prefix="hub-") as folder:
            snapshot = Path(
                self._patiently(lambda: self.api.snapshot_download(self.repo, revision=commit, cache_dir=folder))
            )
            for entry in revision.files:
                if sha256_file(snapshot / safe_path(entry.path)) != entry.sha256:
                    raise PublishError(f"{self.repo} at {commit}: {entry.path} came back with other bytes than went up")
            yield Path(folder)

    def show(self, commit: str, revision: Revision) -> str:
        """Create the name at the commit, or bring an existing name to the same files; remove the staging branch."""
        if revision.name not in self._branches():
            self._patiently(
                lambda: self.api.create_branch(self.repo, branch=revision.name, revision=commit, exist_ok=True)
            )
        head = self._bring(revision.name, revision)
        staging = STAGING + revision.name
        if staging in self._branches():
            with suppress(RevisionNotFoundError):  # An attempt whose answer was lost has removed it.
                self._patiently(lambda: self.api.delete_branch(self.repo, branch=staging))
        return head

    def _bring(self, branch: str, revision: Revision) -> str:
        """Commit until the branch holds exactly the files; return its head. What is there already stays.

        The parent of each commit is the head that was read, so a commit whose answer was lost is seen, not repeated.
        """
        error: BaseException | None = None
        for attempt in range(ATTEMPTS):
            if error is not None:
                self._wait(_delay(error, attempt))
            head = self._branches()[branch]
            tree = self._tree(head)
            missing = self._missing(tree, revision)
            extra = sorted(tree.keys() - {entry.path for entry in revision.files})
            if not missing and not extra:
                return head
            adds = [CommitOperationAdd(entry.path, revision.folder / entry.path) for entry in missing]
            deletes = [CommitOperationDelete(path) for path in extra]
            try:
                self.api.create_commit(
                    self.repo,
                    [*adds, *deletes],
                    commit_message=revision.name,
                    commit_description=f"Made by code at commit {revision.code}" if revision.code else None,
                    revision=branch,
                    parent_commit=head,
                )
                error = None
            except (HfHubHTTPError, RuntimeError, *_LOST) as raised:
                # The client wraps what broke the upload of a large file into a RuntimeError.
                error = raised.__cause__ if isinstance(raised, RuntimeError) else raised
                if "/xet-write-token/" in str(error) and _status(error) == 404:
                    raise PublishError(
                        f"{self.api.endpoint} takes no large files by xet; set HF_HUB_DISABLE_XET=1 for it"
                    ) from error
                if not (_transient(error) or _status(error) == 412):
                    raise
        raise PublishError(
            f"{self.repo}: branch {branch} does not hold its files after {ATTEMPTS} attempts; last error: {error}"
        ) from error

    def _missing(self, tree: dict[str, RepoFile], revision: Revision) -> list[FileEntry]:
        return [
            entry
            for entry in revision.files
            if entry.path not in tree or not _same(tree[entry.path], entry, revision.folder / entry.path)
        ]

    def _branches(self) -> dict[str, str]:
        refs = self._patiently(lambda: self.api.list_repo_refs(self.repo))
        return {branch.name: branch.target_commit for branch in refs.branches}

    def _tree(self, commit: str) -> dict[str, RepoFile]:
        items = self._patiently(lambda: list(self.api.list_repo_tree(self.repo, recursive=True, revision=commit)))
        return {item.path: item for item in items if isinstance(item, RepoFile) and item.path not in _OWN_FILES}

    def _patiently(self, call: Callable[[], T]) -> T:
        """Call until it is answered; for calls that may be repeated."""
        for attempt in range(1, ATTEMPTS):
            try:
                return call()
            except (HfHubHTTPError, *_LOST) as error:
                if not _transient(error):
                    raise
                self._wait(_delay(error, attempt))
        return call()


def _same(found: RepoFile, entry: FileEntry, path: Path) -> bool:
    if found.size != entry.size:
        return False
    if found.lfs is not None:
        return found.lfs.sha256 == entry.sha256
    content = path.read_bytes()
    return found.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _status(error: BaseException | None) -> int | None:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code
    found = _XET_STATUS.search(str(error)) if isinstance(error, ConnectionError) else None
    return int(found[1]) if found else None


def _transient(error: BaseException | None) -> bool:
    status = _status(error)
    if status is None:
        return isinstance(error, _LOST)
    return status in (408, 429) or status >= 500


def _delay(error: BaseException, attempt: int) -> float:
    """Seconds to wait: what the server asks for, else doubling from one."""
    asked = error.response.headers.get("Retry-After", "") if isinstance(error, HfHubHTTPError) else ""
    if asked.isdecimal():
        if float(asked) > LONGEST_WAIT:
            raise PublishError(f"the Hub asks to wait {asked} seconds; publish again later") from error
        return float(asked)
    return float(2 ** (attempt - 1))

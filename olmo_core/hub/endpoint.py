"""A Hub as a target, through huggingface_hub; the token comes from the environment or the client's own file.

Uploading to a branch of the Hub is not atomic, so files go to a staging branch first. A name is then created as a
branch at the verified commit, or moved by one commit if it exists. Every write is read back, and no write is repeated
before that: the Hub may answer 500 to a commit that it made.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from olmo_core.artifact.files import name_full_disk, safe_path, sha256_file
from olmo_core.hub.client import Client
from olmo_core.hub.file_names import CONFIG
from olmo_core.hub.foreign import Difference, compare_own, compare_shared
from olmo_core.hub.names import MAIN, check_name
from olmo_core.hub.pause import ATTEMPTS, NO_RESPONSE, delay, is_transient, raise_long_pauses, status
from olmo_core.hub.refusal import refusal
from olmo_core.hub.target import Head, PublishError, RevisionFiles

STAGING = "staging-"


class HubEndpoint:
    """Publishes to a repository of a Hub."""

    def __init__(
        self,
        repo: str,
        endpoint: str | None = None,
        *,
        public: bool = False,
        scratch: Path | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """Set up a target without sending anything.

        Args:
            repo: `organisation/name`.
            endpoint: address of the Hub; by default the client's own.
            public: visibility of a repository created here; that of an existing repository does not change.
            scratch: folder with room for a copy of a revision; needed to publish, not to read.
            wait: called with the seconds between attempts.
        """
        self.repo = repo
        self.api = HfApi(endpoint=endpoint)
        self._client = Client(self.api, repo, wait)
        self._public = public
        self._scratch = scratch
        self._wait = wait

    def __str__(self) -> str:
        """Return how messages name it: repository, address and visibility."""
        visibility = "public" if self._public else "private"
        return f"{self._client.where}, {visibility} unless it exists already"

    def state(self) -> str:
        """Return repository, address and visibility.

        Raises:
            PublishError: `main` holds a model that others published.
        """
        try:
            private = self._client.call(lambda api: api.model_info(self.repo)).private
        except RepositoryNotFoundError:
            return f"{self._client.where}, to be created {'public' if self._public else 'private'}"
        if (head := self._client.branches().get(MAIN)) is not None:
            self._difference(head, RevisionFiles(MAIN, Path(), ()))
        visibility = "private" if private else "public"
        return f"{self._client.where}, which is {visibility} and stays {visibility}"

    def published(self) -> dict[str, str]:
        """Return name -> commit id of every published revision; `main` is included once it holds a model."""
        try:
            branches = self._client.branches()
        except RepositoryNotFoundError:
            return {}
        published = {name: commit for name, commit in branches.items() if not name.startswith(STAGING)}
        if MAIN in published and CONFIG not in self._client.tree(published[MAIN]):
            del published[MAIN]
        return published

    def upload(self, revision: RevisionFiles) -> str:
        """Upload the files to a staging branch; return its commit id.

        Raises:
            PublishError: files that others published under the name are in the way.
        """
        check_name(revision.name)
        self._client.call(lambda api: api.create_repo(self.repo, private=not self._public, exist_ok=True))
        if (head := self._client.branches().get(revision.name)) is not None:
            self._difference(head, revision)  # Raises before the upload if files of others are in the way.
        branch = STAGING + revision.name
        self._client.call(lambda api: api.create_branch(self.repo, branch=branch, exist_ok=True))
        return self._write(branch, revision).commit

    def holds(self, commit: str, revision: RevisionFiles) -> bool:
        """Return whether the commit holds these files, by the Hub's digests; it may also hold files of others."""
        return not self._difference(commit, revision)

    @contextmanager
    def cache(self, commit: str, revision: RevisionFiles) -> Iterator[Path]:
        """Download the commit below `scratch` and check every digest; remove what a killed call left there."""
        folder = self._scratch_folder() / f"hub-{commit}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            snapshot = Path(
                self._client.call(lambda api: api.snapshot_download(self.repo, revision=commit, cache_dir=folder))
            )
            for entry in revision.files:
                if sha256_file(snapshot / safe_path(entry.path)) != entry.sha256:
                    raise PublishError(f"{self.repo} at {commit}: the downloaded {entry.path} differs from the upload")
            yield folder
        except OSError as error:
            name_full_disk(error, folder)
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def move_name(self, commit: str, revision: RevisionFiles) -> Head:
        """Create the name at the commit, or move an existing name to the same files; remove the staging branch."""
        if revision.name not in self._client.branches():
            self._client.call(
                lambda api: api.create_branch(self.repo, branch=revision.name, revision=commit, exist_ok=True)
            )
        head = self._write(revision.name, revision)
        staging = STAGING + revision.name
        if staging in self._client.branches():
            with suppress(RevisionNotFoundError):  # An attempt whose response was lost removed it.
                self._client.call(lambda api: api.delete_branch(self.repo, branch=staging))
        return head

    def _write(self, branch: str, revision: RevisionFiles) -> Head:
        """Commit the missing files until the branch holds all of them; return its head.

        The parent of each commit is the head that was read, so a commit whose response was lost is found, not repeated.
        """
        error: BaseException | None = None
        for attempt in range(ATTEMPTS):
            if error is not None:
                self._wait(delay(error, attempt))
            head = self._client.branches()[branch]
            if branch.startswith(STAGING):
                difference = compare_own(self._client.tree(head), revision)
            else:
                difference = self._difference(head, revision)
            if not difference:
                return Head(head, difference.kept)
            try:
                self._commit(branch, head, difference, revision)
                error = None
            except PublishError:
                raise
            except (HfHubHTTPError, RuntimeError, *NO_RESPONSE) as raised:
                # The client wraps errors in the upload of a large file in a RuntimeError.
                error = raised.__cause__ if isinstance(raised, RuntimeError) else raised
                if "/xet-write-token/" in str(error) and status(error) == 404:
                    raise PublishError(
                        f"{self.api.endpoint} does not support xet for large files; set HF_HUB_DISABLE_XET=1 for it"
                    ) from error
                if not (is_transient(error) or status(error)):
                    raise
            if error is not None and not (is_transient(error) or status(error) == 412):
                raise refusal(error, self._client.where)
        raise PublishError(
            f"{self.repo}: branch {branch} does not hold its files after {ATTEMPTS} attempts; last error: {error}"
        ) from error

    def _commit(self, branch: str, head: str, difference: Difference, revision: RevisionFiles) -> None:
        adds = [CommitOperationAdd(entry.path, revision.folder / entry.path) for entry in difference.missing]
        deletes = [CommitOperationDelete(path) for path in difference.extra]
        with raise_long_pauses():
            self.api.create_commit(
                self.repo,
                [*adds, *deletes],
                commit_message=revision.name,
                commit_description=f"Made by code at commit {revision.code}" if revision.code else None,
                revision=branch,
                parent_commit=head,
            )

    def _difference(self, commit: str, revision: RevisionFiles) -> Difference:
        """Compare a commit that others may have written to."""
        where = f"{self.repo}: {revision.name}"
        return compare_shared(self._client.tree(commit), revision, lambda path: self._read(commit, path), where)

    def _read(self, commit: str, path: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="hub-read-", dir=self._scratch_folder()) as folder:
            found = self._client.call(
                lambda api: api.hf_hub_download(self.repo, path, revision=commit, cache_dir=folder)
            )
            return Path(found).read_bytes()

    def _scratch_folder(self) -> Path:
        assert self._scratch is not None, "publishing needs a scratch folder"
        self._scratch.mkdir(parents=True, exist_ok=True)
        return self._scratch

"""A Hub as a target, spoken to through huggingface_hub; the token comes from the environment or the client's own file.

A branch on the Hub is not atomic while files go up, so they go to a staging branch first. Names appear by creating a
branch at the proven commit, or by one commit where the name exists already. Every write is followed by reading back,
and no write is repeated before that: the Hub may answer 500 to a commit it has made.
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
from olmo_core.hub.foreign import Difference, considerate, exact
from olmo_core.hub.names import MAIN, check_name
from olmo_core.hub.pause import ATTEMPTS, LOST, delay, long_pauses_raise, passing, status
from olmo_core.hub.refusal import refusal
from olmo_core.hub.target import Head, PublishError, RevisionFiles

STAGING = "staging-"


class HubEndpoint:
    """Publishes into a repository of a Hub."""

    def __init__(
        self,
        repo: str,
        endpoint: str | None = None,
        *,
        public: bool = False,
        scratch: Path | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """Speak to a Hub; nothing is asked yet.

        Args:
            repo: `organisation/name`.
            endpoint: address of the Hub, the client's default when None.
            public: whether everybody can see a repository that is made; one that exists stays as it is.
            scratch: folder with room for a copy of a revision; needed to publish, not to read.
            wait: called with seconds between attempts.
        """
        self.repo = repo
        self.api = HfApi(endpoint=endpoint)
        self._client = Client(self.api, repo, wait)
        self._public = public
        self._scratch = scratch
        self._wait = wait

    def __str__(self) -> str:
        """Name repository, address and who will see it."""
        visibility = "public" if self._public else "private"
        return f"{self._client.where}, {visibility} unless it exists already"

    def state(self) -> str:
        """Return repository, address and who can see it.

        Raises:
            PublishError: `main` holds a model that others put there.
        """
        try:
            private = self._client.call(lambda api: api.model_info(self.repo)).private
        except RepositoryNotFoundError:
            return f"{self._client.where}, to be made {'public' if self._public else 'private'}"
        if (head := self._client.branches().get(MAIN)) is not None:
            self._difference(head, RevisionFiles(MAIN, Path(), ()))
        return f"{self._client.where}, which is {'private' if private else 'public'} and stays so"

    def published(self) -> dict[str, str]:
        """Name -> commit id of every revision that is shown; `main` counts once it holds a model."""
        try:
            branches = self._client.branches()
        except RepositoryNotFoundError:
            return {}
        shown = {name: commit for name, commit in branches.items() if not name.startswith(STAGING)}
        if MAIN in shown and CONFIG not in self._client.tree(shown[MAIN]):
            del shown[MAIN]
        return shown

    def upload(self, revision: RevisionFiles) -> str:
        """Bring the files onto a staging branch; return its commit id.

        Raises:
            PublishError: the name shows files of others that are in the way.
        """
        check_name(revision.name)
        self._client.call(lambda api: api.create_repo(self.repo, private=not self._public, exist_ok=True))
        if (shown := self._client.branches().get(revision.name)) is not None:
            self._difference(shown, revision)  # What others put in the way is refused before anything goes up.
        branch = STAGING + revision.name
        self._client.call(lambda api: api.create_branch(self.repo, branch=branch, exist_ok=True))
        return self._bring(branch, revision).commit

    def holds(self, commit: str, revision: RevisionFiles) -> bool:
        """Whether the commit holds these files by the digests the Hub computed; files of others may be beside them."""
        return not self._difference(commit, revision)

    @contextmanager
    def cache(self, commit: str, revision: RevisionFiles) -> Iterator[Path]:
        """Download the commit below `scratch` and check every digest; what a killed call left there is removed."""
        folder = self._room() / f"hub-{commit}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            snapshot = Path(
                self._client.call(lambda api: api.snapshot_download(self.repo, revision=commit, cache_dir=folder))
            )
            for entry in revision.files:
                if sha256_file(snapshot / safe_path(entry.path)) != entry.sha256:
                    raise PublishError(f"{self.repo} at {commit}: {entry.path} came back with other bytes than went up")
            yield folder
        except OSError as error:
            name_full_disk(error, folder)
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def show(self, commit: str, revision: RevisionFiles) -> Head:
        """Create the name at the commit, or bring an existing name to the same files; remove the staging branch."""
        if revision.name not in self._client.branches():
            self._client.call(
                lambda api: api.create_branch(self.repo, branch=revision.name, revision=commit, exist_ok=True)
            )
        head = self._bring(revision.name, revision)
        staging = STAGING + revision.name
        if staging in self._client.branches():
            with suppress(RevisionNotFoundError):  # An attempt whose answer was lost has removed it.
                self._client.call(lambda api: api.delete_branch(self.repo, branch=staging))
        return head

    def _bring(self, branch: str, revision: RevisionFiles) -> Head:
        """Commit until the branch holds the files; return its head. What is there already stays.

        The parent of each commit is the head that was read, so a commit whose answer was lost is seen, not repeated.
        """
        error: BaseException | None = None
        for attempt in range(ATTEMPTS):
            if error is not None:
                self._wait(delay(error, attempt))
            head = self._client.branches()[branch]
            alone = branch.startswith(STAGING)
            difference = exact(self._client.tree(head), revision) if alone else self._difference(head, revision)
            if not difference:
                return Head(head, difference.kept)
            try:
                self._commit(branch, head, difference, revision)
                error = None
            except PublishError:
                raise
            except (HfHubHTTPError, RuntimeError, *LOST) as raised:
                # The client wraps what broke the upload of a large file into a RuntimeError.
                error = raised.__cause__ if isinstance(raised, RuntimeError) else raised
                if "/xet-write-token/" in str(error) and status(error) == 404:
                    raise PublishError(
                        f"{self.api.endpoint} takes no large files by xet; set HF_HUB_DISABLE_XET=1 for it"
                    ) from error
                if not (passing(error) or status(error)):
                    raise
            if error is not None and not (passing(error) or status(error) == 412):
                raise refusal(error, self._client.where)
        raise PublishError(
            f"{self.repo}: branch {branch} does not hold its files after {ATTEMPTS} attempts; last error: {error}"
        ) from error

    def _commit(self, branch: str, head: str, difference: Difference, revision: RevisionFiles) -> None:
        adds = [CommitOperationAdd(entry.path, revision.folder / entry.path) for entry in difference.missing]
        deletes = [CommitOperationDelete(path) for path in difference.extra]
        with long_pauses_raise():
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
        return considerate(self._client.tree(commit), revision, lambda path: self._read(commit, path), where)

    def _read(self, commit: str, path: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="hub-read-", dir=self._room()) as folder:
            found = self._client.call(
                lambda api: api.hf_hub_download(self.repo, path, revision=commit, cache_dir=folder)
            )
            return Path(found).read_bytes()

    def _room(self) -> Path:
        assert self._scratch is not None, "a target that is published to has a scratch folder"
        self._scratch.mkdir(parents=True, exist_ok=True)
        return self._scratch

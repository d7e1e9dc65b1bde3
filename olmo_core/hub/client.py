"""Repeatable requests to one repository of a Hub, retried until the Hub answers or refuses."""

from collections.abc import Callable
from typing import TypeVar

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from olmo_core.hub.pause import ATTEMPTS, NO_RESPONSE, delay, is_transient, raise_long_pauses
from olmo_core.hub.refusal import first_line, refusal

_HUB_FILES = {".gitattributes"}  # The Hub writes these to every repository.

T = TypeVar("T")


class Client:
    """Sends requests about one repository to a Hub."""

    def __init__(self, api: HfApi, repo: str, wait: Callable[[float], None]) -> None:
        """Create a client without sending anything; `wait` is called with the seconds between attempts."""
        self.where = f"{repo} at {api.endpoint}"
        self._api = api
        self._repo = repo
        self._wait = wait

    def branches(self) -> dict[str, str]:
        """Return name -> commit of every branch."""
        refs = self.call(lambda api: api.list_repo_refs(self._repo))
        return {branch.name: branch.target_commit for branch in refs.branches}

    def tree(self, commit: str) -> dict[str, RepoFile]:
        """Return path -> file of a commit, without the files that the Hub itself writes."""
        items = self.call(lambda api: list(api.list_repo_tree(self._repo, recursive=True, revision=commit)))
        return {item.path: item for item in items if isinstance(item, RepoFile) and item.path not in _HUB_FILES}

    def call(self, request: Callable[[HfApi], T]) -> T:
        """Return the result of a request, retried while its errors are transient.

        Raises:
            RepositoryNotFoundError, RevisionNotFoundError: the repository or revision does not exist.
            PublishError: the Hub refuses, or asks for a pause.
            ConnectionError: the Hub does not answer, or fails.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with raise_long_pauses():
                    return request(self._api)
            except (RepositoryNotFoundError, RevisionNotFoundError):
                raise
            except (HfHubHTTPError, *NO_RESPONSE) as raised:
                error = raised
            if not is_transient(error):
                raise refusal(error, self.where)
            if attempt < ATTEMPTS:
                self._wait(delay(error, attempt))
        raise ConnectionError(f"{self.where} does not answer after {ATTEMPTS} attempts: {first_line(error)}")

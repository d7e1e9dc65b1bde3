"""Requests to one repository of a Hub that may be repeated: asked until they are answered, or refused."""

from collections.abc import Callable
from typing import TypeVar

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from olmo_core.hub.pause import ATTEMPTS, LOST, delay, long_pauses_raise, passing
from olmo_core.hub.refusal import first_line, refusal

_OWN_FILES = {".gitattributes"}  # Written by the Hub itself into every repository.

T = TypeVar("T")


class Client:
    """Asks a Hub about one repository."""

    def __init__(self, api: HfApi, repo: str, wait: Callable[[float], None]) -> None:
        """Ask nothing yet; `wait` is called with seconds between attempts."""
        self.where = f"{repo} at {api.endpoint}"
        self._api = api
        self._repo = repo
        self._wait = wait

    def branches(self) -> dict[str, str]:
        """Return name -> commit of every branch."""
        refs = self.call(lambda api: api.list_repo_refs(self._repo))
        return {branch.name: branch.target_commit for branch in refs.branches}

    def tree(self, commit: str) -> dict[str, RepoFile]:
        """Return path -> file of a commit, those of the Hub itself left out."""
        items = self.call(lambda api: list(api.list_repo_tree(self._repo, recursive=True, revision=commit)))
        return {item.path: item for item in items if isinstance(item, RepoFile) and item.path not in _OWN_FILES}

    def call(self, ask: Callable[[HfApi], T]) -> T:
        """Ask until there is an answer.

        Raises:
            RepositoryNotFoundError, RevisionNotFoundError: there is none.
            PublishError: the Hub refuses, or asks for a pause.
            ConnectionError: it does not answer, or is out of order.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with long_pauses_raise():
                    return ask(self._api)
            except (RepositoryNotFoundError, RevisionNotFoundError):
                raise
            except (HfHubHTTPError, *LOST) as raised:
                error = raised
            if not passing(error):
                raise refusal(error, self.where)
            if attempt < ATTEMPTS:
                self._wait(delay(error, attempt))
        raise ConnectionError(f"{self.where} does not answer after {ATTEMPTS} attempts: {first_line(error)}")

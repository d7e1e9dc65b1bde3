"""The plan that evaluates a Hub repository: which revisions it shows, judged as a recipe judges its own models.

The Hub is the profile's, so that a token goes nowhere but where the profile says.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from infra.services.errors import ServiceError
from olmo_core.artifact.identity import Step
from olmo_core.hub.names import MAIN, place
from olmo_core.recipe.estimate import WEIGHT_BYTES
from olmo_core.recipe.layout import lay_out_repository
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.recipe import Recipe


def repository_plan(recipe: Recipe, endpoint: str | None, repository: str, pattern: str) -> Plan:
    """Return the plan that evaluates the revisions of a repository whose names match a shell pattern.

    Raises:
        ConfigError: there is no such repository, or it shows no such revision.
        ServiceError: the Hub is not there or does not let us in.
    """
    where = endpoint or "the Hub (HF_ENDPOINT, else huggingface.co)"
    branches = _branches(repository, endpoint, where)
    if not branches:
        raise ConfigError(
            f"repository {repository}: {where} shows none; correct its name, or HF_TOKEN if it is private"
        )
    revisions = {name: commit for name, commit in branches.items() if name == MAIN or place(name) is not None}
    found = {name: commit for name, commit in revisions.items() if fnmatchcase(name, pattern)}
    if not found:
        names = ", ".join(sorted(revisions)[:5]) or f"none, only the branches {', '.join(sorted(branches)[:5])}"
        raise ConfigError(f"revisions {pattern!r} of {repository}: no such revision; there are {names}")
    return lay_out_repository(recipe, repository, found)


def models_bytes(models: Sequence[Step], endpoint: str | None) -> int:
    """Return about how many bytes these models of one repository take in the store, in fp32; judged by the first."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import NotASafetensorsRepoError

    if not models:
        return 0
    fields = models[0].fields
    try:
        about = HfApi(endpoint=endpoint).get_safetensors_metadata(fields["repo"], revision=fields["revision"])
    except NotASafetensorsRepoError:  # its own step says so; others may have theirs
        return 0
    return len(models) * WEIGHT_BYTES * sum(about.parameter_count.values())


def _branches(repository: str, endpoint: str | None, where: str) -> dict[str, str]:
    from httpx2 import HTTPError

    from olmo_core.hub.endpoint import HubEndpoint
    from olmo_core.hub.target import PublishError

    try:
        return HubEndpoint(repository, endpoint).published()
    except (HTTPError, OSError, PublishError) as error:
        said = str(error).strip().partition("\n")[0]
        raise ServiceError(f"repository {repository} at {where}: {said}; correct hub.endpoint or HF_TOKEN") from error

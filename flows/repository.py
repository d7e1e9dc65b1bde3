"""The plan that evaluates revisions of a Hub repository, in the same way as a recipe evaluates its own models.

Only the Hub of the profile is used, so a token is sent nowhere else.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from infra.services.errors import ServiceError
from olmo_core.artifact.identity import Step
from olmo_core.documents.file_digests import FileDigests
from olmo_core.hub.names import MAIN, place
from olmo_core.recipe.estimate import WEIGHT_BYTES
from olmo_core.recipe.layout import lay_out_repository
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.recipe import Recipe


def repository_plan(
    recipe: Recipe, endpoint: str | None, repository: str, pattern: str, digests: FileDigests | None = None
) -> Plan:
    """Return the plan that evaluates the revisions of a repository whose names match a shell pattern.

    Raises:
        ConfigError: the repository does not exist, or has no matching revision.
        ServiceError: the Hub does not answer or denies access.
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
    return lay_out_repository(recipe, repository, found, digests)


def models_bytes(models: Sequence[Step], endpoint: str | None) -> int:
    """Estimate the bytes that models of one repository take in the store, in fp32, from the size of the first."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import NotASafetensorsRepoError

    if not models:
        return 0
    fields = models[0].fields
    try:
        about = HfApi(endpoint=endpoint).get_safetensors_metadata(fields["repo"], revision=fields["revision"])
    except NotASafetensorsRepoError:  # its step reports this; the other models may be usable
        return 0
    return len(models) * WEIGHT_BYTES * sum(about.parameter_count.values())


def _branches(repository: str, endpoint: str | None, where: str) -> dict[str, str]:
    from httpx2 import HTTPError

    from olmo_core.hub.endpoint import HubEndpoint
    from olmo_core.hub.target import PublishError

    try:
        return HubEndpoint(repository, endpoint).published()
    except (HTTPError, OSError, PublishError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ServiceError(f"repository {repository} at {where}: {reason}; correct hub.endpoint or HF_TOKEN") from error

"""The deployments of a recipe: the whole release, each of its parts, and the nightly evaluations.

Every deployment is a flow with parameters that a form can show. Its inputs come from the artifact store; if one is
missing, the run names it and the deployment that makes it.
"""

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import Flow
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from flows.data import data
from flows.evaluate import evaluate
from flows.forms import deployment_name
from flows.nightly import nightly, series
from flows.publish import publish
from flows.release import release
from flows.soup import soup
from flows.stage import stage
from infra.profile import Profile
from olmo_core.recipe.overrides import ConfigError, is_path
from olmo_core.recipe.recipe import Recipe, load_recipe


@dataclass(frozen=True)
class Deployed:
    """A flow and the parameters of its deployment."""

    flow: Flow[..., Any]
    parameters: dict[str, str] = field(default_factory=dict)


def catalogue(recipe: str, profile: str, loaded: Profile) -> list[RunnerDeployment]:
    """Return the deployments of a recipe, with flows named after the parts of a release.

    Raises:
        ConfigError: the recipe is not valid, or the profile schedules a deployment that does not exist.
    """
    found = load_recipe(recipe)
    parts = _parts(found)
    if unknown := sorted(loaded.schedules.keys() - parts.keys()):
        raise ConfigError(
            f"profile {profile}: schedules.{unknown[0]}: no such deployment; there are {', '.join(parts)}"
        )
    # Workers run in another folder than this process.
    given = {
        what: str(Path(name).absolute()) if is_path(name) else name
        for what, name in (("recipe", recipe), ("profile", profile))
    }
    own = [_deployment(name, each, found, given, loaded) for name, each in parts.items()]
    return own + [_of_repository(name, pattern, found, given, loaded) for name, pattern in loaded.repositories.items()]


def _parts(recipe: Recipe) -> dict[str, Deployed]:
    """Return the flows to deploy, by name."""
    return {
        "release": Deployed(release),
        "data": Deployed(data),
        **{deployment_name(recipe, name): Deployed(stage, {"stage": name}) for name in recipe.stages},
        "soup": Deployed(soup),
        "publish": Deployed(publish),
        "evaluate": Deployed(evaluate),
        "nightly-evals": Deployed(nightly),
    }


def _summary(flow: Flow[..., Any]) -> str:
    """Return the description of a flow without that of its parameters."""
    return (flow.description or "").partition("\n\nArgs:")[0]


def _deployment(
    name: str, deployed: Deployed, recipe: Recipe, given: dict[str, str], profile: Profile
) -> RunnerDeployment:
    cron = profile.schedules.get(name)
    return RunnerDeployment.from_flow(
        deployed.flow.with_options(name=name),
        name=recipe.name,
        description=f"{_summary(deployed.flow)} {recipe.description}".strip(),
        tags=[recipe.name, name],
        version=version("olmo-release"),
        parameters={**given, **deployed.parameters},
        schedules=[] if cron is None else [Cron(cron, timezone="UTC")],
        # Two runs of a part would only wait for each other's leases.
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def _of_repository(
    repository: str, pattern: str, recipe: Recipe, given: dict[str, str], profile: Profile
) -> RunnerDeployment:
    """Return the deployment of the nightly evaluations of a Hub repository, with the same schedule as the store's."""
    what = Deployed(nightly, {"repository": repository, "revisions": pattern})
    found = _deployment("nightly-evals", what, recipe, given, profile)
    found.name = series(recipe.name, repository)
    found.description = (
        f"{_summary(nightly)} Evaluates {repository} on the tasks and the held-out text of {recipe.name}."
    )
    return found

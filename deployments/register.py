"""Register the work pool, the deployments and the automations with Prefect. Idempotent.

    python -m deployments.register [--profile P] RECIPE...

Uses the Prefect API at PREFECT_API_URL. A deployment runs a flow of `flows`; `catalogue` defines the deployments,
`automations` the automations.
"""

import argparse
from collections.abc import Sequence
from contextlib import suppress

from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists

from deployments.automations import automations, put
from deployments.catalogue import catalogue
from infra.profile import load_profile
from infra.services.programs import POOL
from olmo_core.recipe.overrides import ConfigError


def register(recipes: Sequence[str], profile: str) -> list[str]:
    """Register the deployments of recipes; return their names, `flow/deployment`.

    Raises:
        ConfigError: a recipe or the profile is not valid; nothing is registered.
    """
    loaded = load_profile(profile)
    wanted = [each for recipe in recipes for each in catalogue(recipe, profile, loaded)]
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            about = "Releases, their parts and nightly evaluations, each run in a process on the worker's machine"
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process", description=about))
        for automation in automations(loaded):
            put(client, automation)
    for deployment in wanted:
        deployment.apply(work_pool_name=POOL)
    return [deployment.full_name for deployment in wanted]


def main() -> None:
    """Register the deployments, and print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m deployments.register", description=__doc__)
    parser.add_argument("recipes", nargs="+", help="built-in recipes, or paths of YAML files")
    parser.add_argument("--profile", default="laptop", help="built-in profile, or path of a YAML file")
    given = parser.parse_args()
    try:
        for name in register(given.recipes, given.profile):
            print(name)
    except ConfigError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()

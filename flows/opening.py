"""Opening a release: from names given on a command line or a form to the session that flows and tasks work in."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from flows.inputs import check_inputs
from flows.tracking import Tracking
from infra.doctor import addresses
from infra.services.errors import ServiceError
from infra.services.group import connected
from olmo_core.artifact.store import Store
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.profile import Profile, load_profile
from olmo_core.recipe.recipe import load_recipe
from tasks.session import Session, hold, opened


def read_plan(recipe: str, overrides: list[str]) -> Plan:
    """Return the plan of a recipe.

    Raises:
        ConfigError: the recipe is not known or does not make a plan; names field and remedy.
    """
    loaded = load_recipe(recipe, overrides)
    try:
        return lay_out(loaded)
    except ValueError as error:
        raise ConfigError(f"recipe {recipe}: {error}") from error


def open_store(profile: Profile) -> Store:
    """Return the artifact store of a profile."""
    return Store(profile.store_root, scratch=profile.folder / "scratch")


def check(profile: Profile) -> None:
    """Look at every address of a profile before anything starts.

    Raises:
        ServiceError: one is not there or does not let us in; names it and the remedy.
    """
    for finding in addresses(profile):
        if not finding.fine:
            raise ServiceError(f"{finding.what}: {finding.seen}; {finding.remedy}")


@contextmanager
def open_session(plan: Plan, profile: Profile, idle: bool = False) -> Iterator[Session]:
    """Hold the session of a release, with MLflow told of what happens; `idle` says that nothing has to be made."""
    tracking = Tracking(profile, plan, idle)
    try:
        with hold(Session(plan, profile, open_store(profile), tracking.outbox)) as session:
            yield session
    finally:
        tracking.close()


@contextmanager
def release_session(
    recipe: str, profile: str, overrides: Sequence[str], parts: Sequence[str] = ()
) -> Iterator[Session]:
    """Hold the session of a release, the one that is open already where a flow is called by another.

    Raises:
        ConfigError: recipe or profile do not validate.
        ServiceError: an address of the profile is not there or does not let us in.
        MissingInputError: what these parts need from others is not there.
    """
    if (session := opened()) is not None:
        yield session
        return
    plan, loaded = read_plan(recipe, list(overrides)), connected(load_profile(profile))
    check(loaded)
    check_inputs(plan, open_store(loaded), parts)
    with open_session(plan, loaded) as session:
        yield session

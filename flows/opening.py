"""Opening a release: from names given on a command line or a form to the session that flows and tasks work in."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from flows.interruption import heeding
from flows.missing import check_inputs
from infra.doctor import Finding, before_a_release, room
from infra.machine import cores
from infra.patience import Show
from infra.services.errors import ServiceError
from infra.services.group import await_services, connected
from olmo_core.artifact.identity import Step
from olmo_core.artifact.store import Store
from olmo_core.hub.target import PublishError
from olmo_core.recipe.estimate import estimate
from olmo_core.recipe.fit import check_fit
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.profile import Profile, load_profile
from olmo_core.recipe.recipe import load_recipe
from tasks.session import Session, hold, opened, target_of
from tasks.tracking.tracker import Tracking


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


def check_parts(plan: Plan, parts: Iterable[str]) -> None:
    """Raise ConfigError where the recipe has no such part."""
    for part in parts:
        if part not in plan.parts:
            raise ConfigError(f"{part}: no such part; recipe {plan.recipe.name} has {', '.join(plan.parts)}")


def open_store(profile: Profile) -> Store:
    """Return the artifact store of a profile."""
    return Store(profile.store_root, scratch=profile.folder / "scratch")


def check(profile: Profile, show: Show | None = None) -> None:
    """Look at the databases and every address of a profile before anything starts; wait for servers of `olmo up`.

    Raises:
        ServiceError: one is not there or does not let us in; names it and the remedy.
    """
    await_services(profile, show)
    for finding in before_a_release(profile):
        _refuse(finding)


def check_room(profile: Profile, needed: int) -> None:
    """Look whether so many bytes fit onto the disk.

    Raises:
        ServiceError: they do not; says what is needed and what is there.
    """
    if needed:
        _refuse(room(profile, needed))


def check_target(plan: Plan, profile: Profile) -> str:
    """Return where revisions go and who can see them there.

    Raises:
        ServiceError: a model of others is in the way there, or the Hub does not answer.
    """
    try:
        return target_of(profile, plan.recipe).state()
    except Exception as error:
        from httpx2 import HTTPError  # which only a Hub needs

        if not isinstance(error, HTTPError | OSError | PublishError):
            raise
        raise ServiceError(f"hub: {str(error).strip().partition(chr(10))[0]}") from error


def bytes_to_write(plan: Plan, store: Store, steps: Iterable[Step], profile: Profile) -> int:
    """Return about how many bytes those of the steps will take that are not in the store."""
    todo = [step for step in steps if store.peek(step) is None]
    return estimate(plan, todo, store.records() if todo else (), profile).bytes


def _refuse(finding: Finding) -> None:
    if not finding.fine:
        raise ServiceError(f"{finding.what}: {finding.seen}; {finding.remedy}")


@contextmanager
def open_session(plan: Plan, profile: Profile, idle: bool = False) -> Iterator[Session]:
    """Hold the session of a release, with MLflow told of what happens; `idle` says that nothing has to be made."""
    tracking = Tracking(profile, plan, idle)
    session = Session(plan, profile, open_store(profile), tracking.outbox)
    try:
        with hold(session):
            yield session
    finally:
        session.notes += tracking.close(session.ended)


@contextmanager
def release_session(
    recipe: str, profile: str, overrides: Sequence[str], parts: Sequence[str] = ()
) -> Iterator[Session]:
    """Hold the session of a release, the one that is open already where a flow is called by another.

    Raises:
        ConfigError: recipe or profile do not validate, or the recipe has no such part.
        ServiceError: the disk is too small, or an address of the profile is not there or does not let us in.
        MissingInputError: what these parts need from others is not there.
    """
    if (session := opened()) is not None:
        with heeding(session):
            yield session
        return
    plan, loaded = read_plan(recipe, list(overrides)), connected(load_profile(profile))
    check(loaded)
    check_parts(plan, parts)
    store = open_store(loaded)
    check_inputs(plan, store, parts)
    steps = [step for part in parts or plan.parts for step in plan.steps_of(part)]
    check_fit(plan, loaded, [step for step in steps if store.peek(step) is None], cores())
    check_room(loaded, bytes_to_write(plan, store, steps, loaded))
    if "publish" in (parts or plan.parts):
        check_target(plan, loaded)
    with open_session(plan, loaded) as session, heeding(session):
        yield session

"""Opening a release: from its plan and profile to the session that flows and tasks work in.

The command, a deployment and the nightly run take the same way: `prepare`, a look at what is needed, `open_session`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from flows.interruption import heeding
from flows.missing import check_inputs
from infra.doctor.examination import before_a_release, room
from infra.doctor.finding import Finding
from infra.machine import cores
from infra.patience import Show
from infra.profile import Profile, load_profile
from infra.services.errors import ServiceError
from infra.services.group import await_services, connected
from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import stale_inputs
from olmo_core.artifact.snapshot import Snapshot
from olmo_core.artifact.store import Store
from olmo_core.hub.target import PublishError
from olmo_core.recipe.estimate import estimate
from olmo_core.recipe.fit import check_fit
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.recipe import load_recipe
from tasks.session import Session, hold, opened, target_of
from tasks.tracking.tracker import Tracking


@dataclass(frozen=True)
class Opening:
    """A release that is about to run. Its store is not looked at before `todo` or `check` need it.

    Attributes:
        plan: all steps of the release.
        profile: where it runs, with the addresses of servers that are up.
        store: holds what is made.
        parts: of the plan, those that run, in their order.
    """

    plan: Plan
    profile: Profile
    store: Store
    parts: Sequence[str]

    @cached_property
    def steps(self) -> list[Step]:
        """The steps that the parts add to the store, inputs first."""
        return [step for part in self.parts for step in self.plan.steps_of(part)]

    @cached_property
    def held(self) -> Snapshot:
        """What the store holds before anything runs."""
        return self.store.snapshot()

    @cached_property
    def todo(self) -> list[Step]:
        """Those of `steps` that have to be made."""
        return [step for step in self.steps if _has_to_be_made(step, self.held)]

    def check(self) -> str:
        """Look at everything that the parts need; return where revisions go, '' where no part publishes any.

        Raises:
            MissingInputError: what the parts need from others is not in the store.
            ConfigError: the workers of the profile cannot train a stage.
            ServiceError: the disk is too small, or revisions cannot be published where they are to go.
        """
        check_inputs(self.plan, self.held, self.parts)
        check_fit(self.plan, self.profile, self.todo, cores())
        check_room(self.profile, bytes_to_write(self.plan, self.held, self.todo, self.profile))
        return check_target(self.plan, self.profile) if "publish" in self.parts else ""


def prepare(plan: Plan, profile: Profile, parts: Sequence[str], show: Show | None = None) -> Opening:
    """Return what some parts of a plan need to run; waits for servers of `olmo up` that are not ready yet.

    Args:
        plan: has all parts.
        profile: as it was read.
        parts: of the plan, those that are to run; none for a flow that knows itself what it makes.
        show: called with what is waited for.

    Raises:
        ConfigError: the plan has no such part.
        ServiceError: an address of the profile is not there or does not let us in; names it and the remedy.
    """
    for part in parts:
        if part not in plan.parts:
            raise ConfigError(f"{part}: no such part; recipe {plan.recipe.name} has {', '.join(plan.parts)}")
    profile = connected(profile)
    await_services(profile, show)
    for finding in before_a_release(profile):
        _refuse(finding)
    return Opening(plan, profile, open_store(profile), parts)


def read_plan(recipe: str, overrides: Sequence[str]) -> Plan:
    """Return the plan of a recipe.

    Raises:
        ConfigError: the recipe is not known or does not make a plan; names field and remedy.
    """
    loaded = load_recipe(recipe, list(overrides))
    try:
        return lay_out(loaded)
    except ValueError as error:
        raise ConfigError(f"recipe {recipe}: {error}") from error


def open_store(profile: Profile) -> Store:
    """Return the artifact store of a profile."""
    return Store(profile.store_root, scratch=profile.folder / "scratch")


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


def bytes_to_write(plan: Plan, held: Snapshot, steps: Iterable[Step], profile: Profile) -> int:
    """Return about how many bytes those of the steps will take that are not in the store."""
    todo = [step for step in steps if held.peek(step) is None]
    return estimate(plan, todo, held.records() if todo else (), profile).bytes


def _has_to_be_made(step: Step, held: Snapshot) -> bool:
    record = held.peek(step)
    return record is None or bool(stale_inputs(record, step, held.peek))


def _refuse(finding: Finding) -> None:
    if not finding.fine:
        raise ServiceError(f"{finding.what}: {finding.seen}; {finding.remedy}")


@contextmanager
def open_session(opening: Opening, idle: bool = False) -> Iterator[Session]:
    """Hold the session of a release while the block runs; events go to MLflow meanwhile.

    Args:
        opening: what `prepare` returned.
        idle: nothing has to be made, so that a release which is tracked already records nothing again.
    """
    plan, profile = opening.plan, opening.profile
    tracking = Tracking(profile, plan, idle)
    found = len(opening.steps) - len(opening.todo)
    session = Session(plan, profile, opening.store, tracking.outbox, found=found)
    try:
        with hold(session):
            yield session
    finally:
        session.notes += tracking.close(session.ended)


@contextmanager
def release_session(
    recipe: str, profile: str, overrides: Sequence[str], parts: Sequence[str] = ()
) -> Iterator[Session]:
    """Hold the session of some parts of a release, all by default; a flow that another one calls shares its session.

    Raises:
        ConfigError: recipe or profile do not validate or do not go together, or the recipe has no such part.
        ServiceError: the disk is too small, or an address of the profile is not there or does not let us in.
        MissingInputError: what these parts need from others is not there.
    """
    if (session := opened()) is not None:
        with heeding(session):
            yield session
        return
    plan = read_plan(recipe, overrides)
    opening = prepare(plan, load_profile(profile), parts or plan.parts)
    opening.check()
    with open_session(opening) as session, heeding(session):
        yield session

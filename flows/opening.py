"""Opens a release: checks its plan and profile and creates the session that flows and tasks use.

The command, deployments and the nightly flow all take these steps: `prepare`, check the needs, `open_session`.
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
from olmo_core.documents.file_digests import FileDigests
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
    """A release that is about to run. Its store is not read before `todo` or `check` need it.

    Attributes:
        plan: all steps of the release.
        profile: where it runs, with the addresses of servers that are up.
        store: store of its artifacts.
        parts: parts of the plan that run, in order.
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
        """Snapshot of the store before anything runs."""
        return self.store.snapshot()

    @cached_property
    def todo(self) -> list[Step]:
        """The steps that have to be made."""
        return [step for step in self.steps if _has_to_be_made(step, self.held)]

    def check(self) -> str:
        """Check everything that the parts need; return where revisions go, '' if no part publishes any.

        Raises:
            MissingInputError: an input from another part is not in the store.
            ConfigError: the workers of the profile cannot train a stage.
            ServiceError: the disk is too small, or revisions cannot be published to their target.
        """
        check_inputs(self.plan, self.held, self.parts)
        check_fit(self.plan, self.profile, self.todo, cores())
        check_room(self.profile, bytes_to_write(self.plan, self.held, self.todo, self.profile))
        return check_target(self.plan, self.profile) if "publish" in self.parts else ""


def prepare(plan: Plan, profile: Profile, parts: Sequence[str], show: Show | None = None) -> Opening:
    """Prepare parts of a plan to run; wait for servers of `olmo up` that are not ready yet.

    Args:
        plan: plan with all parts.
        profile: profile as loaded.
        parts: parts of the plan to run; none for a flow that selects its steps itself.
        show: called with the name of each server being waited for.

    Raises:
        ConfigError: the plan has no such part.
        ServiceError: a server of the profile does not answer or refuses access; names its address and the remedy.
    """
    for part in parts:
        if part not in plan.parts:
            raise ConfigError(f"{part}: no such part; recipe {plan.recipe.name} has {', '.join(plan.parts)}")
    profile = connected(profile)
    await_services(profile, show)
    for finding in before_a_release(profile):
        _refuse(finding)
    return Opening(plan, profile, open_store(profile), parts)


def read_plan(recipe: str, overrides: Sequence[str], profile: Profile) -> Plan:
    """Return the plan of a recipe.

    Raises:
        ConfigError: the recipe is unknown or gives no valid plan; names field and remedy.
    """
    loaded = load_recipe(recipe, list(overrides))
    try:
        return lay_out(loaded, kept_digests(profile))
    except ValueError as error:
        raise ConfigError(f"recipe {recipe}: {error}") from error


def kept_digests(profile: Profile) -> FileDigests:
    """Return the digests of local files that corpora are read from, kept below the profile's home."""
    return FileDigests(profile.folder / "digests.json")


def open_store(profile: Profile) -> Store:
    """Return the artifact store of a profile."""
    return Store(profile.store_root, scratch=profile.folder / "scratch")


def check_room(profile: Profile, needed: int) -> None:
    """Check that this number of bytes fits on the disk.

    Raises:
        ServiceError: it does not; names the bytes needed and available.
    """
    if needed:
        _refuse(room(profile, needed))


def check_target(plan: Plan, profile: Profile) -> str:
    """Return where revisions go and who can see them there.

    Raises:
        ServiceError: the repository holds somebody else's model, or the Hub does not answer.
    """
    try:
        return target_of(profile, plan.recipe).state()
    except Exception as error:
        from httpx2 import HTTPError  # needed only for a Hub

        if not isinstance(error, HTTPError | OSError | PublishError):
            raise
        raise ServiceError(f"hub: {str(error).strip().partition(chr(10))[0]}") from error


def bytes_to_write(plan: Plan, held: Snapshot, steps: Iterable[Step], profile: Profile) -> int:
    """Estimate the bytes that the missing ones of these steps will take."""
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
        opening: the return value of `prepare`.
        idle: nothing has to be made, so a release that is already tracked records nothing.
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
    """Hold the session of some parts of a release, all by default; a flow called by another shares its session.

    Raises:
        ConfigError: recipe or profile are invalid or do not match, or the recipe has no such part.
        ServiceError: the disk is too small, or a server of the profile does not answer or refuses access.
        MissingInputError: an input from another part is not in the store.
    """
    if (session := opened()) is not None:
        with heeding(session):
            yield session
        return
    loaded = load_profile(profile)
    plan = read_plan(recipe, overrides, loaded)
    opening = prepare(plan, loaded, parts or plan.parts)
    opening.check()
    with open_session(opening) as session, heeding(session):
        yield session

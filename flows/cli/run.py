"""`olmo run`: starts the services, runs the flow with a progress display, prints the outcome, stops the services.

Services start while Prefect is being imported, because both take seconds.
"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console

from flows.cli.plan import print_plan, survey_plan
from flows.cli.progress import Watch, waiting
from flows.cli.tables import print_json, print_table, transposed
from flows.opening import open_session, prepare, read_plan
from infra.doctor.examination import room
from infra.environment import without_files_of_prefect
from infra.prefect_server import PrefectServer, client_environment
from infra.profile import Profile, load_profile
from olmo_core.artifact.imports import swift_imports
from olmo_core.artifact.store import Store
from olmo_core.hub.names import MAIN
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.plan import Plan
from olmo_core.report.tables import decision, end_rows, evaluation_rows, stage_rows, verdicts
from olmo_core.report.words import duration
from tasks.session import Session
from tasks.tracking.tracker import unused_address
from tasks.workers.failures import EndedError, StepsFailedError, root_message


def run_release(
    recipe: str, profile: str, overrides: list[str], only: str | None, start: str | None, as_json: bool
) -> None:
    """Run a release and print its outcome.

    Raises:
        ConfigError: the recipe, profile or part is not known.
        ServiceError: raised by `prepare` or `Opening.check`.
        StepsFailedError: some steps were not made.
    """
    began = time.monotonic()
    console = Console(stderr=as_json)
    given = load_profile(profile)
    plan = read_plan(recipe, overrides, given)
    parts = _parts(plan, only, start)
    if unused := unused_address(given):
        console.print(unused, highlight=False, markup=False, soft_wrap=True)
    with waiting(console) as show:
        opening = prepare(plan, given, parts, show)
    store = opening.store
    with _prefect(opening.profile) as server:
        goal = opening.check()
        print_plan(console, survey_plan(opening, verdicts(plan, opening.held), console, goal))
        with _naming_full_disk(opening.profile), open_session(opening, idle=not opening.todo) as session:
            if opening.todo:
                session.start_workers()
            _run_flow(session, server, console, (recipe, profile, tuple(overrides), tuple(parts)))
    _conclude(plan, store, session, time.monotonic() - began, console, as_json)


@contextmanager
def _prefect(profile: Profile) -> Iterator[PrefectServer | None]:
    """Run a temporary Prefect server in this block, or point Prefect to the one of the profile.

    The temporary server takes 5 s to import, while this process reads the store and imports the flows.
    """
    if profile.prefect is not None:
        os.environ.update(client_environment(profile.folder) | {"PREFECT_API_URL": profile.prefect})
        yield None
        return
    server = PrefectServer(profile.folder)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def _naming_full_disk(profile: Profile) -> Iterator[None]:
    """Replace an error by one that names the disk, if that is full: each server then fails in a different way."""
    try:
        yield
    except Exception as error:
        if isinstance(error, StepsFailedError | EndedError) or (disk := room(profile, 0)).fine:
            raise
        what = f"disk: {disk.seen}; make room and run it again: what was committed is kept"
        raise StepsFailedError(f"{what} ({root_message(error)})") from error


def _run_flow(
    session: Session,
    server: PrefectServer | None,
    console: Console,
    arguments: tuple[str, str, tuple[str, ...], tuple[str, ...]],
) -> None:
    with ExitStack() as settings:
        with without_files_of_prefect(session.profile.folder), swift_imports():
            from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

            from flows.release import release

            # A flow waits a second for its heartbeat thread to end; a temporary server does not need the heartbeat.
            quiet = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None} if server is not None else {}
            settings.enter_context(temporary_settings(updates=quiet))
        if server is not None:
            with waiting(console) as show:
                server.wait(show)
        with Watch(console, session):
            release(*arguments)


def _parts(plan: Plan, only: str | None, start: str | None) -> list[str]:
    """Return the parts to run, in order."""
    parts = plan.parts
    for option, part in (("--only", only), ("--from", start)):
        if part is not None and part not in parts:
            raise ConfigError(f"{option} {part}: no such part; recipe {plan.recipe.name} has {', '.join(parts)}")
    if only is not None:
        return [only]
    return parts[parts.index(start) :] if start is not None else parts


def _conclude(plan: Plan, store: Store, session: Session, seconds: float, console: Console, as_json: bool) -> None:
    found = decision(plan, store)
    rows = evaluation_rows(plan, store)
    reused = len(set(session.reused) - set(session.made))  # a flow also reuses what another flow has just made
    if as_json:
        held = store.snapshot()
        print_json(
            {
                "release": plan.id,
                "made": sorted(session.made),
                "reused": reused,
                "seconds": round(seconds, 1),
                "digests": {step.label: record.digest for step in plan.steps if (record := held.peek(step))},
                "decision": found,
                "evaluation": rows,
                "stages": stage_rows(plan, store),
                "revisions": session.target.published(),
                "notes": session.notes,
            }
        )
        return
    if rows:
        shown = transposed(end_rows(plan, rows), "model")
        print_table(console, "bits per byte of held-out text, and tasks", shown)
        if (others := len(rows) - len(shown[0]) + 1) > 0:
            console.print(f"{others} other checkpoints: `olmo report {plan.recipe.name}`, or --json", highlight=False)
        console.print()
    for row in stage_rows(plan, store):
        change = f", {row['change']:+.1%} from {row['before']:.4f}" if row["change"] is not None else ""
        console.print(
            f"{row['stage']}: {row['after']:.4f} bits per byte on held-out {row['on']}{change}", highlight=False
        )
    if found is not None:
        console.print(f"main is {found['main']}: {found['reason']}", highlight=False)
    for note in session.notes:
        console.print(note, highlight=False, markup=False)
    made = f"{len(session.made)} {'step' if len(session.made) == 1 else 'steps'} made, {reused} reused"
    console.print(f"{made}, {duration(seconds)}{_loading(session)}", highlight=False, markup=False, soft_wrap=True)


def _loading(session: Session) -> str:
    """Return how to load a revision, '' if `main` is not published yet."""
    if MAIN not in session.target.published():
        return ""
    arguments = f'"{session.target.repo}", revision="{MAIN}"{_cache_arguments(session)}'
    return f"; load any revision with\n  AutoModelForCausalLM.from_pretrained({arguments})"


def _cache_arguments(session: Session) -> str:
    """Return the arguments that make transformers read a local folder of revisions, '' for a Hub."""
    if session.profile.hub.endpoint is not None:
        return ""
    return f', cache_dir="{session.profile.folder / "hub"}", local_files_only=True'

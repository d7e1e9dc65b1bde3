"""What `olmo run` does around the flow: services up, progress shown, the outcome told, services down.

Services start while Prefect is still being imported, because both take seconds.
"""

import os
import time

from rich.console import Console

from flows.display import Watch, print_json, print_table
from flows.opening import open_store, read_plan
from infra.prefect_server import PrefectServer, client_environment
from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import stale_inputs
from olmo_core.artifact.store import Store
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.profile import Profile, load_profile
from olmo_core.report.tables import decision, evaluation_rows
from tasks.outbox import Outbox
from tasks.session import Session, hold
from tasks.shipper import start_shipper

DRAIN_SECONDS = 60.0
IDLE_DRAIN_SECONDS = 3.0  # nothing was made: what is left to tell can wait for the next release


def run_release(
    recipe: str, profile: str, overrides: list[str], only: str | None, start: str | None, as_json: bool
) -> None:
    """Run a release and print what it came to.

    Raises:
        ConfigError: recipe, profile or part is not known.
    """
    began = time.monotonic()
    loaded = load_profile(profile)
    plan = read_plan(recipe, overrides)
    parts = _parts(plan, only, start)
    console = Console(stderr=as_json)
    server = None
    if loaded.prefect is None:
        server = PrefectServer(loaded.folder)
    else:
        os.environ.update(client_environment(loaded.folder) | {"PREFECT_API_URL": loaded.prefect})
    store = open_store(loaded)
    outbox = Outbox(loaded.folder / "outbox", plan.recipe.name, plan.id)
    shipper = start_shipper(loaded.folder / "outbox", mlflow_address(loaded))
    try:
        with hold(Session(plan, loaded, store, outbox)) as session:
            _run_flow(session, server, console, recipe, profile, overrides, parts)
        shipper.drain(DRAIN_SECONDS if session.made else IDLE_DRAIN_SECONDS)
    finally:
        shipper.stop()
        if server is not None:
            server.stop()
    _conclude(plan, store, session, time.monotonic() - began, console, as_json)


def mlflow_address(profile: Profile) -> str:
    """Return the tracking address of a profile: its own, or a database below its home."""
    return profile.mlflow or f"sqlite:///{profile.folder / 'mlflow.db'}"


def _run_flow(
    session: Session,
    server: PrefectServer | None,
    console: Console,
    recipe: str,
    profile: str,
    overrides: list[str],
    parts: list[str],
) -> None:
    steps = [step for part in parts for step in session.plan.steps_of(part)]
    if any(session.store.peek(step) is None or _stale(session.store, step) for step in steps):
        session.start_workers()
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.release import release

    if server is not None:
        server.wait()
    # Leaving a flow waits a second for its heartbeat thread; without a long-lived server nobody listens to it.
    quiet = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None} if server is not None else {}
    with temporary_settings(updates=quiet), Watch(console, session):
        release(recipe=recipe, profile=profile, overrides=tuple(overrides), parts=tuple(parts))


def _stale(store: Store, step: Step) -> bool:
    record = store.peek(step)
    return record is not None and bool(stale_inputs(record, step, store))


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
    if as_json:
        print_json(
            {
                "release": plan.id,
                "made": sorted(session.made),
                "reused": len(session.reused),
                "seconds": round(seconds, 1),
                "digests": {step.label: record.digest for step in plan.steps if (record := store.peek(step))},
                "decision": found,
                "evaluation": rows,
                "revisions": session.target.published(),
            }
        )
        return
    print_table(console, "evaluation: held-out bits per byte, accuracy and bits per byte of the answer", rows)
    if found is not None:
        console.print(f"main is {found['main']}: {found['reason']}", highlight=False)
    repo, cache = session.target.repo, _cache_arguments(session)
    console.print(
        f"{len(session.made)} steps made, {len(session.reused)} reused, {seconds:.1f} s; load any revision with\n"
        f'  AutoModelForCausalLM.from_pretrained("{repo}", revision="main"{cache})',
        highlight=False,
    )


def _cache_arguments(session: Session) -> str:
    """Return the arguments that make transformers read a local folder of revisions, '' for a Hub."""
    if session.profile.hub.endpoint is not None:
        return ""
    return f', cache_dir="{session.profile.folder / "hub"}", local_files_only=True'

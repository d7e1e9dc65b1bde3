"""Flow `release`: the whole graph. Data, then stages and soups in order; evaluation and publishing during training.

Every part is also a separate flow. Here the parts share a session, so that checkpoints are evaluated and published as
they appear. A later failure does not affect finished artifacts.
"""

import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

from prefect import Flow, flow, get_run_logger, tags

from flows.data import data
from flows.errors import refusing
from flows.evaluate import evaluate
from flows.forms import Overrides, PartNames, ProfileName, RecipeName, deployment_name, described
from flows.opening import release_session
from flows.publish import publish
from flows.soup import soup
from flows.stage import stage
from olmo_core.recipe.kinds import BACKGROUND_PARTS
from olmo_core.recipe.recipe import Recipe
from olmo_core.report.tables import Row, decision, plan_rows
from tasks.session import Session
from tasks.ui import show_table
from tasks.workers.failures import root_message


@flow(name="release", flow_run_name="release {recipe}")
@described
@refusing
def release(
    recipe: RecipeName = "tiny",
    profile: ProfileName = "laptop",
    overrides: Overrides = (),
    parts: PartNames = None,
) -> None:
    """Run a release, or only some parts of it; the artifacts of the other parts come from the store."""
    with release_session(recipe, profile, overrides, parts or ()) as session:
        plan = session.plan
        chosen = [part for part in plan.parts if parts is None or part in parts]
        log = get_run_logger()
        session.outbox.release(plan.recipe.model_dump(mode="json"), plan.steps)
        rows = plan_rows(plan, session.store)
        show_table(f"{plan.recipe.name}-plan", rows, "The plan: which steps run, which are reused, and why")
        log.info("release %s: %d of %d steps to run", plan.id[:12], _to_run(rows), len(rows))
        what = (recipe, profile, overrides)
        calls: dict[str, Callable[[], None]] = {
            "data": partial(data, *what),
            **{name: partial(stage_flow(plan.recipe, name), recipe, name, profile, overrides) for name in plan.runs},
            "soup": partial(soup, *what),
            "evaluate": partial(evaluate, *what),
            "publish": partial(publish, *what),
        }
        try:
            with tags(plan.recipe.name):
                _run(session, {part: calls[part] for part in chosen})
        except BaseException as error:
            session.outbox.failed(root_message(error))
            raise
        session.outbox.finished()
        if (found := decision(plan, session.store)) is not None:
            log.info("main is %s: %s", found["main"], found["reason"])


def _to_run(rows: list[Row]) -> int:
    return sum(row["action"] == "run" for row in rows)


def stage_flow(recipe: Recipe, name: str) -> Flow[..., None]:
    """Return the flow of a stage, with the name of its deployment."""
    return stage.with_options(name=deployment_name(recipe, name))


def _run(session: Session, calls: dict[str, Callable[[], None]]) -> None:
    """Call the parts in order, with `BACKGROUND_PARTS` in parallel; raise the first failure when all have ended.

    Threads wait for parts that are expected, so all expectations are dropped before the pool waits for its threads.
    """
    in_order = [part for part in calls if part not in BACKGROUND_PARTS]
    rows = [in_order, *([part] for part in BACKGROUND_PARTS if part in calls)]
    with ThreadPoolExecutor(len(rows)) as threads, ExitStack() as everything:
        expected = {part: everything.enter_context(ExitStack()) for part in calls}
        for part, stack in expected.items():
            stack.enter_context(session.turns.expect(session.plan.steps_of(part)))

        def call(parts: list[str]) -> None:
            with ExitStack() as rest:  # after a failure, no later part of this row is expected any more
                for part in parts:
                    rest.enter_context(expected[part])
                for part in parts:
                    with expected[part]:
                        calls[part]()

        # The threads get a copy of this flow's context, so that the parts become its subflows. No part runs in the main
        # thread, where Prefect handles SIGTERM while a flow starts and ends.
        futures = [threads.submit(contextvars.copy_context().run, call, parts) for parts in rows]
        failures = [error for future in futures if (error := future.exception()) is not None]
    if failures:
        raise failures[0]

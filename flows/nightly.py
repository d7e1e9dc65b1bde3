"""Flow `nightly-evals`: compute missing results, show trends, and emit an event for every regression.

It trains nothing and waits for nothing: checkpoints that appear later are evaluated the next night. Two concurrent runs
share the work, because every result has one owner at a time.
"""

import re
from dataclasses import replace
from typing import Any

from prefect import flow
from prefect.events import emit_event
from prefect.runtime import flow_run

from flows.errors import refusing
from flows.forms import Overrides, ProfileName, RecipeName, Repository, RevisionPattern, described
from flows.interruption import heeding
from flows.missing import check_sources, missing_results, to_make
from flows.opening import Opening, bytes_to_write, check_room, kept_digests, open_session, prepare, read_plan
from flows.repository import models_bytes, repository_plan
from infra.profile import load_profile
from olmo_core.artifact.identity import Step
from olmo_core.evaluate.step import joined
from olmo_core.report.tables import Row, evaluation_rows
from olmo_core.report.trend import read_trend, trend_picture, trend_rows
from tasks.session import Session
from tasks.steps import make_steps
from tasks.ui import show_picture, show_table
from tasks.workers.failures import StepsFailedError

REGRESSION = "olmo.evaluation.regression"


def _run_name() -> str:
    given = flow_run.parameters
    return f"nightly evaluations {given['repository'] or given['recipe']}"


@flow(name="nightly-evals", flow_run_name=_run_name)
@described
@refusing
def nightly(
    recipe: RecipeName = "tiny",
    profile: ProfileName = "laptop",
    overrides: Overrides = (),
    repository: Repository = None,
    revisions: RevisionPattern = "*",
) -> None:
    """Compute the missing results of every checkpoint and soup in the store, or of every revision of a repository."""
    loaded = load_profile(profile)
    opening = prepare(read_plan(recipe, overrides, loaded), loaded, ())
    if repository is not None:
        opening = _of_repository(opening, repository, revisions)
    plan, held = opening.plan, opening.held
    missing = missing_results(plan, held)
    due = to_make(plan, missing)
    check_sources(plan, held, f"nightly-evals by {recipe}", due)
    _check_room(opening, due)
    with open_session(opening) as session, heeding(session):
        failed = None
        try:
            make_steps(due)
        except StepsFailedError as error:  # still show what was evaluated
            failed = error
        show(session, len(missing))
        if failed is not None:
            raise failed


def _of_repository(opening: Opening, repository: str, pattern: str) -> Opening:
    """Return an opening that evaluates the revisions of a repository in place of the release's models."""
    profile = opening.profile
    plan = repository_plan(opening.plan.recipe, profile.hub.endpoint, repository, pattern, kept_digests(profile))
    placement = profile.placement.model_copy(update={"hub": profile.hub.endpoint})  # where models come from
    return replace(opening, plan=plan, profile=profile.model_copy(update={"placement": placement}))


def _check_room(opening: Opening, due: list[Step]) -> None:
    """Check that the steps due fit on the disk; the sizes of models to fetch come from the Hub."""
    plan, held, profile = opening.plan, opening.held, opening.profile
    fetched = [step for step in due if step.kind == "pretrained"]
    made = [step for step in due if step.kind != "pretrained"]
    check_room(profile, bytes_to_write(plan, held, made, profile) + models_bytes(fetched, profile.hub.endpoint))


def show(session: Session, missing: int) -> None:
    """Show all evaluations and their trends, here and in MLflow; emit events for regressions."""
    plan, store = session.plan, session.store
    name = series(plan.recipe.name, plan.repository)
    rows, trend = evaluation_rows(plan, store), read_trend(plan, store)
    of = plan.repository or plan.recipe.name
    show_table(f"{name}-evaluation", rows, f"{of}: {missing} results were missing, {len(rows)} models have results")
    changes = trend_rows(trend)
    show_table(f"{name}-trend", changes, "Change in bits per byte since the previous checkpoint, with 95 % intervals")
    show_picture(f"{name}-trend-picture", trend_picture(trend), "Bits per byte of each run over its tokens")
    if plan.repository is not None:
        runs = {run: [(each.step, _result(session, each.name)) for each in points] for run, points in trend.items()}
        session.outbox.repository(plan.repository, runs)
    tell_regressions(name, changes)


def series(recipe: str, repository: str | None) -> str:
    """Return the name of the evaluations of a recipe, or of a repository with it, in `a-z`, `0-9` and hyphens."""
    parts = [recipe] if repository is None else [recipe, repository]
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def tell_regressions(recipe: str, trend: list[Row]) -> None:
    """Emit an event for every checkpoint that is worse than the previous one by more than its interval."""
    for row in trend:
        if row["regression"]:
            resource = {
                "prefect.resource.id": f"olmo.checkpoint.{recipe}.{row['checkpoint']}",
                "prefect.resource.name": row["checkpoint"],
            }
            emit_event(REGRESSION, resource, payload=row)


def _result(session: Session, revision: str) -> dict[str, Any]:
    """Return the results of a revision that exist, merged into one."""
    records = [session.store.peek(step) for step in session.plan.published[revision].values()]
    return joined(record.result for record in records if record is not None)

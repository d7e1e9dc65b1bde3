"""Flow `nightly-evals`: evaluate what is there and was not evaluated yet, show where it goes, tell of regressions.

It trains nothing and waits for nothing: checkpoints that appear later are the next night's. Two of it at once share the
work, because every result has one owner at a time.
"""

from prefect import flow
from prefect.events import emit_event

from flows.opening import release_session
from flows.parameters import Overrides, ProfileName, RecipeName, described
from olmo_core.report.tables import Row, evaluation_rows
from olmo_core.report.trend import trend_picture, trend_rows
from tasks.shown import show_picture, show_table
from tasks.steps import make_steps

REGRESSION = "olmo.evaluation.regression"


@flow(name="nightly-evals", flow_run_name="nightly evaluations {recipe}")
@described
def nightly(recipe: RecipeName = "tiny", profile: ProfileName = "laptop", overrides: Overrides = ()) -> None:
    """Evaluate every checkpoint and soup in the store that has no result yet."""
    with release_session(recipe, profile, overrides) as session:
        plan, store = session.plan, session.store
        there = [step for step in [*plan.checkpoints(), *plan.soups.values()] if store.peek(step) is not None]
        missing = [plan.results[step.id] for step in there if store.peek(plan.results[step.id]) is None]
        if missing:
            make_steps([plan.suite, *missing])
        name = plan.recipe.name
        show_table(
            f"{name}-evaluation", evaluation_rows(plan, store), f"{len(missing)} evaluated now, {len(there)} in all"
        )
        trend = trend_rows(plan, store)
        show_table(f"{name}-trend", trend, "Bits per byte against the checkpoint before, with 95 % intervals")
        show_picture(f"{name}-trend-picture", trend_picture(plan, store), "Bits per byte of each run over its tokens")
        tell_regressions(name, trend)


def tell_regressions(recipe: str, trend: list[Row]) -> None:
    """Raise an event for every checkpoint that is worse than the one before it, beyond its interval."""
    for row in trend:
        if row["regression"]:
            resource = {
                "prefect.resource.id": f"olmo.checkpoint.{recipe}.{row['checkpoint']}",
                "prefect.resource.name": row["checkpoint"],
            }
            emit_event(REGRESSION, resource, payload=row)

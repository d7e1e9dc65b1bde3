"""Flow `evaluate`: every checkpoint and soup on held-out text and tasks, each as soon as it is there."""

from prefect import flow

from flows.opening import release_session
from flows.parameters import Overrides, ProfileName, RecipeName, described
from olmo_core.report.tables import evaluation_rows
from tasks.shown import show_table
from tasks.steps import make_steps


@flow(name="evaluate", flow_run_name="evaluate {recipe}")
@described
def evaluate(recipe: RecipeName = "tiny", profile: ProfileName = "laptop", overrides: Overrides = ()) -> None:
    """Evaluate everything that is to be published, and show the table."""
    with release_session(recipe, profile, overrides, ["evaluate"]) as session:
        make_steps([session.plan.suite, *session.plan.results.values()])
        rows = evaluation_rows(session.plan, session.store)
        show_table(f"{session.plan.recipe.name}-evaluation", rows, "Bits per byte and accuracy of every checkpoint")

"""Flow `evaluate`: every checkpoint and soup on held-out text and tasks, each as soon as it exists."""

from prefect import flow

from flows.errors import refusing
from flows.forms import Overrides, ProfileName, RecipeName, described
from flows.missing import made_by
from flows.opening import release_session
from olmo_core.report.tables import evaluation_rows
from tasks.steps import make_steps
from tasks.ui import show_table


@flow(name="evaluate", flow_run_name="evaluate {recipe}")
@described
@refusing
def evaluate(recipe: RecipeName = "tiny", profile: ProfileName = "laptop", overrides: Overrides = ()) -> None:
    """Evaluate every model that is to be published, and show the table of results."""
    with release_session(recipe, profile, overrides, ["evaluate"]) as session:
        make_steps(made_by(session.plan, "evaluate"))
        rows = evaluation_rows(session.plan, session.store)
        about = "Held-out text in bits per byte, lower is better; tasks in accuracy and in bits per byte of the answer"
        show_table(f"{session.plan.recipe.name}-evaluation", rows, about)

"""Flow `soup`: average the ingredients, compare the soup with them, and decide what `main` is."""

from prefect import flow

from flows.errors import refusing
from flows.forms import Overrides, ProfileName, RecipeName, described
from flows.missing import made_by
from flows.opening import release_session
from olmo_core.report.tables import decision
from tasks.steps import make_steps
from tasks.ui import show_markdown


@flow(name="soup", flow_run_name="soup {recipe}")
@described
@refusing
def soup(recipe: RecipeName = "tiny", profile: ProfileName = "laptop", overrides: Overrides = ()) -> None:
    """Make the soups of a recipe and the decision, with the evaluations that it needs."""
    with release_session(recipe, profile, overrides, ["soup"]) as session:
        plan = session.plan
        make_steps(made_by(plan, "soup"))
        found = decision(plan, session.store)
        assert found is not None
        text = f"`main` is **{found['main']}**: {found['reason']}"
        show_markdown(f"{plan.recipe.name}-decision", text, "Which model `main` is, and why")

"""Flow `soup`: average the ingredients, compare the soup with them, and decide what `main` is."""

from prefect import flow

from flows.opening import release_session
from flows.parameters import Overrides, ProfileName, RecipeName, described
from olmo_core.report.tables import decision
from tasks.shown import show_markdown
from tasks.steps import make_steps


@flow(name="soup", flow_run_name="soup {recipe}")
@described
def soup(recipe: RecipeName = "tiny", profile: ProfileName = "laptop", overrides: Overrides = ()) -> None:
    """Make the soups of a recipe and the decision, with the evaluations it rests on."""
    with release_session(recipe, profile, overrides, ["soup"]) as session:
        plan = session.plan
        judged = [plan.results[step.id] for step in plan.candidates()]
        make_steps([*plan.soups.values(), *judged, plan.decision])
        found = decision(plan, session.store)
        assert found is not None
        show_markdown(f"{plan.recipe.name}-decision", f"`main` is **{found['main']}**: {found['reason']}")

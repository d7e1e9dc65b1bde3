"""Flow `data`: packages, corpora, tokenizer, token files, mixes and the items of every task."""

from prefect import flow

from flows.errors import refusing
from flows.forms import Overrides, ProfileName, RecipeName, described
from flows.missing import made_by
from flows.opening import release_session
from olmo_core.report.tables import mix_rows
from tasks.steps import make_steps
from tasks.ui import show_table


@flow(name="data", flow_run_name="data {recipe}", validate_parameters=True)
@described
@refusing
def data(recipe: RecipeName = "tiny", profile: ProfileName = "laptop", overrides: Overrides = ()) -> None:
    """Make everything that training and evaluation read, and show the mixes."""
    with release_session(recipe, profile, overrides, ["data"]) as session:
        make_steps(made_by(session.plan, "data"))
        about = "Corpora of each mix: share asked and given, tokens, epochs"
        show_table(f"{session.plan.recipe.name}-mixes", mix_rows(session.plan, session.store), about)

"""Flow `publish`: every checkpoint in Hugging Face format as a revision, and `main` once it is decided."""

from prefect import flow

from flows.errors import refusing
from flows.forms import Overrides, ProfileName, RecipeName, described
from flows.opening import release_session
from tasks.revisions import publish_revisions


@flow(name="publish", flow_run_name="publish {recipe}")
@described
@refusing
def publish(recipe: RecipeName = "tiny", profile: ProfileName = "laptop", overrides: Overrides = ()) -> None:
    """Publish every revision as soon as its checkpoint exists."""
    with release_session(recipe, profile, overrides, ["publish"]):
        publish_revisions()

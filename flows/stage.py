"""Flow `stage`: every seeded run of a training stage, in parallel as far as the profile's resources allow."""

from prefect import flow

from flows.errors import refusing
from flows.forms import Overrides, ProfileName, RecipeName, StageName, described
from flows.opening import release_session
from tasks.steps import make_steps


@flow(name="stage", flow_run_name="{stage} {recipe}")
@described
@refusing
def stage(
    recipe: RecipeName = "tiny", stage: StageName = "stage1", profile: ProfileName = "laptop", overrides: Overrides = ()
) -> None:
    """Train a stage; its checkpoints appear in the store during training."""
    with release_session(recipe, profile, overrides, [stage]) as session:
        make_steps([run.step for run in session.plan.runs[stage]])

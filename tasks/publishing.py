"""One revision as Prefect sees it: exported, written up, published, and only then named."""

from typing import Any

from prefect import State, task
from prefect.futures import wait
from prefect.states import Completed

from olmo_core.hub.names import MAIN
from olmo_core.hub.revision import native_step
from tasks.session import current
from tasks.steps import TASK, make_step, raise_failures


@task(name="publish", task_run_name="publish {name}", **TASK)
def publish_revision(name: str) -> State[Any]:
    """Publish one revision whose artifact is made, or end in the state `Cached` where it is published already."""
    session = current()
    revision = next(each for each in session.plan.revisions if each.name == name)
    artifact = session.store.find(revision.step)
    assert artifact is not None, "it was made before this task was started"
    native = native_step(artifact)
    shown = session.publish(revision.step, native)
    root, main = session.store.root, name == MAIN
    session.outbox.revision(session.target.repo, name, shown.commit, revision.step, native, root, main)
    if shown.reused:
        return Completed(name="Cached", message=f"{name} shows {shown.commit}")
    return Completed(message=f"{name} shows {shown.commit}; logits differ by at most {shown.largest_difference:.1e}")


def publish_revisions() -> None:
    """Export, write up and publish every revision of the plan, `main` after all others.

    Raises:
        StepsFailedError: names every revision that was not published and why.
    """
    session = current()
    plan = session.plan
    tagged = publish_revision.with_options(tags=["publish", plan.recipe.name])
    *others, main = plan.revisions
    names = {revision.step.id: revision.name for revision in others}
    futures: dict[str, Any] = {}
    published: dict[str, Any] = {}
    for step in session.in_turn(plan.steps_of("publish")):
        before = [futures[source.id] for source in step.inputs.values() if source.id in futures]
        tags = [step.kind, plan.recipe.name]
        futures[step.id] = make_step.with_options(tags=tags).submit(step.label, wait_for=before)
        if (name := names.get(step.id)) is not None:
            published[name] = tagged.submit(name, wait_for=[futures[step.id]])
    before = [futures[main.step.id], *published.values()]
    published[main.name] = tagged.submit(main.name, wait_for=before)
    wait([*futures.values(), *published.values()])
    made = ((step.label, futures[step.id]) for step in plan.steps if step.id in futures)
    raise_failures([*made, *((f"publish {name}", future) for name, future in published.items())])

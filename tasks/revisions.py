"""One revision as Prefect sees it: exported, written up, published, and only then named."""

from typing import Any

from prefect import State, task
from prefect.futures import PrefectFuture, wait
from prefect.states import Completed

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact
from olmo_core.hub.names import MAIN
from olmo_core.hub.publication import Publication, find_publication
from olmo_core.hub.revision import native_step
from olmo_core.hub.target import PauseError, RevisionFiles
from tasks.session import Session, current
from tasks.steps import TASK, raise_failures, submitted, unless_ended

PAUSES = 6  # Of one revision; a Hub that then asks for another is out of order.


@task(name="publish", task_run_name="publish {name}", **TASK)
@unless_ended
def publish_revision(name: str) -> State[Any]:
    """Publish one revision whose artifact is made, or end in the state `Cached` where it is published already."""
    session = current()
    revision = next(each for each in session.plan.revisions if each.name == name)
    artifact = session.store.find(revision.step)
    assert artifact is not None, "it was made before this task was started"
    native = native_step(artifact)
    publication = _published(session, artifact, native)
    root, main = session.store.root, name == MAIN
    session.outbox.revision(session.target.repo, name, publication.commit, revision.step, native, root, main)
    message = f"{name} shows {publication.commit}"
    if publication.kept:
        kept = ", ".join(publication.kept)
        session.notes.append(
            f"{name} keeps the {kept} that somebody wrote on {session.target.repo}; delete it there "
            "and run again to show that of this release"
        )
        message += f", with {kept} of others"
    if publication.reused:
        return Completed(name="Cached", message=message)
    return Completed(message=f"{message}; logits differ by at most {publication.largest_difference:.1e}")


def _published(session: Session, revision: Artifact, native: Step) -> Publication:
    """Publish on a worker what the target does not show yet; no worker is held while a Hub asks for a pause."""
    pauses = 0
    while True:
        try:
            there = find_publication(RevisionFiles.of(revision), session.target)
            return there or session.workers.publish_remotely(revision.step, native, session.target)
        except PauseError as pause:
            pauses += 1
            if pauses > PAUSES:
                raise
            session.pause(f"publish {revision.step.name}", pause.seconds)


def publish_revisions() -> None:
    """Export, write up and publish every revision of the plan, `main` after all others.

    Raises:
        StepsFailedError: names every revision that was not published and why.
        EndedError: the release was asked to end before all were published.
    """
    plan = current().plan
    tagged = publish_revision.with_options(tags=["publish", plan.recipe.name])
    *others, main = plan.revisions
    names = {revision.step.label: revision.name for revision in others}
    steps = plan.steps_of("publish")
    made: dict[str, PrefectFuture[Any]] = {}
    published: dict[str, PrefectFuture[Any]] = {}
    for step, future in submitted(steps):
        made[step.label] = future
        if (name := names.get(step.label)) is not None:
            published[name] = tagged.submit(name, return_state=False, wait_for=[future])
    if main.step.label in made:
        before = [made[main.step.label], *published.values()]
        published[main.name] = tagged.submit(main.name, return_state=False, wait_for=before)
    wait([*made.values(), *published.values()])
    raise_failures([*made.items(), *((f"publish {name}", future) for name, future in published.items())])

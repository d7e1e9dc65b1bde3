"""Revisions as Prefect tasks: each is made, uploaded, and only then gets its name on the Hub."""

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

PAUSES = 6  # Most pauses per revision; a Hub that asks for more is out of order.


@task(name="publish", task_run_name="publish {name}", **TASK)
@unless_ended
def publish_revision(name: str) -> State[Any]:
    """Publish one revision whose artifact is made; end in the state `Cached` if it is already published."""
    session = current()
    revision = next(each for each in session.plan.revisions if each.name == name)
    artifact = session.store.find(revision.step)
    assert artifact is not None, "the artifact is made before this task is submitted"
    native = native_step(artifact)
    publication = _published(session, artifact, native)
    root, main = session.store.root, name == MAIN
    session.outbox.revision(session.target.repo, name, publication.commit, revision.step, native, root, main)
    message = f"{name} shows {publication.commit}"
    if publication.kept:
        kept = ", ".join(publication.kept)
        session.notes.append(
            f"{name} keeps the existing {kept} on {session.target.repo}, which this release did not write; delete it "
            "there and run again to replace it"
        )
        message += f", with the existing {kept}"
    if publication.reused:
        return Completed(name="Cached", message=message)
    return Completed(message=f"{message}; logits differ by at most {publication.largest_difference:.1e}")


def _published(session: Session, revision: Artifact, native: Step) -> Publication:
    """Publish a revision on a worker unless the target has it; no worker is occupied during a pause for the Hub."""
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
    """Make and publish every revision of the plan, `main` after all others.

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

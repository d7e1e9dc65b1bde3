"""A step as a Prefect task: a run with its name and tags, `Cached` if it is reused, retried by class of failure."""

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

from prefect import State, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, wait
from prefect.states import Cancelled, Completed

from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import make, reusable
from olmo_core.artifact.record import Record
from olmo_core.recipe.kinds import Lane, kind_called
from tasks.retry import RETRY_SECONDS, worth_retrying
from tasks.session import Session, current
from tasks.workers import training
from tasks.workers.energy import Meter
from tasks.workers.failures import StepsFailedError, root_message

# Options of every task of a release: the artifact store decides on reuse, the class of a failure on retries.
TASK: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": len(RETRY_SECONDS),
    "retry_delay_seconds": list(RETRY_SECONDS),
    "retry_condition_fn": worth_retrying,
}


def unless_ended(work: Callable[[str], State[Any]]) -> Callable[[str], State[Any]]:
    """Decorate a task to end in the state `Cancelled` if its release has ended, whatever the error of its work."""

    @wraps(work)
    def run(name: str) -> State[Any]:
        session = current()
        try:
            session.check_ended()
            return work(name)
        except Exception as error:
            if not session.ended:
                raise
            return Cancelled(message=root_message(error))

    return run


@task(name="step", task_run_name="{label}", **TASK)
@unless_ended
def make_step(label: str) -> State[Any]:
    """Make the artifact of the step with this label, or end in the state `Cached`."""
    session = current()
    step = session.plan.step(label)
    with session.turns.making(step):
        session.check_ended()
        found = reusable(step, session.store)
        record, reused = (found.record, True) if found is not None else _make(step, session)
    session.announce(step, reused)
    session.outbox.step(session.store.root, record, reused=reused)
    if reused:
        return Completed(name="Cached", message=f"{step.folder} is complete and intact")
    return Completed(message=f"{step.folder} made in {record.seconds:.1f} s")


def _make(step: Step, session: Session) -> tuple[Record, bool]:
    lane = kind_called(step.kind).lane
    if lane is Lane.FLOW:
        made = make(step, session.store, session.profile.placement, session.reporter(step))
        return made.artifact.record, made.reused
    if lane is Lane.TRAINING:
        spec = session.plan.workers(step, session.profile)
        folder = session.profile.folder / "ray-train"
        meter = Meter.of(session.profile, spec.placement, spec.count)
        return training.train(step, session.store, spec, session.workers.board, folder, meter), False
    return session.workers.make_remotely(step)


def make_steps(steps: list[Step]) -> None:
    """Make steps, inputs first, in parallel where possible; steps that do not depend on a failed one are still made.

    Raises:
        StepsFailedError: names every step that failed and why.
        EndedError: the release was asked to end before they were made.
    """
    futures = {step.label: future for step, future in submitted(steps)}
    wait(list(futures.values()))
    raise_failures((step.label, futures[step.label]) for step in steps)


def submitted(steps: list[Step]) -> Iterator[tuple[Step, PrefectFuture[Any]]]:
    """Submit steps, inputs first, each as soon as it can start; yield each with the future of its task run."""
    session = current()
    plan = session.plan
    futures: dict[str, PrefectFuture[Any]] = {}
    for step in session.turns.of(steps):
        before = [futures[source.id] for source in step.inputs.values() if source.id in futures]
        tags = {step.kind, plan.recipe.name, *plan.tags(step)}
        tagged = make_step.with_options(tags=sorted(tags))
        futures[step.id] = tagged.submit(step.label, return_state=False, wait_for=before)
        yield step, futures[step.id]


def raise_failures(ended: Iterable[tuple[str, PrefectFuture[Any]]]) -> None:
    """Raise if any of these task runs did not complete.

    Raises:
        StepsFailedError: names every step that failed and why, and the steps not made because of them.
        EndedError: the release was asked to end.
    """
    current().check_ended()
    failed = [(label, future.state) for label, future in ended if not future.state.is_completed()]
    blocked = [label for label, state in failed if state.name == "NotReady"]
    reasons = [f"{label}: {_reason(state)}" for label, state in failed if state.name != "NotReady"]
    if blocked:
        reasons.append(f"not made because of it: {', '.join(blocked)}")
    if reasons:
        raise StepsFailedError("; ".join(reasons))


def _reason(state: State[Any]) -> str:
    error = state.result(raise_on_failure=False)
    return root_message(error) if isinstance(error, BaseException) else str(state.message)

"""The Ray side of a release: where its steps are made. Nothing here knows Prefect.

Ordinary steps are Ray tasks. Evaluations and publishing go to a few actors at the lowest priority, so that they use
what training leaves over. Training runs are Ray Train jobs, see `training`.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from infra.profile import Profile
from infra.ray_cluster import Cluster
from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Placement
from olmo_core.artifact.make import MissingInputError, make
from olmo_core.artifact.record import Record
from olmo_core.artifact.store import Store
from olmo_core.evaluate.model_cache import drop_model
from olmo_core.hub.publication import Publication, publish
from olmo_core.hub.target import RevisionFiles, Target
from olmo_core.recipe.kinds import Lane, kind_called
from tasks.tracking.events import EventLog
from tasks.workers.background import BackgroundWorker
from tasks.workers.energy import Meter
from tasks.workers.failures import EndedError
from tasks.workers.lending import Lending
from tasks.workers.progress import REPORT_SECONDS, Board, Report, Reporter

ANSWER_SECONDS = 5.0

Result = TypeVar("Result")


class Pool:
    """A connected cluster with its board and its low-priority actors; Ray's dashboard shows its work by label."""

    def __init__(self, profile: Profile, store: Store, outbox: EventLog) -> None:
        """Connect, or start a cluster here; takes seconds."""
        self.cluster = Cluster(profile.ray.address, profile.ray.cpus)
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.board: Any = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote(outbox)
        self._task = ray.remote(num_cpus=1, max_retries=0)(_make_reporting)
        actor = ray.remote(BackgroundWorker).options(num_cpus=0, max_restarts=-1)
        self._background: Lending[Any] = Lending(lambda: actor.remote(self.board), profile.background_workers)
        self._lock = threading.Lock()
        self._going: set[Any] = set()
        self._ended = False
        self._connection = threading.Lock()
        self._connected = True
        self.store = store
        self.profile = profile

    def make_remotely(self, step: Step) -> tuple[Record, bool]:
        """Make a step somewhere on the cluster and return its record, and whether it was there already."""
        meter = Meter.of(self.profile, self.profile.placement)
        arguments = (step, self.store, self.profile.placement, self.board, meter)
        if kind_called(step.kind).lane is not Lane.BACKGROUND:
            return self._result(lambda: self._task.options(name=step.label).remote(*arguments))  # type: ignore[no-any-return]
        return self._in_background(step.label, _make_reporting, *arguments)

    def publish_remotely(self, revision: Step, native: Step, target: Target) -> Publication:
        """Publish the artifact of a revision, whose weights are those of the step `native`."""
        return self._in_background(f"publish {revision.name}", _publish_artifact, revision, native, self.store, target)

    def reports(self) -> dict[str, Report]:
        """Return how far the steps are that go on."""
        return self._ask(self.board.reports)  # type: ignore[no-any-return]

    def end(self) -> None:
        """Take no more work and stop what goes on: training saves, all else is abandoned."""
        import ray

        with self._lock:
            self._ended = True
            going = list(self._going)
        self._background.end()
        with self._connection:
            if self._connected:
                self.board.end.remote()
                for work in going:
                    ray.cancel(work)

    def saved(self) -> list[str]:
        """Return, when all work has stopped, what training runs say that saved."""
        while self.reports():
            time.sleep(REPORT_SECONDS)
        return self._ask(self.board.saved)  # type: ignore[no-any-return]

    def stop(self) -> None:
        """Disconnect; ends the cluster too where it was started here."""
        with self._connection:
            self._connected = False
            self.cluster.stop()

    def _ask(self, method: Any) -> Any:
        """Ask the board, from any thread: without a connection, Ray would end this process with code 1.

        Raises:
            EndedError: it is closed.
        """
        import ray

        with self._connection:
            if not self._connected:
                raise EndedError
            return ray.get(method.remote(), timeout=ANSWER_SECONDS)

    def _in_background(self, name: str, work: Callable[..., Result], *arguments: Any) -> Result:
        """Return what `work` returns on a background worker; waits for one that is free."""
        with self._background.one() as actor:
            result: Result = self._result(lambda: actor.run.options(name=name).remote(work, *arguments))
        return result

    def _result(self, submit: Callable[[], Any]) -> Any:
        """Return what submitted work comes to.

        Raises:
            EndedError: no more work is taken.
        """
        import ray

        with self._lock:
            if self._ended:
                raise EndedError
            work = submit()
            self._going.add(work)
        try:
            return ray.get(work)
        finally:
            self._going.discard(work)


def _publish_artifact(revision: Step, native: Step, store: Store, target: Target) -> Publication:
    """Publish the artifact of a revision from this process, whose memory two copies of the weights take."""
    drop_model()
    shown, model = store.find(revision), store.find(native)
    if shown is None or model is None:
        missing = revision if shown is None else native
        raise MissingInputError(f"publishing needs {missing.label}, which is not in {store.root}; make it first")
    return publish(RevisionFiles.of(shown), model.path, target)


def _make_reporting(step: Step, store: Store, placement: Placement, board: Any, meter: Meter) -> tuple[Record, bool]:
    pins = Reporter(board, step.label, step.id)
    try:
        made = make(step, store, placement, pins.progress, pins.metrics, meter=meter)
    finally:
        pins.close()
    return made.artifact.record, made.reused

"""The Ray side of a release: where its steps are made. Nothing here knows Prefect.

Ordinary steps are Ray tasks. Evaluations and publishing go to a few actors at the lowest priority, so that they use
what training leaves over. Training runs are Ray Train jobs, see `training`.
"""

import os
from typing import Any

from infra.ray_cluster import Cluster
from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Placement
from olmo_core.artifact.make import MissingInputError, make
from olmo_core.artifact.record import Record
from olmo_core.artifact.store import Store
from olmo_core.hub.publish import Publication, publish
from olmo_core.hub.target import Revision, Target
from olmo_core.recipe.profile import Profile
from tasks.board import Board, Pins, Report
from tasks.energy import Meter
from tasks.outbox import Outbox

BESIDE_KINDS = frozenset({"result", "export", "revision"})
NICE = 19


class Workers:
    """A connected cluster with its board and its low-priority actors; Ray's dashboard shows its work by label."""

    def __init__(self, profile: Profile, store: Store, outbox: Outbox) -> None:
        """Connect, or start a cluster here; takes seconds."""
        self.cluster = Cluster(profile.ray.address, profile.ray.cpus)
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.board: Any = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote(outbox)
        self._task = ray.remote(num_cpus=1, max_retries=0)(_make)
        beside = ray.remote(Beside).options(num_cpus=0, max_restarts=-1)
        self._beside: list[Any] = [beside.remote() for _ in range(profile.beside)]
        self._next = 0
        self.store = store
        self.profile = profile

    def make(self, step: Step) -> tuple[Record, bool]:
        """Make a step somewhere on the cluster and return its record, and whether it was there already."""
        import ray

        meter = Meter.of(self.profile, self.profile.placement)
        arguments = (step, self.store, self.profile.placement, self.board, meter)
        if step.kind in BESIDE_KINDS:
            work = self._idle().make.options(name=step.label).remote(*arguments)
        else:
            work = self._task.options(name=step.label).remote(*arguments)
        return ray.get(work)  # type: ignore[no-any-return]

    def publish(self, revision: Step, native: Step, target: Target) -> Publication:
        """Publish the artifact of a revision, whose weights are those of the step `native`."""
        import ray

        work = self._idle().publish.options(name=f"publish {revision.name}")
        return ray.get(work.remote(revision, native, self.store, target))  # type: ignore[no-any-return]

    def reports(self) -> dict[str, Report]:
        """Return how far the steps are that go on."""
        import ray

        return ray.get(self.board.reports.remote(), timeout=5)  # type: ignore[no-any-return]

    def stop(self) -> None:
        """Disconnect; ends the cluster too where it was started here."""
        self.cluster.stop()

    def _idle(self) -> Any:
        self._next += 1
        return self._beside[self._next % len(self._beside)]


class Beside:
    """An actor that works at the lowest priority, one call at a time."""

    def __init__(self) -> None:
        """Step back behind every process of ordinary priority."""
        os.nice(NICE)

    def make(self, step: Step, store: Store, placement: Placement, board: Any, meter: Meter) -> tuple[Record, bool]:
        """Make a step."""
        return _make(step, store, placement, board, meter)

    def publish(self, revision: Step, native: Step, store: Store, target: Target) -> Publication:
        """Publish a revision."""
        shown, model = store.find(revision), store.find(native)
        if shown is None or model is None:
            missing = revision if shown is None else native
            raise MissingInputError(f"publishing needs {missing.label}, which is not in {store.root}; make it first")
        return publish(Revision.of(shown), model.path, target)


def _make(step: Step, store: Store, placement: Placement, board: Any, meter: Meter) -> tuple[Record, bool]:
    pins = Pins(board, step.label, step.id)
    try:
        made = make(step, store, placement, pins.progress, pins.metrics, meter=meter)
    finally:
        pins.close()
    return made.artifact.record, made.reused

"""A Ray Train job with as few processes as a run needs: a controller, the workers, and what they meet at.

Ray Train also starts an actor that hands out Ray data sets, of which we read none, one that frees the reserved
resources of a controller that died, and one that shares out a cluster that grows between Ray Data and training. Each
imports for 2.5 to 3.5 s on a Zen 3 core. The second is left to the board, which knows the resources, and to the driver,
which waits for the run anyway; instead of the third, an autoscaler sees the placement group that a run waits for.
"""

from typing import Any

from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2.api.callback import RayTrainCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer


class TrainJob(DataParallelTrainer):
    """Runs a function on some workers; `board` keeps what they reserve."""

    def __init__(self, function: Any, board: Any, **options: Any) -> None:
        super().__init__(function, **options)
        self._board = board

    def fit(self) -> Any:
        """Run it to its end; whatever that is, nothing stays reserved."""
        import ray
        from ray.util.placement_group import remove_placement_group

        try:
            return super().fit()
        finally:
            for group in ray.get(self._board.release.remote(self.run_config.name)):
                remove_placement_group(group)

    def _initialize_and_run_controller(self, **options: Any) -> Any:
        policy = _Gang(self.scaling_config)  # type: ignore[arg-type]  # annotated with the class of before
        return super()._initialize_and_run_controller(**{**options, "scaling_policy": policy})

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        dropped = (DatasetsCallback, PlacementGroupCleanerCallback)
        callbacks = [each for each in super()._create_default_callbacks() if not isinstance(each, dropped)]
        return [*callbacks, _Reservation(self._board, str(self.run_config.name))]


class _Gang(FixedScalingPolicy):
    """All workers at once, asked for by their placement group alone."""

    def _send_resource_request(self) -> None: ...

    def _maybe_send_resource_request(self) -> None: ...

    def _cancel_resource_request(self) -> None: ...


class _Reservation(WorkerGroupCallback):
    """Tells the board which resources a run has reserved."""

    def __init__(self, board: Any, run: str) -> None:
        self._board, self._run = board, run

    def after_worker_group_start(self, worker_group: Any) -> None:
        """Called in the controller."""
        handle = worker_group.get_worker_group_state().placement_group_handle
        self._board.reserve.remote(self._run, handle.placement_group)

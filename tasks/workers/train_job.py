"""A Ray Train job with only the processes that a run needs: a controller, the workers, and their synchronisation actor.

By default Ray Train starts three more actors, each of which imports for 2.5 to 3.5 s on a Zen 3 core. The first
distributes Ray data sets, which we do not use. The second frees the reserved resources of a controller that died; here
the board stores them and the driver, which waits for the run anyway, frees them. The third divides an autoscaling
cluster between Ray Data and training; here an autoscaler sees the placement group that a run waits for.
"""

from typing import Any

from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2.api.callback import RayTrainCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer


class TrainJob(DataParallelTrainer):
    """Runs a function on workers; `board` stores the resources that they reserve."""

    def __init__(self, function: Any, board: Any, **options: Any) -> None:
        super().__init__(function, **options)
        self._board = board

    def fit(self) -> Any:
        """Run the job to its end, and free all reserved resources however it ends."""
        import ray
        from ray.util.placement_group import remove_placement_group

        try:
            return super().fit()
        finally:
            for group in ray.get(self._board.release.remote(self.run_config.name)):
                remove_placement_group(group)

    def _initialize_and_run_controller(self, **options: Any) -> Any:
        policy = _Gang(self.scaling_config)  # type: ignore[arg-type]  # annotated with an older class
        return super()._initialize_and_run_controller(**{**options, "scaling_policy": policy})

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        dropped = (DatasetsCallback, PlacementGroupCleanerCallback)
        callbacks = [each for each in super()._create_default_callbacks() if not isinstance(each, dropped)]
        return [*callbacks, _Reservation(self._board, str(self.run_config.name))]


class _Gang(FixedScalingPolicy):
    """Starts all workers at once and requests their resources by placement group only."""

    def _send_resource_request(self) -> None: ...

    def _maybe_send_resource_request(self) -> None: ...

    def _cancel_resource_request(self) -> None: ...


class _Reservation(WorkerGroupCallback):
    """Reports to the board which resources a run has reserved."""

    def __init__(self, board: Any, run: str) -> None:
        self._board, self._run = board, run

    def after_worker_group_start(self, worker_group: Any) -> None:
        """Report the placement group; called in the controller."""
        handle = worker_group.get_worker_group_state().placement_group_handle
        self._board.reserve.remote(self._run, handle.placement_group)

"""One training run as a Ray Train job: the workers call the library, rank 0 holds the step's lease and commits.

Ray restarts nothing by itself and keeps no checkpoints of ours: a run that is started again goes on from the last
checkpoint in the artifact store, whoever starts it.
"""

import uuid
from pathlib import Path
from typing import Any

from olmo_core.artifact.identity import Step
from olmo_core.artifact.imports import swift_imports
from olmo_core.artifact.record import Record
from olmo_core.artifact.store import Store
from olmo_core.recipe.compute import Workers as WorkerSpec
from tasks.workers.energy import Meter
from tasks.workers.listener import Listener
from tasks.workers.progress import Reporter


def train(step: Step, store: Store, spec: WorkerSpec, board: Any, folder: Path, meter: Meter) -> Record:
    """Make the artifact of a `run` step with `spec.count` workers; returns its record.

    Raises:
        ray.train.TrainingFailedError: a worker failed; it carries each worker's exception.
    """
    with swift_imports():
        from ray.train import FailureConfig, RunConfig, ScalingConfig

        from tasks.workers.preemption import ListeningConfig, group_config
        from tasks.workers.train_job import TrainJob

    resources = {"CPU": spec.cpus, **({"GPU": spec.gpus} if spec.gpus else {})}
    alone = spec.count == 1 and not spec.gpus and spec.placement.sharding == "replicate"
    job = TrainJob(
        _worker,
        board,
        train_loop_config={
            "step": step,
            "store": store,
            "placement": spec.placement,
            "board": board,
            "meter": meter,
        },
        backend_config=ListeningConfig() if alone else group_config("nccl" if spec.gpus else "gloo"),
        scaling_config=ScalingConfig(num_workers=spec.count, use_gpu=spec.gpus > 0, resources_per_worker=resources),
        run_config=RunConfig(
            name=f"{step.name}-{step.id[:12]}-{uuid.uuid4().hex[:8]}",  # a name seen before would make Ray resume it
            storage_path=str(folder),
            failure_config=FailureConfig(max_failures=0),  # retries belong to Prefect, by class of failure
        ),
    )
    job.fit()
    found = store.find(step)
    if found is None:
        raise RuntimeError(f"{step.label}: its workers ended without a record in {store.root}")
    return found.record


def _worker(config: dict[str, Any]) -> None:
    """What every rank runs."""
    import ray.train

    with swift_imports():
        from olmo_core.train.distributed.launch import make_run
        from olmo_core.train.preemption import PreemptedError, ask

    step, store, placement = config["step"], config["store"], config["placement"]
    if ray.train.get_context().get_world_rank() != 0:
        make_run(step, store, placement)
        return
    pins = Reporter(config["board"], step.label, step.id)
    try:
        with Listener(config["board"], ask).working():
            make_run(step, store, placement, progress=pins.progress, metrics=pins.metrics, meter=config["meter"])
    except PreemptedError as error:
        config["board"].save.remote(str(error))
        raise
    finally:
        pins.close()

"""The work of a `run` step: one seeded run of a stage, from first weights, from a start checkpoint, or resumed.

Every rank calls `train`, through `distributed.launch`. Rank 0 commits the checkpoints and writes the run's artifact.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job
from olmo_core.model.config import ModelConfig
from olmo_core.train.checkpoint.saver import Saver
from olmo_core.train.checkpoint.state import read_state, resume, start_from
from olmo_core.train.config import TrainingConfig
from olmo_core.train.distributed.group import device_of, rank_and_world
from olmo_core.train.distributed.parallel import sharers
from olmo_core.train.distributed.process import training_process
from olmo_core.train.history import read_history
from olmo_core.train.loop import Position, run_loop
from olmo_core.train.objectives.table import training_of
from olmo_core.train.placement import TrainPlacement
from olmo_core.train.preflight import check_batch, check_memory, more_memory
from olmo_core.train.step import (
    HISTORY_FILE,
    RECOVERY,
    RECOVERY_SLOTS,
    checkpoint_step,
    recovery_step,
    saved_after,
)
from olmo_core.train.trainer import Trainer


def train(job: Job) -> dict[str, Any]:
    """Train a run to its end and commit its checkpoints along the way; if it was stopped, resume it.

    A run from a start checkpoint keeps weights and moments, and restarts steps, data order and schedule.

    Returns:
        Steps, tokens and last loss; an empty dict on ranks other than 0.

    Raises:
        ValueError: the start checkpoint, the mix or the batch does not fit the run; names which, and what would fit.
        TrainingDivergedError: loss or gradients are not finite, or too many steps in a row were skipped.
        MemoryError: the device has not enough memory; names settings that take less.
        PreemptedError: the process was asked to stop; the next call resumes the run.
    """
    model = ModelConfig.model_validate(job.fields["model"])
    config = training_of(job.fields)
    start, placement = job.inputs.get("start"), TrainPlacement.of(job.placement)
    peak_rate = _peak_rate(config, start)
    rank, world = rank_and_world()
    with training_process(placement):
        objective = config.build_objective()
        batches = objective.batches(job, model)
        check_batch(config, placement, batches.instances, world)
        check_memory(model, device_of(placement), sharers(placement))
        trainer = Trainer(model, objective, placement)
        last, position = _last(job, config)
        if last is not None:
            resume(last, trainer)
        elif start is not None:
            start_from(start.path, trainer, job.fields.get("changed", ()))
        else:
            trainer.initialize()
        with Saver(trainer, partial(_commit, job), job.out) as saver:
            try:
                run_loop(job, trainer, batches, peak_rate, position, saver)
            except torch.OutOfMemoryError as error:
                raise MemoryError(f"{job.step.label}: {more_memory(config, placement, world)}") from error
    return _conclude(job, config) if rank == 0 else {}


def _commit(job: Job, target: Step, folder: Path) -> None:
    """Commit a checkpoint; a recovery checkpoint replaces the one in its slot."""
    if target.kind == RECOVERY:
        job.discard(target)
    job.commit(target, folder)


def _last(job: Job, config: TrainingConfig) -> tuple[Path | None, Position]:
    """Return the checkpoint to resume from and its position: the last permanent one, or a recovery one after it.

    Each rank looks on its own, and all agree: no checkpoint is committed before all have taken a step together.
    """
    finished = _finished(job, config)
    after = saved_after(config)[len(finished) - 1] if finished else 0
    last, position = finished[-1].path if finished else None, Position(after)
    for slot in range(RECOVERY_SLOTS):
        found = job.find(recovery_step(job.step, slot))
        rows = read_history(found.path / HISTORY_FILE) if found is not None else []
        # Its history starts at the permanent checkpoint before it, so it is usable only if that one is still the last.
        if found is not None and rows[0]["step"] == after + 1 and rows[-1]["step"] > position.update:
            last, position = found.path, Position(int(rows[-1]["step"]), rows, slot)
    return last, position


def _finished(job: Job, config: TrainingConfig) -> list[Artifact]:
    """Return the run's checkpoints up to the first missing one; resuming from the last of them makes all later ones."""
    found = []
    for update in saved_after(config):
        artifact = job.find(checkpoint_step(job.step, update))
        if artifact is None:
            break
        found.append(artifact)
    return found


def _peak_rate(config: TrainingConfig, start: Artifact | None) -> float:
    if config.schedule.peak != "inherit":
        return config.schedule.peak
    if start is None:
        raise ValueError("schedule.peak is inherit, but the run has no start; give the rate itself")
    return read_state(start.path).learning_rate


def _conclude(job: Job, config: TrainingConfig) -> dict[str, Any]:
    """Write the whole history from the parts in the checkpoints, and discard the recovery checkpoints."""
    parts = _finished(job, config)
    if len(parts) < len(saved_after(config)):
        missing = saved_after(config)[len(parts)]
        raise RuntimeError(f"{job.step.label}: the checkpoint of step {missing} vanished during the run; run it again")
    (job.out / HISTORY_FILE).write_bytes(b"".join((part.path / HISTORY_FILE).read_bytes() for part in parts))
    for slot in range(RECOVERY_SLOTS):
        job.discard(recovery_step(job.step, slot))
    last = read_history(job.out / HISTORY_FILE)[-1]
    return {"steps": last["step"], "tokens": last["tokens"], "loss": last["loss"]}

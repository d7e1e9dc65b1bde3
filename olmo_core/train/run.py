"""The work of a `run` step: one seeded run of a stage, begun anew, from a start checkpoint, or where it was stopped.

Every rank calls `train`: a plain process, each process of torchrun, each worker of a Ray Train job. Rank 0 commits the
checkpoints and writes the run's artifact.
"""

from pathlib import Path
from typing import Any

from olmo_core.artifact.job import Artifact, Job
from olmo_core.data.loader import Loader
from olmo_core.model.config import ModelConfig
from olmo_core.train.checkpoint import Saver, load_checkpoint, read_state
from olmo_core.train.config import TrainingConfig
from olmo_core.train.history import HISTORY_FILE, read_history
from olmo_core.train.loop import run_loop
from olmo_core.train.runtime import can_compile, device_of, rank_and_world, training_process
from olmo_core.train.step import checkpoint_step, checkpoint_steps
from olmo_core.train.trainer import Trainer


def train(job: Job) -> dict[str, Any]:
    """Train a run to its end, committing its checkpoints on the way; killed and called again, it goes on.

    A run from a checkpoint keeps weights and moments, and begins its own count of steps, its order and its schedule.

    Returns:
        Steps, tokens and last loss; an empty dict on ranks other than 0.

    Raises:
        ValueError: the start checkpoint, the mix or the batch do not fit the run; says which and what would fit.
        TrainingDivergedError: loss or gradients became non-finite.
    """
    model = ModelConfig.model_validate(job.fields["model"])
    config = TrainingConfig.model_validate({name: value for name, value in job.fields.items() if name != "model"})
    rank, _ = rank_and_world()
    start, placement = job.inputs.get("start"), job.placement
    batches = Loader(
        job.inputs["mix"].path,
        {role: artifact.path for role, artifact in job.inputs.items() if artifact.step.kind == "tokens"},
        seed=config.seed,
        batch_size=config.batch_size,
        sequence_length=config.sequence_length,
        vocab_size=model.vocab_size,
    )
    with training_process(placement):
        trainer = Trainer(model, config, device_of(placement), can_compile(placement), placement.micro_batch)
        finished = _finished(job, config)
        if finished:
            load_checkpoint(finished[-1].path, trainer)
        elif start is not None:
            load_checkpoint(start.path, trainer)
        done = checkpoint_steps(config)[len(finished) - 1] if finished else 0
        peak = _peak(config, start)
        if rank != 0:
            run_loop(job, trainer, batches, peak, done, saver=None)
            return {}
        with Saver(lambda step, folder: _commit(job, step, folder), job.out) as saver:
            run_loop(job, trainer, batches, peak, done, saver)
    return _conclude(job, config)


def _finished(job: Job, config: TrainingConfig) -> list[Artifact]:
    """The run's checkpoints up to the first that is missing: going on from the last of them makes all later ones.

    Ranks look by themselves and agree: no checkpoint is committed before all of them have taken a step together.
    """
    found = []
    for step in checkpoint_steps(config):
        artifact = job.find(checkpoint_step(job.step, step))
        if artifact is None:
            break
        found.append(artifact)
    return found


def _peak(config: TrainingConfig, start: Artifact | None) -> float:
    if config.schedule.peak != "inherit":
        return config.schedule.peak
    if start is None:
        raise ValueError("schedule.peak is inherit, but the run has no start; give the rate itself")
    rate = read_state(start.path).learning_rate
    if rate == 0:
        raise ValueError(
            f"schedule.peak is inherit, but {start.step.label} ended at rate 0; give the rate itself, or a "
            "schedule.final above 0 to the run that made it"
        )
    return rate


def _commit(job: Job, step: int, folder: Path) -> None:
    job.commit(checkpoint_step(job.step, step), folder)


def _conclude(job: Job, config: TrainingConfig) -> dict[str, Any]:
    """Write the whole history from the checkpoints' parts."""
    parts = _finished(job, config)
    if len(parts) < len(checkpoint_steps(config)):
        missing = checkpoint_steps(config)[len(parts)]
        raise RuntimeError(f"{job.step.label}: the checkpoint of step {missing} vanished while the run went on")
    (job.out / HISTORY_FILE).write_bytes(b"".join((part.path / HISTORY_FILE).read_bytes() for part in parts))
    last = read_history(job.out / HISTORY_FILE)[-1]
    return {"steps": last["step"], "tokens": last["tokens"], "loss": last["loss"]}

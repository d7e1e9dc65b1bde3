"""The loop of a run: batch, rate, step; every few steps the metrics, and at set steps a checkpoint.

`run` decides where to begin and commits the artifacts.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from olmo_core.artifact.job import Job
from olmo_core.tokens.read_ahead import Batches, read_ahead
from olmo_core.train.callbacks.callback import Callback
from olmo_core.train.callbacks.checkpoints import Checkpoints
from olmo_core.train.callbacks.garbage import GarbageCollection
from olmo_core.train.callbacks.heldout import Heldout, read_texts
from olmo_core.train.callbacks.memory import Memory
from olmo_core.train.callbacks.profiler import Profiler
from olmo_core.train.callbacks.throughput import Throughput
from olmo_core.train.checkpoint.saver import Saver
from olmo_core.train.distributed.group import rank_and_world
from olmo_core.train.history import History
from olmo_core.train.preemption import PreemptedError, Preemption
from olmo_core.train.schedule import learning_rate
from olmo_core.train.step import RECOVERY_SLOTS, checkpoint_step, recovery_step, saved_after
from olmo_core.train.trainer import Trainer

READ_EVERY = 10  # Training steps between reads from the device: a read at every step would leave it idle.


@dataclass(frozen=True)
class Position:
    """Where a run begins or resumes.

    Attributes:
        update: training steps done.
        rows: history since the last permanent checkpoint.
        slot: slot of the recovery checkpoint that the run resumes from, if any.
    """

    update: int = 0
    rows: Sequence[dict[str, float]] = ()
    slot: int = RECOVERY_SLOTS - 1


def run_loop(
    job: Job, trainer: Trainer, source: Batches[Any], peak_rate: float, position: Position, saver: Saver
) -> None:
    """Train from `position` to the end of the run.

    Args:
        job: receives progress and live numbers; its step is the run.
        trainer: holds the state at `position`.
        source: provides the batches.
        peak_rate: highest learning rate.
        position: where to begin.
        saver: writes the checkpoints.

    Raises:
        TrainingDivergedError: loss or gradients are not finite; such weights are never saved.
        PreemptedError: the process was asked to stop; the state is saved.
    """
    config = trainer.config
    rank, world = rank_and_world()
    total, permanent = config.steps * config.batch_tokens, frozenset(saved_after(config))
    every, slot = trainer.placement.recovery_every or config.steps, position.slot
    history = History(config, trainer.objective.columns)
    history.restore(position.rows)
    shown: dict[str, float] = {}
    with ExitStack() as stack:
        preemption = stack.enter_context(Preemption())
        callbacks = [stack.enter_context(callback) for callback in _callbacks(job, trainer, history, saver)]
        batches = stack.enter_context(read_ahead(source, range(position.update, config.steps), rank, world))
        job.progress(position.update * config.batch_tokens, total, "tokens")
        for update, batch in enumerate(batches, position.update + 1):
            rate = learning_rate(config.schedule, peak_rate, config.scheduled(update), config.scheduled(config.steps))
            history.add(update, rate, trainer.update(trainer.objective.rows(batch), rate))
            for callback in callbacks:
                callback.after(update)
            stopping = preemption.requested()
            saving = update in permanent or stopping or update % every == 0
            if len(history) == READ_EVERY or saving:
                rows = history.read()
                live = {name: value for each in callbacks for name, value in each.numbers(len(rows)).items()}
                for row in rows:
                    job.metrics(int(row["step"]), row | live)
                shown = {"loss": rows[-1]["loss"], **live}
            job.progress(update * config.batch_tokens, total, "tokens", **shown)
            if update in permanent:
                saver.save(checkpoint_step(job.step, update), update, rate, history.take())
            elif saving:
                slot = (slot + 1) % RECOVERY_SLOTS
                saver.save(recovery_step(job.step, slot), update, rate, history.rows)
            if stopping and update < config.steps:
                saver.wait()
                raise PreemptedError(f"{job.step.label} is saved at step {update}", preemption.number)


def _callbacks(job: Job, trainer: Trainer, history: History, saver: Saver) -> list[Callback]:
    rank, world = rank_and_world()
    callbacks = [
        GarbageCollection(),
        Throughput(trainer.model.config, trainer.config, trainer.device, world),
        Memory(trainer.device),
        Checkpoints(saver, job.metrics),
    ]
    if (heldout := trainer.config.heldout) is not None:
        texts = read_texts(heldout, job.inputs, trainer.model.config.context_length)
        callbacks.append(Heldout(heldout.every, texts, trainer.model, trainer.placement.threads, history))
    if trainer.placement.trace is not None:
        callbacks.append(Profiler(Path(trainer.placement.trace) / job.step.folder, rank))
    return callbacks

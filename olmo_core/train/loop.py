"""The loop of a run: batch, rate, step, and now and then the numbers, a progress report and a checkpoint.

Where to begin and what becomes of the artifacts is left to `run`.
"""

import time
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from olmo_core.artifact.job import Job
from olmo_core.train.checkpoint import Saver
from olmo_core.train.history import History
from olmo_core.train.peak import peak_flops
from olmo_core.train.runtime import rank_and_world
from olmo_core.train.schedule import learning_rate
from olmo_core.train.step import checkpoint_steps
from olmo_core.train.trainer import Trainer

READ_EVERY = 10  # Steps between readings of the device: waiting for it at every step would leave it idle.


class Batches(Protocol):
    """What the loop needs of a loader."""

    def batch(self, step: int, rank: int = 0, world: int = 1) -> NDArray[np.int64]:
        """Ids of a rank's share of global batch `step` (from 0): (batch_size / world, sequence_length)."""


def run_loop(job: Job, trainer: Trainer, batches: Batches, peak: float, done: int, saver: Saver | None) -> None:
    """Train from after step `done` to the end of the run.

    Args:
        job: told progress and live numbers; its step is the run.
        trainer: holds the state after `done` steps.
        batches: global batches by step.
        peak: highest learning rate.
        done: steps already done.
        saver: takes the checkpoints; None on ranks that save none.

    Raises:
        TrainingDivergedError: loss or gradients are not finite; no checkpoint is made of such weights.
    """
    config = trainer.config
    rank, world = rank_and_world()
    total, permanent = config.steps * config.batch_tokens, frozenset(checkpoint_steps(config))
    history, speed = History(config.batch_tokens, config.z_loss), Speed(trainer, world)
    for step in range(done + 1, config.steps + 1):
        rate = learning_rate(config.schedule, peak, config.scheduled(step), config.scheduled(config.steps))
        sums = trainer.update(torch.from_numpy(batches.batch(step - 1, rank, world)), rate)
        history.add(step, rate, sums)
        if len(history) == READ_EVERY or step in permanent:
            rows = history.read()
            live = speed.of(len(rows))
            for row in rows:
                job.metrics(int(row["step"]), row | live)
            job.progress(step * config.batch_tokens, total, "tokens", loss=rows[-1]["loss"], **live)
        if step in permanent and saver is not None:
            saver.save(trainer, step, rate, history.take())


class Speed:
    """Tokens a second over all ranks, and the share of the devices' peak that is, by both ways of counting FLOPs."""

    def __init__(self, trainer: Trainer, world: int) -> None:
        config, model = trainer.config, trainer.model.config
        self._tokens = config.batch_tokens
        dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        peak = world * peak_flops(trainer.device, dtype)
        self._shares = {
            f"utilization_{count}": model.flops_per_token(config.sequence_length, count) / peak
            for count in ("causal", "full")
        }
        self._since: float | None = None

    def of(self, steps: int) -> dict[str, float]:
        """Return the numbers of the steps since the last call; none at the first, which holds the compilation."""
        now, since = time.perf_counter(), self._since
        self._since = now
        if since is None:
            return {}
        rate = steps * self._tokens / (now - since)
        return {"tokens_per_second": rate} | {name: rate * share for name, share in self._shares.items()}

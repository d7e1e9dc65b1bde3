"""Measure the cost of the loop around the training step, alternating blocks with the bare step; print a JSON line.

    python benchmarks/train_loop.py

The loop reads the token files of the recipe `micro` with the loader, runs its callbacks, writes the history and sends
metrics to the outbox. The bare step gets the same batches from memory. Checkpoints have their own benchmark. The model
is the ladder's 5m with the recipe's small vocabulary, whose steps are short, because the cost of the loop is about the
same for every model. Costs per run, such as a full garbage collection, are reported separately from costs per step.
"""

import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from olmo_core.artifact.job import Job
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.model.config import ModelConfig
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.recipe import load_recipe
from olmo_core.tokens.loader import Loader
from olmo_core.train.checkpoint.saver import Saver
from olmo_core.train.distributed.process import training_process
from olmo_core.train.loop import READ_EVERY, Position, run_loop
from olmo_core.train.placement import TrainPlacement
from olmo_core.train.trainer import Trainer
from tasks.tracking.events import EventLog

ROUNDS, BLOCK = 10, 50  # blocks of steps
BATCH, LENGTH = 8, 256
RATE = 1e-4
RECIPE = [
    "model.preset=5m",
    f"stages.stage1.batch_size={BATCH}",
    f"stages.stage1.sequence_length={LENGTH}",
    f"stages.stage1.tokens={BLOCK * BATCH * LENGTH}",
    "stages.stage1.schedule.warmup=0",
]


class NoSaver(Saver):
    """Saves no checkpoint."""

    def save(self, *_: Any) -> None:
        """Save nothing."""


def main() -> None:
    placement = TrainPlacement(threads=len(os.sched_getaffinity(0)), compile=True)
    with tempfile.TemporaryDirectory() as name, training_process(placement):
        store = Store(Path(name) / "artifacts")
        plan = lay_out(load_recipe("micro", RECIPE))
        run, config = plan.runs["stage1"][0].step, plan.runs["stage1"][0].config
        made = {step.id: make(step, store).artifact for step in run.closure() if step is not run}
        inputs = {role: made[step.id] for role, step in run.inputs.items()}
        model = ModelConfig.model_validate(run.fields["model"])
        trainer = Trainer(model, config.build_objective(), placement).initialize()
        loader = Loader(
            inputs["mix"].path,
            {role: artifact.path for role, artifact in inputs.items() if artifact.step.kind == "tokens"},
            seed=config.seed,
            batch_size=BATCH,
            sequence_length=LENGTH,
            vocab_size=model.vocab_size,
        )
        with EventLog(Path(name) / "outbox", "micro", run.id) as outbox:
            job = Job(run, inputs, Path(name), placement, metrics=partial(outbox.metrics, run.id))
            bare(trainer, loader)  # compiles
            seconds = [(bare(trainer, loader), *looped(trainer, loader, job)) for _ in range(ROUNDS)]
    figures = {
        "model": "5m",
        "batch": [BATCH, LENGTH],
        "bare_seconds": statistics.median(step for step, _, _ in seconds),
        "loop_seconds": statistics.median(loop for _, loop, _ in seconds),
        "overhead": statistics.median(loop / step for step, loop, _ in seconds) - 1,
        "once_seconds": statistics.median(once for _, _, once in seconds),
    }
    print(json.dumps(figures, sort_keys=True))


def bare(trainer: Trainer, loader: Loader) -> float:
    """Return the seconds of a step on batches in memory; as in the loop, the first steps are not timed."""
    batches = [torch.from_numpy(loader.batch(step).tokens) for step in range(BLOCK)]
    for batch in batches[:READ_EVERY]:
        trainer.update({"tokens": batch}, RATE).sums["loss"].item()
    began = time.perf_counter()
    for batch in batches[READ_EVERY:]:
        seen = trainer.update({"tokens": batch}, RATE)
    seen.sums["loss"].item()
    return (time.perf_counter() - began) / (BLOCK - READ_EVERY)


def looped(trainer: Trainer, loader: Loader, job: Job) -> tuple[float, float]:
    """Return the seconds of a step in the loop, between its first and last reading, and the seconds spent once."""
    read: list[float] = []
    job = replace(job, progress=lambda *_, **__: read.append(time.perf_counter()))
    with NoSaver(trainer, lambda *_: None, job.out) as saver:
        saver.wait()
        began = time.perf_counter()
        run_loop(job, trainer, loader, RATE, Position(), saver)
        step, total = (read[-1] - read[0]) / (BLOCK - READ_EVERY), time.perf_counter() - began
    return step, total - BLOCK * step


if __name__ == "__main__":
    main()

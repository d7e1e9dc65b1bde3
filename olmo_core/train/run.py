"""Work of a `run` step: put the pieces of one training run together and let the loop go.

Every rank calls `train`. Rank 0 commits checkpoints; all go on from the last one that is in the store.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from olmo_core.artifact.job import Artifact, Job
from olmo_core.data.loader import Loader
from olmo_core.model.config import ModelConfig
from olmo_core.model.transformer import Transformer
from olmo_core.train.checkpoint import HISTORY_FILE, Saver, read_state, restore
from olmo_core.train.config import TrainingConfig
from olmo_core.train.loop import Loop, ranks
from olmo_core.train.machine import prepare
from olmo_core.train.optimizer import build_optimizer
from olmo_core.train.step import checkpoint_step, checkpoint_steps


def train(job: Job) -> dict[str, Any]:
    """Train one run, committing its checkpoints on the way; writes `history.jsonl`, one row a step.

    Raises:
        DivergedError: loss or gradient stopped being finite.
        ValueError: the start checkpoint is of another model, or the batch does not divide by the workers.
    """
    config = TrainingConfig.model_validate({key: value for key, value in job.fields.items() if key != "model"})
    shape = ModelConfig.model_validate(job.fields["model"])
    device = prepare(job.placement)
    model = Transformer(shape).to(device)
    optimizer = build_optimizer(config.optimizer, model)
    peak = _start(job, config, model, optimizer)
    done = _resume(job, config, model, optimizer)
    scratch = job.out.with_name(f"{job.out.name}-checkpoints")
    shutil.rmtree(scratch, ignore_errors=True)
    with Saver(shape, lambda at, folder: job.commit(checkpoint_step(job.step, at), folder), scratch) as saver:
        loop = Loop(
            config=config,
            model=model,
            optimizer=optimizer,
            loader=_loader(job, config, shape),
            peak=peak,
            placement=job.placement,
            saver=saver if ranks()[0] == 0 else None,
            checkpoints=frozenset(checkpoint_steps(config)),
            progress=job.progress,
            metrics=job.metrics,
        )
        loop.run(done)
    shutil.rmtree(scratch, ignore_errors=True)
    return _conclude(job, config)


def _start(job: Job, config: TrainingConfig, model: Transformer, optimizer: torch.optim.AdamW) -> float:
    """Draw fresh weights or take those of the start checkpoint with its moments; return the highest rate."""
    if "start" not in job.inputs:
        model.initialize(torch.Generator().manual_seed(config.seed))
        assert config.schedule.peak is not None, "checked when the step was declared"
        return config.schedule.peak
    folder = job.inputs["start"].path
    restore(folder, model, optimizer)
    return config.schedule.peak if config.schedule.peak is not None else read_state(folder).rate


def _resume(job: Job, config: TrainingConfig, model: Transformer, optimizer: torch.optim.AdamW) -> int:
    """Load the last checkpoint of this run that is complete; return the steps it has done, 0 without one.

    Rank 0 looks, so that all ranks go on from the same one.
    """
    rank, world = ranks()
    found = _last_checkpoint(job, config) if rank == 0 else None
    at = [found.step.fields["step"] if found is not None else 0]
    if world > 1:
        distributed.broadcast_object_list(at)
    if at[0]:
        found = found or job.find(checkpoint_step(job.step, at[0]))
        assert found is not None, "rank 0 found it"
        restore(found.path, model, optimizer)
    return int(at[0])


def _last_checkpoint(job: Job, config: TrainingConfig) -> Artifact | None:
    for at in reversed(checkpoint_steps(config)):
        if (found := job.find(checkpoint_step(job.step, at))) is not None:
            return found
    return None


def _loader(job: Job, config: TrainingConfig, shape: ModelConfig) -> Loader:
    tokens: dict[str, Path] = {role: job.inputs[role].path for role in job.step.inputs["mix"].inputs}
    return Loader(
        job.inputs["mix"].path,
        tokens,
        seed=config.seed,
        batch_size=config.batch_size,
        sequence_length=config.sequence_length,
        vocab_size=shape.vocab_size,
    )


def _conclude(job: Job, config: TrainingConfig) -> dict[str, Any]:
    """Join the histories of all checkpoints; ranks that commit nothing have nothing to conclude."""
    if ranks()[0] != 0:
        return {}
    last = ""
    with (job.out / HISTORY_FILE).open("w") as history:
        for at in checkpoint_steps(config):
            found = job.find(checkpoint_step(job.step, at))
            if found is None:
                raise RuntimeError(f"{job.step.label}: checkpoint {at} vanished while the run went on")
            last = (found.path / HISTORY_FILE).read_text()
            history.write(last)
    return {"steps": config.steps, "tokens": config.steps * config.tokens_per_step, "last": json.loads(last.splitlines()[-1])}

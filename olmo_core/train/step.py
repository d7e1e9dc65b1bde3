"""The steps of a training run, known before it starts: the run itself and every checkpoint it commits."""

from collections.abc import Collection, Mapping
from typing import Any

from olmo_core.artifact.identity import Step
from olmo_core.artifact.imports import swift_imports
from olmo_core.artifact.job import Job
from olmo_core.model.config import ModelConfig
from olmo_core.train.config import TrainingConfig
from olmo_core.train.objectives.table import training_of
from olmo_core.train.schedule import learning_rate

RUN_VERSION = 4
CHECKPOINT_VERSION = 1
RECOVERY = "recovery"
RECOVERY_SLOTS = 2  # While one is being written, the other is complete.
# Files of a checkpoint, in addition to those of every model (`model.config`). A run's artifact has only the last.
STATE_FILE = "state.json"
OPTIMIZER_FILE = "optimizer.safetensors"
HISTORY_FILE = "history.jsonl"


def run_step(
    name: str,
    config: TrainingConfig,
    model: ModelConfig,
    mix: Step,
    start: Step | None = None,
    heldout: Mapping[str, Step] | None = None,
    changed: Collection[str] = (),
) -> Step:
    """Return the step that trains `model` on `mix`, from first weights or from a checkpoint or soup.

    The artifact of a run holds `history.jsonl`; its weights are in its checkpoints.

    Args:
        name: name of the run.
        config: how it trains.
        model: shape of the model.
        mix: the mix it trains on; the mix's inputs are the token files.
        start: checkpoint, soup or model trained elsewhere.
        heldout: corpora by name, if the run scores held-out text; the mix's tokenizer encodes it.
        changed: fields of the model that intentionally differ from those of `start`.

    Raises:
        ValueError: there is no checkpoint to inherit the rate from, or its rate is 0; the run scores held-out text but
            there is none; or the sequence length does not fit the model's context or the mix.
    """
    if config.schedule.peak == "inherit" and (start is None or start.kind != "checkpoint"):
        source = "has no start" if start is None else f"starts from {start.label}, which has no rate"
        raise ValueError(f"{name}: schedule.peak is inherit, but the run {source}; give the rate itself")
    if config.schedule.peak == "inherit" and start is not None and not _last_rate(start):
        raise ValueError(
            f"{name}: schedule.peak is inherit, but {start.label} ends at rate 0; give the rate itself, or a "
            "schedule.final above 0 in the run that makes it"
        )
    if config.sequence_length > model.context_length:
        raise ValueError(
            f"{name}: sequence_length {config.sequence_length} is longer than the model's context_length "
            f"{model.context_length}; give at most that many"
        )
    if config.sequence_length != mix.fields["sequence_length"]:
        raise ValueError(
            f"{name}: sequence_length is {config.sequence_length}, but {mix.label} has instances of "
            f"{mix.fields['sequence_length']} tokens; give both the same"
        )
    inputs = {"mix": mix, **mix.inputs, **({"start": start} if start is not None else {})}
    if config.heldout is not None:
        if not heldout:
            raise ValueError(f"{name}: heldout needs a corpus with held-out text, but there is none; leave heldout out")
        inputs |= {f"heldout/{source}": corpus for source, corpus in heldout.items()}
        inputs["tokenizer"] = next(iter(mix.inputs.values())).inputs["tokenizer"]
    return Step(
        kind="run",
        name=name,
        version=RUN_VERSION,
        fields={
            **config.model_dump(mode="json"),
            "model": model.model_dump(mode="json"),
            **({"changed": sorted(changed)} if changed else {}),
        },
        inputs=inputs,
        work=_train,
    )


def _train(job: Job) -> dict[str, Any]:
    with swift_imports():
        from olmo_core.train.run import train
    return train(job)


def _last_rate(checkpoint: Step) -> float:
    """Return the rate of a run at a checkpoint, as a fraction of its peak."""
    config = training_of(checkpoint.inputs["run"].fields)
    done, total = config.scheduled(checkpoint.fields["step"]), config.scheduled(config.steps)
    return learning_rate(config.schedule, 1.0, done, total)


def checkpoint_step(run: Step, update: int) -> Step:
    """Return the checkpoint that `run` commits after training step `update`; it has no work, since the run makes it."""
    return Step(
        kind="checkpoint",
        name=f"{run.name}-step{update}",
        version=CHECKPOINT_VERSION,
        fields={"step": update},
        inputs={"run": run},
    )


def recovery_step(run: Step, slot: int) -> Step:
    """Return one of the `RECOVERY_SLOTS` checkpoints that only serve to resume `run`; later ones replace it."""
    return Step(
        kind=RECOVERY,
        name=f"{run.name}-{slot}",
        version=CHECKPOINT_VERSION,
        fields={"slot": slot},
        inputs={"run": run},
    )


def saved_after(config: TrainingConfig) -> tuple[int, ...]:
    """Return the training steps after which a run commits a checkpoint, in order, including its last step."""
    return (*range(config.checkpoint_every, config.steps, config.checkpoint_every), config.steps)

"""The steps of a training run, known before it starts: the run itself and every checkpoint it commits on its way."""

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
RECOVERY_SLOTS = 2  # While one is written, the other is there.
# Files of a checkpoint, beside those of every model (`model.config`); a run's own artifact has the last one only.
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
    """Return the step that trains `model` on `mix`, from its first weights or from a checkpoint or soup.

    The artifact of a run holds `history.jsonl`; its weights are in its checkpoints.

    Args:
        name: of the run.
        config: how it trains.
        model: shape of the model.
        mix: what it trains on; the token files are the mix's own inputs.
        start: checkpoint, soup or model trained elsewhere.
        heldout: corpora by name, where the run scores held-out text; the mix's tokenizer encodes it.
        changed: fields of the model that the run changes on purpose from those of `start`.

    Raises:
        ValueError: there is no checkpoint to inherit the rate from, or its rate is 0; there is no held-out text where
            it is asked for; or the sequence length does not fit the model's context or the mix.
    """
    if config.schedule.peak == "inherit" and (start is None or start.kind != "checkpoint"):
        source = "has no start" if start is None else f"starts from {start.label}, which has no rate"
        raise ValueError(f"{name}: schedule.peak is inherit, but the run {source}; give the rate itself")
    if config.schedule.peak == "inherit" and start is not None and not _last_rate(start):
        raise ValueError(
            f"{name}: schedule.peak is inherit, but {start.label} ends at rate 0; give the rate itself, or a "
            "schedule.final above 0 to the run that makes it"
        )
    if config.sequence_length > model.context_length:
        raise ValueError(
            f"{name}: sequence_length {config.sequence_length} is longer than the model's context_length "
            f"{model.context_length}; give at most that"
        )
    if config.sequence_length != mix.fields["sequence_length"]:
        raise ValueError(
            f"{name}: sequence_length is {config.sequence_length}, but {mix.label} has instances of "
            f"{mix.fields['sequence_length']} tokens; give both the same"
        )
    inputs = {"mix": mix, **mix.inputs, **({"start": start} if start is not None else {})}
    if config.heldout is not None:
        if not heldout:
            raise ValueError(f"{name}: heldout asks for text that is set apart of a corpus, but there is no corpus")
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
    """Return the rate at which a run stands at a checkpoint, as a fraction of its peak."""
    config = training_of(checkpoint.inputs["run"].fields)
    done, total = config.scheduled(checkpoint.fields["step"]), config.scheduled(config.steps)
    return learning_rate(config.schedule, 1.0, done, total)


def checkpoint_step(run: Step, update: int) -> Step:
    """Return the checkpoint `run` commits after training step `update`; no work of its own, the run makes it."""
    return Step(
        kind="checkpoint",
        name=f"{run.name}-step{update}",
        version=CHECKPOINT_VERSION,
        fields={"step": update},
        inputs={"run": run},
    )


def recovery_step(run: Step, slot: int) -> Step:
    """Return one of the `RECOVERY_SLOTS` checkpoints of `run` that only serve to go on; a later one takes its place."""
    return Step(
        kind=RECOVERY,
        name=f"{run.name}-{slot}",
        version=CHECKPOINT_VERSION,
        fields={"slot": slot},
        inputs={"run": run},
    )


def saved_after(config: TrainingConfig) -> tuple[int, ...]:
    """Return the training steps after which a run commits a checkpoint, in order, its last one among them."""
    return (*range(config.checkpoint_every, config.steps, config.checkpoint_every), config.steps)

"""The steps of a training run, known before it starts: the run itself and every checkpoint it commits on its way."""

from collections.abc import Mapping

from olmo_core.artifact.identity import Step
from olmo_core.model.config import ModelConfig
from olmo_core.train.config import TrainingConfig
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
) -> Step:
    """Return the step that trains `model` on `mix`, from its first weights or from a checkpoint or soup.

    The token files are the mix's own inputs. `heldout` is needed where the run scores text on its way: the corpora by
    name, whose text the mix's tokenizer encodes. Its artifact holds `history.jsonl`; weights are in its checkpoints.

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
        fields={**config.model_dump(mode="json"), "model": model.model_dump(mode="json")},
        inputs=inputs,
        work="olmo_core.train.run:train",
    )


def _last_rate(checkpoint: Step) -> float:
    """Return the rate at which a run stands at a checkpoint, as a fraction of its peak."""
    fields = checkpoint.inputs["run"].fields
    config = TrainingConfig.model_validate({name: value for name, value in fields.items() if name != "model"})
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

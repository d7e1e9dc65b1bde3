"""Steps `run` and `checkpoint`: one seeded run of a stage, and what it leaves behind on the way.

All checkpoints of a run are known before it starts. Declared here without torch; the work is in `run`.
"""

from olmo_core.artifact.identity import Step
from olmo_core.model.config import ModelConfig
from olmo_core.train.config import TrainingConfig

RUN_VERSION = 1
CHECKPOINT_VERSION = 1


def run_step(name: str, config: TrainingConfig, model: ModelConfig, mix: Step, start: Step | None = None) -> Step:
    """The step that trains `model` on `mix`, from the checkpoint or soup `start` or from fresh weights.

    Raises:
        ValueError: no rate is given and there is no checkpoint to inherit one from, or the mix is cut otherwise.
    """
    if config.schedule.peak is None and start is None:
        raise ValueError(f"run {name}: schedule.peak is not given and there is no start checkpoint to inherit it from")
    if mix.fields["sequence_length"] != config.sequence_length:
        raise ValueError(
            f"run {name}: sequence_length is {config.sequence_length}, but mix {mix.name} has instances of "
            f"{mix.fields['sequence_length']} tokens; give both the same"
        )
    fields = config.model_dump(mode="json") | {"model": model.model_dump(mode="json")}
    inputs = {"mix": mix, **mix.inputs}
    if start is not None:
        inputs["start"] = start
    return Step("run", name, RUN_VERSION, fields, inputs, "olmo_core.train.run:train")


def checkpoint_step(run: Step, step: int) -> Step:
    """The checkpoint after `step` training steps; the run itself commits it."""
    return Step("checkpoint", f"{run.name}-step{step}", CHECKPOINT_VERSION, {"step": step}, {"run": run})


def checkpoint_steps(config: TrainingConfig) -> list[int]:
    """Training steps after which a run commits a checkpoint, the last one among them."""
    return [*range(config.checkpoint_every, config.steps, config.checkpoint_every), config.steps]

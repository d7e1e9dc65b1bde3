"""How a training run uses its machine: device and threads, as for every step, and the settings of training."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from olmo_core.artifact.job import Placement

Sharding = Literal["replicate", "shard", "hybrid"]
Recompute = Literal["nothing", "feed_forward", "blocks"]


class TrainPlacement(Placement):
    """How each worker of a training run uses its machine; not part of the run's identity."""

    compile: bool | None = Field(
        default=None,
        description="Compile the training step with torch.compile; if not given, only long runs are compiled.",
    )
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="Sequences per forward pass; a rank's whole share of the batch if not given.",
    )
    sharding: Sharding = Field(
        default="replicate",
        description="`replicate`: each worker holds all weights; `shard`: each holds a share (FSDP); `hybrid`: each "
        "host holds all weights, and each of its workers a share.",
    )
    recompute: Recompute = Field(
        default="nothing",
        description="What the backward pass recomputes, so that less of the forward pass is kept in memory.",
    )
    recovery_every: int | None = Field(
        default=None,
        ge=1,
        description="Training steps between extra checkpoints that only serve to resume after a crash; none if not "
        "given. The last two are kept.",
    )
    trace: str | None = Field(
        default=None,
        description="Folder for a profiler trace of a few steps of each run, relative to the current folder; none when "
        "not given.",
    )

    @field_validator("trace")
    @classmethod
    def _relative_to_the_current_folder(cls, trace: str | None) -> str | None:
        return None if trace is None else str(Path(trace).expanduser().absolute())

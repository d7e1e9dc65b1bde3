"""How a training run is placed: device and threads as for every step, and what only training has to choose."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from olmo_core.artifact.job import Placement

Sharding = Literal["replicate", "shard", "hybrid"]
Recompute = Literal["nothing", "feed_forward", "blocks"]


class TrainPlacement(Placement):
    """How each worker of a training run uses its machine; no part of the identity of the run."""

    compile: bool | None = Field(
        default=None,
        description="Compile the training step with torch.compile; when not given, long enough runs are compiled.",
    )
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="Sequences of one forward pass; a rank's whole share of the batch when not given.",
    )
    sharding: Sharding = Field(
        default="replicate",
        description="`replicate`: each worker holds all weights; `shard`: each holds a share (FSDP); `hybrid`: each "
        "host holds all, its workers a share each.",
    )
    recompute: Recompute = Field(
        default="nothing",
        description="What the backward pass computes again, so that less of the forward pass is kept in memory.",
    )
    recovery_every: int | None = Field(
        default=None,
        ge=1,
        description="Training steps between extra checkpoints, which only serve to resume after a crash; none when not "
        "given. The last two of a run are kept.",
    )
    trace: str | None = Field(
        default=None,
        description="Folder for a profiler's trace of a few steps of each run, relative to the current folder; none "
        "when not given.",
    )

    @field_validator("trace")
    @classmethod
    def _where_the_user_stands(cls, trace: str | None) -> str | None:
        return None if trace is None else str(Path(trace).expanduser().absolute())

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
        description="Compile the training step with torch.compile; where not given, runs that are long enough do.",
    )
    micro_batch: int | None = Field(
        default=None, ge=1, description="Sequences of one forward pass; the whole share of a rank when not given."
    )
    sharding: Sharding = Field(
        default="replicate",
        description="Each worker holds all weights, or a share of them (FSDP), or hosts do and their workers shares.",
    )
    recompute: Recompute = Field(
        default="nothing", description="What the backward pass computes again, to keep less of the forward pass."
    )
    recovery_every: int | None = Field(
        default=None,
        ge=1,
        description="Training steps between checkpoints that only serve to go on after a crash, beside the recipe's; "
        "none when not given. The last two of a run are kept.",
    )
    trace: str | None = Field(
        default=None,
        description="Folder for a profiler's trace of a few steps of each run, relative to the user's folder; none "
        "when not given.",
    )

    @field_validator("trace")
    @classmethod
    def _where_the_user_stands(cls, trace: str | None) -> str | None:
        return None if trace is None else str(Path(trace).expanduser().absolute())

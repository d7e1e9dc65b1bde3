"""How a run trains: every value here bears identity. Devices, threads, compilation and micro-batch are `Placement`.

Light on purpose: planning a release reads this file and never imports torch.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class OptimizerConfig(BaseModel):
    """AdamW as in the published OLMo 2 configs: everything is decayed but the input embedding."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    betas: tuple[float, float] = Field((0.9, 0.95), description="Decay of the first and the second moment.")
    eps: float = Field(1e-8, gt=0, description="Term that keeps the denominator from zero.")
    weight_decay: float = Field(0.1, ge=0, description="Decoupled weight decay.")
    decay_embeddings: bool = Field(False, description="Decay the input embedding too.")


class ScheduleConfig(BaseModel):
    """Learning rate over the tokens of a stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["constant", "linear", "cosine", "wsd"] = Field(description="Shape after the warm-up.")
    peak: float | None = Field(
        None, gt=0, description="Highest rate; the last rate of the checkpoint it starts from when not given."
    )
    warmup: int = Field(0, ge=0, description="Tokens over which the rate rises linearly from zero.")
    final: float = Field(0.1, ge=0, le=1, description="Rate at the end, as a fraction of the highest.")
    decay: float = Field(0.2, gt=0, le=1, description="Share of the tokens over which `wsd` falls at the end.")


class TrainingConfig(BaseModel):
    """One run of one stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: int = Field(gt=0, description="Tokens to train on, rounded down to whole steps.")
    seed: int = Field(ge=0, description="Decides the data order and, without a start checkpoint, the initial weights.")
    batch_size: int = Field(ge=1, description="Sequences of one step, over all workers.")
    sequence_length: int = Field(ge=2, description="Tokens of one sequence.")
    precision: Literal["bf16", "fp32"] = Field("bf16", description="Arithmetic of the step; weights are kept in fp32.")
    z_loss: float = Field(1e-5, ge=0, description="Weight of the squared log-normaliser in the loss.")
    max_grad_norm: float = Field(1.0, gt=0, description="Global norm gradients are clipped to.")
    checkpoint_every: int = Field(gt=0, description="Steps between permanent checkpoints; the last step is always one.")
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig, description="AdamW.")
    schedule: ScheduleConfig = Field(description="Learning rate over the run.")

    @model_validator(mode="after")
    def _at_least_one_step(self) -> Self:
        if self.tokens < self.tokens_per_step:
            raise ValueError(
                f"tokens {self.tokens} are fewer than the {self.tokens_per_step} of one step "
                f"(batch_size {self.batch_size} x sequence_length {self.sequence_length})"
            )
        return self

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one step over all workers."""
        return self.batch_size * self.sequence_length

    @property
    def steps(self) -> int:
        """Steps of the run."""
        return self.tokens // self.tokens_per_step

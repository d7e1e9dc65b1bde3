"""How a run trains: optimizer, schedule, batch, length. Everything here bears identity.

Settings that a run does not use are left out of its fields (`exclude_if`), so a new capability changes no identity.
Planning imports this module, so it never imports torch. What only affects speed (threads, compilation, micro-batches,
devices) is in `Placement`.
"""

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from olmo_core.artifact.identity import unused

if TYPE_CHECKING:
    from olmo_core.train.objectives.objective import Objective


class OptimizerConfig(BaseModel):
    """AdamW. Defaults are those of every official OLMo 2 run (OLMo repository, configs/official-1124)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    beta1: float = Field(0.9, ge=0, lt=1, description="Decay of the running mean of gradients.")
    beta2: float = Field(0.95, ge=0, lt=1, description="Decay of the running mean of squared gradients.")
    eps: float = Field(1e-8, gt=0, description="Added to the root of the mean square.")
    weight_decay: float = Field(0.1, ge=0, description="Decoupled weight decay; multiplied by the learning rate.")
    decay_embeddings: bool = Field(
        False, description="Decay the input embedding too; all other weights are always decayed."
    )


class ScheduleConfig(BaseModel):
    """Learning rate by tokens or steps done, including the current step: warm-up, then the shape of `kind`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["constant", "linear", "cosine", "wsd"] = Field(
        description="Shape after warm-up; `wsd` stays at the peak, then falls linearly over the last `decay` units."
    )
    unit: Literal["tokens", "steps"] = Field(
        "tokens",
        description="Unit of `warmup`, `decay`, `horizon` and `rest`.",
        exclude_if=lambda unit: unit == "tokens",
    )
    peak: float | Literal["inherit"] = Field(
        description="Highest rate, or `inherit`: the rate that the earlier run had at the start checkpoint."
    )
    warmup: int = Field(0, ge=0, description="Units over which the rate rises linearly to the peak.")
    warmup_from: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Rate at which warm-up begins, as a fraction of the peak.",
        exclude_if=lambda fraction: fraction == 0,
    )
    final: float = Field(0.0, ge=0, le=1, description="Rate at the end, as a fraction of the peak.")
    decay: int | None = Field(
        None, gt=0, description="Units of the final fall; required for `wsd`, not allowed otherwise."
    )
    horizon: int | None = Field(
        None, gt=0, description="Units after which the schedule ends; the end of the run if not given."
    )
    rest: int = Field(
        0,
        ge=0,
        description="Units at the end of the run that stay at the final rate; not with `horizon`.",
        exclude_if=lambda rest: rest == 0,
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.peak != "inherit" and not self.peak > 0:
            raise ValueError(f"peak is {self.peak}; give a rate above zero, such as 3e-4, or inherit")
        if (self.kind == "wsd") != (self.decay is not None):
            raise ValueError(f"kind {self.kind} with decay {self.decay}: wsd needs decay, the other kinds have none")
        if self.rest and self.horizon:
            raise ValueError(f"rest {self.rest} and horizon {self.horizon} both set the end of the schedule; give one")
        return self


class SkipStepConfig(BaseModel):
    """Which training steps are skipped as outliers. Defaults are those of OLMo 2 32B (OLMo-core, SkipStepAdamW)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window: int = Field(128, ge=2, description="Accepted steps that each step is compared with.")
    warmup: int = Field(
        64, ge=2, description="Accepted steps before the first comparison; non-finite steps are always skipped."
    )
    deviations: float = Field(6.0, gt=0, description="Standard deviations above the mean at which a step is skipped.")
    patience: int = Field(32, ge=1, description="Consecutive skipped steps after which the run stops as diverged.")


class HeldoutConfig(BaseModel):
    """Which held-out text of the evaluated corpora is scored during training and recorded in the history."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: int = Field(ge=1, description="Steps between measurements.")
    source_bytes: int | None = Field(
        100_000,
        ge=1,
        description="Maximum UTF-8 bytes scored per source; documents are drawn by hash. All when null.",
    )
    document_bytes: int | None = Field(
        None, ge=4, description="Maximum UTF-8 bytes scored per document, from its start; all if not given."
    )


class TrainingSettings(BaseModel):
    """The settings that all runs of a stage share, whatever the objective."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    objective: str = Field(description="What the stage minimises; determines which other fields it has.")
    batch_size: int = Field(ge=1, description="Sequences per step, over all workers.")
    sequence_length: int = Field(ge=2, description="Tokens per sequence; each except the last has a target.")
    precision: Literal["bf16", "fp32", "float8"] = Field(
        "bf16",
        description="Arithmetic of the step; weights stay fp32. `float8` applies to matrix products in blocks, the "
        "rest is bf16.",
    )
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients with a larger global norm are scaled down to it.")
    skip_step: SkipStepConfig | None = Field(
        None, description="Skip steps that are outliers; none if not given.", exclude_if=unused
    )
    canonical_shards: int | None = Field(
        None,
        ge=1,
        description="Strict mode: sum the gradients of this many parts of a batch in a fixed tree, so that any "
        "number of ranks that divides it gives the same bits. Must be a power of two.",
        exclude_if=unused,
    )
    heldout: HeldoutConfig | None = Field(
        None, description="Score held-out text during training; none if not given.", exclude_if=unused
    )
    checkpoint_every: int = Field(ge=1, description="Steps between checkpoints; the last step always saves one.")
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig, description="Settings of AdamW.")
    schedule: ScheduleConfig = Field(description="Learning rate over a run.")

    @model_validator(mode="after")
    def _shards_divide(self) -> Self:
        shards = self.canonical_shards
        if shards is not None and (shards & (shards - 1) or self.batch_size % shards):
            fits = max(2**n for n in range(shards.bit_length()) if self.batch_size % 2**n == 0)
            raise ValueError(
                f"canonical_shards {shards} is not a power of two that divides batch_size {self.batch_size}; "
                f"{fits} would fit"
            )
        return self


class TrainingConfig(TrainingSettings):
    """One seeded run of a stage. Each objective subclasses it and adds its own fields; see `objectives`."""

    tokens: int = Field(gt=0, description="Tokens to train on, rounded up to whole batches.")
    seed: int = Field(ge=0, description="Seed of the data order and, without a start checkpoint, of the first weights.")

    @model_validator(mode="after")
    def _a_whole_batch(self) -> Self:
        if self.tokens < self.batch_tokens:
            raise ValueError(
                f"tokens {self.tokens:,} are less than one batch, batch_size {self.batch_size} x sequence_length "
                f"{self.sequence_length} = {self.batch_tokens:,}; give a smaller batch_size, or more tokens"
            )
        return self

    @model_validator(mode="after")
    def _schedule_fits(self) -> Self:
        span = self.schedule.horizon or self.scheduled(self.steps) - self.schedule.rest
        used = self.schedule.warmup + (self.schedule.decay or 0)
        if used > span:
            raise ValueError(
                f"schedule.warmup and schedule.decay take {used:,} {self.schedule.unit}, the schedule has {span:,}; "
                "give at most that many"
            )
        return self

    def build_objective(self) -> "Objective[Any]":
        """Return the objective of one rank. Imports torch."""
        raise NotImplementedError(f"objective {self.objective}: build_objective is not implemented")

    @property
    def batch_tokens(self) -> int:
        """Tokens per step."""
        return self.batch_size * self.sequence_length

    @property
    def steps(self) -> int:
        """Steps of the run."""
        return -(-self.tokens // self.batch_tokens)

    @property
    def whole_tokens(self) -> int:
        """Tokens of the run, rounded up to whole batches."""
        return self.steps * self.batch_tokens

    def scheduled(self, update: int) -> int:
        """Return the position on the schedule after training step `update`, in the schedule's unit."""
        return update if self.schedule.unit == "steps" else update * self.batch_tokens

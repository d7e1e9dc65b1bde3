"""How a run trains: optimizer, schedule, batch, length. Everything here bears identity.

What a run does not use is left out of its fields (`exclude_if`), so that a new capability gives no run a new identity.
Light on purpose: planning reads this file and never imports torch. How fast a run goes (threads, compilation,
micro-batches, devices) is `Placement`, not here.
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
    """Learning rate by tokens or steps done, the current step included: warm-up, then the shape of `kind`."""

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
        description="Highest rate, or `inherit`: the rate that the run of the start checkpoint had reached there."
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
    horizon: int | None = Field(None, gt=0, description="Units after which the schedule ends, if not with the run.")
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
            raise ValueError(f"rest {self.rest} and horizon {self.horizon} both say where the schedule ends; give one")
        return self


class SkipStepConfig(BaseModel):
    """Which training steps are skipped as outliers. Defaults are those of the OLMo 2 32B (OLMo-core, SkipStepAdamW)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window: int = Field(128, ge=2, description="Accepted steps that each step is compared with.")
    warmup: int = Field(
        64, ge=2, description="Accepted steps before the first comparison; non-finite steps are always skipped."
    )
    deviations: float = Field(6.0, gt=0, description="Standard deviations above the mean at which a step is skipped.")
    patience: int = Field(32, ge=1, description="Consecutive skipped steps after which the run stops as diverged.")


class HeldoutConfig(BaseModel):
    """Which held-out text of the evaluated corpora is scored while a run trains, for its history."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: int = Field(ge=1, description="Steps between measurements.")
    source_bytes: int | None = Field(
        100_000,
        ge=1,
        description="UTF-8 bytes scored of each source, at most; documents are drawn by hash. All when null.",
    )
    document_bytes: int | None = Field(
        None, ge=4, description="UTF-8 bytes scored of each document, from its beginning; all when not given."
    )


class TrainingSettings(BaseModel):
    """What all runs of a stage have in common, whatever they minimise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    objective: str = Field(description="What the stage minimises; decides what other fields it has.")
    batch_size: int = Field(ge=1, description="Sequences of one step, over all workers.")
    sequence_length: int = Field(ge=2, description="Tokens of one sequence; each but the last has a target.")
    precision: Literal["bf16", "fp32", "float8"] = Field(
        "bf16",
        description="Arithmetic of the step; weights stay fp32. `float8` is for products of blocks, the rest is bf16.",
    )
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients with a larger global norm are scaled down to it.")
    skip_step: SkipStepConfig | None = Field(
        None, description="Skip steps that are outliers; none is skipped when not given.", exclude_if=unused
    )
    canonical_shards: int | None = Field(
        None,
        ge=1,
        description="Strict mode: sum the gradients of this many parts of a batch in a fixed tree, so that every "
        "number of ranks that divides it gives the same bits. A power of two.",
        exclude_if=unused,
    )
    heldout: HeldoutConfig | None = Field(
        None, description="Score held-out text while training; not done when not given.", exclude_if=unused
    )
    checkpoint_every: int = Field(ge=1, description="Steps between checkpoints; the last step always makes one.")
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig, description="Settings of AdamW.")
    schedule: ScheduleConfig = Field(description="Learning rate over a run.")

    @model_validator(mode="after")
    def _shards_divide(self) -> Self:
        shards = self.canonical_shards
        if shards is not None and (shards & (shards - 1) or self.batch_size % shards):
            fits = max(2**n for n in range(shards.bit_length()) if self.batch_size % 2**n == 0)
            raise ValueError(
                f"canonical_shards {shards} is no power of two that divides batch_size {self.batch_size}; "
                f"{fits} would fit"
            )
        return self


class TrainingConfig(TrainingSettings):
    """One seeded run of a stage. Each objective derives a class from it and adds its own fields; see `objectives`."""

    tokens: int = Field(gt=0, description="Tokens to train on, rounded up to whole batches.")
    seed: int = Field(ge=0, description="Decides the data order and, without a start checkpoint, the first weights.")

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
                "give at most that"
            )
        return self

    def build_objective(self) -> "Objective[Any]":
        """Return what the run minimises, for one rank. Imports what is heavy."""
        raise NotImplementedError(f"objective {self.objective}: build_objective is not implemented")

    @property
    def batch_tokens(self) -> int:
        """Tokens of one step."""
        return self.batch_size * self.sequence_length

    @property
    def steps(self) -> int:
        """Steps of the run."""
        return -(-self.tokens // self.batch_tokens)

    @property
    def whole_tokens(self) -> int:
        """Tokens of the run, in whole batches."""
        return self.steps * self.batch_tokens

    def scheduled(self, update: int) -> int:
        """Return where on the schedule the run stands after training step `update`, in the schedule's unit."""
        return update if self.schedule.unit == "steps" else update * self.batch_tokens

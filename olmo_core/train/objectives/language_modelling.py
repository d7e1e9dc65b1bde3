"""Language modelling: predict every next token of the mix, or only those that its label masks select.

Planning imports this module, so it imports nothing heavy; `next_token` does the computation.
"""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from olmo_core.artifact.identity import unused
from olmo_core.train.config import TrainingConfig

if TYPE_CHECKING:
    from olmo_core.train.objectives.objective import Objective


class NgramFilterConfig(BaseModel):
    """Which instances give no gradient because they repeat themselves. Defaults are those of the OLMo 2 configs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_ngram: int = Field(13, ge=1, description="Longest n-gram to look for, in tokens.")
    max_repeats: int = Field(32, ge=2, description="Consecutive repetitions at which an instance is left out.")


class LanguageModelling(TrainingConfig):
    """One seeded run of a stage that predicts next tokens."""

    objective: Literal["language-modelling"] = Field(
        "language-modelling", description="What the stage minimises: the cross-entropy of next tokens."
    )
    z_loss: float = Field(1e-5, ge=0, description="Weight of the z-loss, the squared log-normaliser of the logits.")
    ngram_filter: NgramFilterConfig | None = Field(
        None,
        description="Leave out instances that repeat themselves; none if not given.",
        exclude_if=unused,
    )
    document_attention: bool = Field(
        False,
        description="Keep attention within each document instead of across the whole instance.",
        exclude_if=unused,
    )

    def build_objective(self) -> "Objective[Any]":
        """Return the objective of one rank of the run."""
        from olmo_core.train.objectives.next_token import NextToken

        return NextToken(self)

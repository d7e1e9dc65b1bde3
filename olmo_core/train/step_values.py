"""The numbers that one training step reports, by name."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class StepValues(NamedTuple):
    """What a training step reports: scalars, on the device, so that reading them can wait.

    Attributes:
        sums: what the objective sums, over the targets of the global batch; see `objectives.objective.Loss`.
        grad_norm: norm of the gradient before clipping.
        skipped: 1 where the step was skipped, else 0; None where the run skips no step.
    """

    sums: Mapping[str, Tensor]
    grad_norm: Tensor
    skipped: Tensor | None = None

    def present(self) -> dict[str, Tensor]:
        """Return the values that this run has, by name."""
        skipped = {} if self.skipped is None else {"skipped": self.skipped}
        return {**self.sums, "grad_norm": self.grad_norm, **skipped}

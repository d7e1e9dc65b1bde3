"""The values that one training step reports, by name."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class StepValues(NamedTuple):
    """Scalars that a training step reports; they stay on the device, so that they can be read later.

    Attributes:
        sums: sums of the objective over the targets of the global batch; see `objectives.objective.Loss`.
        grad_norm: norm of the gradient before clipping.
        skipped: 1 if the step was skipped, otherwise 0; None if the run does not skip steps.
    """

    sums: Mapping[str, Tensor]
    grad_norm: Tensor
    skipped: Tensor | None = None

    def present(self) -> dict[str, Tensor]:
        """Return the values that this run has, by name."""
        skipped = {} if self.skipped is None else {"skipped": self.skipped}
        return {**self.sums, "grad_norm": self.grad_norm, **skipped}

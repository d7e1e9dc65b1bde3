"""The numbers of one training step by name: what is summed over its targets, and what the step reports."""

from typing import NamedTuple

import torch
from torch import Tensor


class StepSums(NamedTuple):
    """Sums over rows of a global batch, divided by the targets it has when every token but the last is one.

    Summed over all micro-batches and ranks they are means over that many targets; where fewer tokens are targets,
    dividing by `targets` makes them means over these.

    Attributes:
        loss: cross-entropy, in nats.
        z_squared: square of the logits' log-normaliser.
        targets: tokens that were targets; None where every token is one.
    """

    loss: Tensor
    z_squared: Tensor
    targets: Tensor | None = None

    def stacked(self) -> Tensor:
        """Return the sums as one tensor, (2,) or (3,): ranks then add them in one message."""
        return torch.stack([value for value in self if value is not None])

    @classmethod
    def of(cls, stacked: Tensor) -> "StepSums":
        """Return the sums that were stacked."""
        return cls(*stacked)


class StepValues(NamedTuple):
    """What a training step reports: scalars, on the device, so that reading them can wait.

    Attributes:
        loss: cross-entropy, the mean over the targets of the global batch, in nats.
        z_squared: square of the logits' log-normaliser, the mean over the same targets.
        targets: share of the tokens that were targets; None where every token is one.
        grad_norm: norm of the gradient before clipping.
        skipped: 1 where the step was skipped, else 0; None where no step is.
    """

    loss: Tensor
    z_squared: Tensor
    targets: Tensor | None
    grad_norm: Tensor
    skipped: Tensor | None

    def present(self) -> dict[str, Tensor]:
        """Return the values that this run has, by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}

"""What every objective provides: the batches a run draws, their loss, and the columns of its history.

The training step (`trainer`) cuts a batch into parts, differentiates their losses, and sums over parts and ranks; the
loop reads ahead, skips, saves and shows. Neither knows what is minimised. Without torch, for planning reads it too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from olmo_core.artifact.job import Job
from olmo_core.model.config import ModelConfig
from olmo_core.tokens.read_ahead import Batches
from olmo_core.train.config import TrainingConfig

if TYPE_CHECKING:
    from torch import Tensor

    from olmo_core.train.forward import Forward

Batch = TypeVar("Batch")
Rows = Mapping[str, "Tensor"]  # tensors by name, each with one row for each sequence of a rank's share
TARGETS = "targets"  # name of the sum that says which share of them a batch had


class Loss(NamedTuple):
    """The loss of some rows.

    Attributes:
        total: scalar that is differentiated.
        sums: detached scalars by name, always the same names in the same order. `loss` is required: a step is skipped
            or refused by it. Where `targets` is among them, the others and the gradients are divided by it once all
            rows of the global batch are summed, so that means are over these targets alone.
    """

    total: Tensor
    sums: dict[str, Tensor]


class Objective(ABC, Generic[Batch]):
    """What one rank of a run minimises.

    Sums over rows are divided by `targets` already, so parts of a batch and ranks need only be added.

    Attributes:
        config: the run's.
    """

    config: TrainingConfig

    @property
    @abstractmethod
    def targets(self) -> int:
        """Targets of a global batch in which everything that can be one is."""

    @abstractmethod
    def batches(self, job: Job, model: ModelConfig) -> Batches[Batch]:
        """Return what gives each rank its share of each global batch.

        Raises:
            ValueError: the inputs do not fit the run or the model.
        """

    @abstractmethod
    def rows(self, batch: Batch) -> Rows:
        """Return a batch as tensors on the CPU."""

    @abstractmethod
    def loss(self, forward: Forward, rows: Rows) -> Loss:
        """Return the loss of some rows of a batch, on the device of the model."""

    def columns(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the columns of the history that the sums of one training step become; the sums themselves here."""
        return dict(values)

    def compile(self, compiler: Callable[..., Any]) -> None:
        """Compile what the loss spends its time in; `compiler` takes a function and returns its compiled form."""

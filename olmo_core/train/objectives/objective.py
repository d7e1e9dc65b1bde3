"""The interface of an objective: the batches of a run, their loss, and the columns of its history.

The training step (`trainer`) splits a batch into parts, differentiates their losses, and sums over parts and ranks; the
loop reads ahead, saves and reports. Both work for any objective. Planning imports this module, so it avoids torch.
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
Rows = Mapping[str, "Tensor"]  # tensors by name, each with one row per sequence of a rank's share
TARGETS = "targets"  # name of the sum that holds the fraction of possible targets that a batch has


class Loss(NamedTuple):
    """The loss of some rows.

    Attributes:
        total: the scalar to differentiate.
        sums: detached scalars by name, always the same names in the same order. `loss` is required, because outliers
            and divergence are detected from it. If `targets` is among them, the others and the gradients are divided by
            it after summing over the global batch, so that means are over the actual targets.
    """

    total: Tensor
    sums: dict[str, Tensor]


class Objective(ABC, Generic[Batch]):
    """The objective on one rank of a run.

    Sums over rows are already divided by `targets`, so parts of a batch and ranks are just added.

    Attributes:
        config: config of the run.
    """

    config: TrainingConfig

    @property
    @abstractmethod
    def targets(self) -> int:
        """Number of targets in a global batch in which every possible target is one."""

    @abstractmethod
    def batches(self, job: Job, model: ModelConfig) -> Batches[Batch]:
        """Return the source that gives each rank its share of each global batch.

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
        """Return the history's columns for one training step, made from its sums; by default the sums themselves."""
        return dict(values)

    def compile(self, compiler: Callable[..., Any]) -> None:
        """Compile the expensive part of the loss; `compiler` takes a function and returns its compiled form."""

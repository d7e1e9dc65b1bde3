"""What a step's work function is given: the step, its verified inputs, a folder to fill, and how to run.

`Placement` says how, never what: nothing in it may change a byte of the output. Finding inputs, leases and the commit
are left to `make`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field

from olmo_core.artifact.identity import Step

if TYPE_CHECKING:
    from olmo_core.artifact.record import Record


class Placement(BaseModel):
    """Which device a step runs on, with how many threads. Work that can be placed in more ways extends it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: Literal["cpu", "cuda"] = Field(default="cpu", description="Device that holds the model.")
    threads: int = Field(default=2, ge=1, description="CPU threads of one worker.")

    @classmethod
    def of(cls, placement: "Placement") -> Self:
        """Return `placement` where it is one of this class, else one with its device and threads, all else default."""
        return placement if isinstance(placement, cls) else cls(device=placement.device, threads=placement.threads)


@dataclass(frozen=True)
class Artifact:
    """A complete, verified artifact that can be read from local disk."""

    step: Step
    record: "Record"
    path: Path


class Progress(Protocol):
    """Called by long work now and then: how much of how much, in which unit, and what to show beside it."""

    def __call__(self, done: float, total: float, unit: str, **shown: float) -> None:
        """Take one report; it must return quickly and must not raise."""


def silent(done: float, total: float, unit: str, **shown: float) -> None:
    """Progress that shows nothing."""


def _no_metrics(step: int, values: Mapping[str, float]) -> None:
    """Metrics that go nowhere."""


def _no_commit(step: Step, folder: Path) -> Artifact:
    raise RuntimeError(f"{step.label}: this job cannot commit artifacts of its own")


def _nothing_discarded(step: Step) -> None:
    """There is nothing to discard where nothing can be committed."""


def _nothing_found(step: Step) -> Artifact | None:
    return None


@dataclass(frozen=True)
class Job:
    """Everything a work function may use. It fills `out` and returns a plain JSON dict, kept in the record as `result`.

    Attributes:
        step: what to make; its declared values are in `step.fields`.
        inputs: role -> artifact, as in `step.inputs`.
        out: an empty local folder; what is in it afterwards is the artifact.
        placement: how to run; must not change a byte of the output.
        progress: report progress here.
        metrics: live numbers by training step (rates and times among them); never part of an artifact.
        commit: commits a folder as the artifact of a step of its own while this one still runs (checkpoints).
        discard: removes an artifact that was committed, and that only this step reads.
        find: the artifact of a step where it is already complete (a checkpoint to go on from), else None.
    """

    step: Step
    inputs: Mapping[str, Artifact]
    out: Path
    placement: Placement = field(default_factory=Placement)
    progress: Progress = silent
    metrics: Callable[[int, Mapping[str, float]], None] = _no_metrics
    commit: Callable[[Step, Path], Artifact] = _no_commit
    discard: Callable[[Step], None] = _nothing_discarded
    find: Callable[[Step], Artifact | None] = _nothing_found

    @property
    def fields(self) -> Mapping[str, Any]:
        """The step's declared values."""
        return self.step.fields


Work = Callable[[Job], dict[str, Any]]  # What makes the artifact of a step.

"""The table of step kinds: the part of each, where it is made, what it holds, what it costs, how it is drawn.

Plan, estimate, tasks, tracking and report read this table; none of them lists kinds. A new kind needs one row, one
factory and its work.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

STAGE = "stage"  # placeholder for the name of the stage that a step belongs to
OTHER_BYTES = 1e6
MOMENTS = 2  # of Adam per weight, fp32 like the weights


class Lane(Enum):
    """Where a step is made."""

    FLOW = auto()  # in the flow's process: a download, a comparison of tables
    TASK = auto()  # as a Ray task
    TRAINING = auto()  # as a Ray Train job
    BACKGROUND = auto()  # by a low-priority worker, in parallel with training
    PARENT = auto()  # by the run whose checkpoint it is


@dataclass(frozen=True)
class Weights:
    """Bytes of the weights of one model.

    Attributes:
        stored: in a checkpoint or soup, fp32.
        exported: in an export, in the release's dtype.
        copied: in a copy of the export in a local hub; 0 if revisions go to a Hub.
    """

    stored: float
    exported: float
    copied: float


@dataclass(frozen=True)
class Kind:
    """One kind of step.

    Attributes:
        name: name of the kind in steps and folders of the store.
        part: part of a release that makes it.
        lane: where it is made.
        box: title of its box in graphs; `{name}` is replaced by the step's name.
        seconds: time to make one on the reference machine (see `machine`), without what grows with bytes and FLOPs.
        holds: whether it is a model or a data set for other systems; None for neither.
        scores: whether it scores one group (a task, or all held-out text) with a model.
        bytes: bytes on disk in the recipe `tiny`, for kinds that grow neither with the model nor with the tokens.
        weights: bytes on disk of a kind that holds weights.
    """

    name: str
    part: str
    lane: Lane
    box: str
    seconds: float = 0.0
    holds: Literal["model", "dataset"] | None = None
    scores: bool = False
    bytes: float = OTHER_BYTES
    weights: Callable[[Weights], float] | None = None

    @property
    def grouped(self) -> bool:
        """Whether graphs draw all steps of this kind as one box."""
        return self.box != self.name and "{name}" not in self.box


_TABLE = (
    Kind("package", "data", Lane.FLOW, "packages", 4.0, bytes=50e6),
    Kind("documents", "data", Lane.TASK, "document shards", 4.0, bytes=3e6),
    Kind("tags", "data", Lane.TASK, "tags", 4.0, bytes=1e5),
    Kind("signatures", "data", Lane.TASK, "signatures", 4.0, bytes=1e5),
    Kind("corpus", "data", Lane.TASK, "corpora", 1.0, "dataset", bytes=1e5),
    Kind("tokenizer", "data", Lane.TASK, "tokenizer", 1.5),
    Kind("tokens", "data", Lane.TASK, "token files", 3.0, bytes=4e6),
    Kind("mix", "data", Lane.TASK, "mix {name}", 1.0, "dataset"),
    Kind("task", "data", Lane.TASK, "evaluations", 0.75, "dataset", bytes=0.25e6),
    Kind("pretrained", "data", Lane.TASK, "pretrained", 10.0, "model", weights=lambda of: of.stored),
    Kind("run", STAGE, Lane.TRAINING, "{name}"),
    Kind("checkpoint", STAGE, Lane.PARENT, "{name}", 0.0, "model", weights=lambda of: of.stored * (1 + MOMENTS)),
    Kind("recovery", STAGE, Lane.PARENT, "{name}", weights=lambda of: of.stored * (1 + MOMENTS)),
    Kind("soup", "soup", Lane.TASK, "{name}", 2.0, "model", weights=lambda of: of.stored),
    Kind("decision", "soup", Lane.FLOW, "decision", 1.0),
    Kind("result", "evaluate", Lane.BACKGROUND, "evaluations", 0.4, scores=True, bytes=0.2e6),
    Kind("export", "publish", Lane.BACKGROUND, "exports", 1.5, weights=lambda of: of.exported),
    Kind("revision", "publish", Lane.BACKGROUND, "revisions", 1.0, weights=lambda of: of.copied),
)
KINDS = {kind.name: kind for kind in _TABLE}
RUN_KINDS = frozenset(kind.name for kind in _TABLE if kind.lane is Lane.TRAINING)
BACKGROUND_PARTS = tuple(dict.fromkeys(kind.part for kind in _TABLE if kind.lane is Lane.BACKGROUND))


def kind_called(name: str) -> Kind:
    """Return the kind with this name.

    Raises:
        LookupError: the table has no such row; names it.
    """
    if name not in KINDS:
        raise LookupError(f"{name}: no such kind of step; add a row for it to {__name__}")
    return KINDS[name]

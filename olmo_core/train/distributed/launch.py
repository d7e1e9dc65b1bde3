"""One run by several processes: rank 0 holds the step's lease and commits, the others work beside it.

Used by every way to start a run, be it a plain process, torchrun or a Ray Train job; who starts the processes, and
joins them into a process group, is left to these.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job
from olmo_core.artifact.make import MissingInputError, make
from olmo_core.artifact.store import Store
from olmo_core.train.distributed.group import device_of, rank_0_says, rank_and_world
from olmo_core.train.placement import TrainPlacement
from olmo_core.train.run import train


def make_run(step: Step, store: Store, placement: TrainPlacement, **options: Any) -> None:
    """Make the artifact of a `run` step, or find it made; to be called on every rank.

    Args:
        step: the run.
        store: where it and its inputs lie, for all ranks the same.
        placement: how to run.
        options: what else `make` takes on rank 0.

    Raises:
        Exception: what `make` and `train` raise.
        RuntimeError: on a rank other than 0, where rank 0 ended before the run began.
    """
    rank, _ = rank_and_world()
    if rank == 0:
        if make(step, store, placement, **options).reused:
            rank_0_says(False, device_of(placement))  # otherwise `train` said that it begins
        return
    try:
        begins = rank_0_says(False, device_of(placement))
    except RuntimeError as error:
        raise RuntimeError("rank 0 ended before the run began; its message says why") from error
    if begins:
        with tempfile.TemporaryDirectory() as out:
            train(Job(step=step, inputs=_inputs(step, store), out=Path(out), placement=placement, find=store.find))


def _inputs(step: Step, store: Store) -> Mapping[str, Artifact]:
    inputs = {}
    for role, source in step.inputs.items():
        found = store.find(source)
        if found is None:
            raise MissingInputError(f"{step.label} needs {source.label} ({role}), which is not in {store.root}")
        inputs[role] = found
    return inputs

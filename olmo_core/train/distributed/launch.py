"""One run in several processes: rank 0 holds the step's lease and commits, the others only train.

Rank 0 alone checks the store. The others wait for one message from it: either the run begins, or its artifact already
exists. If rank 0 ends before it sends that message, they end too.

A plain process, torchrun and a Ray Train job all start a run with `make_run`, after starting the processes and joining
them into a process group.
"""

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job
from olmo_core.artifact.make import MissingInputError, make
from olmo_core.artifact.store import Store
from olmo_core.train.distributed.group import device_of, rank_and_world
from olmo_core.train.placement import TrainPlacement
from olmo_core.train.run import train


def make_run(step: Step, store: Store, placement: TrainPlacement, **options: Any) -> None:
    """Make the artifact of a `run` step, or find the existing one; call this on every rank.

    Args:
        step: the run.
        store: the store of the run and its inputs, the same for all ranks.
        placement: how to run.
        options: further arguments of `make` on rank 0.

    Raises:
        Exception: whatever `make` and `train` raise.
        RuntimeError: on ranks other than 0, if rank 0 ended before the run began.
    """
    rank, _ = rank_and_world()
    if rank == 0:
        if make(step, store, placement, before_work=partial(_send, True, placement), **options).reused:
            _send(False, placement)
        return
    try:
        begins = _receive(placement)
    except RuntimeError as error:
        raise RuntimeError("rank 0 ended before the run began; see its error for the reason") from error
    if begins:
        with tempfile.TemporaryDirectory() as out:
            train(Job(step=step, inputs=_inputs(step, store), out=Path(out), placement=placement, find=store.find))


def _send(begins: bool, placement: TrainPlacement) -> None:
    """Send the other ranks whether the run begins."""
    _broadcast(torch.tensor([begins], dtype=torch.int32, device=device_of(placement)))


def _receive(placement: TrainPlacement) -> bool:
    """Wait for rank 0 and return whether the run begins."""
    begins = torch.zeros(1, dtype=torch.int32, device=device_of(placement))
    _broadcast(begins)
    return bool(begins.item())


def _broadcast(message: torch.Tensor) -> None:
    if rank_and_world()[1] > 1:
        dist.broadcast(message, 0)


def _inputs(step: Step, store: Store) -> Mapping[str, Artifact]:
    inputs = {}
    for role, source in step.inputs.items():
        found = store.find(source)
        if found is None:
            raise MissingInputError(f"{step.label} needs {source.label} ({role}), which is not in {store.root}")
        inputs[role] = found
    return inputs

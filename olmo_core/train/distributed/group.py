"""The process group of a run's ranks: joining it, the rank of this process, and its device."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from olmo_core.artifact.job import Placement


def rank_and_world() -> tuple[int, int]:
    """Return this process's rank and the number of ranks; (0, 1) if torch.distributed is not initialised."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@contextmanager
def joined(placement: Placement) -> Iterator[int]:
    """Join the process group under torchrun, and yield this process's rank; without torchrun, just yield 0."""
    if "WORLD_SIZE" not in os.environ:
        yield 0
        return
    device = device_of(placement)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()


def device_of(placement: Placement) -> torch.device:
    """Return the device of this rank: the CPU, or the GPU with its LOCAL_RANK, which torchrun sets.

    Raises:
        ValueError: the placement asks for a GPU and there is none.
    """
    if placement.device == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError("placement.device is cuda, but this process sees no GPU; use cpu, or a worker that has one")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())

"""Copies of a training state in memory of the host, as fast as memory can be copied.

Memory is kept from one copy to the next and touched before the first: the system's fresh pages cost more than the copy
itself (1 GB: 0.4 s against 0.06 s; large pages make it neither faster nor, where free memory is in pieces, sooner
there). Every thread copies one share, through the C library, which writes past the cache; torch's own copies of tensors
of a few MB take half as long again.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ALIGNMENT = 64  # bytes; a cache line

Bytes = NDArray[np.uint8]
Pair = tuple[Bytes, Bytes]


class HostCopy:
    """Room for a copy of some tensors; filled whenever asked."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._copies: dict[str, Tensor] = {}
        self._places: list[int] = []
        self._cuts: list[list[Pair]] = []
        size = sum(_aligned(tensor.nbytes) for tensor in tensors.values() if not tensor.is_cuda)
        room = torch.empty(size, dtype=torch.uint8)
        for name, tensor in tensors.items():
            if tensor.is_cuda:
                self._copies[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            else:
                self._copies[name] = room[: tensor.nbytes].view(tensor.dtype).view(tensor.shape)
                room = room[_aligned(tensor.nbytes) :]

    def touch(self) -> None:
        """Have the system back the memory with pages; to be done before the first copy, in a thread.

        Not by torch: its threads of OpenMP belong to the thread that asks for them, and as long as there are more of
        them than cores those of the training step sleep between kernels instead of spinning, a third of a short step.
        """
        for copy in self._copies.values():
            bytes_of(copy).fill(0)

    def take(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return copies of the tensors, in the same memory every time.

        Args:
            tensors: of the names, shapes and types this was made for; contiguous.
        """
        for name, tensor in tensors.items():
            if tensor.is_cuda:
                self._copies[name].copy_(tensor, non_blocking=True)
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            list(threads.map(_copy, self._cut(tensors, torch.get_num_threads())))
        if any(tensor.is_cuda for tensor in tensors.values()):
            torch.cuda.synchronize()
        return self._copies

    def _cut(self, tensors: Mapping[str, Tensor], count: int) -> list[list[Pair]]:
        """Return the shares of so many threads: those of last time where nothing has moved, 3 ms of 60 for 1 GB."""
        on_host = {name: tensor for name, tensor in tensors.items() if not tensor.is_cuda}
        places = [count, *(tensor.data_ptr() for tensor in on_host.values())]
        if places != self._places:
            pairs = [(bytes_of(self._copies[name]), bytes_of(tensor)) for name, tensor in on_host.items()]
            self._places, self._cuts = places, _shares(pairs, count)
        return self._cuts


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def bytes_of(tensor: Tensor) -> Bytes:
    """Return the memory of a contiguous tensor on the host, as bytes."""
    values: Bytes = tensor.detach().view(-1).view(torch.uint8).numpy()
    return values


def _shares(pairs: Sequence[Pair], count: int) -> list[list[Pair]]:
    """Cut pairs of (target, source) into lists of about as many bytes each."""
    size = -(-sum(len(source) for _, source in pairs) // count)
    shares: list[list[Pair]] = [[] for _ in range(count)]
    done = 0
    for target, source in pairs:
        begin = 0
        while begin < len(source):
            share = done // size
            part = slice(begin, min(len(source), begin + (share + 1) * size - done))
            shares[share].append((target[part], source[part]))
            done, begin = done + part.stop - begin, part.stop
    return shares


def _copy(pairs: Sequence[Pair]) -> None:
    for target, source in pairs:
        np.copyto(target, source)

"""Reads batches in the background so that a slow store does not delay training: exact order, bounded memory.

Local files are read on demand: reading a batch from the page cache takes 0.2 ms, and passing it between threads would
take as long again.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

Batch = TypeVar("Batch", covariant=True)

# Batches being read or waiting, and how many are read at once: a store that takes four steps to answer keeps up.
DEPTH, THREADS = 8, 4


class Batches(Protocol[Batch]):
    """Gives each rank its share of each global batch of a run."""

    @property
    def instances(self) -> int:
        """Number of instances it draws from."""

    @property
    def remote(self) -> bool:
        """Whether a batch is worth reading before it is needed."""

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """Return the share of `rank` of global batch `step`, counted from 0. Threads may call it."""


@contextmanager
def read_ahead(source: Batches[Batch], steps: range, rank: int = 0, world: int = 1) -> Iterator[Iterator[Batch]]:
    """Yield an iterator over the share of `rank` of the global batches `steps`, in order.

    An error in reading a batch is raised when the iterator reaches that batch.
    """
    if not source.remote:
        yield (source.batch(step, rank, world) for step in steps)
        return
    pool = ThreadPoolExecutor(THREADS, "read-ahead")

    def batches() -> Iterator[Batch]:
        waiting: deque[Future[Batch]] = deque()
        for step in steps:
            waiting.append(pool.submit(source.batch, step, rank, world))
            if len(waiting) == DEPTH:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield batches()
    finally:
        pool.shutdown(cancel_futures=True)

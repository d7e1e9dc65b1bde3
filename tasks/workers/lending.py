"""Lend actors to one step at a time; the last one returned is lent first, because it has its imports already."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import LifoQueue
from typing import Generic, TypeVar

from tasks.workers.failures import EndedError

T = TypeVar("T")


class Lending(Generic[T]):
    """A pool of actors that can be borrowed until the release ends."""

    def __init__(self, actors: Iterable[T]) -> None:
        self._ended = False
        self._free: LifoQueue[T | None] = LifoQueue()
        for actor in actors:
            self._free.put(actor)

    @contextmanager
    def one(self) -> Iterator[T]:
        """Lend an actor to this block; wait for a free one.

        Raises:
            EndedError: the release ends.
        """
        actor = self._free.get()
        try:
            if self._ended or actor is None:
                raise EndedError
            yield actor
        finally:
            self._free.put(actor)

    def end(self) -> None:
        """Stop lending and wake all waiting threads."""
        self._ended = True
        self._free.put(None)  # wakes one waiting thread, which puts it back for the next

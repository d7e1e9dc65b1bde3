"""Actors lent to one step at a time, that which came back last first: what it has imported serves the next step."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import LifoQueue
from typing import Generic, TypeVar

from tasks.workers.failures import EndedError

T = TypeVar("T")


class Lending(Generic[T]):
    """Some actors, until the release ends."""

    def __init__(self, actors: Iterable[T]) -> None:
        self._ended = False
        self._free: LifoQueue[T | None] = LifoQueue()
        for actor in actors:
            self._free.put(actor)

    @contextmanager
    def one(self) -> Iterator[T]:
        """Lend an actor to this block; waits for one that is free.

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
        """Lend no more; whoever waits stops waiting."""
        self._ended = True
        self._free.put(None)  # wakes one who waits, who puts it back for the next

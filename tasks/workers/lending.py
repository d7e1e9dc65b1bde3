"""Lend actors to one step at a time, and start another only for work that has waited as long as a start takes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition
from typing import Generic, TypeVar

from tasks.workers.failures import EndedError

START_SECONDS = 20.0  # of CPU time that a new actor takes to import what it needs, on a slow machine

T = TypeVar("T")


class Lending(Generic[T]):
    """A pool of actors that can be borrowed until the release ends.

    The last one returned is lent first, because it has its imports and perhaps the model.
    """

    def __init__(self, start: Callable[[], T], limit: int, patience: float = START_SECONDS) -> None:
        """Lend at most `limit` actors; work that has waited `patience` seconds for one gets a new one of `start`."""
        self._start, self._limit, self._patience = start, limit, patience
        self._ended = False
        self._changed = Condition()
        self._free: list[T] = []
        self._started = 0

    @contextmanager
    def one(self) -> Iterator[T]:
        """Lend an actor to this block; wait for a free one.

        Raises:
            EndedError: the release ends.
        """
        actor = self._borrow()
        try:
            yield actor
        finally:
            with self._changed:
                self._free.append(actor)
                self._changed.notify()

    def end(self) -> None:
        """Stop lending and wake all waiting threads."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _borrow(self) -> T:
        with self._changed:
            if self._started:
                self._changed.wait_for(lambda: self._ended or self._free, self._patience)
            self._changed.wait_for(lambda: self._ended or self._free or self._started < self._limit)
            if self._ended:
                raise EndedError
            if self._free:
                return self._free.pop()
            self._started += 1
        try:
            return self._start()
        except BaseException:
            with self._changed:
                self._started -= 1
                self._changed.notify()
            raise

"""Notify a worker that its release ends: one of its threads waits for the board.

Ray itself interrupts a task, but not the method of an actor, nor training, which runs in a thread of an actor.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tasks.workers.failures import EndedError


class Listener:
    """Calls a function from another thread if the release of a board ends during work."""

    def __init__(self, board: Any, act: Callable[[], object]) -> None:
        """Start to listen.

        Args:
            board: handle of the actor `Board`.
            act: called to make the work stop soon.
        """
        self._act = act
        self._lock = threading.Lock()
        self._working = self._ended = False
        threading.Thread(target=self._wait, args=(board,), name="listener", daemon=True).start()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Mark this block as work, which is stopped when the release ends.

        Raises:
            EndedError: the release has ended already.
        """
        with self._lock:
            if self._ended:
                raise EndedError
            self._working = True
        try:
            yield
        finally:
            with self._lock:
                self._working = False

    def _wait(self, board: Any) -> None:
        import ray

        with suppress(Exception):  # without the board nobody can announce the end of the release
            ray.get(board.ended.remote())
            with self._lock:
                self._ended = True
                if self._working:
                    self._act()

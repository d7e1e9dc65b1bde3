"""How a worker hears that its release ends: a thread of it waits for the board to say so.

Ray interrupts a task by itself, but not the method of an actor, nor training, which runs in a thread of one.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tasks.workers.failures import EndedError


class Listener:
    """Calls a function from another thread when the release of a board ends while work goes on."""

    def __init__(self, board: Any, act: Callable[[], object]) -> None:
        """Begin to listen.

        Args:
            board: handle of the actor `Board`.
            act: makes the work stop soon.
        """
        self._act = act
        self._lock = threading.Lock()
        self._working = self._ended = False
        threading.Thread(target=self._wait, args=(board,), name="listener", daemon=True).start()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Do the work in this block.

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

        with suppress(Exception):  # the board is gone, and with it whoever could say that the release ends
            ray.get(board.ended.remote())
            with self._lock:
                self._ended = True
                if self._working:
                    self._act()

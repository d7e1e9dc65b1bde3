"""The pool of a release as its session holds it: started on first use, stopped once, whatever goes on meanwhile."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from tasks.workers.failures import EndedError
from tasks.workers.pool import Pool

POLL_SECONDS = 0.5  # between looks whether the release was asked to end, while a cluster starts


class LazyPool:
    """A pool that is connected or started when the first step has to be made.

    Attributes:
        saved: what training runs that were asked to stop say of themselves.
    """

    def __init__(self, connect: Callable[[], Pool], ended: threading.Event) -> None:
        """Start nothing yet.

        Args:
            connect: connects to the cluster, or starts one; takes seconds.
            ended: set when the release was asked to end.
        """
        self.saved: list[str] = []
        self._connect = connect
        self._ended = ended
        self._pool: Future[Pool] | None = None
        # Ray's processes die with the thread that started them, so that thread lives as long as the pool.
        self._thread = ThreadPoolExecutor(1, "cluster")
        self._starting = threading.Lock()
        self._stopping = threading.Lock()

    def start(self) -> Future[Pool]:
        """Begin to connect to the cluster or to start it, if that has not begun yet or has failed."""
        with self._starting:
            if self._pool is None or (self._pool.done() and self.started() is None):
                self._pool = self._thread.submit(self._connect)
            return self._pool

    def get(self) -> Pool:
        """Return the pool, started now where it is not yet.

        Raises:
            EndedError: the release was asked to end.
        """
        self._check_ended()
        pool = self.start()
        while not wait([pool], POLL_SECONDS).done:
            self._check_ended()
        return pool.result()

    def started(self) -> Pool | None:
        """Return the pool where it has been connected to or started."""
        pool = self._pool
        if pool is None or not pool.done() or pool.exception() is not None:
            return None
        return pool.result()

    def end(self) -> None:
        """Stop what goes on: training saves, all else is abandoned; returns when it has."""
        with self._stopping:
            if (pool := self.started()) is not None:
                pool.end()
                self.saved = pool.saved()

    def close(self) -> None:
        """Let go of the cluster; one that starts while the release ends is not waited for."""
        if self._pool is not None and not self._ended.is_set():
            wait([self._pool])
        with self._stopping:  # `end` hears from training what it saved
            if (pool := self.started()) is not None:
                pool.stop()
        self._thread.shutdown(wait=not self._ended.is_set())

    def _check_ended(self) -> None:
        if self._ended.is_set():
            raise EndedError

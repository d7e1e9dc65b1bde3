"""Turns: when a flow may submit a step whose inputs other flows of the same process make.

So a task is submitted when it can begin, and no dashboard shows one as running that only waits.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from olmo_core.artifact.identity import Step
from olmo_core.artifact.snapshot import Snapshot
from olmo_core.artifact.store import Store

POLL_SECONDS = 0.5  # between looks into the store; other processes make steps too


class Turns:
    """What the flows of one process expect of each other, until the release is asked to end."""

    def __init__(self, store: Store, ended: threading.Event) -> None:
        self._store = store
        self._ended = ended
        self._changed = threading.Condition()
        self._expected: set[str] = set()
        self._locks: dict[str, threading.Lock] = {}

    @contextmanager
    def expect(self, steps: Iterable[Step]) -> Iterator[None]:
        """While the block runs, other flows may wait for these steps to appear in the store."""
        ids = {step.id for step in steps}
        with self._changed:
            self._expected |= ids
        try:
            yield
        finally:
            with self._changed:
                self._expected -= ids
                self._changed.notify_all()

    def of(self, steps: Sequence[Step]) -> Iterator[Step]:
        """Yield steps, inputs first, each as soon as nothing more is awaited of other flows for it.

        None comes when the release was asked to end.
        """
        own = {step.id for step in steps}
        left = list(steps)
        while left:
            waiting: set[str] = set()
            held = self._store.snapshot()
            for step in left:
                if self._ended.is_set():
                    return
                if any(self._awaited(source, own, waiting, held) for source in step.inputs.values()):
                    waiting.add(step.id)
                else:
                    yield step
            left = [step for step in left if step.id in waiting]
            if left:
                with self._changed:
                    self._changed.wait(POLL_SECONDS)

    @contextmanager
    def making(self, step: Step) -> Iterator[None]:
        """Hold a step within this process, so that flows which share it make it once and fill no worker by waiting."""
        with self._changed:
            lock = self._locks.setdefault(step.id, threading.Lock())
        with lock:
            yield

    def look(self) -> None:
        """Let those who wait look again: a step was made, or the release was asked to end."""
        with self._changed:
            self._changed.notify_all()

    def _awaited(self, source: Step, own: set[str], waiting: set[str], held: Snapshot) -> bool:
        """Whether an input has not been submitted here, or is expected of another flow and not there yet."""
        if source.id in own:
            return source.id in waiting
        return source.id in self._expected and held.peek(source) is None

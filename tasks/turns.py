"""Decides when a flow may submit a step whose inputs are made by other flows of the same process.

A task is submitted only when it can begin, so no dashboard shows a waiting task as running.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from olmo_core.artifact.identity import Step
from olmo_core.artifact.snapshot import Snapshot
from olmo_core.artifact.store import Store

POLL_SECONDS = 0.5  # between checks of the store; other processes make steps too


class Turns:
    """The steps that flows of one process expect from each other, until the release is asked to end."""

    def __init__(self, store: Store, ended: threading.Event) -> None:
        self._store = store
        self._ended = ended
        self._changed = threading.Condition()
        self._expected: set[str] = set()
        self._locks: dict[str, threading.Lock] = {}

    @contextmanager
    def expect(self, steps: Iterable[Step]) -> Iterator[None]:
        """Let other flows wait for these steps while the block runs."""
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
        """Yield steps, inputs first, each as soon as it needs nothing more from other flows.

        The iteration stops when the release is asked to end.
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
        """Lock a step within this process, so that flows sharing it make it once and block no worker by waiting."""
        with self._changed:
            lock = self._locks.setdefault(step.id, threading.Lock())
        with lock:
            yield

    def look(self) -> None:
        """Wake waiting flows: a step was made, or the release was asked to end."""
        with self._changed:
            self._changed.notify_all()

    def _awaited(self, source: Step, own: set[str], waiting: set[str], held: Snapshot) -> bool:
        """Return whether an input is not yet submitted here, or is expected from another flow and missing."""
        if source.id in own:
            return source.id in waiting
        return source.id in self._expected and held.peek(source) is None

"""A background worker: an actor at the lowest priority, which uses what training leaves over."""

import _thread
import os
from collections.abc import Callable
from typing import Any, TypeVar

from tasks.workers.failures import EndedError
from tasks.workers.listener import Listener

NICE = 19

Result = TypeVar("Result")


class BackgroundWorker:
    """Works on one call at a time."""

    def __init__(self, board: Any) -> None:
        """Step back behind every process of ordinary priority, and listen to the board for the end of the release."""
        os.nice(NICE)
        if hasattr(os, "SCHED_IDLE"):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        self._listener = Listener(board, _thread.interrupt_main)

    def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Return what `work` returns for these arguments.

        Raises:
            EndedError: the release ends, and the work is abandoned.
        """
        try:
            with self._listener.working():
                return work(*arguments)
        except KeyboardInterrupt:
            raise EndedError from None

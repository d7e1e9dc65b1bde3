"""Handles Ctrl-C, SIGTERM and a closed terminal, for a command and for a worker's flow.

If a flow is running, the first signal ends its session: no step is started any more, training saves a checkpoint, all
other work is abandoned, and flows raise `EndedError`. Otherwise the signal raises `InterruptError` in the main thread.
If the same signal comes again, a deadline passes, or flows are slow to return after the work has stopped, the process
exits at once and kills everything that it started.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from infra.child import adopt_orphans, kill_descendants
from infra.ray_cluster import remove_folders

if TYPE_CHECKING:
    from tasks.session import Session

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
UNWIND_SECONDS = 3.0  # for the flows of a command to return after the work has stopped; a worker's have the deadline
DEADLINE_SECONDS = 7.0  # the whole takes less than 10 s even on busy cores
SHOW_CURSOR = "\x1b[?25h\n"  # Progress bars hide it.


class InterruptError(BaseException):
    """The command was asked to end; the message names what is kept. Not an `Exception`, so it is not handled as one."""


class Ending:
    """The state of a process that may be asked to end, and the way it ends."""

    def __init__(self) -> None:
        """Start the thread that waits for a signal; starting one in a signal handler may deadlock."""
        self.number = 0
        self.kept = "what is finished is kept"
        self.session: Session | None = None
        self._asked, self._over = threading.Event(), threading.Event()
        self._leaving = threading.Lock()
        threading.Thread(target=self._end, name="ending", daemon=True).start()

    def take(self, number: int, _: FrameType | None) -> None:
        """Handle a signal."""
        if number == self.number:
            self.leave()
        if not self.number:
            self.number = number
            self._asked.set()
            if self.session is None:
                raise InterruptError(self.kept)

    def close(self) -> None:
        """Stop handling signals; the process continues."""
        self._over.set()
        self._asked.set()

    def leave(self) -> NoReturn:
        """End this process and its descendants now, with the exit code of the signal."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
        if not self._leaving.acquire(blocking=False):
            time.sleep(DEADLINE_SECONDS)  # another thread ends the process
        try:
            kill_descendants()
            remove_folders()
            if _current is self:  # only a command has a terminal
                kept = self.kept if self.session is None else self.session.kept()
                torn = SHOW_CURSOR if not self._over.is_set() and sys.stderr.isatty() else ""
                os.write(2, f"{torn}olmo: interrupted: {kept}; run the same command to go on\n".encode())
        finally:
            os._exit(128 + self.number)

    def _end(self) -> None:
        self._asked.wait()
        if self.number and _current is self:
            logging.disable()  # Prefect and Ray log cancelled work as errors
        threading.Thread(target=self._leave_after, args=(DEADLINE_SECONDS,), daemon=True).start()
        if self.session is not None:
            with suppress(Exception):  # work that cannot be stopped is killed
                self.session.end()
            if _current is self:
                self._leave_after(UNWIND_SECONDS)

    def _leave_after(self, seconds: float) -> None:
        if not self._over.wait(seconds):
            self.leave()


_current: Ending | None = None  # of the command


@contextmanager
def commanded() -> Iterator[None]:
    """Run a command in this block; if asked to end, it prints one line that names what is kept."""
    global _current
    adopt_orphans()
    ending = _current = Ending()
    before = _handle(ending.take)
    try:
        yield
    except BaseException as error:
        if not ending.number:
            raise
        ending.kept = str(error) if isinstance(error, InterruptError) else ending.kept
    finally:
        ending.close()
        if ending.number:
            ending.leave()
        _restore(before)
        _current = None


@contextmanager
def heeding(session: "Session") -> Iterator[None]:
    """Run a flow in this block; if asked to end, end its session.

    Only the main thread receives signals, and only the outermost flow runs in it: the parts of a release use threads.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ending = _current or Ending()
    ending.session = session
    before = _handle(ending.take)  # again, because Prefect replaces the SIGTERM handler at the start of a flow
    try:
        yield
    finally:
        _restore(before)
        ending.session, ending.kept = None, session.kept()
        if ending is not _current:
            ending.close()


def _handle(handler: Any) -> dict[int, Any]:
    """Handle all signals except ignored ones, such as SIGHUP under `nohup`; return the previous handlers."""
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)

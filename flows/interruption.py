"""How a command, and a worker's flow, end when Ctrl-C, SIGTERM or a closed terminal asks them to, whatever goes on.

Where a flow runs, the first signal ends its session: nothing more is begun, training saves, all else is abandoned, and
flows raise `EndedError`. Elsewhere it raises `InterruptError` in the main thread. When the same signal comes again, a
deadline has passed, or flows take long to end although nothing goes on any more, the process is left at once, and
everything that it started is killed.
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
UNWIND_SECONDS = 3.0  # for flows of a command, when nothing goes on any more; those of a worker have until the deadline
DEADLINE_SECONDS = 7.0  # so that the whole takes less than 10 on busy cores
SHOW_CURSOR = "\x1b[?25h\n"  # Progress bars hide it.


class InterruptError(BaseException):
    """The command was asked to end; says what is kept. No `Exception`, so that nothing takes it for a failure."""


class Ending:
    """Whether this process was asked to end, and how it goes on from there."""

    def __init__(self) -> None:
        """Ask nothing yet. A thread waits from the beginning on: to start one in a signal handler may deadlock."""
        self.number = 0
        self.kept = "what is finished is kept"
        self.session: Session | None = None
        self._asked, self._over = threading.Event(), threading.Event()
        self._leaving = threading.Lock()
        threading.Thread(target=self._end, name="ending", daemon=True).start()

    def take(self, number: int, _: FrameType | None) -> None:
        """Take a signal, as its handler."""
        if number == self.number:
            self.leave()
        if not self.number:
            self.number = number
            self._asked.set()
            if self.session is None:
                raise InterruptError(self.kept)

    def close(self) -> None:
        """Let go: the process lives on."""
        self._over.set()
        self._asked.set()

    def leave(self) -> NoReturn:
        """End this process and everything below it now, with the code of the signal."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
        if not self._leaving.acquire(blocking=False):
            time.sleep(DEADLINE_SECONDS)  # another thread does
        try:
            kill_descendants()
            remove_folders()
            if _current is self:  # a worker's flow has nobody who reads it
                kept = self.kept if self.session is None else self.session.kept()
                torn = SHOW_CURSOR if not self._over.is_set() and sys.stderr.isatty() else ""
                os.write(2, f"{torn}olmo: interrupted: {kept}; run the same command to go on\n".encode())
        finally:
            os._exit(128 + self.number)

    def _end(self) -> None:
        self._asked.wait()
        if self.number and _current is self:
            logging.disable()  # Prefect and Ray log as errors what is cancelled
        threading.Thread(target=self._leave_after, args=(DEADLINE_SECONDS,), daemon=True).start()
        if self.session is not None:
            with suppress(Exception):  # what cannot be stopped is killed
                self.session.end()
            if _current is self:
                self._leave_after(UNWIND_SECONDS)

    def _leave_after(self, seconds: float) -> None:
        if not self._over.wait(seconds):
            self.leave()


_current: Ending | None = None  # that of the command


@contextmanager
def commanded() -> Iterator[None]:
    """Run a command in this block: asked to end, it ends with one line that says what is kept."""
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
    """Run a flow in this block: asked to end, it ends its session.

    Only the main thread takes signals. There the flow is the outermost one: the parts of a release run in threads.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ending = _current or Ending()
    ending.session = session
    before = _handle(ending.take)  # again, because Prefect takes SIGTERM at the start of a flow
    try:
        yield
    finally:
        _restore(before)
        ending.session, ending.kept = None, session.kept()
        if ending is not _current:
            ending.close()


def _handle(handler: Any) -> dict[int, Any]:
    """Take the signals that this process does not ignore, as it does SIGHUP under `nohup`; returns who had them."""
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)

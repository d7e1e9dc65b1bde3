"""Wait for something to start or end as long as it makes progress, however slow the machine is."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import psutil

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
LINE_SECONDS = 5.0
STALLED_SECONDS = 300.0  # without a tick of CPU time or a byte of log; even a machine that swaps is faster

Show = Callable[[str], None]


class Lines:
    """Logs a wait: one line every `LINE_SECONDS`, and none for a shorter wait."""

    def __init__(self, write: Show = log.warning, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._next = clock() + LINE_SECONDS

    def __call__(self, text: str) -> None:
        """Write the text unless the last line is too recent."""
        if (now := self._clock()) >= self._next:
            self._next = now + LINE_SECONDS
            self._write(text)


class Patience:
    """A wait that fails only when the awaited process makes no progress any more."""

    def __init__(self, show: Show, clock: Callable[[], float] = time.monotonic) -> None:
        self._show = show
        self._clock = clock
        self._began = self._moved = clock()
        self._next = 0.0
        self._seen: object = None

    @property
    def seconds(self) -> float:
        """Seconds since the wait began."""
        return self._clock() - self._began

    def lasts(self, what: str, work: Callable[[], object]) -> bool:
        """Show the wait; return False once `work`, which changes with progress, has not changed for too long.

        Args:
            what: name of the awaited thing, for the message.
            work: returns a measure of progress.
        """
        now = self._clock()
        if now >= self._next:
            self._next = now + LOOK_SECONDS
            if (seen := work()) != self._seen:
                self._seen, self._moved = seen, now
            self._show(f"waiting for {what}, {now - self._began:.0f} s")
        return now - self._moved < STALLED_SECONDS


def work_of(pid: int, logfile: Path) -> tuple[float, int]:
    """Return a measure of a process's progress: CPU seconds of it and its descendants, and bytes of its log."""
    seconds = 0.0
    try:
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            seconds += sum(each.cpu_times()[:4])
    except psutil.Error:
        pass  # the process has just ended
    return seconds, logfile.stat().st_size if logfile.exists() else 0

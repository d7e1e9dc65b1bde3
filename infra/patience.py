"""How long something that starts or ends is waited for: as long as it works, however slow the machine is."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import psutil

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
LINE_SECONDS = 5.0
STALLED_SECONDS = 300.0  # without a tick of CPU time or a byte of log: not even a machine that swaps is that slow

Show = Callable[[str], None]


class Lines:
    """Shows what is waited for in a log: a line every few seconds, none for a wait of less."""

    def __init__(self, write: Show = log.warning, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._next = clock() + LINE_SECONDS

    def __call__(self, text: str) -> None:
        """Write the text, unless the last one is too fresh."""
        if (now := self._clock()) >= self._next:
            self._next = now + LINE_SECONDS
            self._write(text)


class Patience:
    """A wait that ends in failure only when what it waits for does nothing any more."""

    def __init__(self, show: Show, clock: Callable[[], float] = time.monotonic) -> None:
        self._show = show
        self._clock = clock
        self._began = self._moved = clock()
        self._next = 0.0
        self._seen: object = None

    @property
    def seconds(self) -> float:
        """How long it has waited."""
        return self._clock() - self._began

    def lasts(self, what: str, work: Callable[[], object]) -> bool:
        """Show what is waited for; return False once `work`, a measure that changes with progress, stands still."""
        now = self._clock()
        if now >= self._next:
            self._next = now + LOOK_SECONDS
            if (seen := work()) != self._seen:
                self._seen, self._moved = seen, now
            self._show(f"waiting for {what}, {now - self._began:.0f} s")
        return now - self._moved < STALLED_SECONDS


def work_of(pid: int, logfile: Path) -> tuple[float, int]:
    """Return what changes while a process works: CPU seconds of it and its descendants, bytes of its log."""
    seconds = 0.0
    try:
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            seconds += sum(each.cpu_times()[:4])
    except psutil.Error:
        pass  # it has just ended
    return seconds, logfile.stat().st_size if logfile.exists() else 0

"""Runs a command in a pseudo-terminal, as a user does: Ctrl-C goes to all foreground processes."""

import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

MARK = "OLMO_TEST_MARK"
LIMIT_SECONDS = 600.0  # for a release on a busy machine; otherwise nothing here takes a minute
DRAIN_SECONDS = 10.0  # for what an ended command has printed to come through the terminal
CTRL_C = b"\x03"


class Terminal:
    """A pseudo-terminal that runs one command."""

    def __init__(self, command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        """Start the command; it and its descendants have a mark in their environment."""
        self._mark = f"{MARK}={os.getpid()}-{time.monotonic_ns()}"
        name, _, value = self._mark.partition("=")
        self.output = ""
        self.pid, self._side = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(command[0], command, {**environment, name: value, "TERM": "xterm", "COLUMNS": "160"})

    def until(self, words: str) -> None:
        """Read until these words appear."""
        self._read(lambda: words in self.output, f"{words!r} did not appear")

    def press(self, key: bytes = CTRL_C) -> None:
        os.write(self._side, key)

    def kill(self, number: signal.Signals) -> None:
        """Send a signal only to the command."""
        os.kill(self.pid, number)

    def end(self) -> int:
        """Read until the command has ended, and what it has printed; return the exit code."""
        self._read(self._has_ended, "the command did not end")
        _, status = os.waitpid(self.pid, 0)
        drained = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < drained and self._take():
            pass
        return os.waitstatus_to_exitcode(status)

    def left(self) -> list[str]:
        """Return the command lines of all started processes that still run."""
        found = []
        for process in psutil.process_iter():
            try:
                if self._mark.encode() in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                    found.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
            except (OSError, psutil.Error):
                continue
        return found

    def _read(self, met: Callable[[], bool], message: str) -> None:
        end = time.monotonic() + LIMIT_SECONDS
        while not met():
            assert time.monotonic() < end, f"{message}; {self._threads()}:\n{self.output[-4000:]}"
            if not self._take():
                return

    def _take(self) -> bool:
        """Read what has been printed; return False once no process has the terminal open."""
        if not select.select([self._side], [], [], 0.2)[0]:
            return True
        try:
            data = os.read(self._side, 65536)
        except OSError:
            return False
        self.output += data.decode(errors="replace")
        return bool(data)

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _threads(self) -> str:
        """Return where in the kernel each thread of the command waits."""
        found = []
        for folder in sorted(Path(f"/proc/{self.pid}/task").glob("*")):
            with suppress(OSError):
                found.append(f"{(folder / 'comm').read_text().strip()} in {(folder / 'wchan').read_text()}")
        return ", ".join(found)


def olmo() -> str:
    return str(Path(sys.executable).with_name("olmo"))


def plain(text: str) -> list[str]:
    """Return the printed lines without cursor movements and ^C."""
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("^C", "").replace("\r", "\n").splitlines()
    return [line for line in lines if line.strip()]

"""Ports of this machine: find a free one, and the process that listens on one."""

import socket
from dataclasses import dataclass

import psutil

HOST = "127.0.0.1"
_COMMAND_CHARACTERS = 100


@dataclass(frozen=True)
class Holder:
    """A process that listens on a port; `pid` is None if it belongs to another user."""

    pid: int | None

    def __str__(self) -> str:
        """Return how messages name it."""
        if self.pid is None:
            return "a process of another user"
        try:
            command = " ".join(psutil.Process(self.pid).cmdline())
        except psutil.Error:
            command = ""
        return f"process {self.pid} ({command[:_COMMAND_CHARACTERS]})" if command else f"process {self.pid}"

    def belongs_to(self, pid: int) -> bool:
        """Return whether it is the process `pid` or a descendant of it; True if that cannot be determined."""
        if self.pid in (None, pid):
            return True
        try:
            return pid in {parent.pid for parent in psutil.Process(self.pid).parents()}
        except psutil.Error:
            return True


def free_port() -> int:
    """Return a port on which no process listens."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def in_use(port: int) -> bool:
    """Return whether a process listens on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: ignore TIME_WAIT of an old socket
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
        return False


def holder(port: int) -> Holder | None:
    """Return the process that listens on a port, None if there is none."""
    if not in_use(port):
        return None
    try:
        found = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    except psutil.AccessDenied:  # macOS lists connections for root only
        return Holder(None)
    return Holder(next((each.pid for each in found if each.laddr and each.laddr.port == port), None))

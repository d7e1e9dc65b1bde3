"""Ports of this machine: a free one, and who listens on one."""

import socket
from dataclasses import dataclass

import psutil

HOST = "127.0.0.1"
_COMMAND_CHARACTERS = 100


@dataclass(frozen=True)
class Holder:
    """A process that listens on a port; `pid` is None where it belongs to another user."""

    pid: int | None

    def __str__(self) -> str:
        """Name it for people."""
        if self.pid is None:
            return "a process of another user"
        try:
            command = " ".join(psutil.Process(self.pid).cmdline())
        except psutil.Error:
            command = ""
        return f"process {self.pid} ({command[:_COMMAND_CHARACTERS]})" if command else f"process {self.pid}"

    def belongs_to(self, pid: int) -> bool:
        """Whether it is a process or one of its descendants; True where that cannot be seen."""
        if self.pid in (None, pid):
            return True
        try:
            return pid in {parent.pid for parent in psutil.Process(self.pid).parents()}
        except psutil.Error:
            return True


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def taken(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: the past owner's state is no owner
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
        return False


def holder(port: int) -> Holder | None:
    """Return who listens on a port, None where nobody does."""
    if not taken(port):
        return None
    try:
        found = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    except psutil.AccessDenied:  # macOS shows connections to root alone
        return Holder(None)
    return Holder(next((each.pid for each in found if each.laddr and each.laddr.port == port), None))

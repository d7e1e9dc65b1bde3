"""A group of server processes under supervisord: started together, restarted one by one, stopped together.

supervisord is a daemon, so the group outlives the command that started it; requests go through a Unix socket.
`programs` defines the servers.
"""

import contextlib
import hashlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil

from infra.patience import Lines, Patience, Show, work_of
from infra.services.errors import ServiceError
from infra.sockets import shared_folder

NAME_BYTES = 44  # of a socket's name, with a user id and the pid that supervisord appends while binding


@dataclass(frozen=True)
class Program:
    """One process of the group.

    Attributes:
        name: name of the process, of its log, and in messages.
        command: its command line.
        environment: its own variables, none of them secret; secrets are in the environment of the group.
        user: user that it runs as; by default the one who starts the group.
        once: whether it ends when its work is done, and is not restarted.
        signal: signal that asks it to end.
        grace: seconds from that signal until it is killed.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    once: bool = False
    signal: str = "TERM"
    grace: int = 5


@dataclass(frozen=True)
class State:
    """The state of a program: supervisord's name for it, its pid, and the exit code if it ended."""

    name: str
    pid: int
    exit_code: int

    @property
    def done(self) -> bool:
        """Whether a program that runs once has finished successfully."""
        return self.name == "EXITED" and self.exit_code == 0


class Group:
    """The servers of one home folder."""

    def __init__(self, folder: Path) -> None:
        """Refer to the group of a folder without starting anything."""
        self.folder = folder
        self.logs = folder / "logs"
        self._socket = short_path(folder, ".sock", NAME_BYTES)

    @property
    def running(self) -> bool:
        """Whether the group's supervisord is alive, even if it is ending or its socket was removed."""
        return self._supervisor is not None

    def start(self, programs: Sequence[Program], environment: Mapping[str, str], show: Show | None = None) -> None:
        """Start the supervisor; `launch` then starts the programs.

        Args:
            programs: programs to supervise.
            environment: environment of every program, with secrets; it is never in a file or on a command line.
            show: called with a description of the wait.

        Raises:
            ServiceError: the supervisor did not start; names its log.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        self._configured.write_text(self._configuration(programs))
        command = [sys.executable, "-m", "supervisor.supervisord", "--configuration", str(self._configured)]
        patience = Patience(show or Lines())
        done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, cwd=self.folder)
        while done.returncode == 0 and self._states() is None:
            # The command returns once it has bound its socket and forked a process that will write its pid.
            if not patience.lasts("supervisord", self._work):
                break
            time.sleep(0.05)
        if self._states() is None:
            output = (done.stderr or done.stdout).strip().splitlines()
            raise ServiceError(f"supervisord did not start: {output[-1] if output else f'see {self._log}'}")

    @property
    def answers(self) -> bool:
        """Whether the supervisor answers; its socket may have been removed by a cleaner of temporary folders."""
        return self._states() is not None

    def launch(self, name: str) -> None:
        """Start a program unless it is running."""
        with contextlib.suppress(Fault):  # it is running already
            self._call("startProcess", name, False)

    def states(self) -> dict[str, State]:
        """Return the state of every program by name; {} if the group is not up."""
        return self._states() or {}

    def log(self, name: str) -> Path:
        """Return the file with a program's output."""
        return self.logs / f"{name}.log"

    def stop(self, show: Show | None = None) -> None:
        """End every program and the supervisor.

        Raises:
            ServiceError: the supervisor does not end; names its log.
        """
        patience = Patience(show or Lines())
        if (supervisor := self._supervisor) is not None:
            try:
                supervisor.terminate()  # needs no socket; it ends all programs before itself
            except psutil.AccessDenied:
                owner = supervisor.username()
                raise ServiceError(
                    f"the services of {self.folder} were started by {owner}, who can stop them"
                ) from None
            except psutil.NoSuchProcess:
                pass
        while self.running:
            if not patience.lasts("the services to end", self._work):
                raise ServiceError(f"the services do not end; see {self._log}")
            time.sleep(0.05)

    @property
    def _log(self) -> Path:
        return self.logs / "supervisord.log"

    @property
    def _pid(self) -> Path:
        return self.folder / "supervisord.pid"

    @property
    def _configured(self) -> Path:
        return self.folder / "supervisord.conf"

    @property
    def _supervisor(self) -> psutil.Process | None:
        """The process with the pid stored in the folder, if it is still this group's supervisord."""
        try:
            process = psutil.Process(int(self._pid.read_text()))
            alive = str(self._configured) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, psutil.Error):
            return None
        return process if alive else None

    def _work(self) -> object:
        supervisor = self._supervisor
        return supervisor and work_of(supervisor.pid, self._log)

    def _states(self) -> dict[str, State] | None:
        """Return the states of all programs, None if the supervisor does not answer."""
        try:
            found = self._call("getAllProcessInfo")
        except (OSError, HTTPException, Fault):
            return None
        return {each["name"]: State(each["statename"], each["pid"], each["exitstatus"]) for each in found}

    def _call(self, method: str, *arguments: Any) -> Any:
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport("", "", f"unix://{self._socket}")
        with ServerProxy("http://localhost", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def _configuration(self, programs: Sequence[Program]) -> str:
        return "\n".join([*self._head(), *(line for each in programs for line in self._section(each))]) + "\n"

    def _head(self) -> Iterator[str]:
        yield "[supervisord]"
        yield f"logfile = {_plain(self._log)}"
        yield f"pidfile = {_plain(self._pid)}"
        yield f"childlogdir = {_plain(self.logs)}"
        yield from ["user = root"] if os.getuid() == 0 else []  # supervisord requires root to name itself
        yield "[unix_http_server]"
        yield f"file = {_plain(self._socket)}"
        yield "chmod = 0600"
        yield "[rpcinterface:supervisor]"
        yield "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface"

    def _section(self, program: Program) -> Iterator[str]:
        yield f"[program:{program.name}]"
        variables = [f"{name}={value}" for name, value in sorted(program.environment.items())]
        yield f"command = {_plain(shlex.join([*(['env'] if variables else []), *variables, *program.command]))}"
        if program.user is not None:
            yield f"user = {program.user}"
        yield "autostart = false"
        yield f"autorestart = {'unexpected' if program.once else 'true'}"
        yield f"startsecs = {0 if program.once else 1}"
        yield "startretries = 1000"  # it waits longer each time; the state is BACKOFF meanwhile
        yield f"stopsignal = {program.signal}"
        yield "stopasgroup = true"
        yield "killasgroup = true"
        yield f"stopwaitsecs = {program.grace}"
        yield "redirect_stderr = true"
        yield f"stdout_logfile = {_plain(self.log(program.name))}"
        yield "stdout_logfile_maxbytes = 10MB"
        yield "stdout_logfile_backups = 1"


def short_path(folder: Path, ending: str, room: int) -> Path:
    """Return a path that is unique to `folder` and this user, and short enough for sockets.

    Args:
        folder: home of the group.
        ending: end of the path's name.
        room: bytes of the name, and of a socket's path below it.

    Raises:
        ServiceError: no folder is short enough; names TMPDIR.
    """
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    return shared_folder(room) / f"olmo-{os.getuid()}-{name}{ending}"


def _plain(value: object) -> str:
    """Return text escaped for supervisord's configuration, in which % begins an expansion."""
    return str(value).replace("%", "%%")

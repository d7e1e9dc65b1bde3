"""A group of server processes kept alive by supervisord: started together, restarted one by one, stopped together.

supervisord is a daemon of its own, so the group outlives the command that started it; it is asked over a Unix socket.
Which servers there are is said by `programs`.
"""

import contextlib
import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

START_SECONDS = 20.0
STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Program:
    """One process of the group.

    Attributes:
        name: of the process, of its log, and in every message.
        command: what it runs.
        environment: variables of its own, none of them secret; secrets come with the environment of the group.
        user: whom it runs as; whoever starts the group when not given.
        once: it ends when its work is done, and is not started again.
        signal: what asks it to end.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    once: bool = False
    signal: str = "TERM"


@dataclass(frozen=True)
class State:
    """What became of a program: supervisord's name of its state, its pid, and the exit code of one that ended."""

    name: str
    pid: int
    exit_code: int

    @property
    def done(self) -> bool:
        """Whether a program that runs once has done its work."""
        return self.name == "EXITED" and self.exit_code == 0


class Group:
    """The servers of one home folder."""

    def __init__(self, folder: Path) -> None:
        """Know a group by its folder; nothing is started."""
        self.folder = folder
        self.logs = folder / "logs"
        self._socket = short_path(folder, ".sock")

    @property
    def running(self) -> bool:
        """Whether the group's supervisord answers, be it that it is on its way out."""
        try:
            return self._socket.exists() and self._answer("getState") is not None
        except Fault:
            return True

    def start(self, programs: Sequence[Program], environment: Mapping[str, str]) -> None:
        """Start the supervisor; programs wait for `launch`.

        Args:
            programs: what it looks after.
            environment: of every program, secrets among it; it is in no file and on no command line.

        Raises:
            RuntimeError: it did not start; names its log.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "supervisord.conf"
        configuration.write_text(self._configuration(programs))
        command = [sys.executable, "-m", "supervisor.supervisord", "--configuration", str(configuration)]
        done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, cwd=self.folder)
        deadline = time.monotonic() + START_SECONDS
        while done.returncode == 0 and not self.running and time.monotonic() < deadline:
            time.sleep(0.05)
        if not self.running:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise RuntimeError(f"supervisord did not start: {said[-1] if said else f'see {self._log}'}")

    def launch(self, name: str) -> None:
        """Start a program, unless it runs."""
        with contextlib.suppress(Fault):  # it runs already
            self._call("startProcess", name, False)

    def states(self) -> dict[str, State]:
        """Return the state of every program by name; none where the group is not up."""
        found: list[dict[str, Any]] = self._answer("getAllProcessInfo") or []
        return {each["name"]: State(each["statename"], each["pid"], each["exitstatus"]) for each in found}

    def log(self, name: str) -> Path:
        """Return where a program's output goes."""
        return self.logs / f"{name}.log"

    def stop(self) -> None:
        """End every program and the supervisor.

        Raises:
            RuntimeError: something of it is still there; names its log.
        """
        with contextlib.suppress(Fault):  # it is on its way out already
            self._answer("shutdown")
        deadline = time.monotonic() + STOP_SECONDS
        while self.running:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the services did not end within {STOP_SECONDS:.0f} s; see {self._log}")
            time.sleep(0.05)

    @property
    def _log(self) -> Path:
        return self.logs / "supervisord.log"

    def _answer(self, method: str) -> Any:
        """Call a method of supervisord; None where nobody answers."""
        try:
            return self._call(method)
        except (OSError, HTTPException):
            return None

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
        yield f"pidfile = {_plain(self.folder / 'supervisord.pid')}"
        yield f"childlogdir = {_plain(self.logs)}"
        yield from ["user = root"] if os.getuid() == 0 else []  # it asks root to say so
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
        yield "startretries = 1000"  # it waits longer each time; whoever looks at the states sees BACKOFF
        yield f"stopsignal = {program.signal}"
        yield "stopasgroup = true"
        yield "killasgroup = true"
        yield "stopwaitsecs = 5"
        yield "redirect_stderr = true"
        yield f"stdout_logfile = {_plain(self.log(program.name))}"
        yield "stdout_logfile_maxbytes = 10MB"
        yield "stdout_logfile_backups = 1"


def short_path(folder: Path, ending: str) -> Path:
    """Return a path of the temporary folder that belongs to `folder` and this user.

    For sockets, whose paths may have 107 characters, while a home folder may lie anywhere.
    """
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"olmo-{os.getuid()}-{name}{ending}"


def _plain(value: object) -> str:
    """Return text as supervisord's configuration takes it, where % begins an expansion."""
    return str(value).replace("%", "%%")

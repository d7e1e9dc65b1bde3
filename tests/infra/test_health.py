"""Health of servers, from the states of supervisord and the processes that hold ports of this machine."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from infra.services import health
from infra.services.errors import ServiceError
from infra.services.health import await_health, works
from infra.services.programs import Service
from infra.services.supervisor import Group, Program, State

UP = State("RUNNING", os.getpid(), 0)


class ScriptedGroup:
    """A group whose program passes through these states and stays in the last one."""

    def __init__(self, folder: Path, *states: State) -> None:
        self._folder = folder
        self._states: Iterator[State] = iter(states)
        self._last = states[-1]

    def states(self) -> dict[str, State]:
        return {"ray": next(self._states, self._last)}

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PAUSE_SECONDS", 0)


def service(**fields: Any) -> Service:
    return Service(Program("ray", ["ray"]), 0, **fields)


def waited(folder: Path, found: Service, *states: State) -> list[str]:
    healthy: list[str] = []
    group = cast(Group, ScriptedGroup(folder, *states))
    await_health(group, [found], lambda _: None, lambda name, _: healthy.append(name))
    return healthy


def test_slow_server_is_waited_for(tmp_path: Path) -> None:
    answers = iter([False] * 1000 + [True])
    assert waited(tmp_path, service(healthy=lambda: next(answers)), UP) == ["ray"]


def test_server_that_ended_once_is_waited_for(tmp_path: Path) -> None:
    states = (State("RUNNING", 1, 0), State("BACKOFF", 0, 1), UP)
    answers = iter([False, True])
    assert waited(tmp_path, service(healthy=lambda: next(answers)), *states) == ["ray"]


def test_restart_loop_names_the_holder_of_its_port(tmp_path: Path) -> None:
    (tmp_path / "ray.log").write_text("Traceback\nFailed to find a valid port for dashboard.\n")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        loop = [State("RUNNING", 2_000_000_000 + turn, 1) for turn in range(10)]
        found = service(ports={"dashboard_port": port}, healthy=lambda: True)  # the other process answers there
        with pytest.raises(ServiceError) as error:
            waited(tmp_path, found, *loop)
    message = str(error.value)
    conflict = f"port {port} (services.dashboard_port of the profile) is in use by process {os.getpid()} ("
    assert message.startswith(f"ray keeps ending and being restarted, {conflict}")
    assert message.endswith(f": Failed to find a valid port for dashboard.; its log is {tmp_path / 'ray.log'}")


def test_answer_of_another_process_on_port_is_ignored(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = service(ports={"dashboard_port": server.getsockname()[1]}, healthy=lambda: True)
        assert works(found, UP)
        assert works(found, State("RUNNING", os.getppid(), 0)), "its child listens"
        assert not works(found, State("RUNNING", 2_000_000_000, 0))
    assert not works(service(healthy=lambda: True), State("BACKOFF", 0, 1))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (State("FATAL", 0, 3), "ray is FATAL and ended with code 3: it wrote no log"),
        (State("RUNNING", os.getpid(), 0), "ray makes no progress: it wrote no log"),
    ],
)
def test_server_that_cannot_start_is_reported(
    state: State, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.patience.STALLED_SECONDS", 0)
    with pytest.raises(ServiceError, match=message):
        waited(tmp_path, service(healthy=lambda: False), state)

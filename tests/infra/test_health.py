"""Servers as supervisord tells of them, and ports as processes of this machine hold them."""

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


class Told:
    """A group whose programs pass through these states, the last of them for ever."""

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
    told: list[str] = []
    await_health(cast(Group, Told(folder, *states)), [found], lambda _: None, lambda name, _: told.append(name))
    return told


def test_a_slow_server_is_waited_for(tmp_path: Path) -> None:
    answers = iter([False] * 1000 + [True])
    assert waited(tmp_path, service(healthy=lambda: next(answers)), UP) == ["ray"]


def test_a_server_that_ended_once_is_waited_for(tmp_path: Path) -> None:
    states = (State("RUNNING", 1, 0), State("BACKOFF", 0, 1), UP)
    answers = iter([False, True])
    assert waited(tmp_path, service(healthy=lambda: next(answers)), *states) == ["ray"]


def test_a_loop_of_restarts_is_told_with_what_holds_the_port(tmp_path: Path) -> None:
    (tmp_path / "ray.log").write_text("Traceback\nFailed to find a valid port for dashboard.\n")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        loop = [State("RUNNING", 2_000_000_000 + turn, 1) for turn in range(10)]
        found = service(ports={"dashboard_port": port}, healthy=lambda: True)  # the other one answers there
        with pytest.raises(ServiceError) as error:
            waited(tmp_path, found, *loop)
    said = str(error.value)
    assert said.startswith(
        f"ray is started again and again, port {port} (services.dashboard_port of the profile) is in"
    )
    assert f"use by process {os.getpid()} (" in said
    assert said.endswith(f": Failed to find a valid port for dashboard.; all it said is in {tmp_path / 'ray.log'}")


def test_an_answer_on_a_port_of_another_is_none(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = service(ports={"dashboard_port": server.getsockname()[1]}, healthy=lambda: True)
        assert works(found, UP)
        assert works(found, State("RUNNING", os.getppid(), 0)), "a child of it listens"
        assert not works(found, State("RUNNING", 2_000_000_000, 0))
    assert not works(service(healthy=lambda: True), State("BACKOFF", 0, 1))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (State("FATAL", 0, 3), "ray is FATAL and ended with code 3: it said nothing"),
        (State("RUNNING", os.getpid(), 0), "ray has come to a standstill: it said nothing"),
    ],
)
def test_a_server_that_cannot_come_up_is_told(
    state: State, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.patience.STALLED_SECONDS", 0)
    with pytest.raises(ServiceError, match=said):
        waited(tmp_path, service(healthy=lambda: False), state)

"""The real supervisor's configuration and its failures, without the process."""

import configparser
import shlex
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from infra.services import supervisor
from infra.services.errors import ServiceError
from infra.services.supervisor import Group, Program


def configuration(folder: Path, *programs: Program) -> configparser.RawConfigParser:
    parsed = configparser.RawConfigParser()
    parsed.read_string(Group(folder)._configuration(programs))
    return parsed


def test_configuration_keeps_percent_signs_and_quotes_arguments(tmp_path: Path) -> None:
    folder = tmp_path / "100% mine"
    program = Program("one", ["run", "a b", "50%"], {"X": "it's", "A": "%d"}, user="me", signal="INT", grace=60)
    section = dict(configuration(folder, program)["program:one"])
    assert shlex.split(section["command"].replace("%%", "%")) == ["env", "A=%d", "X=it's", "run", "a b", "50%"]
    assert section["stdout_logfile"] == str(folder / "logs" / "one.log").replace("%", "%%")
    assert (section["user"], section["stopsignal"], section["stopwaitsecs"]) == ("me", "INT", "60")


@pytest.mark.parametrize(("once", "restarts", "seconds"), [(True, "unexpected", "0"), (False, "true", "1")])
def test_only_a_program_that_runs_once_may_end(once: bool, restarts: str, seconds: str, tmp_path: Path) -> None:
    section = configuration(tmp_path, Program("one", ["run"], once=once))["program:one"]
    assert (section["autorestart"], section["startsecs"], section["autostart"]) == (restarts, seconds, "false")
    assert section["command"] == "run", "no `env` without variables"
    assert "user" not in section


@pytest.mark.parametrize(("uid", "named"), [(0, True), (1000, False)])
def test_root_alone_is_named_in_the_configuration(
    uid: int, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor.os, "getuid", lambda: uid)
    found = configuration(tmp_path)
    assert ("user" in found["supervisord"]) == named
    assert found["unix_http_server"]["chmod"] == "0600"


@pytest.mark.parametrize(
    ("output", "message"),
    [("Error: one\nError: no such user\n", "Error: no such user"), ("", r"see .*supervisord\.log")],
)
def test_supervisor_that_does_not_start_gives_its_last_line_or_log(
    output: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = SimpleNamespace(returncode=2, stderr=output, stdout="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(ServiceError, match=f"^supervisord did not start: {message}"):
        Group(tmp_path).start([Program("one", ["run"])], {}, lambda _: None)


class Process:
    """A supervisord of another user, or one that ends or does not."""

    pid = 2_000_000_000

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def terminate(self) -> None:
        if self._error is not None:
            raise self._error

    def username(self) -> str:
        return "alice"


def alive(monkeypatch: pytest.MonkeyPatch, *found: Any) -> None:
    answers = iter(found)
    monkeypatch.setattr(Group, "_supervisor", property(lambda _: next(answers, found[-1])))


def test_servers_of_another_user_are_not_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive(monkeypatch, Process(psutil.AccessDenied(7)))
    with pytest.raises(ServiceError, match=rf"{tmp_path} were started by alice"):
        Group(tmp_path).stop(lambda _: None)


def test_supervisor_that_is_gone_already_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive(monkeypatch, Process(psutil.NoSuchProcess(7)), None)
    Group(tmp_path).stop(lambda _: None)


def test_supervisor_that_does_not_end_is_named_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive(monkeypatch, Process())
    monkeypatch.setattr("infra.patience.STALLED_SECONDS", 0)
    with pytest.raises(ServiceError, match=rf"do not end; see {tmp_path}/logs/supervisord\.log"):
        Group(tmp_path).stop(lambda _: None)


def test_socket_of_nobody_answers_nothing(tmp_path: Path) -> None:
    found = Group(tmp_path)
    with socket.socket(socket.AF_UNIX) as dead:
        found._socket.unlink(missing_ok=True)
        dead.bind(str(found._socket))
    try:
        assert not found.answers
        assert found.states() == {}
    finally:
        found._socket.unlink()

"""The servers as one group, with a supervisor that is written down: the order of events, and what is refused first."""

import os
import shlex
import sqlite3
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest

from infra.profile import Profile
from infra.services import group
from infra.services.errors import ServiceError
from infra.services.group import (
    await_services,
    bring_up,
    environment_file,
    services_up,
    states,
    take_down,
    taken_ports,
    unhealthy,
)
from infra.services.programs import Service, ray_folder
from infra.services.supervisor import Program, State

UP = State("RUNNING", os.getpid(), 0)


class Supervisor:
    """Stands for the supervisor of a folder: programs run as soon as they are launched."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.logs = folder, folder / "logs"

    log_of_events: ClassVar[list[str]] = []
    running: ClassVar[bool] = False
    answers: ClassVar[bool] = True
    started: ClassVar[dict[str, State]] = {}

    def start(self, programs: Sequence[Program], environment: Mapping[str, str], show: object) -> None:
        self.log_of_events.append("start " + ",".join(each.name for each in programs))
        Supervisor.running = True
        for each in programs:
            self.started[each.name] = State("STOPPED", 0, 0)

    def launch(self, name: str) -> None:
        self.log_of_events.append(f"launch {name}")
        self.started[name] = State("EXITED", 0, 0) if name == "register" else UP

    def states(self) -> dict[str, State]:
        return dict(self.started)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def stop(self, show: object) -> None:
        self.log_of_events.append("stop")
        Supervisor.running = False


SERVERS = [
    Service(Program("database", ["database"]), 0),
    Service(Program("prefect", ["prefect"]), 1),
    Service(Program("mlflow", ["mlflow"]), 1),
    Service(Program("register", ["register"], once=True), 2),
]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    log: list[str] = []
    monkeypatch.setattr(os, "environ", {**os.environ, "OLMO_HOME": str(tmp_path / "home")})
    for name, value in (("log_of_events", log), ("running", False), ("answers", True), ("started", {})):
        monkeypatch.setattr(Supervisor, name, value)
    monkeypatch.setattr(group, "Group", Supervisor)
    monkeypatch.setattr(group, "services", lambda *_: SERVERS)
    monkeypatch.setattr(group, "holder", lambda _: None)
    monkeypatch.setattr("infra.services.health.PAUSE_SECONDS", 0)
    yield log


@pytest.fixture
def profile(events: list[str]) -> Profile:
    return Profile(name="test")


def up(profile: Profile) -> list[str]:
    healthy: list[str] = []
    bring_up(profile, "test", [], lambda name, _: healthy.append(name), lambda _: None)
    return healthy


def test_servers_are_launched_wave_by_wave(profile: Profile, events: list[str]) -> None:
    assert up(profile) == ["database", "prefect", "mlflow", "register"]
    assert events == [
        "start database,prefect,mlflow,register",
        *(f"launch {name}" for name in ("database", "prefect", "mlflow", "register")),
    ]


def test_later_wave_waits_for_the_one_before(
    profile: Profile, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def healthy() -> bool:
        asked.append(events[1:])
        return len(asked) > 3

    slow = [Service(Program("database", ["database"]), 0, healthy=healthy), *SERVERS[1:]]
    monkeypatch.setattr(group, "services", lambda *_: slow)
    up(profile)
    assert asked[:4] == [["launch database"]] * 4


def test_servers_that_are_up_are_not_started_again_and_deployments_are_registered(
    profile: Profile, events: list[str]
) -> None:
    up(profile)
    events.clear()
    assert up(profile) == ["database", "prefect", "mlflow", "register"]
    assert "start" not in " ".join(events) and "launch register" in events


def test_shell_gets_a_private_file_that_goes_with_the_servers(profile: Profile) -> None:
    up(profile)
    file = environment_file(profile)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert f"export OLMO_HOME={shlex.quote(str(profile.folder))}\n" in file.read_text()
    assert ray_folder(profile).is_dir()
    assert stat.S_IMODE(ray_folder(profile).stat().st_mode) == 0o700
    assert take_down(profile, lambda _: None)
    assert not file.exists() and not ray_folder(profile).exists()
    assert not take_down(profile), "there is nothing left to stop"


def test_logs_of_ray_are_linked_beside_the_others_in_place_of_an_old_link(profile: Profile) -> None:
    link = profile.folder / "services" / "logs" / "ray-cluster"
    link.parent.mkdir(parents=True)
    link.symlink_to("/of/a/machine/that/crashed")
    up(profile)
    assert link.readlink() == ray_folder(profile) / "ray" / "session_latest" / "logs"
    take_down(profile, lambda _: None)
    assert not link.is_symlink()


def test_port_in_use_is_refused_before_anything_starts(
    profile: Profile, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "holder", lambda port: "process 7 (nginx)" if port == 5000 else None)
    assert taken_ports(profile) == ["port 5000 (services.mlflow_port) is in use by process 7 (nginx)"]
    with pytest.raises(ServiceError, match=r"5000 \(services\.mlflow_port\).*nginx.*another port"):
        up(profile)
    assert events == []


def test_ports_of_servers_that_are_up_are_their_own(
    profile: Profile, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    up(profile)
    monkeypatch.setattr(group, "holder", lambda _: "process 7 (python)")
    up(profile)


def write_schema(path: Path, schema: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table alembic_version (version_num text)")
        connection.execute("insert into alembic_version values (?)", (schema,))


def test_file_of_a_newer_version_matters_only_where_it_is_used(profile: Profile, events: list[str]) -> None:
    write_schema(profile.folder / "mlflow.db", "ffffffffffff")
    with pytest.raises(ServiceError, match=r"mlflow\.db has schema ffffffffffff"):
        up(profile)
    assert events == []
    postgres = profile.model_copy(update={"services": profile.services.model_copy(update={"postgres_port": 5432})})
    up(postgres)


def test_error_of_a_program_is_one_of_the_services(
    profile: Profile, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("PostgreSQL is not installed")

    monkeypatch.setattr(group, "services", refuse)
    with pytest.raises(ServiceError, match="PostgreSQL is not installed"):
        up(profile)
    assert events == []


def test_supervisor_without_its_socket_is_named_with_the_way_out(profile: Profile) -> None:
    up(profile)
    Supervisor.answers = False
    for call in (up, await_services, unhealthy):
        with pytest.raises(ServiceError, match=r"socket .*removed.*olmo down.*olmo up"):
            call(profile)
    take_down(profile, lambda _: None)
    await_services(profile)


def test_unhealthy_servers_have_a_line_each(profile: Profile) -> None:
    up(profile)
    assert unhealthy(profile) == []
    Supervisor.started["mlflow"] = State("BACKOFF", 0, 3)
    del Supervisor.started["database"]
    Supervisor.started["register"] = State("EXITED", 0, 1)  # it ran once, long ago
    found = unhealthy(profile)
    assert [line.partition(":")[0] for line in found] == ["database is GONE", "mlflow is BACKOFF and ended with code 3"]
    assert states(profile) == {"prefect": "RUNNING", "mlflow": "BACKOFF", "register": "EXITED"}


def test_server_that_ended_while_the_others_started_is_reported(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = Supervisor.launch

    def launch_and_lose(self: Supervisor, name: str) -> None:
        launch(self, name)
        if name == "register":
            self.started["database"] = State("FATAL", 0, 9)

    monkeypatch.setattr(Supervisor, "launch", launch_and_lose)
    with pytest.raises(ServiceError, match="database is FATAL and ended with code 9"):
        up(profile)


def test_services_are_up_from_start_to_stop(profile: Profile) -> None:
    assert not services_up(profile)
    up(profile)
    assert services_up(profile)
    take_down(profile, lambda _: None)
    assert not services_up(profile)

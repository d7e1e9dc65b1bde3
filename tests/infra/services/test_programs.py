"""The servers of a profile as they are started: ports, order, addresses, and where secrets are and are not."""

import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra import sockets
from infra.profile import Profile
from infra.services import postgres
from infra.services.errors import ServiceError
from infra.services.programs import (
    Service,
    _answers,
    client_settings,
    ray_folder,
    server_environment,
    services,
)
from infra.services.supervisor import Program
from infra.services.tokens import Tokens, tokens
from infra.sockets import PATH_BYTES

PORTS = {"prefect_port": 4301, "mlflow_port": 5301, "ray_port": 6301, "ray_client_port": 10301, "dashboard_port": 8301}
SECRETS = ("prefect", "mlflow", "mlflow_cookies", "ray", "postgres")


@pytest.fixture
def secret(tmp_path: Path) -> Tokens:
    return tokens(tmp_path / "services" / "tokens")


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    monkeypatch.setenv("OLMO_HOME", str(tmp_path))
    return Profile.model_validate({"name": "test", "services": PORTS, "ray": {"cpus": 3}})


@pytest.fixture
def with_postgres(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> Profile:
    monkeypatch.setattr(postgres, "prepare", lambda folder, *_: Program("postgres", ["postgres", str(folder)]))
    return profile.model_copy(update={"services": profile.services.model_copy(update={"postgres_port": 5401})})


def found(profile: Profile, secret: Tokens, *recipes: str) -> dict[str, Service]:
    return {each.program.name: each for each in services(profile, secret, profile.name, recipes)}


def options(service: Service) -> dict[str, str]:
    """Option -> the word after it on the command line."""
    command = list(service.program.command)
    return {word: following for word, following in zip(command, [*command[1:], ""], strict=True) if word[0] == "-"}


def test_every_server_listens_on_its_port_of_the_loopback_interface(profile: Profile, secret: Tokens) -> None:
    servers = found(profile, secret)
    assert (options(servers["prefect"])["--host"], options(servers["prefect"])["--port"]) == ("127.0.0.1", "4301")
    assert (options(servers["mlflow"])["--host"], options(servers["mlflow"])["--port"]) == ("127.0.0.1", "5301")
    ray = options(servers["ray"])
    assert (ray["--node-ip-address"], ray["--dashboard-host"]) == ("127.0.0.1", "127.0.0.1")
    assert [ray[f"--{name}port"] for name in ("", "ray-client-server-", "dashboard-")] == ["6301", "10301", "8301"]
    assert ray["--num-cpus"] == "3"
    assert {port for each in servers.values() for port in each.ports.values()} == set(PORTS.values())
    assert {name for each in servers.values() for name in each.ports} == set(PORTS)


def test_cpus_of_the_machine_are_counted_by_ray_where_none_are_given(profile: Profile, secret: Tokens) -> None:
    every = profile.model_copy(update={"ray": profile.ray.model_copy(update={"cpus": None})})
    assert "--num-cpus" not in options(found(every, secret)["ray"])


def test_servers_start_after_the_ones_they_need(with_postgres: Profile, secret: Tokens) -> None:
    waves = {name: each.wave for name, each in found(with_postgres, secret).items()}
    assert waves["postgres"] < waves["prefect"] == waves["mlflow"] == waves["ray"]
    assert waves["deployments"] == waves["worker"] > waves["ray"]


def test_addresses_are_those_that_people_open(profile: Profile, secret: Tokens) -> None:
    addresses = {name: each.address for name, each in found(profile, secret).items() if each.address}
    assert addresses == {
        "prefect": "http://127.0.0.1:4301",
        "mlflow": "http://127.0.0.1:5301",
        "ray": "http://127.0.0.1:8301",
    }


def test_deployments_are_registered_once_by_absolute_paths(
    profile: Profile, secret: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    servers = found(profile, secret, "tiny", "my/recipe.yaml", "/other.yml")
    assert [name for name, each in servers.items() if each.program.once] == ["deployments"]
    command = servers["deployments"].program.command
    assert command[-3:] == ["tiny", str(tmp_path / "my" / "recipe.yaml"), "/other.yml"]
    assert options(servers["deployments"])["--profile"] == "test"


def test_no_secret_is_on_a_command_line_or_in_a_program(with_postgres: Profile, secret: Tokens) -> None:
    for each in found(with_postgres, secret, "tiny").values():
        visible = [*each.program.command, *each.program.environment.values(), each.address]
        assert [name for name in SECRETS if any(secret[name] in text for text in visible)] == []


def test_client_gets_the_tokens_it_shows_and_none_that_is_for_servers(with_postgres: Profile, secret: Tokens) -> None:
    settings = client_settings(with_postgres, secret)
    shown = {name for name in SECRETS if any(secret[name] in value for value in settings.values())}
    assert shown == {"prefect", "mlflow"}, "Ray's is read from its file"
    assert settings["PREFECT_API_AUTH_STRING"] == f"olmo:{secret['prefect']}"
    assert settings["RAY_AUTH_TOKEN_PATH"] == str(secret.path("ray"))
    assert settings["PREFECT_API_URL"] == "http://127.0.0.1:4301/api"
    assert settings["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5301"


def test_databases_are_files_below_home_without_postgresql(profile: Profile, secret: Tokens, tmp_path: Path) -> None:
    environment = server_environment(profile, secret)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert str(tmp_path / "prefect") in environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    assert "PGPASSWORD" not in environment or environment["PGPASSWORD"] != secret["postgres"]
    accounts = Path(environment["MLFLOW_AUTH_CONFIG_PATH"]).read_text()
    assert accounts.splitlines()[0] == "[mlflow]"
    assert f"database_uri = sqlite:///{tmp_path / 'mlflow-accounts.db'}" in accounts


def test_databases_are_in_postgresql_and_its_password_in_the_environment(
    with_postgres: Profile, secret: Tokens
) -> None:
    environment = server_environment(with_postgres, secret)
    assert environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == ("postgresql+asyncpg://olmo@127.0.0.1:5401/prefect")
    assert environment["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg://olmo@127.0.0.1:5401/mlflow"
    assert environment["PGPASSWORD"] == secret["postgres"]
    accounts = Path(environment["MLFLOW_AUTH_CONFIG_PATH"]).read_text()
    assert "database_uri = postgresql+psycopg://olmo@127.0.0.1:5401/mlflow_accounts" in accounts
    assert secret["postgres"] not in accounts, "a file that anybody may read"


def test_servers_find_this_project_before_what_pythonpath_names(
    profile: Profile, secret: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    here, *others = server_environment(profile, secret)["PYTHONPATH"].split(":")
    assert (Path(here) / "infra" / "services" / "programs.py").is_file()
    assert others == ["/elsewhere"]
    monkeypatch.delenv("PYTHONPATH")
    assert server_environment(profile, secret)["PYTHONPATH"] == here


def test_sockets_of_ray_have_room_below_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLMO_HOME", str(tmp_path / ("long" * 40)))
    folder = ray_folder(Profile(name="test"))
    # The longest that Ray makes below it: session_<date>_<time>_<microseconds>_<pid>/sockets/plasma_store.
    assert len(f"{folder}/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store") <= PATH_BYTES
    monkeypatch.setenv("OLMO_HOME", str(tmp_path / "other"))
    assert ray_folder(Profile(name="test")) != folder
    shared = Path("/tmp/" + "x" * (PATH_BYTES - len("/tmp/") - len(folder.name) - 20))
    monkeypatch.setattr(sockets, "SHARED", shared)
    monkeypatch.setattr(sockets.tempfile, "tempdir", str(shared))
    monkeypatch.setattr(sockets.os, "access", lambda *_: True)
    with pytest.raises(ServiceError, match=f"TMPDIR={shared} is too long"):
        ray_folder(Profile(name="test"))


def answering(monkeypatch: pytest.MonkeyPatch, answer: Callable[[Any], Any]) -> list[urllib.request.Request]:
    asked: list[urllib.request.Request] = []

    def urlopen(request: urllib.request.Request, timeout: float) -> Any:
        asked.append(request)
        return answer(request)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


class Response(BytesIO):
    status = 200


def test_server_that_answers_200_is_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, lambda _: Response())
    assert _answers("http://127.0.0.1:1/health", {"Authorization": "Bearer x"})()
    assert (asked[0].full_url, asked[0].get_header("Authorization")) == ("http://127.0.0.1:1/health", "Bearer x")
    monkeypatch.setattr(Response, "status", 204)
    assert not _answers("http://127.0.0.1:1/health")()


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError(ConnectionRefusedError()),
        urllib.error.HTTPError("http://x", 503, "starting", SimpleNamespace(), None),  # type: ignore[arg-type]
        TimeoutError(),
        ConnectionResetError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_server_that_does_not_answer_is_not_healthy_yet(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise error

    answering(monkeypatch, refuse)
    assert not _answers("http://127.0.0.1:1/health")()


def test_dashboard_of_ray_is_asked_with_its_token(
    profile: Profile, secret: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answering(monkeypatch, lambda _: Response())
    healthy = found(profile, secret)["ray"].healthy
    assert healthy is not None and healthy()
    assert asked[0].get_header("Authorization") == f"Bearer {secret['ray']}"


def test_programs_run_by_this_interpreter(profile: Profile, secret: Tokens) -> None:
    assert {each.program.command[0] for each in found(profile, secret).values()} == {sys.executable}

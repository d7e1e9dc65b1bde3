"""The settings of our own Prefect server, which do not depend on the user's shell and folder."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import Settings

from infra import prefect_server
from infra.prefect_server import PrefectServer

OTHER = "sqlite+aiosqlite:////other/prefect.db"


@pytest.mark.parametrize(
    "variables",
    [
        {"PREFECT_SERVER_DATABASE_CONNECTION_URL": OTHER},
        {"PREFECT_API_DATABASE_CONNECTION_URL": OTHER},
        {"PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg", "PREFECT_SERVER_DATABASE_HOST": "other"},
        {"PREFECT_SERVER_API_AUTH_STRING": "a:b", "PREFECT_API_KEY": "k"},
        {"PREFECT_PROFILES_PATH": "profiles.toml", "PREFECT_PROFILE": "own"},
        {"UVICORN_WORKERS": "4"},
    ],
    ids=lambda variables: next(iter(variables)),
)
@pytest.mark.parametrize("in_a_file", [False, True])
def test_server_stays_in_its_home_without_password(
    variables: Mapping[str, str], in_a_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, home, started = tmp_path / "user", tmp_path / "home", []
    user.mkdir()
    monkeypatch.chdir(user)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    if in_a_file:
        Path(".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    else:
        os.environ.update(variables)
    settings = f'PREFECT_SERVER_API_AUTH_STRING = "a:b"\nPREFECT_SERVER_DATABASE_CONNECTION_URL = "{OTHER}"\n'
    Path("profiles.toml").write_text(f'active = "own"\n[profiles.own]\n{settings}')
    Path("prefect.toml").write_text(f'[server.database]\nconnection_url = "{OTHER}"\n')
    Path("pyproject.toml").write_text('[tool.prefect.server.api]\nauth_string = "a:b"\n')

    def start(_: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path) -> Any:
        started.append((environment, folder))

    monkeypatch.setattr(prefect_server, "start_child", start)
    PrefectServer(home)
    ((environment, folder),) = started
    assert not variables.keys() & environment.keys() - {"PREFECT_SERVER_DATABASE_CONNECTION_URL"}
    os.environ.clear()
    os.environ.update(environment)
    monkeypatch.chdir(folder)
    found = Settings()
    url = found.server.database.connection_url
    assert url is not None and url.get_secret_value() == f"sqlite+aiosqlite:///{home / 'prefect' / 'prefect.db'}"
    assert (found.server.api.auth_string, found.api.key) == (None, None)

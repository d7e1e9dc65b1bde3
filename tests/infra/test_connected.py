"""The environment of a process that uses the servers of `olmo up`."""

import os
from pathlib import Path

import pytest

from infra.profile import Profile
from infra.services.group import connected
from infra.services.supervisor import Group

OTHERS = {
    "PREFECT_API_KEY": "other",
    "PREFECT_API_AUTH_STRING": "other",
    "MLFLOW_TRACKING_TOKEN": "other",
    "MLFLOW_TRACKING_PASSWORD": "other",
    "RAY_ADDRESS": "other",
    "RAY_AUTH_TOKEN_PATH": "other",
}


@pytest.fixture(autouse=True)
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Group, "running", property(lambda _: True))
    monkeypatch.setattr(os, "environ", {**os.environ, **OTHERS, "OLMO_HOME": str(tmp_path)})


def test_own_servers_replace_settings_for_others() -> None:
    found = connected(Profile(name="test"))
    assert (found.prefect, found.ray.address) == ("http://127.0.0.1:4200/api", "127.0.0.1:6379")
    assert [name for name, value in os.environ.items() if value == "other"] == []
    assert os.environ["PREFECT_API_URL"] == found.prefect


def test_environment_stays_for_servers_in_the_profile() -> None:
    away = {"prefect": "https://p.org/api", "mlflow": "https://m.org", "ray": {"address": "head:6379"}}
    found = connected(Profile.model_validate({"name": "test", **away}))
    assert (found.prefect, found.mlflow, found.ray.address) == (away["prefect"], away["mlflow"], "head:6379")
    assert {name: os.environ[name] for name in OTHERS} == OTHERS

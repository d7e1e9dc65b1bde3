"""Registration: the work pool, the automations and every deployment; nothing if one name is not valid."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists

from deployments import register as registration
from deployments.catalogue import catalogue
from deployments.register import main, register
from infra.profile import Profile
from infra.services.programs import POOL
from olmo_core.recipe.overrides import ConfigError

PARTS = ["release", "data", "pretrain", "anneal", "soup", "publish", "evaluate", "nightly-evals"]


CATALOGUES: dict[tuple[str, str], list[RunnerDeployment]] = {}


def known(recipe: str, profile: str, loaded: Profile) -> list[RunnerDeployment]:
    """Return a catalogue that is built once: Prefect takes a quarter of a second for its forms."""
    if (recipe, profile) not in CATALOGUES:
        CATALOGUES[recipe, profile] = catalogue(recipe, profile, loaded)
    return CATALOGUES[recipe, profile]


class Server:
    """Collects what is registered, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.has_pool = False

    def create_work_pool(self, pool: Any) -> None:
        if self.has_pool:
            raise ObjectAlreadyExists(Exception("409"))
        self.calls.append(("pool", f"{pool.name} {pool.type}"))
        self.has_pool = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()

    @contextmanager
    def client(sync_client: bool) -> Iterator[Server]:
        assert sync_client
        yield server

    monkeypatch.setattr(registration, "get_client", client)
    monkeypatch.setattr(registration, "catalogue", known)
    monkeypatch.setattr(registration, "put", lambda _, each: server.calls.append(("automation", each.name)))
    monkeypatch.setattr(
        RunnerDeployment, "apply", lambda self, work_pool_name: server.calls.append((work_pool_name, self.full_name))
    )
    return server


def test_every_deployment_of_every_recipe_goes_to_the_pool(server: Server) -> None:
    names = register(["micro", "tiny"], "laptop")
    assert names == [f"{part}/{recipe}" for recipe in ("micro", "tiny") for part in PARTS]
    kinds = [kind for kind, _ in server.calls]
    assert kinds == ["pool", "automation"] + [POOL] * len(names), "deployments come last: their runs need the others"
    assert [name for kind, name in server.calls if kind == POOL] == names
    assert server.calls[0] == ("pool", f"{POOL} process")


def test_registering_again_keeps_the_pool(server: Server) -> None:
    names = register(["micro"], "laptop")
    assert register(["micro"], "laptop") == names
    assert [call for call in server.calls if call[0] == "pool"] == [("pool", f"{POOL} process")]


@pytest.mark.parametrize(
    ("recipes", "profile", "message"),
    [
        (["micro", "mikro"], "laptop", "mikro"),
        (["micro"], "laptp", "laptp"),
        (["micro"], "PROFILE", "no such deployment"),
    ],
)
def test_one_invalid_name_registers_nothing(
    recipes: list[str], profile: str, message: str, server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text("schedules: {nightly: 0 3 * * *}\n")
    with pytest.raises(ConfigError, match=message):
        register(recipes, str(path) if profile == "PROFILE" else profile)
    assert server.calls == []


def test_command_prints_a_line_per_deployment(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["register", "micro"])
    main()
    assert capsys.readouterr().out.splitlines() == [f"{part}/micro" for part in PARTS]


def test_command_with_an_invalid_recipe_is_one_line_and_code_2(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["register", "mikro", "--profile", "laptop"])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.count("\n") == 1 and "mikro" in err and "Traceback" not in err

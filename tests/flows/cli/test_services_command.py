"""`olmo up`, `olmo doctor` and `olmo down`: rows of servers, what an interrupted start leaves, and the findings."""

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from flows.cli import services
from flows.interruption import InterruptError
from infra.doctor.finding import Finding
from infra.profile import Profile
from olmo_core.recipe.machine import Machine
from olmo_core.recipe.overrides import ConfigError

ADDRESSES = {"prefect": "http://127.0.0.1:4200", "mlflow": "http://127.0.0.1:5000"}
STARTED = [SimpleNamespace(program=SimpleNamespace(name=name), address=address) for name, address in ADDRESSES.items()]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OLMO_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def text(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_up_returns_a_row_per_server_with_its_state(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    def bring_up(profile: Profile, name: str, recipes: list[str], tell: Any, show: Any) -> list[Any]:
        assert (profile.name, name, recipes) == ("laptop", "laptop", ["micro"])
        tell("mlflow", 2.345)
        return STARTED

    monkeypatch.setattr(services, "services_up", lambda _: False)
    monkeypatch.setattr(services, "bring_up", bring_up)
    monkeypatch.setattr(services, "states", lambda _: {"prefect": "RUNNING"})
    profile, rows = services.up(["micro"], "laptop", console)
    assert profile.name == "laptop"
    assert rows == [
        {"service": "prefect", "state": "RUNNING", "address": ADDRESSES["prefect"]},
        {"service": "mlflow", "state": "GONE", "address": ADDRESSES["mlflow"]},  # ended right after it started
    ]
    assert text(console) == "mlflow ready after 2.3 s\n"


@pytest.mark.parametrize(
    ("were_up", "message", "ended"),
    [(True, "the services were already up and stay up", 0), (False, "the services are stopped", 1)],
)
def test_interrupted_start_stops_only_what_it_started(
    were_up: bool, message: str, ended: int, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise InterruptError("what is finished is kept")

    stopped: list[Profile] = []
    monkeypatch.setattr(services, "services_up", lambda _: were_up)
    monkeypatch.setattr(services, "bring_up", interrupted)
    monkeypatch.setattr(services, "take_down", stopped.append)
    with pytest.raises(InterruptError, match=f"^{message}$"):
        services.up(["micro"], "laptop", console)
    assert len(stopped) == ended


def test_invalid_profile_starts_nothing(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "bring_up", lambda *_: pytest.fail("started"))
    with pytest.raises(ConfigError, match="laptp"):
        services.up(["micro"], "laptp", console)


def test_shown_servers_come_with_the_command_for_a_shell(console: Console, home: Path) -> None:
    rows = [{"service": "mlflow", "state": "RUNNING", "address": ADDRESSES["mlflow"]}]
    profile = Profile(name="laptop")
    services.show(rows, profile, console)
    file = services.environment_file(profile)
    assert file.is_relative_to(home)
    assert f"mlflow   RUNNING  {ADDRESSES['mlflow']}" in text(console)
    assert f"passwords in {file.parent}/tokens;" in text(console)
    assert text(console).endswith(f"\n  . {file}\n")


def test_down_returns_whether_anything_was_up(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "take_down", lambda profile, show: profile.name == "laptop")
    assert services.down("laptop", console) is True


@pytest.fixture
def needed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Collect the bytes that the doctor is asked to find room for; the machine is not measured."""
    found: list[int] = []
    monkeypatch.setattr(services, "examine", lambda _, bytes_: found.append(bytes_) or [Finding("disk", "900 GB free")])
    monkeypatch.setattr(services, "measured_machine", lambda *_: Machine("a CPU", 2, {"fp32": 60.12e9, "bf16": 120e9}))
    yield found


def test_doctor_looks_for_room_for_what_is_missing(needed: list[int]) -> None:
    machine, disk = services.examined("micro", "laptop")
    assert needed[0] > 1_000_000, "nothing is made yet"
    assert (machine.what, disk.what) == ("machine", "disk")
    assert machine.fine and machine.seen.endswith(
        "products of micro on one thread: 120 GFLOP/s in bf16, 60.1 GFLOP/s in fp32"
    )


def test_doctor_needs_no_room_for_a_store_elsewhere(
    needed: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it ask that store, which may not answer before its address is examined."""
    monkeypatch.setattr(services, "open_store", lambda _: pytest.fail("asked the store"))
    path = tmp_path / "remote.yaml"
    path.write_text("artifacts: s3://bucket/releases\n")
    services.examined("micro", str(path))
    assert needed == [0]


def test_machine_without_torch_has_a_remedy(needed: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "measured_machine", lambda *_: None)
    machine, _ = services.examined("micro", "laptop")
    assert not machine.fine
    assert machine.remedy == "torch cannot be run: install the packages of requirements.lock"

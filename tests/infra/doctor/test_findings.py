"""What the doctor says of this machine and of servers it asks, with each answer written down."""

import json
import socket
import urllib.error
import urllib.request
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from prefect import __version__ as prefect_version

from infra.doctor import artifact_store, examination, host
from infra.doctor import servers as asked
from infra.doctor.examination import before_a_release, examine
from infra.doctor.finding import Finding, WrongError, finding, first_line
from infra.profile import Profile
from infra.services.errors import ServiceError
from olmo_core.artifact.objects import LocalObjects


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OLMO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def profile(**fields: Any) -> Profile:
    return Profile.model_validate({"name": "test", **fields})


def wrong(check: Any, found: Profile, *arguments: Any) -> tuple[str, str]:
    with pytest.raises(WrongError) as error:
        check(found, *arguments)
    seen, remedy = error.value.args
    assert seen and remedy
    return seen, remedy


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("  \n  after blank lines\n"), "after blank lines"),
        (ValueError(), "ValueError"),
        (urllib.error.URLError(ConnectionRefusedError("no route\nto host")), "no route"),
    ],
)
def test_error_is_told_in_one_line(error: Exception, line: str) -> None:
    assert first_line(error) == line


def test_finding_is_fine_without_a_remedy() -> None:
    def broken(_: Profile) -> str:
        raise WrongError("nothing there", "put something there")

    assert finding("disk", lambda _: "plenty", profile()) == Finding("disk", "plenty")
    found = finding("disk", broken, profile())
    assert (found.seen, found.remedy, found.fine) == ("nothing there", "put something there", False)
    with pytest.raises(KeyError):
        finding("disk", lambda _: {}["a mistake of ours"], profile())


def test_folder_that_cannot_be_written_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.os, "access", lambda *_: False)
    seen, remedy = wrong(host.disk, profile(), 0)
    assert str(home.parent) in seen
    assert "OLMO_HOME" in remedy


def test_one_disk_is_told_once(home: Path) -> None:
    assert host.disk(profile(), 0).count("GB free") == 1


@pytest.mark.parametrize(
    ("lines", "seen"), [(["ray is FATAL", "mlflow is GONE"], "ray is FATAL; mlflow is GONE"), ([], "")]
)
def test_services_that_are_up_are_asked_and_not_their_ports(
    lines: list[str], seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "services_up", lambda _: True)
    monkeypatch.setattr(host, "taken_ports", lambda _: pytest.fail("the ports are those of the services"))
    monkeypatch.setattr(host, "unhealthy", lambda _: lines)
    if lines:
        assert wrong(host.ports, profile())[0] == seen
    else:
        assert host.ports(profile()) == "services are up"


def test_services_that_cannot_be_asked_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Profile) -> list[str]:
        raise ServiceError("the socket was removed; `olmo down` ends them")

    monkeypatch.setattr(host, "services_up", lambda _: True)
    monkeypatch.setattr(host, "unhealthy", refuse)
    assert "the socket was removed" in wrong(host.ports, profile())[0]


def test_database_that_is_none_is_told_with_what_is_lost(home: Path) -> None:
    assert host.schema(profile()) == "none yet"
    home.mkdir()
    (home / "mlflow.db").write_text("no database, but longer than the header of one" * 9)
    seen, remedy = wrong(host.schema, profile())
    assert str(home / "mlflow.db") in seen
    assert "move it away" in remedy


@pytest.mark.parametrize(
    ("address", "here"), [(None, True), ("127.0.0.1:6379", True), ("localhost:6379", True), ("head:6379", False)]
)
def test_compiler_matters_where_runs_compile(address: str | None, here: bool) -> None:
    assert host.compiles_here(profile(ray={"address": address})) is here
    never = {"placement": {"compile": False}}
    assert not host.compiles_here(profile(training={"single": never, "seeds": never}))
    assert host.compiles_here(profile(training={"single": never}))


def answer(monkeypatch: pytest.MonkeyPatch, found: bytes | Exception) -> list[urllib.request.Request]:
    requests: list[urllib.request.Request] = []

    def urlopen(request: urllib.request.Request, timeout: float) -> BytesIO:
        requests.append(request)
        if isinstance(found, Exception):
            raise found
        return BytesIO(found)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return requests


def refused(code: int) -> urllib.error.HTTPError:
    return urllib.error.HTTPError("http://p", code, "no", SimpleNamespace(), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "seen", "remedy"),
    [
        (refused(401), "requires a password", "PREFECT_API_AUTH_STRING"),
        (refused(403), "requires a password", "PREFECT_API_AUTH_STRING"),
        (refused(500), "answers 500", "log"),
        (urllib.error.URLError(OSError("Name or service not known")), "Name or service not known", "address"),
        (TimeoutError("timed out"), "timed out", "address"),
        (b"<html>a proxy</html>", "Expecting value", "address"),
    ],
    ids=["401", "403", "500", "no such host", "slow", "not JSON"],
)
def test_server_that_answers_otherwise_is_told_by_address(
    found: bytes | Exception, seen: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, found)
    said, advice = wrong(asked.prefect, profile(prefect="http://p.org/api"))
    assert "http://p.org/api/admin/version" in said and seen in said
    assert remedy in advice


def test_patch_releases_of_prefect_work_together(monkeypatch: pytest.MonkeyPatch) -> None:
    major, minor, *_ = prefect_version.split(".")
    answer(monkeypatch, json.dumps(f"{major}.{minor}.999").encode())
    assert asked.prefect(profile(prefect="http://p.org/api")).endswith(f"Prefect {major}.{minor}.999")
    answer(monkeypatch, json.dumps(f"{major}.{int(minor) + 1}.0").encode())
    assert f"{major}.{int(minor) + 1}.0" in wrong(asked.prefect, profile(prefect="http://p.org/api"))[0]


def test_password_is_sent_as_basic_authorization_and_none_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = answer(monkeypatch, b"{}")
    asked.mlflow(profile(mlflow="http://m.org"))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "olmo")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a-password")
    asked.mlflow(profile(mlflow="http://m.org"))
    # printf 'olmo:a-password' | base64
    assert [each.get_header("Authorization") for each in requests] == [None, "Basic b2xtbzphLXBhc3N3b3Jk"]


@pytest.mark.parametrize(
    ("address", "seen"),
    [("auto", "the cluster of this node"), ("head:6379", "head:6379"), ("ray://head:10001", "ray://head:10001")],
)
def test_port_of_ray_is_opened(address: str, seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, int]] = []

    def connect(where: tuple[str, int], _: float) -> socket.socket:
        opened.append(where)
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", connect)
    assert asked.ray(profile(ray={"address": address})) == seen
    assert opened == ([] if address == "auto" else [("head", int(address.rpartition(":")[2]))])


@pytest.mark.parametrize("address", ["head", "ray://head:many"])
def test_address_of_ray_without_a_port_is_told(address: str) -> None:
    seen, remedy = wrong(asked.ray, profile(ray={"address": address}))
    assert seen.startswith(f"{address}: ")
    assert "ray.address" in remedy


def test_hub_that_does_not_answer_is_told_by_field(monkeypatch: pytest.MonkeyPatch) -> None:
    class Api:
        def __init__(self, endpoint: str) -> None: ...

        def whoami(self) -> None:
            raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    seen, remedy = wrong(asked.hub, profile(hub={"endpoint": "http://h.org"}))
    assert seen == "http://h.org: no route to host"
    assert "hub.endpoint" in remedy


def test_store_that_returns_other_bytes_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "artifacts").mkdir(parents=True)
    monkeypatch.setattr(LocalObjects, "read", lambda *_: b"2")
    seen, _ = wrong(artifact_store.artifacts, profile())
    assert seen == f"{home / 'artifacts'} does not return what was written"


def test_address_has_no_file_system_and_advice_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(artifact_store, "open_objects", refuse)
    monkeypatch.setattr(artifact_store, "_takes_without_checksums", lambda _: False)
    seen, remedy = wrong(artifact_store.artifacts, profile(artifacts="s3://bucket/olmo"))
    assert seen == "s3://bucket/olmo: no route to host"
    assert "AWS_ENDPOINT_URL_S3" in remedy


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check of an examination finds nothing wrong, at once."""
    for name in ("disk", "ports", "schema", "artifacts", "compiler", "prefect", "mlflow", "ray", "hub"):
        monkeypatch.setattr(examination, name, lambda *_, **__: "fine")


AWAY = {
    "prefect": "https://p.org/api",
    "mlflow": "https://m.org",
    "hub": {"endpoint": "https://h.org"},
    "ray": {"address": "head:6379"},
    "artifacts": "s3://bucket/olmo",
}


@pytest.mark.usefixtures("checks")
def test_what_a_profile_names_is_looked_at() -> None:
    assert [each.what for each in examine(profile())] == ["disk", "ports", "records", "artifacts", "compiler"]
    assert [each.what for each in examine(profile(**AWAY))] == [
        "disk", "ports", "records", "artifacts", "prefect", "mlflow", "ray", "hub",
    ]  # fmt: skip
    assert [each.what for each in before_a_release(profile(**AWAY))] == [
        "records", "prefect", "mlflow", "artifacts", "hub",
    ]  # fmt: skip


@pytest.mark.usefixtures("checks")
def test_database_of_mlflow_is_no_server() -> None:
    local = profile(mlflow="sqlite:///m.db")
    assert "mlflow" not in {each.what for each in [*examine(local), *before_a_release(local)]}

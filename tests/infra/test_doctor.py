"""Every finding with the thing it is about, whole and broken: real servers that answer, files, ports."""

import base64
import errno
import json
import os
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hub_server import FakeHub
from prefect import __version__ as prefect_version
from s3fs import S3FileSystem

from infra.doctor import artifact_store, host
from infra.doctor.examination import before_a_release, examine, room
from infra.doctor.finding import Finding
from infra.profile import Profile
from olmo_core.artifact.objects import LocalObjects
from olmo_core.train import compiler

USER, PASSWORD = "olmo", "a-password"


class Api(ThreadingHTTPServer):
    """Answers as Prefect and MLflow do, to whoever knows the password."""

    def __init__(self) -> None:
        self.version = prefect_version
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
                allowed = self.headers.get("Authorization") == wanted
                self.send_response(200 if allowed else 401)
                self.end_headers()
                self.wfile.write(json.dumps(api.version if "version" in self.path else {}).encode() if allowed else b"")

            def log_message(self, *args: Any) -> None: ...

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(compiler, "compiler_trouble", lambda: "")
    monkeypatch.setenv("OLMO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def profile(**fields: Any) -> Profile:
    ports = {
        name: free_port() for name in ("prefect_port", "mlflow_port", "ray_port", "ray_client_port", "dashboard_port")
    }
    return Profile.model_validate({"name": "test", "services": ports, **fields})


def finding(what: str, found: Profile) -> Finding:
    (one,) = (each for each in examine(found) if each.what == what)
    return one


def test_an_empty_machine_is_fine(home: Path) -> None:
    assert [each for each in examine(profile()) if not each.fine] == []
    assert not home.exists(), "looking makes nothing"


def test_a_compiler_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "compiler_trouble", lambda: "the C++ compiler fails: Python.h; install the headers")
    found = finding("compiler", profile())
    assert found.seen == "training runs without torch.compile: the C++ compiler fails: Python.h"
    assert found.remedy == "install the headers"
    away = {"ray": {"address": "head:6379"}}
    assert [each for each in examine(profile(**away)) if each.what == "compiler"] == [], "it compiles elsewhere"


def test_a_full_disk_is_told_with_what_is_needed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(host.shutil, "disk_usage", lambda _path: usage._replace(free=3_000_000_000))
    assert room(profile(), 2_400_000_000).fine
    found = room(profile(), 2_600_000_000)
    assert found.seen == f"3.0 GB free in {home.parent}"
    assert found.remedy.startswith("3.1 GB are needed, by an estimate; free some space")
    (whole,) = (each for each in examine(profile(), 2_600_000_000) if each.what == "disk")
    assert whole == found


def test_room_is_wanted_where_artifacts_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage, store = shutil.disk_usage("/"), tmp_path / "store"
    store.mkdir()

    def elsewhere(path: Path) -> Any:
        return usage._replace(free=10**9 if path == store else 10**12)

    monkeypatch.setattr(host.shutil, "disk_usage", elsewhere)
    assert room(profile(), 10**10).fine
    assert room(profile(artifacts=str(store)), 10**10).seen == f"1.0 GB free in {store}"
    assert room(profile(artifacts="s3://bucket/releases"), 10**15).fine, "a store elsewhere has a size of its own"


class OldStore(ThreadingHTTPServer):
    """An S3 store that knows no checksums."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # the client waits for 100 Continue

            def answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.answer(400 if any("checksum" in name.lower() for name in self.headers) else 200)

            def do_GET(self) -> None:
                self.answer(404)

            do_HEAD = do_POST = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *args: Any) -> None: ...

        super().__init__(("127.0.0.1", 0), Handler)


def test_a_store_that_refuses_checksums_is_told_from_wrong_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", "k"), ("SECRET_ACCESS_KEY", "s"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.delenv(artifact_store.CHECKSUMS, raising=False)
    S3FileSystem.clear_instance_cache()  # one of another test calls another endpoint
    with OldStore() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_address[1]}")
        found = finding("artifacts", profile(artifacts="s3://bucket/olmo"))
        server.shutdown()
    assert found.remedy.startswith("set AWS_REQUEST_CHECKSUM_CALCULATION=when_required: ")
    assert artifact_store.CHECKSUMS not in os.environ


def test_a_folder_that_cannot_be_used_is_named_with_its_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(LocalObjects, "create", create)
    found = finding("artifacts", profile(artifacts=str(tmp_path)))
    assert re.fullmatch(rf"{tmp_path} \(\w+\): .*not permitted", found.seen)
    assert found.remedy.startswith("use a folder on another file system")


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = finding("ports", profile(services={"mlflow_port": port, "prefect_port": free_port()}))
    assert f"port {port} (services.mlflow_port) is in use by process {os.getpid()} (" in found.seen
    assert "`services`" in found.remedy


@pytest.mark.parametrize(
    ("what", "variables"),
    [
        ("prefect", {"PREFECT_API_AUTH_STRING": "{user}:{password}"}),
        ("mlflow", {"MLFLOW_TRACKING_USERNAME": "{user}", "MLFLOW_TRACKING_PASSWORD": "{password}"}),
    ],
)
def test_an_api_wants_its_password(
    what: str, variables: dict[str, str], api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = profile(**{what: api.url})
    assert "requires a password" in finding(what, found).seen
    for password, fine in (("wrong", False), (PASSWORD, True)):
        for name, value in variables.items():
            monkeypatch.setenv(name, value.format(user=USER, password=password))
        seen = finding(what, found)
        assert seen.fine == fine
        assert password not in seen.seen + seen.remedy, "a password is never shown"
        if not fine:
            assert "refuses the password" in seen.seen
            assert all(name in seen.remedy for name in variables)


def test_another_version_of_prefect_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", f"{USER}:{PASSWORD}")
    api.version = "2.20.0"
    found = finding("prefect", profile(prefect=api.url))
    assert "2.20.0" in found.seen
    assert "same version" in found.remedy


def test_an_address_where_nobody_answers_is_named() -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    found = profile(
        prefect=nobody, mlflow=nobody, ray={"address": nobody.removeprefix("http://")}, hub={"endpoint": nobody}
    )
    for what in ("prefect", "mlflow", "ray"):
        seen = finding(what, found)
        assert nobody.removeprefix("http://") in seen.seen
        assert "start the" in seen.remedy


def test_the_token_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeHub("hf_right") as hub:
        found = profile(hub={"endpoint": hub.url})
        assert "set HF_TOKEN" in finding("hub", found).remedy
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")
        seen = finding("hub", found)
        assert "refuses the token" in seen.seen
        assert "hf_wrong" not in seen.seen + seen.remedy
        monkeypatch.setenv("HF_TOKEN", "hf_right")
        assert finding("hub", found).seen.endswith("as tester")


def test_a_store_that_can_be_written_is_left_as_it_was(home: Path) -> None:
    (home / "artifacts").mkdir(parents=True)
    assert finding("artifacts", profile()).fine
    assert [path for path in (home / "artifacts").rglob("*") if path.is_file()] == []


def test_a_store_that_overwrites_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "artifacts").mkdir(parents=True)
    monkeypatch.setattr(LocalObjects, "create", LocalObjects.write)
    found = finding("artifacts", profile())
    assert "created twice" in found.seen
    assert "If-None-Match" in found.remedy


def test_a_release_looks_at_its_addresses_only(api: Api) -> None:
    assert [each.what for each in before_a_release(profile())] == ["records"]
    found = list(before_a_release(profile(prefect=api.url, mlflow=api.url)))
    assert [(each.what, each.fine) for each in found] == [("records", True), ("prefect", False), ("mlflow", False)]

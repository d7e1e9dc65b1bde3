"""Roots for the tests of the artifact room: a local folder, memory, and a real S3 server on the loopback interface."""

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import artifact_work
import pytest
from moto.server import ThreadedMotoServer

from olmo_core.artifact.identity import Step
from olmo_core.artifact.store import Store

HERE = Path(__file__).parent
PROJECT = HERE.parents[2]


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """Start an S3 server and configure its address through the environment, as a user would."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    values = {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()  # an instance cached by another file would keep using its own server
        s3fs.S3FileSystem(use_listings_cache=False).mkdir("artifacts")
        yield values
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def s3_root(s3_environment: dict[str, str]) -> str:
    return f"s3://artifacts/{uuid.uuid4().hex}"


@pytest.fixture(params=["local", "memory", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return an empty artifact root of each kind."""
    if request.param == "local":
        return str(tmp_path / "root")
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return str(request.getfixturevalue("s3_root"))


@pytest.fixture
def store(root: str, tmp_path: Path) -> Store:
    return Store(root, scratch=tmp_path / "scratch")


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store(tmp_path / "root")


@pytest.fixture(autouse=True)
def journal(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file in which work functions record that they ran."""
    path = tmp_path_factory.mktemp("journal") / "journal"
    path.touch()
    monkeypatch.setenv("ARTIFACT_TEST_LOG", str(path))
    return path


@pytest.fixture(autouse=True)
def child_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes that tests start import the project and the work functions."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PROJECT), str(HERE)]))
    assert str(HERE) in sys.path


@pytest.fixture
def words() -> Step:
    return Step("corpus", "wiki", 1, {"word": "soup", "count": 5}, {}, artifact_work.words)

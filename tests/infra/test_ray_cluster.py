"""Starting and joining a cluster, with Ray's own calls replaced."""

import ctypes
import os
import signal
import socket
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from infra import ray_cluster
from infra.ray_cluster import SOCKET_BYTES, Cluster


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return a list that records the arguments and the environment of every call of `ray.init`."""
    calls: list[dict[str, Any]] = []

    def init(**arguments: Any) -> None:
        calls.append({**arguments, "environment": dict(os.environ)})
        if "address" not in arguments:
            (Path(os.environ["RAY_TMPDIR"]) / "ray").mkdir()

    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="127.0.0.1:1"))
    return calls


@pytest.mark.parametrize(
    "name", ["RAY_ADDRESS", "RAY_NAMESPACE", "RAY_REDIS_ADDRESS", "RAY_AUTH_MODE", "RAY_JOB_CONFIG_JSON_ENV_VAR"]
)
def test_own_cluster_ignores_settings_for_others(name: str, calls: list[dict[str, Any]]) -> None:
    os.environ.update({name: "other", "RAY_worker_niceness": "7"})
    Cluster(None, 2).stop()
    ((call),) = calls
    assert name not in call["environment"]
    assert call["environment"]["RAY_worker_niceness"] == "7", "the user may tune any cluster"
    assert call["environment"]["RAY_ENABLE_AUTO_CONNECT"] == "0", "no second one starts after this one ended"
    assert "address" not in call and call["include_dashboard"] is False, "nobody looks at it"


def test_cluster_starts_with_a_long_tmpdir(
    calls: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "slurm_jobdir" / "1355700" / "tmp.t0016"
    deep.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    cluster = Cluster(None, 2)
    folder = calls[0]["environment"]["RAY_TMPDIR"]
    assert Path(folder).is_dir() and len(folder) + SOCKET_BYTES <= 107
    cluster.stop()
    assert not Path(folder).exists()


@pytest.mark.parametrize("address", [None, "auto"])
def test_driver_keeps_its_sigterm_handler(
    address: str | None, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's own handler would abort a release that saves for more than three seconds."""
    taken, init, before = list[int](), ray.init, signal.getsignal(signal.SIGTERM)

    def init_in_cpp(**arguments: Any) -> None:
        init(**arguments)
        ctypes.CDLL(None).signal(signal.SIGTERM, int(signal.SIG_IGN))  # unknown to Python

    monkeypatch.setattr(ray, "init", init_in_cpp)
    signal.signal(signal.SIGTERM, lambda number, _: taken.append(number))
    try:
        thread = threading.Thread(target=Cluster, args=(address, 2))
        thread.start()
        thread.join()
        os.kill(os.getpid(), signal.SIGTERM)
        assert taken == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_cluster_that_is_down_is_waited_for(
    calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port, tries, connect = server.getsockname()[1], list[int](), socket.create_connection

        def late(*arguments: Any, **options: Any) -> socket.socket:
            tries.append(1)
            if len(tries) < 3:
                raise ConnectionRefusedError("refused")
            return connect(*arguments, **options)

        monkeypatch.setattr(ray_cluster, "PAUSE_SECONDS", 0)
        monkeypatch.setattr("infra.patience.LINE_SECONDS", 0)
        monkeypatch.setattr(socket, "create_connection", late)
        os.environ["RAY_AUTH_MODE"] = "token"
        Cluster(f"127.0.0.1:{port}", None)
    assert len(tries) == 3
    assert f"waiting for the Ray cluster at 127.0.0.1:{port} (refused)" in caplog.text
    assert calls[0]["environment"]["RAY_AUTH_MODE"] == "token", (
        "the environment holds the secrets of a cluster by address"
    )

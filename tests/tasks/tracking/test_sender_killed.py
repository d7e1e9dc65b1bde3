"""When real servers and senders are killed, no event is lost or sent twice."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow_database import new_database
from mlflow_view import View
from tiny_release import Release, loss

from olmo_core.artifact.store import Store
from tasks.tracking.events import EventLog
from tasks.tracking.mlflow.experiment import connect
from tasks.tracking.queue import EventQueue
from tasks.tracking.sender import start_sender

ROOT = Path(__file__).parents[3]
PATIENCE = 300  # Seconds until a test that waits gives up.


def wait_until(met) -> None:
    end = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


class Server:
    """Start a real tracking server on loopback."""

    def __init__(self, folder: Path) -> None:
        self.database = new_database(folder / "server.db")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        options = [
            "--backend-store-uri",
            self.database,
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--workers",
            "1",
        ]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *options],
                stdout=log, stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip

    def signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(PATIENCE)


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    server = Server(tmp_path)
    server.start()
    yield server
    server.signal(signal.SIGCONT)
    server.kill()


def kill(handle) -> None:
    handle.process.kill()
    handle.process.wait(PATIENCE)


def test_kills_of_server_and_sender_lose_and_double_nothing(server, tmp_path):
    """The server hangs, is killed and restarted, and the sender is killed: MLflow has every point of every run once."""
    handles = [start_sender(tmp_path / "outbox", server.uri)]
    points = {(run, step): 1 / (step + 1) for step in range(400) for run in ("a" * 64, "b" * 64)}
    with EventLog(tmp_path / "outbox", "tiny", "r1") as outbox:

        def train(steps: range) -> None:
            for step in steps:
                for run in ("a" * 64, "b" * 64):
                    outbox.metrics(run, step, {"loss": points[run, step], "lr": 0.5})
                if step % 10 == 0:
                    outbox.flush()
            outbox.flush()

        queue = EventQueue(tmp_path / "outbox", server.uri)
        train(range(0, 100))
        wait_until(lambda: queue.left() == 0)
        server.signal(signal.SIGSTOP)
        train(range(100, 200))
        assert queue.left() > 0
        wait_until(lambda: "Timeout" in (tmp_path / "outbox" / "shipper.log").read_text())
        server.signal(signal.SIGCONT)
        server.kill()
        kill(handles[-1])
        train(range(50, 300))  # a worker that was killed replays its steps
        server.start()
        handles.append(start_sender(tmp_path / "outbox", server.uri))
        train(range(300, 400))
        outbox.finished()
    assert handles[-1].drain(PATIENCE) == 0
    assert handles[-1].refused() == []
    handles[-1].stop(PATIENCE)
    view = View(connect(server.database), "tiny")
    assert sorted(view.artifact_ids) == ["a" * 64, "b" * 64]
    for run in ("a" * 64, "b" * 64):
        assert view.history(run, "train/loss") == [(step, points[run, step]) for step in range(400)]
        assert view.history(run, "train/lr") == [(step, 0.5) for step in range(400)]


def test_release_is_sent_once_although_a_sender_is_killed(tmp_path):
    release, store, uri = Release(), Store(tmp_path / "store"), new_database(tmp_path / "mlflow.db")
    with EventLog(tmp_path / "outbox", "tiny", "r1") as outbox:
        release.make(store, outbox)
    queue = EventQueue(tmp_path / "outbox", uri)
    handle, goal = start_sender(tmp_path / "outbox", uri), queue.left() // 2
    wait_until(lambda: queue.left() <= goal)
    kill(handle)
    code = (
        "import tasks.tracking.sender; tasks.tracking.sender.main();"
        "import mlflow.telemetry; print('telemetry', mlflow.telemetry.get_telemetry_client())"
    )
    environment = {name: value for name, value in os.environ.items() if "TRACK" not in name and "MLFLOW" not in name}
    with subprocess.Popen(
        [sys.executable, "-c", code, "--outbox", str(tmp_path / "outbox")],
        env={**environment, "MLFLOW_TRACKING_URI": uri}, cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as last:  # fmt: skip
        wait_until(lambda: queue.left() == 0)
        assert last.communicate(timeout=PATIENCE)[0] == "telemetry None\n"
    assert last.returncode == 0
    assert (queue.left(), list(queue.refused())) == (0, [])
    view = View(MlflowClient(uri), "tiny")
    assert sorted(view.artifact_ids) == sorted(step.id for step in release.plan)
    assert view.history(release.stage1.id, "train/loss") == [(step, loss(0, step)) for step in range(1, 5)]
    assert len(view.models) == len(release.models)
    assert len(view.client.search_model_versions("name = 'olmo-tiny'")) == len(release.revisions)


def test_sender_ends_when_its_parent_is_killed(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from tasks.tracking.sender import start_sender;"
        "handle = start_sender(Path(sys.argv[1]), 'sqlite:///' + sys.argv[1] + '/mlflow.db');"
        "print(handle.process.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as flow:
        assert flow.stdout is not None
        pid = int(flow.stdout.readline())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        flow.kill()
    assert b"sqlite" not in command  # the address may hold a password
    wait_until(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

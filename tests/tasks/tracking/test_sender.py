import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow_database import new_database
from mlflow_view import View
from tiny_release import Release, loss

from olmo_core.artifact.store import Store
from tasks.tracking import sender as shipper_module
from tasks.tracking.events import EventLog
from tasks.tracking.mlflow.errors import in_words
from tasks.tracking.mlflow.experiment import connect
from tasks.tracking.queue import EventQueue
from tasks.tracking.sender import Handle, Sender, hide_credentials, start_sender

ROOT = Path(__file__).parents[3]
PATIENCE = 300  # Seconds until a test that waits gives up.


def wait_until(met) -> None:
    end = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


class FakeLineage:
    """Takes events as a script says: `trouble(event)` raises or does not."""

    def __init__(self, trouble, down=lambda: False) -> None:
        self.trouble, self.down, self.told, self.settled = trouble, down, [], 0

    def connect(self):
        return self

    def probe(self, _recipe: str) -> None:
        if self.down():
            raise ConnectionError("down")

    def tell(self, event) -> None:
        self.probe("")
        self.trouble(event)
        self.told.append(event)

    def settle(self) -> None:
        self.settled += 1


@pytest.fixture
def ship(tmp_path, monkeypatch):
    monkeypatch.setattr(shipper_module, "FIRST_WAIT", 0.0)

    def ship(lineage, hide=str) -> EventQueue:
        inbox = EventQueue(tmp_path, "a")
        shipper = Sender(inbox, lineage.connect, hide)
        shipper.end()
        shipper.run()
        return inbox

    return ship


@pytest.fixture
def outbox(tmp_path):
    with EventLog(tmp_path, "tiny", "r1") as outbox:
        yield outbox


def test_metrics_that_wait_are_sent_together(ship, outbox):
    for step in range(5):
        outbox.metrics("run1", step, {"loss": 1.0})
        outbox.flush()
    outbox.finished()
    lineage = FakeLineage(lambda event: None)
    assert ship(lineage).left() == 0
    metrics, finished = lineage.told
    assert [point[0] for point in metrics["points"]] == [0, 1, 2, 3, 4]
    assert finished["event"] == "finished"


def test_an_event_the_server_will_not_take_holds_nothing_up(ship, outbox, tmp_path):
    for step in (1, -1, 2):
        outbox.metrics("run1", step, {"loss": 1.0})
        outbox.flush()
    outbox.finished()

    def trouble(event):
        if any(point[0] < 0 for point in event.get("points", [])):
            raise ValueError("step -1")

    lineage = FakeLineage(trouble)
    inbox = ship(lineage)
    assert [event.get("points", [[None]])[0][0] for event in lineage.told] == [1, 2, None]
    assert inbox.left() == 0
    assert [entry["reason"] for entry in inbox.refused()] == ["ValueError: step -1"]
    assert lineage.settled == 1


def test_while_the_server_is_away_nothing_is_refused(ship, outbox):
    outbox.finished()
    calls = iter(range(100))
    lineage = FakeLineage(lambda event: None, down=lambda: next(calls) < 50)
    inbox = ship(lineage)
    assert len(lineage.told) == 1
    assert list(inbox.refused()) == []


def test_a_limit_of_requests_refuses_no_event(ship, outbox):
    outbox.finished()
    calls = iter(range(100))

    def trouble(_event):
        if next(calls) < 10:
            raise RuntimeError("Max retries exceeded (Caused by ResponseError('too many 429 error responses'))")

    lineage = FakeLineage(trouble)
    inbox = ship(lineage)
    assert len(lineage.told) == 1 and list(inbox.refused()) == []


def test_why_the_server_takes_nothing_is_noted_until_it_does(ship, outbox, tmp_path):
    outbox.finished()
    seen = []

    def down():
        seen.append(EventQueue(tmp_path, "a").noted())
        return len(seen) < 5

    assert ship(FakeLineage(lambda event: None, down)).noted() == ""
    assert "ConnectionError: down" in seen


def test_a_line_that_is_no_event_is_refused_at_once(ship, outbox, tmp_path):
    outbox.finished()
    [file] = tmp_path.glob("*.jsonl")
    file.write_text('{"event": "step"}\n' + file.read_text())
    lineage = FakeLineage(lambda event: None)
    assert [entry["reason"] for entry in ship(lineage).refused()] == ["the line is no event"]
    assert len(lineage.told) == 1


def test_credentials_of_the_address_are_in_no_message(ship, outbox, tmp_path, caplog):
    uri = "postgresql://olmo:ca%40nary@db/mlflow"

    def trouble(_event):
        raise ConnectionError(f"cannot reach {uri} as olmo with ca@nary")

    outbox.finished()
    with caplog.at_level(logging.WARNING):
        inbox = ship(FakeLineage(trouble), hide_credentials(uri))
    [entry] = inbox.refused()
    assert "cannot reach postgresql://***@db/mlflow" in entry["reason"]
    written = caplog.text + "".join(path.read_text() for path in tmp_path.iterdir())
    assert "ca%40nary" not in written and "ca@nary" not in written
    assert hide_credentials("sqlite:////home/a.db")("a b") == "a b"


class Server:
    """A real tracking server on loopback."""

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


def test_no_point_is_lost_or_doubled_when_server_and_shipper_are_killed(server, tmp_path):
    """Server hangs, is killed and restarted, the shipper is killed: every point of every run is there once."""
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

        inbox = EventQueue(tmp_path / "outbox", server.uri)
        train(range(0, 100))
        wait_until(lambda: inbox.left() == 0)
        server.signal(signal.SIGSTOP)
        train(range(100, 200))
        assert inbox.left() > 0
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


def test_a_release_is_shipped_once_although_a_shipper_is_killed(tmp_path):
    release, store, uri = Release(), Store(tmp_path / "store"), new_database(tmp_path / "mlflow.db")
    with EventLog(tmp_path / "outbox", "tiny", "r1") as outbox:
        release.make(store, outbox)
    inbox = EventQueue(tmp_path / "outbox", uri)
    handle, goal = start_sender(tmp_path / "outbox", uri), inbox.left() // 2
    wait_until(lambda: inbox.left() <= goal)
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
        wait_until(lambda: inbox.left() == 0)
        assert last.communicate(timeout=PATIENCE)[0] == "telemetry None\n"
    assert last.returncode == 0
    assert (inbox.left(), list(inbox.refused())) == (0, [])
    view = View(MlflowClient(uri), "tiny")
    assert sorted(view.artifact_ids) == sorted(step.id for step in release.plan)
    assert view.history(release.stage1.id, "train/loss") == [(step, loss(0, step)) for step in range(1, 5)]
    assert len(view.models) == len(release.models)
    assert len(view.client.search_model_versions("name = 'olmo-tiny'")) == len(release.revisions)


@pytest.mark.parametrize(("left", "ends"), [([3, 2, 1, 0], 0), ([3, 2], 2)])
def test_a_drain_lasts_while_something_is_shipped(left, ends, monkeypatch):
    clock, asked = iter(range(0, 10**6, 40)), iter(left)  # 40 s for each look, 60 s of standstill
    monkeypatch.setattr(
        "tasks.tracking.sender.time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None)
    )
    inbox = SimpleNamespace(left=lambda: next(asked, left[-1]))
    process = SimpleNamespace(poll=lambda: None, stdin=None)
    assert Handle(process, inbox).drain(60) == ends


@pytest.mark.parametrize(("code", "looks"), [(401, 7), (503, 60)])
def test_a_server_that_refuses_until_a_person_acts_is_not_waited_for(code, looks, monkeypatch):
    clock, seen = iter(range(10**6)), []  # a second for each look
    monkeypatch.setattr("tasks.tracking.sender.time", SimpleNamespace(monotonic=lambda: next(clock), sleep=seen.append))
    said = in_words(MlflowException(f"API request failed with error code {code}"))
    inbox = SimpleNamespace(left=lambda: 3, noted=lambda: said)
    assert Handle(SimpleNamespace(poll=lambda: None, stdin=None), inbox).drain(60) == 3
    assert len(seen) == looks


def test_a_shipper_ends_when_whoever_started_it_is_killed(tmp_path):
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

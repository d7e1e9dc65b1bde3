"""Which MLflow a release uses, when it warns of another, and when it needs no sender at all."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.profile import Profile
from tasks.tracking import tracker
from tasks.tracking.events import EventLog, SilentEventLog
from tasks.tracking.sender import Handle
from tasks.tracking.tracker import STOP_SECONDS, Tracking, unused_address

PLAN: Any = SimpleNamespace(id="r1", recipe=SimpleNamespace(name="tiny"))
ELSEWHERE = "https://olmo:secret@mlflow.example"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OLMO_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.mark.parametrize("given", ["", "http://127.0.0.1:5000", "sqlite:///HOME/mlflow.db"])
def test_address_that_is_used_anyway_is_no_warning(given: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given.replace("HOME", str(home)))
    assert unused_address(Profile(name="here")) == ""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert unused_address(Profile(name="here")) == ""


def test_other_address_is_named_without_its_password(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ELSEWHERE)
    assert unused_address(Profile(name="here")) == (
        f"MLflow: sqlite:///{home}/mlflow.db; MLFLOW_TRACKING_URI=https://***@mlflow.example is not used, "
        "`mlflow` in the profile names another server"
    )
    assert unused_address(Profile(name="here", mlflow=ELSEWHERE)) == ""


def test_server_of_olmo_up_is_another_where_the_profile_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert unused_address(Profile(name="here", mlflow="http://mlflow.example")).startswith(
        "MLflow: http://mlflow.example;"
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5001")
    assert "127.0.0.1:5001 is not used" in unused_address(Profile(name="here"))
    assert unused_address(Profile(name="here", services={"mlflow_port": 5001})) == ""


class Sender:
    """A handle that sends everything and counts how it is ended."""

    def __init__(self) -> None:
        self.started: list[tuple[Path, str]] = []
        self.stops: list[float] = []
        self.drains = 0

    def start(self, folder: Path, address: str) -> "Sender":
        self.started.append((folder, address))
        return self

    def drain(self, _: float) -> int:
        self.drains += 1
        return 0

    def refused(self) -> list[str]:
        return []

    def stop(self, seconds: float) -> None:
        self.stops.append(seconds)


@pytest.fixture
def sender(monkeypatch: pytest.MonkeyPatch) -> Sender:
    sender = Sender()
    monkeypatch.setattr(tracker, "start_sender", sender.start)
    return sender


def track(idle: bool, home: Path, ended: bool = False) -> Tracking:
    """Track a release that finishes; its events count as sent, as a sender would have left them."""
    (home / "outbox").mkdir(exist_ok=True)
    tracking = Tracking(Profile(name="here"), PLAN, idle)
    tracking.outbox.finished()
    tracking.outbox.close()
    queue = tracker.EventQueue(home / "outbox", f"sqlite:///{home}/mlflow.db")
    while items := queue.read():
        queue.done(items[-1])
    assert tracking.close(ended) == []
    return tracking


def test_release_that_is_tracked_and_idle_starts_no_sender(sender: Sender, home: Path) -> None:
    assert type(track(True, home).outbox) is EventLog, "the first is not tracked yet"
    second = track(True, home)
    assert type(second.outbox) is SilentEventLog
    assert sender.started == [(home / "outbox", f"sqlite:///{home}/mlflow.db")]
    assert len(list((home / "outbox").glob("*.jsonl"))) == 1, "the second records nothing"


def test_release_with_work_is_tracked_again(sender: Sender, home: Path) -> None:
    track(True, home)
    assert type(track(False, home).outbox) is EventLog
    assert len(sender.started) == 2


def test_events_of_another_release_that_wait_are_sent(sender: Sender, home: Path) -> None:
    track(True, home)
    with EventLog(home / "outbox", "tiny", "r0") as waiting:
        waiting.failed("killed")
    assert type(Tracking(Profile(name="here"), PLAN, idle=True).outbox) is EventLog


def test_ended_release_waits_for_nothing_and_is_not_counted_as_tracked(sender: Sender, home: Path) -> None:
    track(True, home, ended=True)
    assert (sender.drains, sender.stops) == (0, [STOP_SECONDS[True]])
    assert type(track(True, home).outbox) is EventLog
    assert (sender.drains, sender.stops[1:]) == (1, [STOP_SECONDS[False]])


def test_events_refused_before_are_not_reported_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "outbox").mkdir()
    queue = tracker.EventQueue(home / "outbox", f"sqlite:///{home}/mlflow.db")
    with EventLog(home / "outbox", "tiny", "r0") as outbox:
        outbox.failed("a")
        outbox.failed("b")
    old, new = queue.read()
    queue.refuse(old, "old reason")
    process: Any = SimpleNamespace(poll=lambda: 0, stdin=None, wait=lambda _: 0)
    monkeypatch.setattr(tracker, "start_sender", lambda *_: Handle(process, queue))
    tracking = Tracking(Profile(name="here"), PLAN, idle=False)
    queue.refuse(new, "new reason")
    (note,) = tracking.close(ended=False)
    assert note == f"MLflow refused 1 events permanently, the last: {new.file}: new reason"

import logging
from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException

from tasks.tracking import sender as sender_module
from tasks.tracking.events import EventLog
from tasks.tracking.mlflow.errors import explain
from tasks.tracking.queue import EventQueue
from tasks.tracking.sender import Handle, Sender, hide_credentials


class FakeWriter:
    """A writer whose failures are scripted: `trouble(event)` raises or does not."""

    def __init__(self, trouble, down=lambda: False) -> None:
        self.trouble, self.down, self.written, self.cleanups = trouble, down, [], 0

    def connect(self):
        return self

    def probe(self, _recipe: str) -> None:
        if self.down():
            raise ConnectionError("down")

    def write(self, event) -> None:
        self.probe("")
        self.trouble(event)
        self.written.append(event)

    def remove_duplicates(self) -> None:
        self.cleanups += 1


@pytest.fixture
def ship(tmp_path, monkeypatch):
    monkeypatch.setattr(sender_module, "FIRST_WAIT", 0.0)

    def ship(writer, hide=str) -> EventQueue:
        queue = EventQueue(tmp_path, "a")
        sender = Sender(queue, writer.connect, hide)
        sender.end()
        sender.run()
        return queue

    return ship


@pytest.fixture
def outbox(tmp_path):
    with EventLog(tmp_path, "tiny", "r1") as outbox:
        yield outbox


def test_waiting_metrics_are_sent_together(ship, outbox):
    for step in range(5):
        outbox.metrics("run1", step, {"loss": 1.0})
        outbox.flush()
    outbox.finished()
    writer = FakeWriter(lambda event: None)
    assert ship(writer).left() == 0
    metrics, finished = writer.written
    assert [point[0] for point in metrics["points"]] == [0, 1, 2, 3, 4]
    assert finished["event"] == "finished"


def test_refused_event_does_not_block_others(ship, outbox, tmp_path):
    for step in (1, -1, 2):
        outbox.metrics("run1", step, {"loss": 1.0})
        outbox.flush()
    outbox.finished()

    def trouble(event):
        if any(point[0] < 0 for point in event.get("points", [])):
            raise ValueError("step -1")

    writer = FakeWriter(trouble)
    queue = ship(writer)
    assert [event.get("points", [[None]])[0][0] for event in writer.written] == [1, 2, None]
    assert queue.left() == 0
    assert [entry["reason"] for entry in queue.refused()] == ["ValueError: step -1"]
    assert writer.cleanups == 1


def test_nothing_is_refused_while_the_server_is_down(ship, outbox):
    outbox.finished()
    calls = iter(range(100))
    writer = FakeWriter(lambda event: None, down=lambda: next(calls) < 50)
    queue = ship(writer)
    assert len(writer.written) == 1
    assert list(queue.refused()) == []


def test_rate_limit_refuses_no_event(ship, outbox):
    outbox.finished()
    calls = iter(range(100))

    def trouble(_event):
        if next(calls) < 10:
            raise RuntimeError("Max retries exceeded (Caused by ResponseError('too many 429 error responses'))")

    writer = FakeWriter(trouble)
    queue = ship(writer)
    assert len(writer.written) == 1 and list(queue.refused()) == []


def test_reason_is_noted_while_the_server_is_down(ship, outbox, tmp_path):
    outbox.finished()
    seen = []

    def down():
        seen.append(EventQueue(tmp_path, "a").noted())
        return len(seen) < 5

    assert ship(FakeWriter(lambda event: None, down)).noted() == ""
    assert "ConnectionError: down" in seen


def test_line_that_is_no_event_is_refused_at_once(ship, outbox, tmp_path):
    outbox.finished()
    [file] = tmp_path.glob("*.jsonl")
    file.write_text('{"event": "step"}\n' + file.read_text())
    writer = FakeWriter(lambda event: None)
    assert [entry["reason"] for entry in ship(writer).refused()] == ["the line is not an event"]
    assert len(writer.written) == 1


def test_credentials_are_hidden_in_messages(ship, outbox, tmp_path, caplog):
    uri = "postgresql://olmo:ca%40nary@db/mlflow"

    def trouble(_event):
        raise ConnectionError(f"cannot reach {uri} as olmo with ca@nary")

    outbox.finished()
    with caplog.at_level(logging.WARNING):
        queue = ship(FakeWriter(trouble), hide_credentials(uri))
    [entry] = queue.refused()
    assert "cannot reach postgresql://***@db/mlflow" in entry["reason"]
    written = caplog.text + "".join(path.read_text() for path in tmp_path.iterdir())
    assert "ca%40nary" not in written and "ca@nary" not in written
    assert hide_credentials("sqlite:////home/a.db")("a b") == "a b"


@pytest.mark.parametrize(("left", "ends"), [([3, 2, 1, 0], 0), ([3, 2], 2)])
def test_drain_lasts_while_events_are_sent(left, ends, monkeypatch):
    clock, asked = iter(range(0, 10**6, 40)), iter(left)  # 40 s for each look, 60 s without progress
    monkeypatch.setattr(
        "tasks.tracking.sender.time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None)
    )
    queue = SimpleNamespace(left=lambda: next(asked, left[-1]))
    process = SimpleNamespace(poll=lambda: None, stdin=None)
    assert Handle(process, queue).drain(60) == ends


@pytest.mark.parametrize(("code", "looks"), [(401, 7), (503, 60)])
def test_drain_gives_up_when_a_person_must_act(code, looks, monkeypatch):
    clock, seen = iter(range(10**6)), []  # a second for each look
    monkeypatch.setattr("tasks.tracking.sender.time", SimpleNamespace(monotonic=lambda: next(clock), sleep=seen.append))
    reason = explain(MlflowException(f"API request failed with error code {code}"))
    queue = SimpleNamespace(left=lambda: 3, noted=lambda: reason)
    assert Handle(SimpleNamespace(poll=lambda: None, stdin=None), queue).drain(60) == 3
    assert len(seen) == looks

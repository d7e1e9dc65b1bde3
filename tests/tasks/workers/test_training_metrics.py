"""The metrics of each training step reach the tracking server once, whatever the server does meanwhile."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training_world import EAGER, config, run

from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from tasks.tracking.events import EventLog
from tasks.tracking.queue import EventQueue
from tasks.tracking.sender import Sender

STEPS = 120
PATIENCE = 120  # seconds


class HungServer:
    """A server whose connections hang until it is freed."""

    def __init__(self) -> None:
        self.called, self.free = threading.Event(), threading.Event()
        self.written: list[Mapping[str, Any]] = []

    def connect(self) -> "HungServer":
        self.called.set()
        assert self.free.wait(PATIENCE)
        return self

    def write(self, event: Mapping[str, Any]) -> None:
        self.written.append(event)


def test_run_ends_and_loses_no_point_while_its_server_hangs(tmp_path: Path) -> None:
    server, store = HungServer(), Store(str(tmp_path / "artifacts"))
    step = run(store, config(tokens=STEPS * 64, checkpoint_every=60))
    sender = Sender(EventQueue(tmp_path / "outbox", "a"), server.connect, str)  # type: ignore[arg-type]
    thread = threading.Thread(target=sender.run, daemon=True)
    with EventLog(tmp_path / "outbox", "test", "r1") as outbox:
        outbox.release({"name": "test"}, [])
        thread.start()
        assert server.called.wait(PATIENCE)
        make(step, store, EAGER, metrics=lambda at, values: outbox.metrics(step.id, at, values))
        assert server.written == []
        outbox.finished()
    server.free.set()
    sender.end()
    thread.join(PATIENCE)
    points = [(key, at) for event in server.written for at, _, values in event.get("points", []) for key in values]
    assert sorted(at for key, at in points if key == "loss") == list(range(1, STEPS + 1))
    assert sorted(at for key, at in points if key == "memory_bytes") == list(range(1, STEPS + 1))
    assert sorted(at for key, at in points if key == "checkpoint/blocking_seconds") == [60, 120]
    assert server.written[-1]["event"] == "finished"

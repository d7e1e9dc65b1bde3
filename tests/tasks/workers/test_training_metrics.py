"""What a run tells of its steps reaches the tracking server once each, whatever the server does meanwhile."""

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
    """A server whose connections hang until it is freed, as one does that takes calls and never answers."""

    def __init__(self) -> None:
        self.called, self.free = threading.Event(), threading.Event()
        self.told: list[Mapping[str, Any]] = []

    def connect(self) -> "HungServer":
        self.called.set()
        assert self.free.wait(PATIENCE)
        return self

    def tell(self, event: Mapping[str, Any]) -> None:
        self.told.append(event)


def test_a_run_ends_while_its_server_hangs_and_no_point_is_lost(tmp_path: Path) -> None:
    server, store = HungServer(), Store(str(tmp_path / "artifacts"))
    step = run(store, config(tokens=STEPS * 64, checkpoint_every=60))
    sender = Sender(EventQueue(tmp_path / "outbox", "a"), server.connect, str)  # type: ignore[arg-type]
    thread = threading.Thread(target=sender.run, daemon=True)
    with EventLog(tmp_path / "outbox", "test", "r1") as outbox:
        outbox.release({"name": "test"}, [])
        thread.start()
        assert server.called.wait(PATIENCE)
        make(step, store, EAGER, metrics=lambda at, values: outbox.metrics(step.id, at, values))
        assert server.told == []
        outbox.finished()
    server.free.set()
    sender.end()
    thread.join(PATIENCE)
    told = [(key, at) for event in server.told for at, _, values in event.get("points", []) for key in values]
    assert sorted(at for key, at in told if key == "loss") == list(range(1, STEPS + 1))
    assert sorted(at for key, at in told if key == "memory_bytes") == list(range(1, STEPS + 1))
    assert sorted(at for key, at in told if key == "checkpoint/blocking_seconds") == [60, 120]
    assert server.told[-1]["event"] == "finished"

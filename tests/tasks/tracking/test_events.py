import errno
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from olmo_core.artifact.identity import Step
from tasks.tracking import events as outbox_module
from tasks.tracking.events import EventLog


def lines(folder: Path) -> list[dict]:
    files = sorted(folder.glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def points(folder: Path) -> dict[tuple[str, int], dict[str, float]]:
    return {
        (line["id"], step): values
        for line in lines(folder)
        if line["event"] == "metrics"
        for step, _, values in line["points"]
    }


@pytest.fixture
def outbox(tmp_path):
    with EventLog(tmp_path, "tiny", "r1") as outbox:
        yield outbox


def test_every_event_names_recipe_and_release(outbox, tmp_path):
    step = Step("corpus", "wiki", 1)
    outbox.release({"name": "tiny"}, [step])
    outbox.failed("no disk")
    release, failed = lines(tmp_path)
    assert release["plan"] == [{"label": "corpus/wiki", "id": step.id}]
    assert (failed["event"], failed["reason"]) == ("failed", "no disk")
    assert {(line["recipe"], line["release"]) for line in (release, failed)} == {("tiny", "r1")}


def test_metrics_are_complete_and_before_later_events(outbox, tmp_path):
    for step in range(120):
        outbox.metrics("run1", step, {"loss": step / 2, "lr": np.float32(0.5)})
    outbox.finished()
    assert points(tmp_path) == {("run1", step): {"loss": step / 2, "lr": 0.5} for step in range(120)}
    assert lines(tmp_path)[-1]["event"] == "finished"


def test_values_are_copied_at_the_call(outbox, tmp_path):
    values = {"loss": 1.0}
    outbox.metrics("run1", 1, values)
    values["loss"] = 2.0
    outbox.flush()
    assert points(tmp_path) == {("run1", 1): {"loss": 1.0}}


def test_metrics_are_written_without_flush(outbox, tmp_path, monkeypatch):
    written = threading.Event()
    write = os.write
    monkeypatch.setattr(outbox_module.os, "write", lambda *call: (write(*call), written.set())[0])
    for step in range(outbox_module.WRITE_POINTS):
        outbox.metrics("run1", step, {"loss": 1.0})
    assert written.wait(30)


def test_threads_share_one_outbox(outbox, tmp_path):
    def train(run: str) -> None:
        for step in range(200):
            outbox.metrics(run, step, {"loss": 1.0})
            if step % 60 == 0:
                outbox.flush()

    threads = [threading.Thread(target=train, args=[f"run{i}"]) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    outbox.flush()
    assert points(tmp_path).keys() == {(f"run{i}", step) for i in range(4) for step in range(200)}


def test_pickled_outbox_writes_its_own_file(outbox, tmp_path):
    outbox.metrics("run1", 1, {"loss": 1.0})
    outbox.flush()
    with pickle.loads(pickle.dumps(outbox)) as other:
        other.metrics("run1", 2, {"loss": 2.0})
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert points(tmp_path).keys() == {("run1", 1), ("run1", 2)}


def test_full_disk_is_logged_once_and_loses_nothing(outbox, tmp_path, monkeypatch, caplog):
    write, room = os.write, [25]

    def full(file: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = write(file, data[: room[0]])
        room[0] -= taken
        return taken

    monkeypatch.setattr(outbox_module.os, "write", full)
    for step in range(100):
        outbox.metrics("run1", step, {"loss": float(step)})
        if step % 10 == 0:
            outbox.flush()
    outbox.finished()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    monkeypatch.setattr(outbox_module.os, "write", write)
    outbox.flush()
    assert points(tmp_path).keys() == {("run1", step) for step in range(100)}
    assert outbox.lost == 0


def test_metrics_beyond_memory_limit_are_counted_as_lost(outbox, monkeypatch, tmp_path):
    monkeypatch.setattr(outbox_module, "MEMORY_BYTES", 10_000)
    monkeypatch.setattr(outbox, "_open", lambda: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    for step in range(1000):
        outbox.metrics("run1", step, {"loss": 1.0})
        outbox.flush()
    monkeypatch.undo()
    outbox.flush()
    assert 0 < len(points(tmp_path)) < 1000
    assert outbox.lost == 1000 - len(points(tmp_path))


def test_invalid_metrics_are_counted_and_never_raise(outbox, tmp_path):
    outbox.metrics("run1", 1, {"loss": object()})
    outbox.flush()
    outbox.metrics("run1", 2, {"loss": 1.0})
    outbox.flush()
    assert outbox.lost == 1
    assert points(tmp_path).keys() == {("run1", 2)}


def test_ending_process_writes_everything(tmp_path):
    code = (
        "import sys; from tasks.tracking.events import EventLog;"
        "EventLog(sys.argv[1], 'tiny', 'r1').metrics('run1', 7, {'loss': 1})"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    assert points(tmp_path) == {("run1", 7): {"loss": 1}}


def test_mlflow_is_not_imported(tmp_path):
    code = (
        "import sys, tasks.tracking.events, tasks.tracking.sender;"
        "print(sorted({'mlflow', 'torch', 'ray'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"

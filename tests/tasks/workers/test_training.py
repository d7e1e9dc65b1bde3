"""Runs as Ray Train jobs: stopped workers compared with the same run in one process; a dead controller."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from training_world import EAGER, config, run

from infra.ray_cluster import Cluster
from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.recipe.compute import Workers
from olmo_core.train.checkpoint.state import read_state
from olmo_core.train.step import checkpoint_step, recovery_step
from tasks.tracking.events import EventLog
from tasks.workers.energy import Meter
from tasks.workers.failures import FailureClass, classify, root_message
from tasks.workers.progress import Board
from tasks.workers.training import train

STEPS = 500
PATIENCE = 120  # seconds


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join(filter(None, sys.path))
    )  # workers import the functions that steps refer to
    cluster = Cluster(None, 2)
    try:
        import ray

        yield ray.remote(Board).options(num_cpus=0).remote(EventLog(tmp_path / "outbox", "test", "r1"))
    finally:
        cluster.stop()


@contextmanager
def signalled(board: Any, step: Step, process: str, number: signal.Signals) -> Iterator[list[int]]:
    """Send a signal to the last of our processes of that name, as soon as the run reports progress."""
    import ray

    sent: list[int] = []

    def send() -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if step.label in ray.get(board.reports.remote()):
                children = psutil.Process().children(recursive=True)
                own = [each for each in children if process in " ".join(each.cmdline())]
                own[-1].send_signal(number)
                sent.append(own[-1].pid)
                return
            time.sleep(0.05)

    sender = threading.Thread(target=send)
    sender.start()
    yield sent
    sender.join()


def test_a_controller_that_dies_leaves_nothing_reserved(board: Any, tmp_path: Path) -> None:
    from ray.exceptions import ActorDiedError
    from ray.util import placement_group_table

    store = Store(str(tmp_path / "store"))
    step = run(store, config(tokens=STEPS * 640, checkpoint_every=STEPS * 10))
    with signalled(board, step, "TrainController", signal.SIGKILL) as sent, pytest.raises(ActorDiedError):
        train(step, store, Workers(count=1, placement=EAGER), board, tmp_path / "ray-train", Meter(65))
    assert sent
    assert {each["state"] for each in placement_group_table().values()} == {"REMOVED"}


def test_two_workers_save_when_asked_to_stop_and_one_process_makes_the_bits_of_one(board: Any, tmp_path: Path) -> None:
    training = config(tokens=STEPS * 64, checkpoint_every=STEPS, canonical_shards=2)
    store, alone = Store(str(tmp_path / "two")), Store(str(tmp_path / "one"))
    step = run(store, training)
    asked = signalled(board, step, "RayTrainWorker", signal.SIGTERM)
    with asked as sent, pytest.raises(Exception) as failure:
        train(step, store, Workers(count=2, placement=EAGER), board, tmp_path / "ray-train", Meter(65))
    assert sent
    assert classify(failure.value) is FailureClass.PREEMPTION
    assert "run/run is saved at step " in root_message(failure.value)
    assert store.find(step) is None
    saved = store.find(recovery_step(step, 0))
    assert saved is not None

    done = read_state(saved.path).step
    begun: list[int] = []
    gone_on = make(step, store, EAGER, metrics=lambda now, _: begun.append(now)).artifact.record
    assert begun[0] == done + 1 > 1
    assert gone_on.digest == make(run(alone, training), alone, EAGER).artifact.record.digest
    ends = [each.find(checkpoint_step(step, STEPS)) for each in (store, alone)]
    assert ends[0] is not None and ends[1] is not None and ends[0].record.digest == ends[1].record.digest

"""A run by two workers of Ray Train that are asked to stop, and gone on with, against the same run by one process."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from training_world import EAGER, config, run

from infra.ray_cluster import Cluster
from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.recipe.profile import Workers
from olmo_core.train.checkpoint import read_state
from olmo_core.train.step import checkpoint_step, recovery_step
from tasks.board import Board
from tasks.energy import Meter
from tasks.failures import FailureClass, classify, root_message
from tasks.outbox import Outbox
from tasks.training import train

STEPS = 500
PATIENCE = 120  # seconds


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Any]:
    cluster = Cluster(None, 2)
    try:
        import ray

        yield ray.remote(Board).options(num_cpus=0).remote(Outbox(tmp_path / "outbox", "test", "r1"))
    finally:
        cluster.stop()


def stop_a_worker(board: Any, step: Step, stopped: list[int]) -> None:
    """Send SIGTERM to the worker of rank 1, as soon as the run tells how far it is."""
    import ray

    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if step.label in ray.get(board.reports.remote()):
            workers = [
                each for each in psutil.process_iter(["cmdline"]) if "RayTrainWorker" in str(each.info["cmdline"])
            ]
            own = [each for each in workers if psutil.Process() in each.parents()]
            own[-1].send_signal(signal.SIGTERM)
            stopped.append(own[-1].pid)
            return
        time.sleep(0.05)


def test_two_workers_save_when_asked_to_stop_and_one_process_makes_the_bits_of_one(board: Any, tmp_path: Path) -> None:
    training = config(tokens=STEPS * 64, checkpoint_every=STEPS, canonical_shards=2)
    store, alone = Store(str(tmp_path / "two")), Store(str(tmp_path / "one"))
    step = run(store, training)
    stopped: list[int] = []
    stopper = threading.Thread(target=stop_a_worker, args=(board, step, stopped))
    stopper.start()
    with pytest.raises(Exception) as failure:
        train(step, store, Workers(count=2, placement=EAGER), board, tmp_path / "ray-train", Meter(65))
    stopper.join()
    assert stopped
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

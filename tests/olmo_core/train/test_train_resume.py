"""Runs that were stopped, killed, crashed or damaged resume and end with the same bits."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from training_world import EAGER, STEPS, config, contents, everything, run, train_here

from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.train.preemption import PreemptedError
from olmo_core.train.step import checkpoint_step


class InterruptedRunError(Exception):
    pass


def interrupted(at: int, train: Callable[..., object]) -> list[int]:
    """Stop a run when it reports the metrics of step `at`; return the steps it reported."""
    seen: list[int] = []

    def watch(now: int, _: Any) -> None:
        seen.append(now)
        if now == at:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        train(metrics=watch)
    return seen


@pytest.mark.parametrize("at", [1, 5, 9, 11, 12])
def test_interrupted_run_resumes_bit_for_bit(whole: tuple[Store, Step], tmp_path: Path, at: int) -> None:
    store, step = Store(str(tmp_path)), whole[1]
    interrupted(at, partial(train_here, str(tmp_path)))
    begun: list[int] = []
    train_here(str(tmp_path), metrics=lambda now, _: begun.append(now))
    # Only the steps after the last checkpoint are lost.
    assert begun[0] == 1 + max([n for n in STEPS if n < at], default=0)
    assert everything(store, step) == everything(*whole)


KILLED = """
import os, signal, sys, training_world as world
from olmo_core.train.preemption import PreemptedError
from olmo_core.train.step import checkpoint_step

store = world.Store(sys.argv[1])
first = checkpoint_step(world.run(store), 5)

def kill(at, _):
    if at == 8:
        while store.find(first) is None:
            pass
        os.kill(os.getpid(), signal.SIGKILL)

world.train_here(sys.argv[1], metrics=kill)
"""


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[3])])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_killed_run_resumes_bit_for_bit(whole: tuple[Store, Step], tmp_path: Path) -> None:
    assert python(KILLED, str(tmp_path)).wait(timeout=120) == -signal.SIGKILL
    begun: list[int] = []
    train_here(str(tmp_path), metrics=lambda now, _: begun.append(now))
    assert begun[0] == 6
    assert everything(Store(str(tmp_path)), whole[1]) == everything(*whole)


def test_lost_checkpoint_is_remade(whole: tuple[Store, Step], tmp_path: Path) -> None:
    step = train_here(str(tmp_path)).artifact.step
    store = Store(str(tmp_path))
    expected = everything(store, step)
    for lost in (step, checkpoint_step(step, 10)):
        record = store.peek(lost)
        assert record is not None
        store.set_aside(record, "lost in a test")
    begun: list[int] = []
    train_here(str(tmp_path), metrics=lambda now, _: begun.append(now))
    assert begun[0] == 6
    assert everything(store, step) == expected == everything(*whole)


def test_preempted_run_saves_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    training = config(tokens=30 * 64, checkpoint_every=30)
    uninterrupted, store = Store(str(tmp_path / "a")), Store(str(tmp_path / "b"))
    step = run(uninterrupted, training)
    make(step, uninterrupted, EAGER)
    before = signal.getsignal(signal.SIGTERM)

    def ask(now: int, _: Any) -> None:
        if now in (10, 21):  # metrics are read every ten steps
            os.kill(os.getpid(), signal.SIGTERM)

    for done in (11, 22):
        with pytest.raises(PreemptedError, match=f"run/run is saved at step {done}"):
            make(run(store, training), store, EAGER, metrics=ask)
        assert signal.getsignal(signal.SIGTERM) is before
    begun: list[int] = []
    make(run(store, training), store, EAGER, metrics=lambda now, _: begun.append(now))
    assert begun[0] == 23
    made = [step, checkpoint_step(step, 30)]
    assert contents(store, made) == contents(uninterrupted, made)
    assert not list(store.base.glob("recovery/*/attempt-*"))


def test_crashed_run_resumes_from_last_intact_recovery(tmp_path: Path) -> None:
    training, often = config(tokens=40 * 64, checkpoint_every=20), EAGER.model_copy(update={"recovery_every": 6})
    uninterrupted, store = Store(str(tmp_path / "a")), Store(str(tmp_path / "b"))
    step = run(uninterrupted, training)
    make(step, uninterrupted, EAGER)

    def crash(at: int) -> list[int]:
        return interrupted(at, partial(make, run(store, training), store, often))

    assert crash(at=20)[0] == 1  # after recovery checkpoints at 6, 12 and 18, of which the last two are kept
    assert len(list(store.base.glob("recovery/*/record.json"))) == 2
    damaged = next(store.base.glob("recovery/run-0-*/attempt-*/optimizer.safetensors"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert crash(at=36)[0] == 13  # the one at 18 is damaged, the one at 12 is intact
    assert crash(at=39)[0] == 31
    begun: list[int] = []
    make(run(store, training), store, often, metrics=lambda now, _: begun.append(now))
    assert begun[0] == 37
    made = [step, checkpoint_step(step, 20), checkpoint_step(step, 40)]
    assert contents(store, made) == contents(uninterrupted, made)
    assert not list(store.base.glob("recovery/*/record.json"))


def test_damaged_checkpoint_is_reported_and_previous_one_used(whole: tuple[Store, Step], tmp_path: Path) -> None:
    step = train_here(str(tmp_path)).artifact.step
    warnings: list[str] = []
    store = Store(str(tmp_path), warn=warnings.append)
    expected = everything(store, step)
    last = store.find(checkpoint_step(step, 10))
    finished = store.peek(step)
    assert last is not None and finished is not None
    store.set_aside(finished, "lost in a test")
    weights = last.path / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    begun: list[int] = []
    make(step, Store(str(tmp_path), warn=warnings.append), EAGER, metrics=lambda now, _: begun.append(now))
    assert begun[0] == 6
    assert any("model.safetensors" in line and "run-step10" in line for line in warnings)
    assert everything(store, step) == expected == everything(*whole)

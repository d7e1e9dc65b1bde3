"""Whole runs through the artifact store: what they leave, going on after a stop, stage 2, several ranks."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from safetensors.torch import load_file
from training_world import EAGER, LENGTH, MODEL, config, contents, mixed, run, train_here

from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.data.loader import Loader
from olmo_core.data.mix import MixConfig, mix_step
from olmo_core.train.checkpoint import read_state, start_from
from olmo_core.train.config import ScheduleConfig
from olmo_core.train.history import TrainingDivergedError, read_history
from olmo_core.train.preemption import PreemptedError
from olmo_core.train.step import checkpoint_step, run_step
from olmo_core.train.trainer import Trainer

STEPS = (5, 10, 12)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Step]:
    """An uninterrupted run."""
    folder = str(tmp_path_factory.mktemp("whole"))
    return Store(folder), train_here(folder).artifact.step


def everything(store: Store, step: Step) -> dict[str, bytes]:
    return contents(store, [step, *(checkpoint_step(step, at) for at in STEPS)])


def test_token_files_in_a_store_elsewhere_make_the_same_bits(whole: tuple[Store, Step], tmp_path: Path) -> None:
    """In place behind fsspec, read ahead by threads; stopped and gone on with."""
    store, first = whole
    here = store.find(mixed(store).inputs["made/00000"])
    assert here is not None
    fsspec.filesystem("memory").pipe_file("/made.npy", (here.path / "part-00000.npy").read_bytes())
    there = Store(str(tmp_path))
    source = Step("tokens", "there", 1, {}, mixed(there).inputs["made/00000"].inputs, "training_world:name_tokens")
    mix = mix_step("made-up", MixConfig(weights={"made": 1.0}), 4096, LENGTH, 0, {"made/00000": source})
    step = run_step("run", config(), MODEL, mix)
    for each in step.closure():
        if each != step:
            make(each, there)

    def stop(done: float, *_: Any, **__: Any) -> None:
        if done == 10 * 4 * LENGTH:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(step, there, EAGER, progress=stop)
    make(step, there, EAGER)
    assert everything(there, step) == everything(store, first)


def test_a_run_learns_and_leaves_its_history_and_checkpoints(whole: tuple[Store, Step]) -> None:
    store, step = whole
    artifact = store.find(step)
    assert artifact is not None
    rows = read_history(artifact.path / "history.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert [row["tokens"] for row in rows] == [64 * n for n in range(1, 13)]
    assert rows[0]["lr"] == pytest.approx(5e-3)
    assert rows[-1]["lr"] == pytest.approx(3e-3)
    assert sum(row["loss"] for row in rows[-4:]) < sum(row["loss"] for row in rows[:4]) - 1
    assert artifact.record.result == {"steps": 12, "tokens": 768, "loss": rows[-1]["loss"]}
    parts = []
    for at in STEPS:
        checkpoint = store.find(checkpoint_step(step, at))
        assert checkpoint is not None
        state = read_state(checkpoint.path)
        assert (state.step, state.tokens, state.sequences, state.updates) == (at, 64 * at, 4 * at, at)
        assert state.learning_rate == rows[at - 1]["lr"]
        parts += read_history(checkpoint.path / "history.jsonl")
    assert parts == rows


class InterruptedRunError(Exception):
    pass


@pytest.mark.parametrize("at", [1, 5, 9, 11, 12])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(whole: tuple[Store, Step], tmp_path: Path, at: int) -> None:
    store, step = Store(str(tmp_path)), whole[1]
    seen: list[int] = []

    def stop(now: int, _: Any) -> None:
        seen.append(now)
        if now == at:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        train_here(str(tmp_path), metrics=stop)
    begun: list[int] = []
    train_here(str(tmp_path), metrics=lambda now, _: begun.append(now))
    # A stop loses at most what came after the last checkpoint.
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


def test_a_run_killed_at_once_goes_on_bit_for_bit(whole: tuple[Store, Step], tmp_path: Path) -> None:
    assert python(KILLED, str(tmp_path)).wait(timeout=120) == -signal.SIGKILL
    begun: list[int] = []
    train_here(str(tmp_path), metrics=lambda now, _: begun.append(now))
    assert begun[0] == 6
    assert everything(Store(str(tmp_path)), whole[1]) == everything(*whole)


def test_a_lost_checkpoint_in_the_middle_is_made_again(whole: tuple[Store, Step], tmp_path: Path) -> None:
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


def anneal(store: Store, start: Step, seed: int) -> Step:
    schedule = ScheduleConfig(kind="linear", peak="inherit", final=0.0)
    step = run_step("anneal", config(tokens=6 * 64, seed=seed, schedule=schedule), MODEL, mixed(store, seed=2), start)
    make(step, store, EAGER)
    return step


def test_stage_two_keeps_weights_and_moments_and_inherits_the_rate(whole: tuple[Store, Step]) -> None:
    store, first = whole
    start = checkpoint_step(first, 10)
    started = store.find(start)
    assert started is not None
    step = anneal(store, start, seed=42)
    end = store.find(checkpoint_step(step, 6))
    assert end is not None
    rate = read_state(started.path).learning_rate
    rows = read_history(store.find(step).path / "history.jsonl")  # type: ignore[union-attr]
    assert [row["lr"] for row in rows] == pytest.approx([rate * (1 - n / 6) for n in range(1, 7)], abs=1e-12)
    assert rows[-1]["lr"] == 0.0
    assert read_state(end.path).updates == 16

    # The same by hand: the checkpoint's weights and moments, the new mix from its first batch on.
    by_hand = Trainer(MODEL, config(), EAGER).initialize()
    start_from(started.path, by_hand)
    mix = step.inputs["mix"]
    folders = {role: store.find(source).path for role, source in mix.inputs.items()}  # type: ignore[union-attr]
    loader = Loader(
        store.find(mix).path,  # type: ignore[union-attr]
        folders,
        seed=42,
        batch_size=4,
        sequence_length=16,
        vocab_size=64,
    )
    for n in range(6):
        by_hand.update(torch.from_numpy(loader.batch(n).tokens), rows[n]["lr"])
    stored = load_file(end.path / "model.safetensors")
    for name, tensor in by_hand.model.state_dict().items():
        assert torch.allclose(tensor, stored[name], atol=1e-6), name


def test_ingredients_differ_by_seed_only_in_their_order(whole: tuple[Store, Step]) -> None:
    store, first = whole
    start = checkpoint_step(first, 10)
    one, other = anneal(store, start, seed=42), anneal(store, start, seed=43)
    differing = {key for key in one.fields if one.fields[key] != other.fields[key]}
    assert differing == {"seed"}
    assert {role: step.id for role, step in one.inputs.items()} == {
        role: step.id for role, step in other.inputs.items()
    }
    a, b = contents(store, [checkpoint_step(one, 6)]), contents(store, [checkpoint_step(other, 6)])
    assert [name for name in a if name.endswith("model.safetensors") and a[name] != b.get(name)]
    assert [value for name, value in a.items() if name.endswith("state.json")] == [
        value for name, value in b.items() if name.endswith("state.json")
    ]


def test_a_rate_of_zero_cannot_be_inherited(whole: tuple[Store, Step]) -> None:
    store, first = whole
    ended = anneal(store, checkpoint_step(first, 10), seed=42)
    with pytest.raises(ValueError, match=r"checkpoint/anneal-step6 ended at rate 0; give the rate itself"):
        anneal(store, checkpoint_step(ended, 6), seed=1)


def test_a_diverging_run_stops_without_a_checkpoint(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    training = config(schedule=ScheduleConfig(kind="constant", peak=1e38))
    step = run(store, training)
    with pytest.raises(TrainingDivergedError, match=r"step [2-5]: loss .* lower schedule\.peak"):
        make(step, store, EAGER)
    assert store.find(checkpoint_step(step, 5)) is None


def test_too_little_memory_is_told_with_what_takes_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Trainer, "update", full)
    with pytest.raises(
        MemoryError, match=r"run/run: a forward pass of 4 sequences .* give placement\.micro_batch 2 or"
    ):
        train_here(str(tmp_path))


def test_live_numbers_say_speed_and_both_utilizations(tmp_path: Path) -> None:
    rows: dict[int, dict[str, float]] = {}
    progress: list[tuple[float, float, str]] = []
    train_here(
        str(tmp_path),
        metrics=lambda step, values: rows.setdefault(step, {}).update(values),
        progress=lambda done, total, unit, **shown: progress.append((done, total, unit)),
    )
    assert sorted(rows) == list(range(1, 13))
    assert rows[12].keys() >= {"loss", "lr", "grad_norm", "tokens_per_second", "utilization_causal", "utilization_full"}
    assert rows[12]["utilization_full"] > rows[12]["utilization_causal"] > 0
    assert progress[-1] == (768, 768, "tokens")


def test_a_run_that_is_asked_to_stop_saves_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    training = config(tokens=30 * 64, checkpoint_every=30)
    uninterrupted, store = Store(str(tmp_path / "a")), Store(str(tmp_path / "b"))
    step = run(uninterrupted, training)
    make(step, uninterrupted, EAGER)
    before = signal.getsignal(signal.SIGTERM)

    def ask(now: int, _: Any) -> None:
        if now in (10, 21):  # numbers are read every ten steps
            os.kill(os.getpid(), signal.SIGTERM)

    for done in (11, 22):
        with pytest.raises(PreemptedError, match=f"run/run was asked to stop; its {done} steps are saved"):
            make(run(store, training), store, EAGER, metrics=ask)
        assert signal.getsignal(signal.SIGTERM) is before
    begun: list[int] = []
    make(run(store, training), store, EAGER, metrics=lambda now, _: begun.append(now))
    assert begun[0] == 23
    made = [step, checkpoint_step(step, 30)]
    assert contents(store, made) == contents(uninterrupted, made)
    assert not list(store.base.glob("recovery/*/attempt-*"))


def test_a_crash_loses_what_came_after_the_last_recovery(tmp_path: Path) -> None:
    training, often = config(tokens=40 * 64, checkpoint_every=20), EAGER.model_copy(update={"recovery_every": 6})
    uninterrupted, store = Store(str(tmp_path / "a")), Store(str(tmp_path / "b"))
    step = run(uninterrupted, training)
    make(step, uninterrupted, EAGER)

    def crash(at: int) -> list[int]:
        seen: list[int] = []

        def watch(now: int, _: Any) -> None:
            seen.append(now)
            if now == at:
                raise InterruptedRunError

        with pytest.raises(InterruptedRunError):
            make(run(store, training), store, often, metrics=watch)
        return seen

    assert crash(at=20)[0] == 1  # after recoveries at 6, 12 and 18, of which two are left
    assert len(list(store.base.glob("recovery/*/record.json"))) == 2
    damaged = next(store.base.glob("recovery/run-0-*/attempt-*/optimizer.safetensors"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert crash(at=36)[0] == 13  # the one at 18 is damaged, the one at 12 is not
    assert crash(at=39)[0] == 31
    begun: list[int] = []
    make(run(store, training), store, often, metrics=lambda now, _: begun.append(now))
    assert begun[0] == 37
    made = [step, checkpoint_step(step, 20), checkpoint_step(step, 40)]
    assert contents(store, made) == contents(uninterrupted, made)
    assert not list(store.base.glob("recovery/*/record.json"))


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(whole: tuple[Store, Step], tmp_path: Path) -> None:
    step = train_here(str(tmp_path)).artifact.step
    said: list[str] = []
    store = Store(str(tmp_path), warn=said.append)
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
    make(step, Store(str(tmp_path), warn=said.append), EAGER, metrics=lambda now, _: begun.append(now))
    assert begun[0] == 6
    assert any("model.safetensors" in line and "run-step10" in line for line in said)
    assert everything(store, step) == expected == everything(*whole)

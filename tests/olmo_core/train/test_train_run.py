"""Whole runs through the artifact store: artifacts and metrics, stage 2, divergence and lack of memory."""

from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from safetensors.torch import load_file
from training_world import (
    EAGER,
    LENGTH,
    MODEL,
    STEPS,
    config,
    contents,
    everything,
    mixed,
    name_tokens,
    run,
    train_here,
)

from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.tokens.loader import Loader
from olmo_core.tokens.mix import MixConfig, mix_step
from olmo_core.train.checkpoint.state import read_state, start_from
from olmo_core.train.config import ScheduleConfig
from olmo_core.train.history import TrainingDivergedError, read_history
from olmo_core.train.step import checkpoint_step, run_step
from olmo_core.train.trainer import Trainer


def test_remote_token_files_give_same_bits(whole: tuple[Store, Step], tmp_path: Path) -> None:
    """The files are read in place through fsspec, by read-ahead threads; the run is stopped once and resumed."""
    store, first = whole
    here = store.find(mixed(store).inputs["made/00000"])
    assert here is not None
    fsspec.filesystem("memory").pipe_file("/made.npy", (here.path / "part-00000.npy").read_bytes())
    there = Store(str(tmp_path))
    source = Step("tokens", "there", 1, {}, mixed(there).inputs["made/00000"].inputs, name_tokens)
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


def test_run_learns_and_writes_history_and_checkpoints(whole: tuple[Store, Step]) -> None:
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


def anneal(store: Store, start: Step, seed: int) -> Step:
    schedule = ScheduleConfig(kind="linear", peak="inherit", final=0.0)
    step = run_step("anneal", config(tokens=6 * 64, seed=seed, schedule=schedule), MODEL, mixed(store, seed=2), start)
    make(step, store, EAGER)
    return step


def test_stage_two_keeps_weights_and_moments_and_inherits_rate(whole: tuple[Store, Step]) -> None:
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

    # The same by hand: the checkpoint's weights and moments, and the new mix from its first batch.
    by_hand = Trainer(MODEL, config().build_objective(), EAGER).initialize()
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
        by_hand.update({"tokens": torch.from_numpy(loader.batch(n).tokens)}, rows[n]["lr"])
    stored = load_file(end.path / "model.safetensors")
    for name, tensor in by_hand.model.state_dict().items():
        assert torch.allclose(tensor, stored[name], atol=1e-6), name


def test_ingredients_differ_only_in_data_order(whole: tuple[Store, Step]) -> None:
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


def test_diverging_run_stops_without_checkpoint(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    training = config(schedule=ScheduleConfig(kind="constant", peak=1e38))
    step = run(store, training)
    with pytest.raises(TrainingDivergedError, match=r"step [2-5]: loss .* lower schedule\.peak"):
        make(step, store, EAGER)
    assert store.find(checkpoint_step(step, 5)) is None


def test_out_of_memory_error_names_settings_that_take_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Trainer, "update", full)
    with pytest.raises(
        MemoryError, match=r"run/run: a forward pass of 4 sequences .* give placement\.micro_batch 2 or"
    ):
        train_here(str(tmp_path))


def test_live_numbers_include_speed_and_both_utilizations(tmp_path: Path) -> None:
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

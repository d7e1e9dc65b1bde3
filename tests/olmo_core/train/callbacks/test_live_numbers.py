"""Live numbers of a run: rates, memory of a GPU, a short trace, and garbage collection as it was found."""

import gc
import json
from pathlib import Path

import pytest
import torch
from training_world import MODEL, config

from olmo_core.train.callbacks import throughput
from olmo_core.train.callbacks.garbage import EVERY, GarbageCollection
from olmo_core.train.callbacks.memory import Memory
from olmo_core.train.callbacks.profiler import TRACED, WAIT, WARM, Profiler
from olmo_core.train.callbacks.throughput import Throughput

CPU = torch.device("cpu")
PEAKS = {torch.float32: 1e6, torch.bfloat16: 4e6}


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(throughput.time, "perf_counter", found)
    monkeypatch.setattr(throughput, "peak_flops", lambda _, dtype: PEAKS[dtype])
    return found


def test_rate_is_of_the_steps_since_the_last_call(clock: Clock) -> None:
    callback = Throughput(MODEL, config(), CPU, world=1)
    callback.numbers(10)
    for updates, seconds in ((10, 2.0), (1, 0.5), (5, 10.0)):
        clock.now += seconds
        assert callback.numbers(updates)["tokens_per_second"] == pytest.approx(updates * 64 / seconds)


@pytest.mark.parametrize(("precision", "peak"), [("fp32", 1e6), ("bf16", 4e6)])
def test_peak_is_that_of_the_type_of_the_products(precision: str, peak: float, clock: Clock) -> None:
    callback = Throughput(MODEL, config(precision=precision), CPU, world=1)
    callback.numbers(1)
    clock.now += 1.0
    found = callback.numbers(1)
    assert found["utilization_causal"] == pytest.approx(64 * MODEL.flops_per_token(16, "causal") / peak)
    assert found["utilization_full"] > found["utilization_causal"]


def test_share_of_the_peak_falls_with_the_ranks_that_share_the_batch(clock: Clock) -> None:
    """The batch is global: with twice the ranks, the same rate is half the utilization of each."""
    found = []
    for world in (1, 2, 8):
        callback = Throughput(MODEL, config(), CPU, world)
        callback.numbers(1)
        clock.now += 1.0
        found.append(callback.numbers(1)["utilization_full"])
    assert found == pytest.approx([found[0], found[0] / 2, found[0] / 8])


def test_memory_of_a_gpu_is_the_peak_since_the_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, calls = torch.device("cuda", 1), []
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: calls.append(("used", device)) or 7)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: calls.append(("reserved", device)) or 9)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append(("reset", device)))
    assert Memory(gpu).numbers(3) == {"memory_bytes": 7.0, "memory_reserved_bytes": 9.0}
    assert calls[-1] == ("reset", gpu), "the peaks are read before they are forgotten"
    assert {device for _, device in calls} == {gpu}


def test_run_shorter_than_the_trace_leaves_none(tmp_path: Path) -> None:
    with Profiler(tmp_path / "trace", rank=0) as profiler:
        for step in range(1, WAIT + 1):
            torch.ones(2) @ torch.ones(2)
            profiler.after(step)
    assert not (tmp_path / "trace").exists()


def test_run_that_ends_within_the_trace_leaves_what_was_traced(tmp_path: Path) -> None:
    with Profiler(tmp_path, rank=0) as profiler:
        for step in range(1, WAIT + WARM + TRACED):
            torch.ones(2) @ torch.ones(2)
            profiler.after(step)
    events = json.loads((tmp_path / "trace-rank0.json").read_text())["traceEvents"]
    assert sum(event["name"] == "aten::dot" for event in events) == TRACED - 1


@pytest.mark.parametrize("enabled", [True, False])
def test_automatic_collection_is_left_as_it_was_found(enabled: bool) -> None:
    was = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with GarbageCollection():
            assert not gc.isenabled()
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was else gc.disable)()


def test_young_garbage_is_gone_after_the_set_step() -> None:
    class Circle:
        alive = 0

        def __init__(self) -> None:
            self.itself = self
            Circle.alive += 1

        def __del__(self) -> None:
            Circle.alive -= 1

    with GarbageCollection() as collection:
        Circle()
        collection.after(EVERY - 1)
        assert Circle.alive == 1
        collection.after(EVERY)
        assert Circle.alive == 0

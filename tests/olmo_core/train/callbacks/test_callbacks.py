import gc
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from olmo_core.model.config import preset
from olmo_core.train.callbacks import garbage
from olmo_core.train.callbacks.garbage import GarbageCollection
from olmo_core.train.callbacks.memory import Memory
from olmo_core.train.callbacks.profiler import Profiler
from olmo_core.train.callbacks.throughput import Throughput
from olmo_core.train.objectives.language_modelling import LanguageModelling

CPU = torch.device("cpu")
TRAINING = LanguageModelling.model_validate(
    {
        **{"tokens": 640, "batch_size": 4, "sequence_length": 16, "seed": 3, "checkpoint_every": 5},
        "schedule": {"kind": "constant", "peak": 1e-3},
    }
)


def test_utilization_is_flops_over_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("olmo_core.train.callbacks.throughput.peak_flops", lambda *_: 1e9)
    clock = iter([10.0, 12.0])
    monkeypatch.setattr("olmo_core.train.callbacks.throughput.time.perf_counter", lambda: next(clock))
    model = preset("micro")
    throughput = Throughput(model, TRAINING, CPU, world=2)
    assert throughput.numbers(1) == {}
    rate = 5 * 64 / 2.0
    assert throughput.numbers(5) == pytest.approx(
        {
            "tokens_per_second": rate,
            "utilization_causal": rate * model.flops_per_token(16, "causal") / 2e9,
            "utilization_full": rate * model.flops_per_token(16, "full") / 2e9,
        }
    )


def test_memory_grows_with_held_tensors() -> None:
    memory = Memory(CPU)
    gc.collect()  # what earlier tests left is not given back meanwhile
    before = memory.numbers(1)["memory_bytes"]
    held = torch.ones(2**26)
    assert (
        memory.numbers(1)["memory_bytes"] - before > 0.5 * held.nbytes
    )  # some of it may have been in the process before


def test_garbage_is_collected_only_at_set_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[tuple[int, ...]] = []
    monkeypatch.setattr(garbage.gc, "collect", lambda *generation: collected.append(generation))
    with pytest.raises(KeyError), GarbageCollection() as collection:
        assert not gc.isenabled()
        for step in range(1, 2 * garbage.EVERY + 2):
            collection.after(step)
        raise KeyError
    assert gc.isenabled()
    assert collected == [(), (1,), (1,)]


def test_trace_holds_operators_of_three_steps(tmp_path: Path) -> None:
    layer = nn.Linear(4, 4)
    with Profiler(tmp_path / "deep", rank=1) as profiler:
        for step in range(1, 16):
            layer(torch.ones(2, 4))
            profiler.after(step)
    events = json.loads((tmp_path / "deep" / "trace-rank1.json").read_text())["traceEvents"]
    assert sum(event["name"] == "aten::addmm" for event in events) == 3

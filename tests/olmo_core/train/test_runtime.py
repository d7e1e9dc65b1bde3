import logging
import os

import pytest
import torch

from olmo_core.artifact.job import Placement
from olmo_core.model.config import preset
from olmo_core.train import peak
from olmo_core.train.loop import Speed
from olmo_core.train.runtime import can_compile, device_of, training_process
from olmo_core.train.trainer import Trainer


def test_settings_hold_inside_and_are_put_back() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), training_process(Placement(threads=3)):
        assert torch.get_num_threads() == 3
        assert torch.are_deterministic_algorithms_enabled()
        raise KeyError
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_without_a_compiler_training_is_eager_and_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with caplog.at_level(logging.WARNING):
        assert not can_compile(Placement(compile=True))
    assert [record.getMessage() for record in caplog.records] == [
        "training without torch.compile: no C++ compiler 'no-such-compiler' on the path (CXX names another)"
    ]
    assert not can_compile(Placement(compile=False))
    assert len(caplog.records) == 1
    monkeypatch.setenv("CXX", os.environ.get("SHELL", "/bin/sh"))
    assert can_compile(Placement(compile=True))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"placement\.device is cuda, but this process sees no GPU"):
        device_of(Placement(device="cuda"))


@pytest.mark.parametrize(
    ("name", "flops"),
    [("NVIDIA H200", 989.5e12), ("NVIDIA H100 80GB HBM3", 989.5e12), ("NVIDIA A100-SXM4-80GB", 312e12)],
)
def test_peak_of_known_gpus(monkeypatch: pytest.MonkeyPatch, name: str, flops: float) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    peak.peak_flops.cache_clear()
    assert peak.peak_flops(torch.device("cuda", 0), torch.bfloat16) == flops
    peak.peak_flops.cache_clear()


def test_utilization_is_flops_over_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    from training_world import config

    monkeypatch.setattr("olmo_core.train.loop.peak_flops", lambda *_: 1e9)
    clock = iter([10.0, 12.0])
    monkeypatch.setattr("olmo_core.train.loop.time.perf_counter", lambda: next(clock))
    model, training = preset("micro"), config()
    speed = Speed(Trainer(model, training, torch.device("cpu"), compile=False), world=2)
    assert speed.of(1) == {}
    rate = 5 * training.batch_tokens / 2.0
    assert speed.of(5) == pytest.approx(
        {
            "tokens_per_second": rate,
            "utilization_causal": rate * model.flops_per_token(training.sequence_length, "causal") / 2e9,
            "utilization_full": rate * model.flops_per_token(training.sequence_length, "full") / 2e9,
        }
    )

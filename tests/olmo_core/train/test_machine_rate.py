"""The rate of a recipe's matrix products: each product is weighted by its FLOPs, and the command prints rates."""

import json
import sys

import pytest

from olmo_core.model.config import ModelConfig, preset
from olmo_core.train import machine_rate
from olmo_core.train.machine_rate import product_rate


@pytest.mark.parametrize("name", ["micro", "tiny", "olmo2-32b"])
def test_rate_is_all_flops_over_all_seconds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With each of the three passes at 10 rows per second, a row takes 0.3 s per matrix, for 6 FLOPs per weight."""
    model = preset(name)
    monkeypatch.setattr(machine_rate, "_rows_per_second", lambda *_: 10.0)
    by_row = model.flops_per_token(1) - 6 * model.n_layers * model.d_model
    mean = product_rate(model, 4, "fp32", 0.1)
    kinds = list(machine_rate._matrices(model))
    whole = sum(6 * width * out * count for width, out, count in kinds)
    assert whole == pytest.approx(by_row)
    taken = sum(6 * width * out * count / (2 * width * out * 10) for width, out, count in kinds)
    assert mean == pytest.approx(whole / taken)


def test_command_prints_rates_by_precision(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model = ModelConfig(d_model=32, n_layers=1, n_heads=2, hidden_size=32, vocab_size=128, context_length=8)
    asked = {"model": model.model_dump(mode="json"), "rows": 8, "precisions": ["bf16", "fp32"]}
    monkeypatch.setattr(machine_rate, "PRODUCT_SECONDS", 0.02)
    monkeypatch.setattr(machine_rate.torch, "set_num_threads", lambda _: None)  # keep the threads of this process
    monkeypatch.setattr(sys, "argv", ["machine_rate", json.dumps(asked)])
    machine_rate.main()
    found = json.loads(capsys.readouterr().out)
    assert found["rates"].keys() == {"bf16", "fp32"}
    assert min(*found["rates"].values(), found["plain_seconds"]) > 0

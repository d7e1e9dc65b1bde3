"""The implementations in the training step benchmark do the same work, and its figures follow from its measurements."""

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from olmo_core.model.config import preset
from olmo_core.model.transformer import Transformer
from olmo_core.train.config import ScheduleConfig
from olmo_core.train.objectives.language_modelling import LanguageModelling
from olmo_core.train.placement import TrainPlacement

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import peers
import train_step


def test_ours_and_transformers_take_the_same_steps() -> None:
    """Without z-loss, which transformers does not have."""
    training = LanguageModelling(
        tokens=512,
        batch_size=2,
        sequence_length=64,
        seed=0,
        precision="fp32",
        z_loss=0.0,
        checkpoint_every=4,
        schedule=ScheduleConfig(kind="constant", peak=1e-3),
    )
    shape = preset("micro")
    spec: dict[str, Any] = {
        "model": shape.model_dump(),
        "training": training.model_dump(),
        "placement": TrainPlacement(threads=1, compile=False).model_dump(),
    }
    weights = Transformer(shape).initialize(torch.Generator().manual_seed(0)).state_dict()
    tokens = train_step.text(4, 2, 64)
    with ExitStack() as stack:
        ours, theirs = (
            peers.timed(build(spec, weights, stack), tokens, [1e-3] * 4, "cpu")
            for build in (peers.ours, peers.transformers)
        )
    assert ours["losses"] == pytest.approx(theirs["losses"], rel=1e-5)
    assert ours["losses"][-1] < ours["losses"][0] - 0.01


def test_step_bytes_is_the_peak_of_live_tensors() -> None:
    kept = []

    def step(tokens: torch.Tensor, rate: float) -> torch.Tensor:
        kept.append(torch.zeros(1_000_000))  # 4 MB
        for _ in range(3):
            torch.zeros(2_000_000)  # freed at once
        return torch.zeros(())

    answer = peers.held(step, np.zeros((1, 2, 2), np.int64), [1e-3], "cpu")
    assert answer["step_bytes"] == pytest.approx(12e6, rel=1e-3)
    assert answer["losses"] == [0.0]


def test_difference_is_that_of_the_worst_step() -> None:
    seen = {"ours": [{"losses": [2.0, 3.0]}, {"losses": [1.0]}], "ai2": [{"losses": [2.0, 4.0]}, {"losses": [1.0]}]}
    assert train_step.difference(seen) == 0.25


def test_short_text_is_repeated() -> None:
    all_of_it = train_step.text(1, 1, 400_000)[0, 0]
    period = next(n for n in range(300_000, 400_000) if (all_of_it[n : n + 64] == all_of_it[:64]).all())
    assert train_step.text(110, 4, 4096).shape == (110, 4, 4096)
    assert (train_step.text(2, 1, period) == all_of_it[:period]).all()


def test_failed_process_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps({"placement": {"device": "cpu", "threads": 1}}))
    with train_step.Runner("ours", tmp_path) as runner, pytest.raises(RuntimeError, match="ended before it responded"):
        runner.take(1)

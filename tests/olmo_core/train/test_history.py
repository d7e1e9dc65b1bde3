import math
from pathlib import Path

import pytest
import torch
from training_world import config

from olmo_core.train.config import SkipStepConfig
from olmo_core.train.history import History, TrainingDivergedError, read_history, write_history
from olmo_core.train.objectives.language_modelling import LanguageModelling
from olmo_core.train.step_values import StepValues


def history(training: LanguageModelling | None = None) -> History:
    training = training or config(z_loss=0.5)
    return History(training, training.build_objective().columns)


def values(loss: float, z_squared: float, grad_norm: float, skipped: float | None = None) -> StepValues:
    flag = None if skipped is None else torch.tensor(skipped)
    sums = {"loss": torch.tensor(loss), "z_squared": torch.tensor(z_squared)}
    return StepValues(sums, torch.tensor(grad_norm), flag)


def test_rows_are_read_once_and_taken_once() -> None:
    one = history()
    one.add(1, 0.1, values(2.0, 8.0, 1.5))
    one.add(2, 0.2, values(1.0, 4.0, 2.5))
    rows = one.read()
    assert rows == [
        {"step": 1, "tokens": 64, "loss": 2.0, "z_loss": 4.0, "grad_norm": 1.5, "lr": 0.1},
        {"step": 2, "tokens": 128, "loss": 1.0, "z_loss": 2.0, "grad_norm": 2.5, "lr": 0.2},
    ]
    assert one.read() == []
    assert one.rows == rows
    assert one.take() == rows
    assert one.take() == []


def test_restored_rows_precede_new_ones() -> None:
    one = history()
    one.restore([{"step": 1}])
    one.add(2, 0.2, values(1.0, 4.0, 2.5))
    one.read()
    assert [row["step"] for row in one.take()] == [1, 2]


def test_non_finite_value_stops_the_run() -> None:
    one = history()
    one.add(3, 0.3, values(1.0, 1.0, float("nan")))
    with pytest.raises(TrainingDivergedError, match=r"step 3: loss 1\.0, gradient norm nan at learning rate 0\.3"):
        one.read()


def test_skipped_steps_may_be_non_finite_until_patience_ends(tmp_path: Path) -> None:
    training = config(skip_step=SkipStepConfig(patience=3))
    one = history(training)
    for step, skipped in enumerate([1.0, 1.0, 0.0, 1.0, 1.0], 1):
        one.add(step, 0.1, values(math.inf if skipped else 2.0, 1.0, 1.0, skipped))
    rows = one.read()
    assert [row["skipped"] for row in rows] == [1, 1, 0, 1, 1]
    write_history(tmp_path / "h", rows)
    assert read_history(tmp_path / "h") == rows
    one.add(6, 0.1, values(math.nan, 1.0, 1.0, 1.0))
    with pytest.raises(TrainingDivergedError, match="step 6: the last 3 steps were skipped, loss nan at"):
        one.read()
    resumed = history(training)
    resumed.restore(rows)
    resumed.add(6, 0.1, values(math.nan, 1.0, 1.0, 1.0))
    with pytest.raises(TrainingDivergedError, match="step 6"):
        resumed.read()

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_world import EAGER, MODEL, config

from olmo_core.artifact.identity import Step
from olmo_core.model.load import load_model, save_model
from olmo_core.train.checkpoint.saver import Saver
from olmo_core.train.checkpoint.state import State, read_state, resume, start_from
from olmo_core.train.config import SkipStepConfig
from olmo_core.train.history import read_history
from olmo_core.train.step_values import StepValues
from olmo_core.train.trainer import Trainer

TARGET = Step("checkpoint", "run-step2", 1)


def trainer(seed: int = 3) -> Trainer:
    return Trainer(MODEL, config(seed=seed, skip_step=SkipStepConfig(warmup=2)).build_objective(), EAGER).initialize()


def step(trainer: Trainer, seed: int) -> StepValues:
    tokens = torch.randint(0, 64, (4, 16), generator=torch.Generator().manual_seed(seed))
    return trainer.update({"tokens": tokens}, 1e-2)


def saved(trainer: Trainer, folder: Path, at: int = 2) -> Path:
    found: list[Path] = []
    with Saver(trainer, lambda _, written: found.append(written), folder) as saver:
        saver.save(TARGET, at, 1e-2, [{"step": 1, "loss": 0.5}])
    return found[0]


def test_restored_run_continues_bit_for_bit(tmp_path: Path) -> None:
    original = trainer()
    step(original, 1), step(original, 2)
    folder = saved(original, tmp_path)
    restored = trainer(seed=9)
    assert resume(folder, restored) == State(2, 8, 128, 2, 1e-2)
    for seed in (3, 4):
        assert step(original, seed) == step(restored, seed)
    for a, b in zip(original.model.parameters(), restored.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert original.skip_step is not None and restored.skip_step is not None
    assert torch.equal(original.skip_step.window, restored.skip_step.window)
    assert read_history(folder / "history.jsonl") == [{"step": 1, "loss": 0.5}]
    assert torch.equal(load_model(folder).head.weight, load_file(folder / "model.safetensors")["head.weight"])


def test_next_stage_keeps_moments_and_resets_skip_window(tmp_path: Path) -> None:
    original = trainer()
    step(original, 1), step(original, 2)
    following = trainer(seed=9)
    start_from(saved(original, tmp_path), following)
    state = following.optimizer.state[following.model.head.weight]
    assert torch.equal(state["exp_avg"], original.optimizer.state[original.model.head.weight]["exp_avg"])
    assert state["step"] == 2
    assert following.skip_step is not None and following.skip_step.accepted == 0


def test_start_from_soup_has_its_weights_and_fresh_moments(tmp_path: Path) -> None:
    one = trainer()
    save_model(tmp_path, MODEL, one.model.state_dict())
    other = trainer(seed=9)
    start_from(tmp_path, other)
    assert torch.equal(other.model.head.weight, one.model.head.weight)
    assert not any(state["exp_avg"].any() for state in other.optimizer.state.values())
    with pytest.raises(ValueError, match=r"has no state\.json; only the checkpoint of a run"):
        read_state(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_layers": 3}, "n_layers is 2 and 3$"),
        ({"rows": 100}, r"padded_vocab_size is 128 and 100; give the recipe model\.rows 128$"),
    ],
)
def test_checkpoint_of_other_shape_is_refused_by_field(tmp_path: Path, changes: dict[str, int], message: str) -> None:
    folder = saved(trainer(), tmp_path)
    other = Trainer(MODEL.model_copy(update=changes), config().build_objective(), EAGER)
    with pytest.raises(ValueError, match=f"is not of the run's model: {message}"):
        start_from(folder, other)


def test_field_changed_by_stage_may_differ(tmp_path: Path) -> None:
    original = trainer()
    folder, longer = saved(original, tmp_path), MODEL.model_copy(update={"rope_theta": 8e6})
    with pytest.raises(ValueError, match=r"rope_theta is 500000\.0 and 8000000\.0"):
        start_from(folder, Trainer(longer, config().build_objective(), EAGER))
    other = Trainer(longer, config().build_objective(), EAGER)
    start_from(folder, other, ["rope_theta"])
    assert torch.equal(other.model.head.weight, original.model.head.weight)


@pytest.mark.parametrize(("lost", "shape"), [("exp_avg.norm.weight", r"\(32,\)"), ("skip_step.window", r"\(2, 128\)")])
def test_missing_tensor_in_checkpoint_is_named(tmp_path: Path, lost: str, shape: str) -> None:
    folder = saved(trainer(), tmp_path)
    tensors = load_file(folder / "optimizer.safetensors")
    del tensors[lost]
    save_file(tensors, folder / "optimizer.safetensors")
    with pytest.raises(ValueError, match=rf"optimizer\.safetensors: tensor {lost} has shape None, .* {shape}"):
        resume(folder, trainer())

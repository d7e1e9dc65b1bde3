from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_world import MODEL, config

from olmo_core.model.load import load_model, save_model
from olmo_core.train.checkpoint import Saver, State, load_checkpoint, read_state
from olmo_core.train.history import History, TrainingDivergedError, read_history
from olmo_core.train.trainer import Trainer


def trainer(seed: int = 3) -> Trainer:
    return Trainer(MODEL, config(seed=seed), torch.device("cpu"), compile=False)


def step(trainer: Trainer, seed: int) -> torch.Tensor:
    return trainer.update(torch.randint(0, 64, (4, 16), generator=torch.Generator().manual_seed(seed)), 1e-2)


def saved(trainer: Trainer, folder: Path, at: int = 2) -> Path:
    with Saver(lambda *_: None, folder) as saver:
        saver.save(trainer, at, 1e-2, [{"step": 1, "loss": 0.5}])
    return folder / f"checkpoint-step{at}"


def test_a_restored_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    original = trainer()
    step(original, 1), step(original, 2)
    folder = saved(original, tmp_path)
    restored = trainer(seed=9)
    assert load_checkpoint(folder, restored) == State(2, 8, 128, 2, 1e-2)
    for seed in (3, 4):
        assert torch.equal(step(original, seed), step(restored, seed))
    for a, b in zip(original.model.parameters(), restored.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert read_history(folder / "history.jsonl") == [{"step": 1, "loss": 0.5}]
    assert torch.equal(load_model(folder).head.weight, load_file(folder / "model.safetensors")["head.weight"])


def test_what_is_saved_is_the_state_at_the_call(tmp_path: Path) -> None:
    one = trainer()
    step(one, 1)
    before = {name: tensor.clone() for name, tensor in one.model.state_dict().items()}
    with Saver(lambda *_: None, tmp_path) as saver:
        saver.save(one, 1, 1e-2, [])
        with torch.no_grad():
            for parameter in one.model.parameters():
                parameter.zero_()
    for name, tensor in load_file(tmp_path / "checkpoint-step1" / "model.safetensors").items():
        assert torch.equal(tensor, before[name]), name


def test_a_failed_commit_stops_the_run(tmp_path: Path) -> None:
    def refuse(at: int, _: Path) -> None:
        raise RuntimeError(f"no room for {at}")

    one = trainer()
    with pytest.raises(RuntimeError, match="no room for 1"), Saver(refuse, tmp_path) as saver:
        saver.save(one, 1, 1e-2, [])
        saver.save(one, 2, 1e-2, [])
    assert not (tmp_path / "checkpoint-step2").exists()
    with pytest.raises(RuntimeError, match="no room for 3"), Saver(refuse, tmp_path) as saver:
        saver.save(one, 3, 1e-2, [])


def test_a_soup_gives_weights_and_fresh_moments(tmp_path: Path) -> None:
    one = trainer()
    save_model(tmp_path, MODEL, one.model.state_dict())
    other = trainer(seed=9)
    assert load_checkpoint(tmp_path, other) is None
    assert torch.equal(other.model.head.weight, one.model.head.weight)
    assert not any(state["exp_avg"].any() for state in other.optimizer.state.values())
    with pytest.raises(ValueError, match=r"holds no state\.json; only the checkpoint of a run"):
        read_state(tmp_path)


def test_a_checkpoint_of_another_shape_is_refused_by_field(tmp_path: Path) -> None:
    folder = saved(trainer(), tmp_path)
    shape = MODEL.model_copy(update={"n_layers": 3})
    with pytest.raises(ValueError, match="of another model than the run: n_layers is 2 and 3"):
        load_checkpoint(folder, Trainer(shape, config(), torch.device("cpu"), compile=False))


def test_a_missing_moment_is_named(tmp_path: Path) -> None:
    folder = saved(trainer(), tmp_path)
    tensors = load_file(folder / "optimizer.safetensors")
    del tensors["exp_avg.norm.weight"]
    save_file(tensors, folder / "optimizer.safetensors")
    with pytest.raises(ValueError, match=r"exp_avg\.norm\.weight has shape None, the model asks for \(32,\)"):
        load_checkpoint(folder, trainer())


def test_history_reads_in_one_go_and_stops_at_the_first_bad_step() -> None:
    history = History(batch_tokens=64, z_loss=0.5)
    history.add(1, 0.1, torch.tensor([2.0, 8.0, 1.5]))
    history.add(2, 0.2, torch.tensor([1.0, 4.0, 2.5]))
    rows = history.read()
    assert rows == [
        {"step": 1, "tokens": 64, "loss": 2.0, "z_loss": 4.0, "grad_norm": 1.5, "lr": 0.1},
        {"step": 2, "tokens": 128, "loss": 1.0, "z_loss": 2.0, "grad_norm": 2.5, "lr": 0.2},
    ]
    assert history.read() == []
    assert history.take() == rows
    assert history.take() == []
    history.add(3, 0.3, torch.tensor([1.0, 1.0, float("nan")]))
    with pytest.raises(TrainingDivergedError, match=r"step 3: loss 1\.0, gradient norm nan at learning rate 0\.3"):
        history.read()

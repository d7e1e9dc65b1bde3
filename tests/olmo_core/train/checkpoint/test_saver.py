from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_world import EAGER, MODEL, config

from olmo_core.artifact.identity import Step
from olmo_core.train.checkpoint.saver import Saver
from olmo_core.train.trainer import Trainer


def target(at: int) -> Step:
    return Step("checkpoint", f"run-step{at}", 1)


def test_checkpoint_holds_state_at_time_of_save(tmp_path: Path) -> None:
    one = Trainer(MODEL, config().build_objective(), EAGER).initialize()
    before = {name: tensor.clone() for name, tensor in one.model.state_dict().items()}
    folders: list[Path] = []
    with Saver(one, lambda _, folder: folders.append(folder), tmp_path) as saver:
        saver.save(target(1), 1, 1e-2, [])
        with torch.no_grad():
            for parameter in one.model.parameters():
                parameter.zero_()
    stored = load_file(folders[0] / "model.safetensors")
    assert stored.keys() == before.keys()
    for name, tensor in stored.items():
        assert torch.equal(tensor, before[name]), name


def test_failed_commit_stops_the_run(tmp_path: Path) -> None:
    def refuse(step: Step, _: Path) -> None:
        raise RuntimeError(f"no room for {step.name}")

    one = Trainer(MODEL, config().build_objective(), EAGER).initialize()
    with pytest.raises(RuntimeError, match="no room for run-step1"), Saver(one, refuse, tmp_path) as saver:
        saver.save(target(1), 1, 1e-2, [])
        saver.save(target(2), 2, 1e-2, [])
    assert not list(tmp_path.glob("*step2"))
    with pytest.raises(RuntimeError, match="no room for run-step3"), Saver(one, refuse, tmp_path) as saver:
        saver.save(target(3), 3, 1e-2, [])

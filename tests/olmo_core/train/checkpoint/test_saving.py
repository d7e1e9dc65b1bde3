"""Saving a run: what a checkpoint folder holds, in which order things happen, and what stops all ranks."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from training_world import EAGER, MODEL, config

from olmo_core.artifact.identity import Step
from olmo_core.model.config import ModelConfig
from olmo_core.model.load import load_model
from olmo_core.train.checkpoint import saver as saver_module
from olmo_core.train.checkpoint.saver import SaveError, Saver, _written
from olmo_core.train.checkpoint.state import read_state, tensors_of
from olmo_core.train.config import SkipStepConfig
from olmo_core.train.history import read_history
from olmo_core.train.trainer import Trainer

FILES = {"history.jsonl", "model.json", "model.safetensors", "optimizer.safetensors", "state.json"}


def target(at: int) -> Step:
    return Step("checkpoint", f"run-step{at}", 1)


def made(**changes: Any) -> Trainer:
    return Trainer(MODEL, config(**changes).build_objective(), EAGER).initialize()


def test_checkpoint_has_five_files_that_say_where_the_run_stood(tmp_path: Path) -> None:
    trainer = made()
    trainer.update({"tokens": torch.zeros(4, 16, dtype=torch.int64)}, 1e-2)
    with Saver(trainer, lambda *_: None, tmp_path) as saver:
        saver.save(target(7), 7, 3e-3, [{"step": 6, "loss": 2.5}, {"step": 7, "loss": 2.0}])
    folder = tmp_path / "checkpoint-run-step7"
    assert {path.name for path in folder.iterdir()} == FILES
    assert ModelConfig.model_validate_json((folder / "model.json").read_text()) == MODEL
    assert json.loads((folder / "state.json").read_text()) == {
        "step": 7,
        "sequences": 7 * 4,
        "tokens": 7 * 4 * 16,
        "updates": 1,
        "learning_rate": 3e-3,
    }
    assert read_history(folder / "history.jsonl") == [{"step": 6, "loss": 2.5}, {"step": 7, "loss": 2.0}]
    names = {name for name, _ in trainer.model.named_parameters()}
    assert load_file(folder / "optimizer.safetensors").keys() == {
        f"{moment}.{name}" for moment in ("exp_avg", "exp_avg_sq") for name in names
    }
    assert torch.equal(load_model(folder).norm.weight, trainer.model.norm.weight)


def test_run_that_skips_steps_keeps_its_window_beside_the_moments(tmp_path: Path) -> None:
    trainer = made(skip_step=SkipStepConfig(window=8, warmup=2))
    with Saver(trainer, lambda *_: None, tmp_path) as saver:
        saver.save(target(1), 1, 1e-2, [])
    stored = load_file(tmp_path / "checkpoint-run-step1" / "optimizer.safetensors")
    assert stored["skip_step.window"].shape == (2, 8)
    assert stored["skip_step.accepted"].tolist() == [0]


def test_rows_that_are_changed_after_the_call_are_saved_as_they_were(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = [{"step": 1.0}]
    held = threading.Event()
    with Saver(made(), lambda *_: None, tmp_path) as saver:
        saver._thread.submit(held.wait)
        saver.save(target(1), 1, 1e-2, tuple(rows))
        rows.append({"step": 2.0})
        held.set()
    assert read_history(tmp_path / "checkpoint-run-step1" / "history.jsonl") == [{"step": 1.0}]


def test_next_save_waits_until_the_one_before_is_committed(tmp_path: Path) -> None:
    done: list[str] = []

    def commit(step: Step, _: Path) -> None:
        done.append(step.name)

    with Saver(made(), commit, tmp_path) as saver:
        for at in (1, 2, 3):
            saver.save(target(at), at, 1e-2, [])
            assert done == [f"run-step{before}" for before in range(1, at)][: len(done)]
            assert len(done) >= at - 1
        saver.wait()
        assert done == ["run-step1", "run-step2", "run-step3"]
        assert [saved.update for saved in saver.committed()] == [1, 2, 3]
        assert list(saver.committed()) == [], "each is reported once"


def test_folder_that_is_there_already_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-run-step1").mkdir()
    committed: list[Path] = []
    with (
        pytest.raises(FileExistsError, match="checkpoint-run-step1"),
        Saver(made(), lambda _, folder: committed.append(folder), tmp_path) as saver,
    ):
        saver.save(target(1), 1, 1e-2, [])
    assert committed == []
    assert list((tmp_path / "checkpoint-run-step1").iterdir()) == []


def test_error_of_the_run_is_not_hidden_by_one_of_its_checkpoint(tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise OSError("disk full")

    with pytest.raises(KeyError, match="the run"), Saver(made(), refuse, tmp_path) as saver:
        saver.save(target(1), 1, 1e-2, [])
        raise KeyError("the run")


class Other:
    """Another rank in the group of the saver, which fails at one of the meetings."""

    def __init__(self, fails_at: int = 0) -> None:
        self.meetings, self._fails_at = 0, fails_at

    def all_reduce(self, failures: torch.Tensor, group: object) -> None:
        assert group is self
        self.meetings += 1
        failures += self.meetings == self._fails_at


@pytest.mark.parametrize("fails_at", [1, 2])
def test_nothing_is_committed_where_another_rank_failed(
    fails_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, committed = Other(fails_at), []
    monkeypatch.setattr(dist, "all_reduce", other.all_reduce)
    with (
        pytest.raises(SaveError, match="1 other rank"),
        Saver(made(), lambda *_: committed.append(1), tmp_path) as saver,
    ):
        saver._group = other  # type: ignore[assignment]
        saver.save(target(1), 1, 1e-2, [])
    assert committed == []
    assert other.meetings == fails_at, "the later meetings are not waited for"


def test_other_ranks_hear_of_a_failure_before_it_is_raised_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    monkeypatch.setattr(dist, "all_reduce", lambda failures, group: heard.append(int(failures.item())))

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), Saver(made(), refuse, tmp_path) as saver:
        saver._group = Other()  # type: ignore[assignment]
        saver.save(target(1), 1, 1e-2, [])
    assert heard == [0, 0, 1]


@pytest.mark.parametrize("name", ["scratch", "Bücher und Räume", "x" * 200])
def test_folder_of_rank_0_reaches_the_others_by_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / name
    theirs.mkdir()
    message: list[torch.Tensor] = []
    monkeypatch.setattr(dist, "new_group", lambda backend: Other())
    monkeypatch.setattr(dist, "all_reduce", lambda *_, **__: None)
    monkeypatch.setattr(saver_module, "rank_and_world", lambda: (0, 2))
    monkeypatch.setattr(dist, "broadcast", lambda path, *_, **__: message.append(path.clone()))
    trainer = made()
    with Saver(trainer, lambda *_: None, theirs):
        pass
    monkeypatch.setattr(saver_module, "rank_and_world", lambda: (1, 2))
    monkeypatch.setattr(dist, "broadcast", lambda path, *_, **__: path.copy_(message[0]))
    with Saver(trainer, lambda *_: None, tmp_path / "of rank 1") as saver:
        assert saver._scratch == theirs
    theirs.rmdir()
    with pytest.raises(SaveError, match=r"rank 1 does not see .*all hosts share"):
        Saver(trainer, lambda *_: None, tmp_path / "of rank 1")


def test_written_rows_are_the_memory_of_the_trainer() -> None:
    trainer = made()
    written = _written(tensors_of(trainer))
    assert written["model.safetensors/norm.weight"].data_ptr() == trainer.model.norm.weight.data_ptr()
    assert sum(rows.nbytes for rows in written.values()) == 3 * 4 * MODEL.parameters


@pytest.mark.parametrize(
    ("content", "field"),
    [({"step": 1}, "sequences"), ({"step": 1, "momentum": 0.9}, "momentum")],
)
def test_state_with_other_fields_is_refused_by_file_and_field(
    tmp_path: Path, content: dict[str, float], field: str
) -> None:
    (tmp_path / "state.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"state\.json .*{field}"):
        read_state(tmp_path)

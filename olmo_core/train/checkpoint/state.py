"""The content of a run's checkpoint, a folder of five files, and how to resume or start from one.

`model.safetensors` and `model.json` are in the format of `olmo_core.model.load`; `optimizer.safetensors` holds the
moments (and the window of skip-step), `state.json` the position of the run, and `history.jsonl` its steps since the
previous checkpoint. `step` defines which checkpoints a run makes, `saver` writes them.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from olmo_core.model.config import WEIGHTS_FILE, ModelConfig
from olmo_core.model.load import load_config
from olmo_core.train.checkpoint.tensor_file import Rows, read_rows
from olmo_core.train.distributed.parallel import held_rows, local
from olmo_core.train.optimizer import moments, set_updates
from olmo_core.train.skip import STATE_PREFIX
from olmo_core.train.step import OPTIMIZER_FILE, STATE_FILE
from olmo_core.train.trainer import Trainer


@dataclass(frozen=True)
class State:
    """The position of a run. It needs no random state: the data order is a function of seed and position.

    Attributes:
        step: training steps done in this run.
        sequences: sequences drawn from the mix in this run, the loader's position.
        tokens: tokens seen in this run.
        updates: updates the moments have seen, including those of the runs before this one.
        learning_rate: rate of the last training step.
    """

    step: int
    sequences: int
    tokens: int
    updates: int
    learning_rate: float


def read_state(folder: Path) -> State:
    """Return the state in a checkpoint folder.

    Raises:
        ValueError: the folder has no state (a soup has none), or the state has other fields.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        raise ValueError(f"{folder} has no {STATE_FILE}; only the checkpoint of a run has a rate and moments")
    try:
        return State(**json.loads(path.read_bytes()))
    except TypeError as error:
        raise ValueError(f"{path} is not the state of a run: {error}") from error


def tensors_of(trainer: Trainer) -> dict[str, dict[str, Tensor]]:
    """Return file -> name -> tensor for all tensors of a checkpoint; the ones in use, not copies."""
    kept = trainer.skip_step.state() if trainer.skip_step is not None else {}
    weights = {name: parameter.detach() for name, parameter in trainer.model.named_parameters()}
    return {WEIGHTS_FILE: weights, OPTIMIZER_FILE: moments(trainer.model, trainer.optimizer) | kept}


def resume(folder: Path, trainer: Trainer) -> State:
    """Load the whole state of a run into `trainer`.

    Raises:
        ValueError: the folder's model has another shape; names the fields that differ.
    """
    _same_shape(folder, trainer.model.config)
    for file, tensors in tensors_of(trainer).items():
        _read(folder / file, tensors)
    return _moments_of(folder, trainer)


def start_from(folder: Path, trainer: Trainer, changed: Collection[str] = ()) -> None:
    """Load the weights of a checkpoint or soup into `trainer`, and the moments if the folder has them.

    The window of skip-step starts empty: an outlier on one mix may be normal on another.

    Args:
        folder: folder of the checkpoint or soup.
        trainer: a new trainer.
        changed: fields in which its model intentionally differs.

    Raises:
        ValueError: the folder's model has another shape; names the fields that differ.
    """
    _same_shape(folder, trainer.model.config, changed)
    _read(folder / WEIGHTS_FILE, tensors_of(trainer)[WEIGHTS_FILE])
    if (folder / OPTIMIZER_FILE).is_file():
        _read(folder / OPTIMIZER_FILE, moments(trainer.model, trainer.optimizer), ignore=STATE_PREFIX)
        _moments_of(folder, trainer)


def _moments_of(folder: Path, trainer: Trainer) -> State:
    state = read_state(folder)
    set_updates(trainer.optimizer, state.updates)
    return state


def _read(path: Path, tensors: dict[str, Tensor], ignore: str = "") -> None:
    rows = {name: Rows(held_rows(tensor).start, local(tensor)) for name, tensor in tensors.items()}
    with torch.no_grad():
        read_rows(path, tensors, rows, ignore)


def _same_shape(folder: Path, config: ModelConfig, changed: Collection[str] = ()) -> None:
    start = load_config(folder)
    if differences := start.differences(config, changed):
        rows = start.padded_vocab_size
        remedy = f"; give the recipe model.rows {rows}" if rows != config.padded_vocab_size else ""
        raise ValueError(f"the checkpoint {folder.name} is not of the run's model: {'; '.join(differences)}{remedy}")

"""A checkpoint of a run, a folder of five files.

`model.safetensors` and `model.json` are as the model room reads them, `optimizer.safetensors` holds the moments,
`state.json` where the run stood, `history.jsonl` its steps since the checkpoint before.
Which checkpoints there are is left to `step`, committing them to `run`.
"""

import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from olmo_core.model.config import ModelConfig
from olmo_core.model.load import load_config, load_weights, save_model
from olmo_core.train.history import HISTORY_FILE, write_history
from olmo_core.train.optimizer import moments, restore, updates
from olmo_core.train.trainer import Trainer

STATE_FILE = "state.json"
OPTIMIZER_FILE = "optimizer.safetensors"


@dataclass(frozen=True)
class State:
    """Where a run stands. There is no random state: the order is a function of seed and position, all else is fixed.

    Attributes:
        step: steps done in this run.
        sequences: sequences drawn from the mix in this run, the loader's position.
        tokens: tokens seen in this run.
        updates: updates the moments have seen, over all runs they were handed on through.
        learning_rate: rate of the last step.
    """

    step: int
    sequences: int
    tokens: int
    updates: int
    learning_rate: float


def read_state(folder: Path) -> State:
    """Return the state in a checkpoint folder.

    Raises:
        ValueError: there is none (a soup has none), or it has other fields.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        raise ValueError(f"{folder} holds no {STATE_FILE}; only the checkpoint of a run has a rate and moments")
    try:
        return State(**json.loads(path.read_text()))
    except TypeError as error:
        raise ValueError(f"{path} is not the state of a run: {error}") from error


def load_checkpoint(folder: Path, trainer: Trainer) -> State | None:
    """Put the weights of a checkpoint or soup into `trainer`, and its moments where it has them.

    Returns:
        The state, or None for a soup, which has none.

    Raises:
        ValueError: the folder holds a model of another shape; names the fields that differ.
    """
    _same_shape(folder, trainer.model.config)
    trainer.model.load_state_dict(load_weights(folder, trainer.model.config))
    if not (folder / OPTIMIZER_FILE).is_file():
        return None
    state = read_state(folder)
    restore(trainer.model, trainer.optimizer, load_file(folder / OPTIMIZER_FILE), state.updates)
    return state


def _same_shape(folder: Path, config: ModelConfig) -> None:
    if differences := load_config(folder).differences(config):
        raise ValueError(f"the checkpoint {folder.name} is of another model than the run: {'; '.join(differences)}")


class Saver:
    """Writes checkpoints in a thread of its own; training only waits for one copy of the state.

    Args:
        commit: called in that thread with (step, folder) once the files are written.
        scratch: folder in which they are written.
    """

    def __init__(self, commit: Callable[[int, Path], None], scratch: Path) -> None:
        self._commit = commit
        self._scratch = scratch
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._saving: Future[None] | None = None
        self._copies: dict[str, Tensor] = {}

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is being written; its failure is raised, unless another one is on its way already."""
        try:
            if kind is None:
                self.wait()
        finally:
            self._thread.shutdown(wait=True)

    def save(self, trainer: Trainer, step: int, rate: float, history: list[dict[str, float]]) -> None:
        """Copy the state as it is now and have it written and committed; waits for the checkpoint before, if need be.

        Raises:
            Exception: whatever stopped the checkpoint before.
        """
        self.wait()
        weights = self._copy(trainer.model.state_dict())
        held = self._copy(moments(trainer.model, trainer.optimizer))
        config = trainer.config
        state = State(step, step * config.batch_size, step * config.batch_tokens, updates(trainer.optimizer), rate)
        self._saving = self._thread.submit(self._write, state, trainer.model.config, weights, held, history)

    def wait(self) -> None:
        """Return once the last checkpoint is committed; raises what stopped it."""
        if self._saving is not None:
            self._saving.result()
            self._saving = None

    def _copy(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        # The buffers are kept: fresh pages would cost more than the copy itself.
        for name, tensor in tensors.items():
            if name not in self._copies:
                self._copies[name] = torch.empty(tensor.shape, dtype=tensor.dtype)
            self._copies[name].copy_(tensor)
        return {name: self._copies[name] for name in tensors}

    def _write(
        self,
        state: State,
        model: ModelConfig,
        weights: dict[str, Tensor],
        held: dict[str, Tensor],
        history: list[dict[str, float]],
    ) -> None:
        folder = self._scratch / f"checkpoint-step{state.step}"
        folder.mkdir()
        save_model(folder, model, weights)
        save_file(held, folder / OPTIMIZER_FILE)
        (folder / STATE_FILE).write_text(json.dumps(asdict(state), indent=2) + "\n")
        write_history(folder / HISTORY_FILE, history)
        self._commit(state.step, folder)

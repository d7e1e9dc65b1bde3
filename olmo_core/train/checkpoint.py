"""A checkpoint on disk: `model.safetensors`, `model.json`, `optimizer.safetensors`, `state.json`, `history.jsonl`.

Saving copies the state once, which is all training waits for; writing and committing go on in a thread.
"""

import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from olmo_core.model.config import ModelConfig
from olmo_core.model.load import load_weights, save_model
from olmo_core.model.transformer import Transformer
from olmo_core.train.optimizer import load_moments, moments

OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"
HISTORY_FILE = "history.jsonl"

Row = dict[str, float]


@dataclass(frozen=True)
class State:
    """Where a run stands: steps and tokens since its stage began, and the rate of its last step.

    The loader's position is the step: batch `step` comes next.
    """

    step: int
    tokens: int
    rate: float


class Saver:
    """Writes checkpoints one after the other in a thread; use it as a context manager."""

    def __init__(self, config: ModelConfig, commit: Callable[[int, Path], Any], scratch: Path) -> None:
        """Hand every written folder to `commit(step, folder)`; folders are made below `scratch`."""
        self._config = config
        self._commit = commit
        self._scratch = scratch
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._thread.shutdown(wait=True)

    def save(self, model: Transformer, optimizer: torch.optim.AdamW, state: State, history: list[Row]) -> None:
        """Copy the state now and write it later; waits for the checkpoint before it."""
        self.wait()
        weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}
        kept = {name: tensor.detach().to("cpu", copy=True) for name, tensor in moments(optimizer, model).items()}
        self._last = self._thread.submit(self._write, weights, kept, state, list(history))

    def wait(self) -> None:
        """Return when everything saved so far is committed; raises what went wrong with it."""
        if self._last is not None:
            self._last.result()

    def _write(self, weights: dict[str, Tensor], kept: dict[str, Tensor], state: State, history: list[Row]) -> None:
        folder = self._scratch / f"step{state.step}"
        folder.mkdir(parents=True)
        save_model(folder, self._config, weights)
        save_file(kept, folder / OPTIMIZER_FILE)
        (folder / STATE_FILE).write_text(json.dumps(asdict(state), sort_keys=True) + "\n")
        (folder / HISTORY_FILE).write_text("".join(json.dumps(row) + "\n" for row in history))
        self._commit(state.step, folder)


def read_state(folder: Path) -> State:
    """Return where the run of a checkpoint stood."""
    return State(**json.loads((folder / STATE_FILE).read_text()))


def restore(folder: Path, model: Transformer, optimizer: torch.optim.AdamW) -> None:
    """Load weights, and moments where the folder has them (a soup has none)."""
    device = str(next(model.parameters()).device)
    model.load_state_dict(load_weights(folder, model.config, device))
    if (folder / OPTIMIZER_FILE).is_file():
        load_moments(optimizer, model, load_file(folder / OPTIMIZER_FILE))

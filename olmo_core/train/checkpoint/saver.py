"""Writes checkpoints in a background thread; training waits only while the state is copied.

All ranks write their rows into the same files, in rank 0's folder, and rank 0 commits. `state` describes what a
checkpoint contains.
"""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor

from olmo_core.artifact.identity import Step
from olmo_core.model.config import CONFIG_FILE, ModelConfig
from olmo_core.train.checkpoint.host_copy import HostCopy
from olmo_core.train.checkpoint.state import State, tensors_of
from olmo_core.train.checkpoint.tensor_file import Layout, Rows
from olmo_core.train.distributed.group import rank_and_world
from olmo_core.train.distributed.parallel import held_rows, local, written_rows
from olmo_core.train.history import write_history
from olmo_core.train.optimizer import updates
from olmo_core.train.step import HISTORY_FILE, STATE_FILE
from olmo_core.train.trainer import Trainer

Commit = Callable[[Step, Path], object]


class SaveError(RuntimeError):
    """A checkpoint could not be written because of another rank."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was committed.

    Attributes:
        update: number of its training step.
        blocking_seconds: how long training waited for the copy, excluding any wait for the previous checkpoint.
        seconds: from the start of the copy to the end of the commit.
        bytes: size of the tensors that this rank wrote.
    """

    update: int
    blocking_seconds: float
    seconds: float
    bytes: int


class Saver:
    """Saves the state of a run. Every rank creates one, and all save at the same training steps.

    Args:
        trainer: holds the state.
        commit: called on rank 0, in the background thread, with the step of the checkpoint and its folder.
        scratch: folder for new checkpoints; rank 0's is used, and all ranks must be able to write there.
    """

    def __init__(self, trainer: Trainer, commit: Commit, scratch: Path) -> None:
        self._trainer, self._commit = trainer, commit
        self._rank, world = rank_and_world()
        # A separate group, because its messages come from the background thread, in parallel to the training step's.
        self._group = dist.new_group(backend="gloo") if world > 1 else None
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._scratch = self._shared(scratch)
        self._copy = HostCopy(_written(tensors_of(trainer)))
        self._committed: deque[Saved] = deque()
        self._saving: Future[None] | None = self._thread.submit(self._copy.touch)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the last checkpoint and raise its failure, unless another exception is being raised."""
        try:
            if kind is None:
                self.wait()
        finally:
            self._thread.shutdown(wait=True)

    def save(self, target: Step, update: int, rate: float, rows: Sequence[Mapping[str, float]]) -> None:
        """Copy the state after training step `update`, then write and commit it as `target` in the background.

        Waits first until the previous checkpoint is committed.

        Raises:
            Exception: the failure of the previous checkpoint.
        """
        self.wait()
        begin = time.perf_counter()
        trainer, config = self._trainer, self._trainer.config
        tensors = tensors_of(trainer)
        copies = self._copy.take(_written(tensors))
        state = State(
            step=update,
            sequences=update * config.batch_size,
            tokens=update * config.batch_tokens,
            updates=updates(trainer.optimizer),
            learning_rate=rate,
        )
        blocking = time.perf_counter() - begin

        def write() -> None:
            layouts = {file: Layout(named) for file, named in tensors.items()}
            parts = {
                file: {
                    name: Rows(written_rows(tensor).start, copies[f"{file}/{name}"]) for name, tensor in named.items()
                }
                for file, named in tensors.items()
            }
            self._write(target, trainer.model.config, state, list(rows), layouts, parts)
            size = sum(copy.nbytes for copy in copies.values())
            self._committed.append(Saved(update, blocking, time.perf_counter() - begin, size))

        self._saving = self._thread.submit(write)

    def wait(self) -> None:
        """Wait until the last checkpoint is committed; raise its failure."""
        if self._saving is not None:
            self._saving.result()
            self._saving = None

    def committed(self) -> Iterator[Saved]:
        """Yield the checkpoints committed since the last call."""
        while self._committed:
            yield self._committed.popleft()

    def _write(
        self,
        target: Step,
        model: ModelConfig,
        state: State,
        history: Sequence[Mapping[str, float]],
        layouts: Mapping[str, Layout],
        parts: Mapping[str, Mapping[str, Rows]],
    ) -> None:
        folder = self._scratch / f"{target.kind}-{target.name}"

        def begin() -> None:
            if self._rank == 0:
                folder.mkdir()
                (folder / CONFIG_FILE).write_text(model.model_dump_json(indent=2) + "\n", encoding="utf-8")
                (folder / STATE_FILE).write_text(json.dumps(asdict(state), indent=2) + "\n")
                write_history(folder / HISTORY_FILE, history)
                for file, layout in layouts.items():
                    layout.create(folder / file)

        def write() -> None:
            for file, layout in layouts.items():
                layout.write(folder / file, parts[file])

        def commit() -> None:
            if self._rank == 0:
                self._commit(target, folder)

        self._together(begin)
        self._together(write)
        self._together(commit)  # a rank that exits stops the others, so none may return before the commit

    def _together(self, act: Callable[[], None]) -> None:
        """Call `act` on all ranks; if it fails on one, raise on all."""
        failure: Exception | None = None
        try:
            act()
        except Exception as error:
            failure = error
        failures = torch.tensor([failure is not None], dtype=torch.int32)
        if self._group is not None:
            dist.all_reduce(failures, group=self._group)
        if failure is not None:
            raise failure
        if failures.item():
            raise SaveError(
                f"{failures.item()} other ranks could not write their part of the checkpoint; see their logs"
            )

    def _shared(self, scratch: Path) -> Path:
        """Return the folder of rank 0.

        Raises:
            SaveError: a rank does not see that folder.
        """
        if self._group is None:
            return scratch
        path = torch.zeros(4096, dtype=torch.uint8)
        if self._rank == 0:
            encoded = torch.tensor(list(os.fsencode(scratch.absolute())), dtype=torch.uint8)
            path[: len(encoded)] = encoded
        dist.broadcast(path, 0, group=self._group)
        shared = Path(os.fsdecode(bytes(path[path != 0].tolist())))

        def look() -> None:
            if not shared.is_dir():
                raise SaveError(
                    f"rank {self._rank} does not see {shared}, in which rank 0 writes checkpoints; put the artifact "
                    "store or its scratch folder on a file system that all hosts share"
                )

        self._together(look)
        return shared


def _written(tensors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return file/name -> the rows of each tensor that this rank writes; views, not copies."""
    rows = {}
    for file, named in tensors.items():
        for name, tensor in named.items():
            held, written = held_rows(tensor), written_rows(tensor)
            rows[f"{file}/{name}"] = local(tensor)[written.start - held.start : written.stop - held.start]
    return rows

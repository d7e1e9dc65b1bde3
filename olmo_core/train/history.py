"""What a run says of each step: deterministic values only, read from the device a few steps at a time.

Speeds and other live numbers go to the job's metrics in `loop`, never in here.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch

from olmo_core.train.config import TrainingConfig
from olmo_core.train.step_values import StepValues

Columns = Callable[[Mapping[str, float]], dict[str, float]]


class TrainingDivergedError(RuntimeError):
    """Loss or gradients are no longer finite; what comes after is worth nothing."""


class History:
    """Rows of the steps since the last checkpoint; rows still on the device wait until `read`.

    Args:
        config: the run's.
        columns: makes the columns of a row from the values of a training step.
    """

    def __init__(self, config: TrainingConfig, columns: Columns) -> None:
        self.config = config
        self._columns = columns
        self._waiting: list[tuple[int, float, StepValues]] = []
        self._rows: list[dict[str, float]] = []
        self._notes: dict[int, Mapping[str, float]] = {}
        self._skipped = 0

    def __len__(self) -> int:
        """Rows that wait to be read."""
        return len(self._waiting)

    def add(self, update: int, rate: float, values: StepValues) -> None:
        """Note the rate and the values of training step `update`, counted from 1, without waiting for the device."""
        self._waiting.append((update, rate, values))

    def note(self, update: int, values: Mapping[str, float]) -> None:
        """Add values to the row of a training step that was added and not read yet."""
        self._notes[update] = values

    def read(self) -> list[dict[str, float]]:
        """Return the rows that waited: step, tokens, lr, grad_norm, and the columns of the objective.

        Where the run skips steps also skipped (0 or 1); the values of a skipped step may be NaN or infinite.

        Raises:
            TrainingDivergedError: a value is not finite, or too many steps in a row were skipped; names the step.
        """
        rows: list[dict[str, float]] = []
        for (update, rate, _), row in zip(self._waiting, self._numbers(), strict=True):
            self._check(update, rate, row)
            place = {"step": update, "tokens": update * self.config.batch_tokens, "lr": rate}
            rows.append({**place, **self._columns(row), **self._notes.pop(update, {})})
        self._waiting.clear()
        self._rows += rows
        return rows

    def _numbers(self) -> list[dict[str, float]]:
        """Return the values that wait, by name, from one reading of the device."""
        waiting = [values.present() for *_, values in self._waiting]
        scalars = [value for values in waiting for value in values.values()]
        numbers = iter(torch.stack(scalars).tolist() if scalars else [])
        return [{name: next(numbers) for name in values} for values in waiting]

    def _check(self, update: int, rate: float, row: dict[str, float]) -> None:
        skip_step = self.config.skip_step
        self._skipped = self._skipped + 1 if row.get("skipped") else 0
        if skip_step is not None and self._skipped >= skip_step.patience:
            said = f"the {self._skipped} steps up to it were skipped, its loss is {row['loss']:.4g}"
        elif not self._skipped and not all(math.isfinite(value) for value in row.values()):
            said = f"loss {row['loss']}, gradient norm {row['grad_norm']}"
        else:
            return
        raise TrainingDivergedError(
            f"step {update}: {said} at learning rate {rate:.3g}; lower schedule.peak or lengthen schedule.warmup"
        )

    def restore(self, rows: Sequence[dict[str, float]]) -> None:
        """Take up rows that were read before the run was stopped, as if it had not been."""
        self._rows += rows
        for row in rows:
            self._skipped = self._skipped + 1 if row.get("skipped") else 0

    @property
    def rows(self) -> list[dict[str, float]]:
        """The rows read since the last checkpoint."""
        return list(self._rows)

    def take(self) -> list[dict[str, float]]:
        """Return all rows read since the last call, and begin anew."""
        rows, self._rows = self._rows, []
        return rows


def write_history(path: Path, rows: Iterable[Mapping[str, float]]) -> None:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))


def read_history(path: Path) -> list[dict[str, float]]:
    """Return the rows of a `history.jsonl`."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

"""The history of a run: one row per step, deterministic values only, read from the device a few steps at a time.

Speeds and other live numbers go to the job's metrics in `loop`, never into the history.
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
    """Loss or gradients are no longer finite, or too many steps in a row were skipped."""


class History:
    """The rows of the steps since the last checkpoint; values stay on the device until `read`.

    Args:
        config: config of the run.
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
        """Return the number of rows not read yet."""
        return len(self._waiting)

    def add(self, update: int, rate: float, values: StepValues) -> None:
        """Add the rate and the values of training step `update`, counted from 1, without waiting for the device."""
        self._waiting.append((update, rate, values))

    def note(self, update: int, values: Mapping[str, float]) -> None:
        """Attach values to the row of a training step that was added but not read yet."""
        self._notes[update] = values

    def read(self) -> list[dict[str, float]]:
        """Read the pending rows and return them: step, tokens, lr, grad_norm, and the columns of the objective.

        If the run skips steps, rows also have skipped (0 or 1); values of a skipped step may be NaN or infinite.

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
        """Return the pending values by name, with one read of the device."""
        waiting = [values.present() for *_, values in self._waiting]
        scalars = [value for values in waiting for value in values.values()]
        numbers = iter(torch.stack(scalars).tolist() if scalars else [])
        return [{name: next(numbers) for name in values} for values in waiting]

    def _check(self, update: int, rate: float, row: dict[str, float]) -> None:
        skip_step = self.config.skip_step
        self._skipped = self._skipped + 1 if row.get("skipped") else 0
        if skip_step is not None and self._skipped >= skip_step.patience:
            reason = f"the last {self._skipped} steps were skipped, loss {row['loss']:.4g}"
        elif not self._skipped and not all(math.isfinite(value) for value in row.values()):
            reason = f"loss {row['loss']}, gradient norm {row['grad_norm']}"
        else:
            return
        raise TrainingDivergedError(
            f"step {update}: {reason} at learning rate {rate:.3g}; lower schedule.peak or lengthen schedule.warmup"
        )

    def restore(self, rows: Sequence[dict[str, float]]) -> None:
        """Restore rows that were read before the run was stopped, as if it had never stopped."""
        self._rows += rows
        for row in rows:
            self._skipped = self._skipped + 1 if row.get("skipped") else 0

    @property
    def rows(self) -> list[dict[str, float]]:
        """The rows read since the last checkpoint."""
        return list(self._rows)

    def take(self) -> list[dict[str, float]]:
        """Return all rows read since the last call, and clear them."""
        rows, self._rows = self._rows, []
        return rows


def write_history(path: Path, rows: Iterable[Mapping[str, float]]) -> None:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))


def read_history(path: Path) -> list[dict[str, float]]:
    """Return the rows of a `history.jsonl`."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

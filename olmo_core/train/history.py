"""What a run says of each step: deterministic values only, read from the device a few steps at a time.

Speeds and other live numbers go to the job's metrics in `loop`, never in here.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

HISTORY_FILE = "history.jsonl"


class TrainingDivergedError(RuntimeError):
    """Loss or gradients are no longer finite; what comes after is worth nothing."""


class History:
    """Rows of the steps since the last checkpoint; rows still on the device wait until `read`."""

    def __init__(self, batch_tokens: int, z_loss: float) -> None:
        self.batch_tokens = batch_tokens
        self.z_loss = z_loss
        self._waiting: list[tuple[int, float, Tensor]] = []
        self._rows: list[dict[str, float]] = []

    def __len__(self) -> int:
        """Rows that wait to be read."""
        return len(self._waiting)

    def add(self, step: int, rate: float, sums: Tensor) -> None:
        """Note a step: its number from 1, its rate, what `Trainer.update` returned; does not wait for the device."""
        self._waiting.append((step, rate, sums))

    def read(self) -> list[dict[str, float]]:
        """Return the rows that waited: step, tokens, loss (nats a token), z_loss (as added to it), grad_norm, lr.

        Raises:
            TrainingDivergedError: a value is not finite; names the step.
        """
        values = torch.stack([sums for *_, sums in self._waiting]).tolist() if self._waiting else []
        rows: list[dict[str, float]] = []
        for (step, rate, _), (cross_entropy, squared, norm) in zip(self._waiting, values, strict=True):
            if not all(math.isfinite(value) for value in (cross_entropy, squared, norm)):
                raise TrainingDivergedError(
                    f"step {step}: loss {cross_entropy}, gradient norm {norm} at learning rate {rate:.3g}; "
                    "lower schedule.peak or lengthen schedule.warmup"
                )
            z_loss = self.z_loss * squared
            row = {"loss": cross_entropy, "z_loss": z_loss, "grad_norm": norm, "lr": rate}
            rows.append({"step": step, "tokens": step * self.batch_tokens, **row})
        self._waiting.clear()
        self._rows += rows
        return rows

    def take(self) -> list[dict[str, float]]:
        """Return all rows read since the last call, and begin anew."""
        rows, self._rows = self._rows, []
        return rows


def write_history(path: Path, rows: Iterable[Mapping[str, float]]) -> None:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))


def read_history(path: Path) -> list[dict[str, float]]:
    """Return the rows of a `history.jsonl`."""
    return [json.loads(line) for line in path.read_text().splitlines()]

"""The board: where workers on any node pin how far they are, and hand over live metrics.

It is a Ray actor beside the driver. Calls to it are not waited for, so a slow board never slows work. Metrics go to the
outbox at once and survive the driver; progress is only for showing. From here workers hear that the release ends.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.tracking.events import EventLog

REPORT_SECONDS = 0.5


@dataclass(frozen=True)
class Report:
    """How far a step is: `done` of `total` units, with numbers to show beside it, at a wall-clock time."""

    done: float
    total: float
    unit: str
    shown: Mapping[str, float]
    time: float


class Board:
    """State of the actor: the last report of every step that goes on."""

    def __init__(self, outbox: EventLog) -> None:
        """Hand metrics to an outbox of its own, on the node it runs on."""
        self._outbox = outbox
        self._reports: dict[str, Report] = {}
        self._end = asyncio.Event()
        self._saved: list[str] = []
        self._reserved: dict[str, list[Any]] = {}

    def progress(self, label: str, report: Report | None) -> None:
        """Take a report of a step; None when it ended."""
        if report is None:
            self._reports.pop(label, None)
        else:
            self._reports[label] = report

    def metrics(self, step_id: str, rows: list[tuple[int, dict[str, float]]]) -> None:
        """Take live metrics of a run: (training step, values)."""
        for step, values in rows:
            self._outbox.metrics(step_id, step, values)

    def reports(self) -> dict[str, Report]:
        """Return the last report of every step that goes on."""
        return dict(self._reports)

    def flush(self) -> None:
        """Return when everything taken is on disk."""
        self._outbox.flush()

    def end(self) -> None:
        """Take note that the release ends."""
        self._end.set()

    def save(self, what: str) -> None:
        """Take what a training run says that was asked to stop and saved."""
        self._saved.append(what)

    def saved(self) -> list[str]:
        """Return what such runs said."""
        return list(self._saved)

    def reserve(self, run: str, group: Any) -> None:
        """Take the placement group that a run has got."""
        self._reserved.setdefault(run, []).append(group)

    def release(self, run: str) -> list[Any]:
        """Return the placement groups of a run that is over, for whoever frees what is left of them."""
        return self._reserved.pop(run, [])

    async def ended(self) -> None:
        """Return when the release ends; others may call meanwhile."""
        await self._end.wait()


@dataclass
class Reporter:
    """A worker's side of the board, for one step: throttled progress and batched metrics."""

    board: Any
    label: str
    step_id: str
    _next: float = 0.0
    _rows: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def progress(self, done: float, total: float, unit: str, **shown: float) -> None:
        """Report, at most twice a second."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + REPORT_SECONDS
            self.board.progress.remote(self.label, Report(done, total, unit, shown, time.time()))
            self._send()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Keep a row for the next batch."""
        self._rows.append((step, dict(values)))

    def close(self) -> None:
        """Send what is left and take the step off the board."""
        import ray

        self._send()
        self.board.progress.remote(self.label, None)
        ray.get(self.board.flush.remote())

    def _send(self) -> None:
        if self._rows:
            self.board.metrics.remote(self.step_id, self._rows)
            self._rows = []

"""The board: an actor to which workers on any node report progress and live metrics.

It is a Ray actor on the driver's node. Workers do not wait for their calls, so a slow board never slows work. Metrics
go to the outbox at once and survive the driver; progress is only displayed. Workers also learn here that the release
ends.
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
    """The progress of a step: `done` of `total` units, with further numbers to display, at a wall-clock time."""

    done: float
    total: float
    unit: str
    shown: Mapping[str, float]
    time: float


class Board:
    """State of the actor: the last report of every running step."""

    def __init__(self, outbox: EventLog) -> None:
        """Write metrics to its own copy of the outbox, on the node it runs on."""
        self._outbox = outbox
        self._reports: dict[str, Report] = {}
        self._end = asyncio.Event()
        self._saved: list[str] = []
        self._reserved: dict[str, list[Any]] = {}

    def progress(self, label: str, report: Report | None) -> None:
        """Store a report of a step; None when it ended."""
        if report is None:
            self._reports.pop(label, None)
        else:
            self._reports[label] = report

    def metrics(self, step_id: str, rows: list[tuple[int, dict[str, float]]]) -> None:
        """Write live metrics of a run: (training step, values)."""
        for step, values in rows:
            self._outbox.metrics(step_id, step, values)

    def reports(self) -> dict[str, Report]:
        """Return the last report of every running step."""
        return dict(self._reports)

    def flush(self) -> None:
        """Write all metrics received so far to disk."""
        self._outbox.flush()

    def end(self) -> None:
        """Announce that the release ends."""
        self._end.set()

    def save(self, what: str) -> None:
        """Store the message of a training run that saved its state when it was asked to stop."""
        self._saved.append(what)

    def saved(self) -> list[str]:
        """Return the messages of such runs."""
        return list(self._saved)

    def reserve(self, run: str, group: Any) -> None:
        """Store a placement group that a run reserved."""
        self._reserved.setdefault(run, []).append(group)

    def release(self, run: str) -> list[Any]:
        """Return the placement groups of a run that ended, so that the caller can free them."""
        return self._reserved.pop(run, [])

    async def ended(self) -> None:
        """Return when the release ends; other calls can run meanwhile."""
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
        """Report progress, at most twice a second."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + REPORT_SECONDS
            self.board.progress.remote(self.label, Report(done, total, unit, shown, time.time()))
            self._send()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Store a row for the next batch."""
        self._rows.append((step, dict(values)))

    def close(self) -> None:
        """Send the remaining rows and remove the step from the board."""
        import ray

        self._send()
        self.board.progress.remote(self.label, None)
        ray.get(self.board.flush.remote())

    def _send(self) -> None:
        if self._rows:
            self.board.metrics.remote(self.step_id, self._rows)
            self._rows = []

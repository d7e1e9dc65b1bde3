"""The progress of each step of a running release: live on a terminal, as lines in a log."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import Progress, TextColumn

from infra.patience import Lines, Show
from olmo_core.recipe.quantity import show_bytes, show_count, show_duration
from tasks.session import Session
from tasks.workers.progress import Report

POLL_SECONDS = 0.5
LINE_SECONDS = 15.0


@contextmanager
def waiting(console: Console) -> Iterator[Show]:
    """Yield a function that displays a wait: a live line on a terminal, a line every few seconds in a log."""
    if not console.is_terminal:
        yield Lines(partial(console.print, highlight=False, markup=False, soft_wrap=True))
        return
    with console.status("waiting") as status:
        yield status.update


class Watch:
    """Displays the progress of a session's steps; a context manager around a release."""

    def __init__(self, console: Console, session: Session) -> None:
        self._console = console
        self._session = session
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)
        self._printed = 0
        self._lines: dict[str, float] = {}
        self._first: dict[str, Report] = {}

    def __enter__(self) -> "Watch":
        """Start the display."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the display and print the last steps that were made."""
        self._done.set()
        self._thread.join(5)
        self._print_made()

    def _show(self) -> None:
        if not self._console.is_terminal:
            while not self._done.wait(POLL_SECONDS):
                self._print_made()
                self._print_lines(self._reports())
            return
        with Progress(TextColumn("{task.description}"), console=self._console) as lines:
            tasks: dict[str, Any] = {}
            while not self._done.wait(POLL_SECONDS):
                self._print_made()
                reports = self._reports()
                for label in [each for each in tasks if each not in reports]:
                    lines.remove_task(tasks.pop(label))
                for label, report in reports.items():
                    if label not in tasks:
                        tasks[label] = lines.add_task("", total=None)
                    lines.update(tasks[label], description=f"{label}: {self._text(label, report)}")

    def _reports(self) -> Mapping[str, Report]:
        try:
            return self._session.reports()
        except Exception:  # the cluster is starting or stopping
            return {}

    def _print_made(self) -> None:
        made = self._session.made
        while self._printed < len(made):
            self._console.print(f"made {made[self._printed]}", highlight=False)
            self._printed += 1

    def _print_lines(self, reports: Mapping[str, Report]) -> None:
        now = time.monotonic()
        for label, report in reports.items():
            if now - self._lines.setdefault(label, now) >= LINE_SECONDS:
                self._lines[label] = now
                self._console.print(f"{label}: {self._text(label, report)}", highlight=False, soft_wrap=True)

    def _text(self, label: str, report: Report) -> str:
        """Return the amount done, the total, the rate, the time left and the loss; other metrics go to MLflow."""
        # The time before the first progress is compilation, which must not count in the rate.
        first = self._first.setdefault(label, report) if report.done else report
        if report.done < first.done:  # the step resumed from an earlier checkpoint
            first = self._first[label] = report
        show = show_bytes if report.unit == "bytes" else show_count
        unit = "" if report.unit == "bytes" else f" {report.unit}"
        passed, done = report.time - first.time, report.done - first.done
        text = f"{show(report.done)} of {show(report.total)}{unit}"
        if report.total <= report.done:  # a stream of unknown length
            text = f"{show(report.done)}{unit}"
        if passed > 0 and done > 0:
            text += f", {show(done / passed)}/s"
            if report.total > report.done:
                text += f", {show_duration((report.total - report.done) * passed / done)} left"
        return text + (f", loss {report.shown['loss']:.3f}" if "loss" in report.shown else "")

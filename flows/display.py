"""What a person sees of a release: bars with rate and ETA on a terminal, plain lines in a log, tables at the end."""

import json
import threading
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from olmo_core.recipe.quantity import show_count
from tasks.board import Report
from tasks.session import Session

POLL_SECONDS = 0.5
LINE_SECONDS = 15.0

Rows = list[dict[str, Any]]


def print_table(console: Console, title: str, rows: Rows) -> None:
    """Print rows as a table; numbers to four significant digits."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=place == 0)
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    console.print(table)


def turned(rows: Rows, head: str) -> Rows:
    """Return rows with columns and rows exchanged; `head` is the column whose values become the columns."""
    columns = list(dict.fromkeys(column for row in rows for column in row if column != head))
    return [{head: column} | {str(row[head]): row.get(column) for row in rows} for column in columns]


def print_json(value: object) -> None:
    """Print a value as JSON on standard output, nothing else beside it."""
    print(json.dumps(value, indent=1, sort_keys=True))


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Watch:
    """Shows how far the steps of a session are, until it is left; a context manager around a release."""

    def __init__(self, console: Console, session: Session) -> None:
        self._console = console
        self._session = session
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)
        self._told = 0
        self._lines: dict[str, float] = {}
        self._first: dict[str, Report] = {}

    def __enter__(self) -> "Watch":
        """Begin to show."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Show the last that was made, and end."""
        self._done.set()
        self._thread.join(5)
        self._tell()

    def _show(self) -> None:
        if not self._console.is_terminal:
            while not self._done.wait(POLL_SECONDS):
                self._tell()
                self._print_lines(self._reports())
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[shown]}"))
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self._console) as bars:
            tasks: dict[str, Any] = {}
            while not self._done.wait(POLL_SECONDS):
                self._tell()
                reports = self._reports()
                for label in [each for each in tasks if each not in reports]:
                    bars.remove_task(tasks.pop(label))
                for label, report in reports.items():
                    if label not in tasks:
                        tasks[label] = bars.add_task(label, shown="")
                    shown = self._text(label, report)
                    bars.update(tasks[label], completed=report.done, total=report.total or None, shown=shown)

    def _reports(self) -> Mapping[str, Report]:
        try:
            return self._session.reports()
        except Exception:  # the cluster is starting or stopping; there is nothing to show then
            return {}

    def _tell(self) -> None:
        made = self._session.made
        while self._told < len(made):
            self._console.print(f"made {made[self._told]}", highlight=False)
            self._told += 1

    def _print_lines(self, reports: Mapping[str, Report]) -> None:
        now = time.monotonic()
        for label, report in reports.items():
            if now - self._lines.setdefault(label, now) >= LINE_SECONDS:
                self._lines[label] = now
                self._console.print(f"{label}: {self._text(label, report)}", highlight=False)

    def _text(self, label: str, report: Report) -> str:
        # Before anything is done there is compilation, which says nothing of the rate.
        first = self._first.setdefault(label, report) if report.done else report
        passed = report.time - first.time
        rate = (report.done - first.done) / passed if passed > 0 else 0.0
        text = f"{show_count(report.done)}/{show_count(report.total)} {report.unit}"
        if rate > 0:
            left = (report.total - report.done) / rate
            text += f", {show_count(rate)}/s, {left // 60:.0f}:{left % 60:02.0f} left"
        return text + "".join(f", {name} {value:.4g}" for name, value in report.shown.items())

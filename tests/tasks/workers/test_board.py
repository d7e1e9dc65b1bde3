"""Progress and metrics on their way to the board: throttled, batched, in order, and never lost at the end."""

import asyncio
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tasks.tracking.events import EventLog
from tasks.workers import progress
from tasks.workers.progress import REPORT_SECONDS, Board, Report, Reporter


class Outbox:
    """An outbox that keeps what is written in memory."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, dict[str, float]]] = []
        self.flushed = 0

    def metrics(self, step_id: str, step: int, values: dict[str, float]) -> None:
        self.rows.append((step_id, step, values))

    def flush(self) -> None:
        self.flushed = len(self.rows)


class Handle:
    """A board behind a handle as Ray gives it: calls arrive in order, `remote` returns at once."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Any] = getattr(self._board, name)

        def remote(*arguments: Any) -> Any:
            self.calls.append(name)
            return method(*arguments)

        return SimpleNamespace(remote=remote)


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
def board(outbox: Outbox) -> Board:
    return Board(cast(EventLog, outbox))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list of one; Ray's `get` returns what it is given."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.time, "time", lambda: 5.0)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda found: found))
    return now


def test_first_report_is_sent_at_once_and_others_at_most_twice_a_second(board: Board, clock: list[float]) -> None:
    handle = Handle(board)
    reporter = Reporter(handle, "run/r", "id")
    for done in range(80):
        reporter.progress(done, 100, "tokens", loss=2.0)
        clock[0] += REPORT_SECONDS / 8
    assert handle.calls == ["progress"] * 10
    assert board.reports() == {"run/r": Report(72, 100, "tokens", {"loss": 2.0}, 5.0)}


def test_metrics_wait_for_the_next_report_and_keep_their_order(
    board: Board, outbox: Outbox, clock: list[float]
) -> None:
    handle = Handle(board)
    reporter = Reporter(handle, "run/r", "the-id")
    reporter.progress(0, 100, "tokens")
    for step in (1, 2, 3):
        reporter.metrics(step, {"loss": 1.0 / step})
        reporter.progress(step, 100, "tokens")
    assert outbox.rows == [], "the next report is not due"
    clock[0] += REPORT_SECONDS
    reporter.progress(4, 100, "tokens")
    assert outbox.rows == [("the-id", step, {"loss": 1.0 / step}) for step in (1, 2, 3)]
    assert handle.calls == ["progress", "progress", "metrics"], "one message for all rows"


def test_row_is_kept_as_it_was_when_it_was_given(board: Board, outbox: Outbox, clock: list[float]) -> None:
    reporter, values = Reporter(Handle(board), "run/r", "id"), {"loss": 1.0}
    reporter.metrics(1, values)
    values["loss"] = 9.0
    reporter.close()
    assert outbox.rows == [("id", 1, {"loss": 1.0})]


def test_end_sends_what_is_left_removes_the_step_and_writes_to_disk(
    board: Board, outbox: Outbox, clock: list[float]
) -> None:
    handle = Handle(board)
    reporter = Reporter(handle, "run/r", "id")
    reporter.progress(1, 2, "tokens")
    reporter.metrics(7, {"loss": 1.0})
    reporter.close()
    assert board.reports() == {}
    assert outbox.flushed == 1
    assert handle.calls == ["progress", "metrics", "progress", "flush"]
    reporter.close()
    assert len(outbox.rows) == 1, "no row is sent twice"


def test_reports_of_other_steps_stay_when_one_ends(board: Board) -> None:
    report = Report(1, 2, "tokens", {}, 0.0)
    for label in ("run/a", "run/b"):
        board.progress(label, report)
    board.progress("run/a", None)
    board.progress("run/never", None)
    assert board.reports() == {"run/b": report}


def test_what_the_board_returns_is_a_copy(board: Board) -> None:
    board.save("run/a is saved at step 3")
    board.saved().clear()
    board.reports()["run/x"] = Report(1, 2, "tokens", {}, 0.0)
    assert board.saved() == ["run/a is saved at step 3"]
    assert board.reports() == {}


def test_placement_groups_of_a_run_are_given_back_once(board: Board) -> None:
    board.reserve("a", "group 1"), board.reserve("b", "group 2"), board.reserve("a", "group 3")
    assert board.release("a") == ["group 1", "group 3"]
    assert board.release("a") == []
    assert board.release("b") == ["group 2"]


def test_all_who_wait_for_the_end_are_woken_and_later_ones_do_not_wait(board: Board) -> None:
    async def story() -> list[bool]:
        waiting = [asyncio.ensure_future(board.ended()) for _ in range(3)]
        await asyncio.sleep(0)
        before = [each.done() for each in waiting]
        board.end()
        await asyncio.gather(*waiting, board.ended())
        return before

    assert asyncio.run(story()) == [False] * 3

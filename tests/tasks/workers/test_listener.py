"""The end of a release as a worker hears of it: work is stopped once, and only while there is some."""

import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.workers import background
from tasks.workers.background import BackgroundWorker
from tasks.workers.failures import EndedError
from tasks.workers.listener import Listener

PATIENCE = 60


class End:
    """A board whose release can be ended; waiting for it fails where the board is lost."""

    def __init__(self) -> None:
        self.event, self.lost = threading.Event(), False
        self.ended = SimpleNamespace(remote=lambda: self)

    def get(self) -> None:
        assert self.event.wait(PATIENCE)
        if self.lost:
            raise ConnectionError("the board is gone")


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> End:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda found: found.get()))
    return End()


def listening(board: End, act: Callable[[], object]) -> tuple[Listener, threading.Thread]:
    before = set(threading.enumerate())
    listener = Listener(board, act)
    (thread,) = set(threading.enumerate()) - before
    return listener, thread


def end(board: End, thread: threading.Thread) -> None:
    board.event.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_work_is_stopped_when_the_release_ends(board: End) -> None:
    acted: list[str] = []
    listener, thread = listening(board, lambda: acted.append("stop"))
    with listener.working():
        assert acted == []
        end(board, thread)
        assert acted == ["stop"]


def test_idle_worker_is_not_interrupted_and_takes_no_more_work(board: End) -> None:
    acted: list[str] = []
    listener, thread = listening(board, lambda: acted.append("stop"))
    with listener.working():
        pass
    end(board, thread)
    assert acted == []
    with pytest.raises(EndedError), listener.working():
        raise AssertionError("no work begins after the end")


def test_work_that_failed_counts_as_ended(board: End) -> None:
    acted: list[str] = []
    listener, thread = listening(board, lambda: acted.append("stop"))
    with pytest.raises(KeyError), listener.working():
        raise KeyError
    end(board, thread)
    assert acted == []


def test_lost_board_stops_nothing(board: End) -> None:
    acted: list[str] = []
    listener, thread = listening(board, lambda: acted.append("stop"))
    board.lost = True
    with listener.working():
        end(board, thread)
    with listener.working():
        assert acted == []


def test_listening_does_not_keep_a_process_alive(board: End) -> None:
    _, thread = listening(board, lambda: None)
    assert thread.daemon
    end(board, thread)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What a background worker asks of the system, which is not done to this process."""
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(background.os, "nice", lambda by: asked.append(("nice", by)))
    monkeypatch.setattr(
        background.os, "sched_setscheduler", lambda pid, policy, _: asked.append((pid, policy)), raising=False
    )
    monkeypatch.setattr(background.os, "SCHED_IDLE", 5, raising=False)
    monkeypatch.setattr(background.os, "sched_param", lambda priority: priority, raising=False)
    return asked


def test_background_worker_has_the_lowest_priority(board: End, settings: list[tuple[Any, ...]]) -> None:
    BackgroundWorker(board)
    assert settings == [("nice", 19), (0, 5)]
    board.event.set()


def test_background_worker_without_an_idle_scheduler_is_only_nice(
    board: End, settings: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(background.os, "SCHED_IDLE")
    BackgroundWorker(board)
    assert settings == [("nice", 19)]
    board.event.set()


def test_result_and_error_of_background_work_are_its_own(board: End, settings: list[tuple[Any, ...]]) -> None:
    worker = BackgroundWorker(board)
    assert worker.run(divmod, 17, 5) == (3, 2)
    with pytest.raises(ZeroDivisionError):
        worker.run(divmod, 17, 0)
    assert worker.run(divmod, 17, 5) == (3, 2)
    board.event.set()


def test_interrupted_background_work_ends_as_asked(board: End, settings: list[tuple[Any, ...]]) -> None:
    def work() -> None:
        raise KeyboardInterrupt

    with pytest.raises(EndedError, match="asked to end; what is finished is kept"):
        BackgroundWorker(board).run(work)
    board.event.set()

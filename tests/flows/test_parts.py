"""The parts of a release: their order, and the effect of a failure on the others."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.release import _run
from olmo_core.artifact.store import Store
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.recipe import load_recipe
from tasks.session import Session

PARTS = ("data", "stage1", "stage2", "soup", "evaluate")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    nothing: Any = None
    return Session(lay_out(load_recipe("micro", [])), nothing, Store(tmp_path), nothing)


class Calls:
    """Records which part was called, and in which thread."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.threads: set[threading.Thread] = set()

    def of(self, part: str, act: Callable[[], None] = lambda: None) -> Callable[[], None]:
        def call() -> None:
            self.called.append(part)
            self.threads.add(threading.current_thread())
            act()

        return call


def test_parts_run_in_order_outside_main_thread(session: Session) -> None:
    calls = Calls()
    _run(session, {part: calls.of(part) for part in PARTS})
    assert [part for part in calls.called if part != "evaluate"] == [*PARTS[:-1]]
    assert "evaluate" in calls.called
    assert threading.main_thread() not in calls.threads


def test_failed_part_ends_later_parts_and_waiting_flows(session: Session) -> None:
    def fail() -> None:
        assert reached.wait(60)
        raise ValueError("stage1 fails")

    def evaluate() -> None:
        reached.set()
        assert list(session.turns.of(awaited)) == awaited

    awaited = [run.step for run in session.plan.runs["stage2"]]
    reached, calls = threading.Event(), Calls()
    what = {"stage1": fail, "evaluate": evaluate}
    with pytest.raises(ValueError, match="stage1 fails"):
        _run(session, {part: calls.of(part, what.get(part, lambda: None)) for part in PARTS})
    assert set(calls.called) == {"data", "stage1", "evaluate"}
    assert session.turns._expected == set()


def test_background_failure_does_not_stop_parts(session: Session) -> None:
    def fail() -> None:
        raise ValueError("evaluate fails")

    calls = Calls()
    with pytest.raises(ValueError, match="evaluate fails"):
        _run(session, {part: calls.of(part, fail if part == "evaluate" else lambda: None) for part in PARTS})
    assert [part for part in calls.called if part != "evaluate"] == [*PARTS[:-1]]

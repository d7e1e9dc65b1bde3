"""The parts of a release: their turn, and what a failure leaves of the rest."""

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
    """Notes which part was called, and in which thread."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.threads: set[threading.Thread] = set()

    def of(self, part: str, act: Callable[[], None] = lambda: None) -> Callable[[], None]:
        def call() -> None:
            self.called.append(part)
            self.threads.add(threading.current_thread())
            act()

        return call


def test_parts_come_in_order_and_none_where_prefect_takes_signals(session: Session) -> None:
    calls = Calls()
    _run(session, {part: calls.of(part) for part in PARTS})
    assert [part for part in calls.called if part != "evaluate"] == [*PARTS[:-1]]
    assert "evaluate" in calls.called
    assert threading.main_thread() not in calls.threads


def test_a_part_that_fails_ends_those_after_it_and_whoever_waits_for_them(session: Session) -> None:
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


def test_what_fails_meanwhile_keeps_no_part_from_its_turn(session: Session) -> None:
    def fail() -> None:
        raise ValueError("evaluate fails")

    calls = Calls()
    with pytest.raises(ValueError, match="evaluate fails"):
        _run(session, {part: calls.of(part, fail if part == "evaluate" else lambda: None) for part in PARTS})
    assert [part for part in calls.called if part != "evaluate"] == [*PARTS[:-1]]
